"""The notebooks, executed by papermill at tiny sizes: what a user opens runs to its end and shows what it should."""

import json
from pathlib import Path

from data_by_hand import photos

from entr_utils import cli
from entr_utils.machine import device_model, precision
from entr_utils.notebook import ROOT, execute, keys_shown
from entr_utils.results import record
from entr_utils.settings import PAPER_REGIMES, Cell
from entr_utils.training.run import planned
from entr_utils.util import slug, write_json

OFF = {"ENTR_CLOCK": "off"}  # the machine is busy with tests


def pictures(path: Path) -> int:
    """How many pictures a rendered notebook shows."""
    outputs = [output for cell in json.loads(path.read_text())["cells"] for output in cell.get("outputs", ())]
    return sum(any(kind.startswith("image/") for kind in output.get("data", ())) for output in outputs)


def test_a_cell_and_the_summary_from_the_command_line_to_the_pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("ENTR_CLOCK", "off")
    words = ["PROFILE=tiny", "DATASETS=steel", "REGIMES=gradual", "SEEDS=0 1", f"RESULTS={tmp_path}"]
    assert cli.command(["all", *words]) == 0
    made = record.load(tmp_path)
    assert [one.spec.seed for one in made] == [0, 1]
    for name in ("steel-resnet18-gradual", "summary"):
        shown = tmp_path / "tiny" / f"{name}.ipynb"
        assert keys_shown(shown) == sorted(one.key for one in made)
        assert pictures(shown) >= 3
    before = {path: path.stat().st_mtime for path in tmp_path.rglob("*.ipynb")}
    assert cli.command(["all", *words]) == 0
    assert {path: path.stat().st_mtime for path in tmp_path.rglob("*.ipynb")} == before


def test_a_folder_is_a_dataset_of_a_matrix(tmp_path, monkeypatch):
    monkeypatch.setenv("ENTR_CLOCK", "off")
    for path in [*photos(tmp_path / "photos" / "train").glob("*/0[67].png")]:
        (judged := tmp_path / "photos" / "val" / path.parent.name).mkdir(parents=True, exist_ok=True)
        path.rename(judged / path.name)
    words = ["PROFILE=tiny", f"DATASETS=pets:{tmp_path / 'photos'}", "REGIMES=gradual", f"RESULTS={tmp_path}"]
    assert cli.command(["all", *words]) == 0
    (made,) = record.load(tmp_path)
    assert (made.spec.dataset, made.split.by, made.split.n_val) == ("pets", "official", 6)
    assert pictures(tmp_path / "tiny" / "pets-resnet18-gradual.ipynb") >= 3


def test_images_of_your_own(tmp_path):
    folder = photos(tmp_path / "photos")
    given = {"images": str(folder), "profile": "tiny", "weights": "none", "results": str(tmp_path), "seeds": "0"}
    given |= {"keep": str(tmp_path / "models"), "square": "pad"}
    execute(ROOT / "notebooks" / "own_images.ipynb", given, tmp_path / "own.ipynb", environment=OFF)
    assert {one.spec.regime for one in record.load(tmp_path)} == {*PAPER_REGIMES}
    assert pictures(tmp_path / "own.ipynb") >= 4
    assert len([*(tmp_path / "models").iterdir()]) == len(PAPER_REGIMES)
    assert (tmp_path / "predictions.csv").is_file()


def test_the_clock_of_a_machine_is_drawn(tmp_path):
    fields = {"profile": "compact", "results": str(tmp_path)}
    cells = [Cell("ucm", regime=regime, **fields).checked() for regime in PAPER_REGIMES]
    keys = {work.key for cell in cells for work in planned(cell, 300).work}
    take = {"taken": "2026-01-01T00:00:00+00:00", "network": "resnet18", "precision": precision(), "rounds": 7}
    take |= {"augmentation": "eight", **{name: dict.fromkeys(keys, 0.1) for name in ("seconds", "first", "spread")}}
    clock = {"device": device_model(), "threads": 2, "torch": "2", "takes": [take]}
    write_json(clock, tmp_path / "clocks" / f"{slug(device_model())}.json")
    execute(ROOT / "notebooks" / "clock.ipynb", fields | {"images": 300}, tmp_path / "clock.ipynb", environment=OFF)
    assert pictures(tmp_path / "clock.ipynb") == 1
    assert len(json.loads((tmp_path / "clocks" / f"{slug(device_model())}.json").read_text())["takes"]) == 1


def test_the_methods_are_drawn_without_a_record(tmp_path):
    """Their plans, the two figures; what there is nothing of is said to be missing."""
    execute(ROOT / "notebooks" / "methods.ipynb", {"results": str(tmp_path)}, tmp_path / "m.ipynb", environment=OFF)
    assert pictures(tmp_path / "m.ipynb") == 3
