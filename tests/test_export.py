"""What is kept of a run for use elsewhere: torch alone loads it, and it predicts what the run predicted."""

import io

import torch
from conftest import tiny

from entr_utils.settings import Cell
from entr_utils.training import export, loop
from entr_utils.training.run import prepare


def test_a_kept_network_predicts_as_the_run_did_and_needs_torch_alone(narrow, tmp_path, capsys):
    run = tiny(seed=1, results=tmp_path)
    made = loop.train(run, str(tmp_path / "models"))
    kept = torch.load(export.path_of(run, tmp_path / "models"), weights_only=True)
    network = torch.export.load(io.BytesIO(kept["program"].numpy().tobytes())).module()
    pixels = torch.from_numpy(run.images.pixels[run.split.validation] / 255).float().permute(0, 3, 1, 2)
    for images, truth in zip(pixels.split(5), torch.tensor(made.predictions.rpl).split(5), strict=True):
        assert torch.equal(network((images - kept["mean"]) / kept["std"]).argmax(1), truth)
    assert kept["classes"] == run.images.classes
    assert kept["size"] == pixels.shape[-1]
    capsys.readouterr()
    loop.train(tiny(seed=1, results=tmp_path), str(tmp_path / "elsewhere"))
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert not (tmp_path / "elsewhere").exists()


def test_only_the_first_seed_of_a_cell_is_kept(narrow, tmp_path):
    cell = Cell("steel", seeds=(2, 1), profile="tiny", precision="float32", results=str(tmp_path))
    for run in prepare(cell):
        loop.train(run, str(tmp_path / "models"))
    assert [path.name.split("-")[3] for path in (tmp_path / "models").iterdir()] == ["s2"]
