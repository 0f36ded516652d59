"""The learning-rate range test at the sizes that runs begin with, from the command line to the kept file."""

import json

import pytest

from entr_utils import learning, range_test

WORDS = ("PROFILE=tiny", "DATASETS=steel", "SEEDS=0 1", "RESULTS=results")


@pytest.fixture
def made(monkeypatch) -> list[tuple[int, int]]:
    """(seed, pixels) of each test that is made; what it suggests is a thousandth of the pixels."""
    sizes = []

    def find(run):
        sizes.append((run.parameters.seed, run.regime.stages[0].fed(run.parameters.size)))
        return [], [], sizes[-1][1] / 1000

    monkeypatch.setattr(range_test, "find_lr", find)
    return sizes


def test_each_size_is_tested_once_a_seed(narrow, made, place, capsys):
    """Gradual and stepwise begin at the same size. What is there is kept and not made again."""
    assert range_test.main(list(WORDS)) == 0
    assert sorted(made) == [(0, 32), (0, 80), (1, 32), (1, 80)]
    printed = capsys.readouterr().out
    assert "steel resnet18: 0.005 is in use" in printed
    assert "steel resnet18 gradual s1 begins at 32 px: 0.032 is suggested" in printed
    (path,) = (place / "results" / "tiny").rglob("range_tests/steel-resnet18-*.json")
    kept = json.loads(path.read_text())
    assert kept["suggested"] == {str(seed): {"32": 0.032, "80": 0.08} for seed in (0, 1)}
    assert (kept["dataset"], kept["weights"], kept["lr"], kept["batch"]) == ("steel", "none", 0.005, 16)
    assert range_test.main(list(WORDS)) == 0
    assert len(made) == 4


def test_stopped_it_keeps_what_is_done(narrow, made, monkeypatch, capsys):
    """The first test was made; the same command makes the others."""
    find = range_test.find_lr

    def stopped(run):
        if made:
            raise KeyboardInterrupt
        return find(run)

    monkeypatch.setattr(range_test, "find_lr", stopped)
    assert range_test.main(list(WORDS)) == 130
    assert "the same command goes on" in capsys.readouterr().err
    monkeypatch.setattr(range_test, "find_lr", find)
    assert range_test.main(list(WORDS)) == 0
    assert sorted(made) == [(0, 32), (0, 80), (1, 32), (1, 80)]


def test_it_is_made_at_the_size_and_of_the_layers_of_the_first_stage(narrow, checkpoint, monkeypatch, tmp_path):
    """With pretrained weights the head alone trains, at .4 of the largest size where the images grow."""
    from entr_utils import experiment

    seen, make = [], learning.make_learner

    def watched(network, batches, callbacks, record=False):
        trains = {name.split(".")[0] for name, value in network.named_parameters() if value.requires_grad}
        seen.append((tuple(batches.pixels.shape[1:3]), trains))
        return make(network, batches, callbacks, record)

    monkeypatch.setattr(learning, "make_learner", watched)
    for regime, weights in (("gradual", str(checkpoint)), ("no_increase", "none")):
        run = experiment.prepare("steel", profile="tiny", regime=regime, weights=weights, results=str(tmp_path))
        rates, losses, suggested = range_test.find_lr(run, iterations=12)
        assert len(rates) == len(losses)
        assert 1e-5 / 10 <= suggested <= 10
    assert seen == [((32, 32), {"head"}), ((80, 80), {"body", "head"})]


@pytest.mark.parametrize(
    ("words", "code", "fragment"),
    [(["SEDS=1"], 2, "SEDS='1': unknown name"), (["DATASETS=moths"], 2, "DATASETS='moths': unknown"),
     (["PROFILE=tiny", "DATA=nowhere"], 3, "nowhere")],
)  # fmt: skip
def test_wrong_words_and_missing_images(words, code, fragment, made, capsys):
    assert range_test.main(words) == code
    told = capsys.readouterr()
    assert fragment in told.out + told.err
    assert made == []
