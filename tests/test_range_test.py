"""The learning-rate range test at the sizes that runs begin with, from the command line to the kept file."""

import pytest
import torch
import torchvision

from entr_utils import experiment, learning, range_test, runs, summary

WORDS = ("PROFILE=tiny", "DATASETS=steel", "SEEDS=0 1", "RESULTS=results")


@pytest.fixture
def tested(monkeypatch) -> list[tuple[int, str, int]]:
    """(seed, regime, pixels) of each test that is made; what it suggests is a thousandth of the pixels."""
    made = []

    def find(run):
        p = run.parameters
        made.append((p.seed, p.regime, run.regime.stages[0].fed(p.size)))
        return [], [], made[-1][-1] / 1000

    monkeypatch.setattr(range_test, "find_lr", find)
    return made


def test_each_size_is_tested_once_a_seed(narrow, tested, capsys):
    """Gradual and stepwise begin at the same size. What is there is kept, not made again, and read by the summary."""
    assert runs.main(["rates", *WORDS]) == 0
    every = [(0, "gradual", 32), (0, "no_increase", 80), (1, "gradual", 32), (1, "no_increase", 80)]
    assert sorted(tested) == every
    assert "steel resnet18 stepwise s1 begins at 32 px: 0.032 is suggested, 0.005 in use" in capsys.readouterr().out
    kept = summary.read_range_tests("results", "tiny")
    assert sorted(one["seed"] for one in kept) == [0, 1]
    assert [one["suggested"] for one in kept] == 2 * [{"32": 0.032, "80": 0.08}]
    assert (kept[0]["dataset"], kept[0]["weights"], kept[0]["size"]) == ("steel", "none", 80)
    assert runs.main(["rates", *WORDS]) == 0
    assert len(tested) == len(every)


def test_what_is_cropped_is_another_test(narrow, tested):
    assert runs.main(["rates", *WORDS[:2], "SEEDS=0", "REGIMES=cropped gradual", "RESULTS=results"]) == 0
    (kept,) = summary.read_range_tests("results", "tiny")
    assert kept["suggested"] == {"32 cropped": 0.032, "32": 0.032}


def test_stopped_it_keeps_what_is_done(narrow, tested, monkeypatch, capsys):
    """The first test was made; the same command makes the others."""
    find = range_test.find_lr

    def stopped(run):
        if tested:
            raise KeyboardInterrupt
        return find(run)

    monkeypatch.setattr(range_test, "find_lr", stopped)
    assert runs.main(["rates", *WORDS]) == 130
    assert "the same command goes on" in capsys.readouterr().err
    monkeypatch.setattr(range_test, "find_lr", find)
    assert runs.main(["rates", *WORDS]) == 0
    assert len(tested) == len(set(tested)) == 4


def test_it_is_made_at_the_size_and_of_the_layers_of_the_first_stage(narrow, monkeypatch, tmp_path):
    """With pretrained weights the head alone trains, at .4 of the largest size where the images grow. It says how far
    it is."""
    seen, shares, make = [], [], learning.make_learner
    pretrained = tmp_path / "small.pt"
    torch.save(torchvision.models.get_model("resnet18").state_dict(), pretrained)

    def watched(network, batches, callbacks, record=False):
        trains = {name.split(".")[0] for name, value in network.named_parameters() if value.requires_grad}
        seen.append((tuple(batches.pixels.shape[1:3]), trains))
        return make(network, batches, callbacks, record)

    monkeypatch.setattr(learning, "make_learner", watched)
    monkeypatch.setattr(range_test.Progress, "update", lambda self, share: shares.append(share))
    for regime, weights in (("gradual", str(pretrained)), ("no_increase", "none")):
        run = experiment.prepare("steel", profile="tiny", regime=regime, weights=weights, results=str(tmp_path))
        rates, losses, suggested = range_test.find_lr(run, iterations=16)
        looked_at = losses[1:-5]  # fastai leaves out both ends
        smallest = looked_at.index(min(looked_at))
        expected = None if smallest == len(looked_at) - 1 else pytest.approx(rates[1 + smallest] / 10)
        assert suggested == expected
    assert seen == [((32, 32), {"head"}), ((80, 80), {"body", "head"})]
    assert shares[:2] == [1 / 16, 2 / 16]
    assert max(shares) <= 1


@pytest.mark.parametrize(("losses", "suggested"), [((3.0, 1.0, 2.0), 0.02), ((3.0, 2.0, 1.0), None)])
def test_a_loss_that_only_falls_suggests_nothing(losses, suggested):
    rate, _ = range_test.at_minimum(torch.tensor([0.1, 0.2, 0.3]), torch.tensor(losses), 60)
    assert rate == (suggested and pytest.approx(suggested))


@pytest.mark.parametrize(
    ("words", "code", "fragment"),
    [(["SEDS=1"], 2, "SEDS='1': unknown name"), (["DATASETS=moths"], 2, "DATASETS='moths': unknown"),
     (["PROFILE=paper", "DATASETS=bees", "NETWORKS=resnet18", "WEIGHTS=none"], 3, "bees: missing")],
)  # fmt: skip
def test_wrong_words_and_missing_images(words, code, fragment, tested, place, capsys):
    """What is wrong is said before anything is written."""
    assert runs.main(["rates", *words]) == code
    told = capsys.readouterr()
    assert fragment in told.out + told.err
    assert tested == []
    assert code == 3 or [path.name for path in place.iterdir()] == ["entr_utils"]
