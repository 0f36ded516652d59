"""The summary: any part of the records can be shown, and what is missing is said."""

import subprocess
from pathlib import Path

import pytest
from by_hand import matrix, record

from entr_utils import mechanism, records, scrutiny, statistics, summary, why


def write(loaded: list[dict], folder: Path) -> None:
    for run in loaded:
        name = f"{run['dataset']}-{run['network']}-{run['regime']}-s{run['seed']}-{run['key'][:6]}.json"
        records.write(run, folder / run["profile"] / "abacus" / name)


def everything(loaded: list[dict], profile: str = "paper") -> dict[str, str]:
    """All that the notebook shows of these records."""
    table, compared = records.table(loaded), statistics.compare(records.table(loaded))
    each = statistics.by_machine(compared, table)
    reckoned, contrasts = scrutiny.variants(table), mechanism.contrasts(mechanism.table(loaded))
    shown = {
        "verdict": summary.verdict(compared, loaded, profile), "reading": summary.reading(compared, loaded),
        "predicted": summary.predicted("results", loaded),
        "table1": summary.table1(loaded), "matrix": summary.matrix(loaded, profile),
        "pace": summary.of_pace(table, loaded), "comparisons": summary.comparisons(each, loaded),
        "how sure": summary.how_sure(compared, loaded), "claims": summary.of_claims(table, loaded),
        "controls": summary.of_controls(table, loaded), "mechanism": why.of_mechanism(loaded, contrasts),
        "doubts": summary.of_doubts(table, reckoned, "results", profile),
        "recommended": summary.recommended(table, compared, loaded, contrasts),
        "probes": summary.probes("results", profile),
    }  # fmt: skip
    return {name: markdown.data for name, markdown in shown.items()}


REGIMES = ("no_increase", "gradual", "stepwise", "small", "short", "reversed")


@pytest.mark.parametrize(
    "loaded",
    [[], [record()], [record("gradual")], [record("small")], [record("blurred", dial="fine", profile="mechanism")],
     matrix(1), matrix(3, regimes=REGIMES), matrix(2) + matrix(1, protocol=1)],
    ids=["none", "a control", "a treatment", "small", "mechanism", "one seed", "all regimes", "two protocols"],
)  # fmt: skip
def test_any_part_of_the_records_can_be_shown(loaded, recwarn):
    shown = everything(loaded)
    assert [name for name, text in shown.items() if not isinstance(text, str)] == []
    assert "nan" not in "\n".join(shown.values()).lower().replace("finance", "")
    assert [str(warning.message) for warning in recwarn] == []


def test_what_is_missing_is_said():
    shown = everything([record()])
    assert "Nothing to compare yet" in shown["verdict"]
    assert "No record yet of these controls: small, short, reversed on steel." in shown["controls"]
    assert "Not run: resnet18 on ucm, bees; resnet34 on steel, ucm, bees; resnet50 on" in shown["matrix"]
    assert "No record of the mechanism" in shown["mechanism"]
    assert "not enough data" in shown["claims"]
    assert "no record of this" in shown["doubts"]


def test_one_run_shows_the_point_and_no_interval():
    shown = everything(matrix(1))
    assert "[" not in shown["comparisons"]
    assert "no interval from one run" in shown["comparisons"]
    assert "No interval can be had from one run" in shown["reading"]


def test_several_seeds_show_intervals_and_tests():
    shown = everything(matrix(3))
    rows = [line for line in shown["comparisons"].splitlines() if line.startswith("| steel")]
    assert len(rows) == 2
    assert all(line.count("[") == 7 for line in rows)
    assert "The smallest p that sign flips can give is 2 / 2^n (n = 3: 0.25)." in shown["how sure"]


def test_mixed_settings_are_told_apart_and_counted_once():
    loaded = matrix(3, ("steel",)) + matrix(1, ("steel",), protocol=1)
    shown = everything(loaded)
    assert "Lower in 2 of 2" in shown["verdict"]
    assert "On what: 12 runs" in shown["verdict"]
    assert "; 9 stand behind the verdict, 3 are of other conditions. Images" in shown["verdict"]
    assert "Not run: resnet18 on ucm, bees; resnet34" in shown["matrix"]
    assert "Images: steel 1000 (the paper: 1460)." in shown["verdict"]
    most = "with most pairs of runs, of as many those of the newest protocol (B for steel). Of 2 "
    assert most in shown["reading"]
    assert ", lower in 2; accuracy " in shown["reading"]
    assert shown["comparisons"].count("| steel |") == 4
    assert "| A | steel" in shown["comparisons"]
    assert "| B | steel" in shown["comparisons"]


def test_pairs_of_several_machines_are_told_apart():
    """Seeds 0 and 1 on one, 2 on another: three pairs in one row, and the answer of each machine beside it."""
    loaded = matrix(2, ("bees",)) + [
        record(regime, 2, "bees", device="Slate, 9 threads", seconds=seconds)
        for regime, seconds in (("no_increase", 1.0), ("gradual", 1.5), ("stepwise", 1.0))]  # fmt: skip
    shown = everything(loaded)
    assert "| A (2), B (1) | bees | resnet18 | gradual | 3 |" in shown["comparisons"]
    assert "; 9 stand behind the verdict. Images" in shown["verdict"]
    assert "re-training x 1.50 (Slate, 9 threads, n = 1); bees resnet18, stepwise: " in shown["doubts"]
    assert "| A | bees | resnet18 | gradual | 2 |" in shown["comparisons"]
    assert "| B | bees | resnet18 | gradual | 1 |" in shown["comparisons"]
    assert "Of 6 pairs of runs" in shown["reading"]
    assert "| A | bees | resnet18 | gradual | 2 |" in shown["matrix"]
    assert "| B | bees | resnet18 | gradual | 1 |" in shown["matrix"]


def test_it_is_said_beside_the_verdict_whether_as_was_won_by_doing_less():
    assert "As rewards stopping early here" in everything(matrix(2, regimes=REGIMES))["reading"]
    assert "neither small nor short at gradual's T has run beside" in everything(matrix(2))["reading"]


def test_records_of_all_regimes_are_read_in_order(place):
    loaded = matrix(1, regimes=(*REGIMES, "blurred", "cropped"))
    write(loaded, Path("results"))
    table, found = summary.read_all("results", "paper")
    assert len(table) == len(found) == 24
    assert [run["regime"] for run in found[:4]] == ["no_increase", "gradual", "stepwise", "small"]


def test_the_arms_of_leakage_are_kept_apart(place):
    arms = [record(accuracy=accuracy, split=split) for split, accuracy in (("by image", 0.9), ("9 groups whole", 0.8))]
    write(arms, Path("results/leakage"))
    table = records.table(matrix(1))
    assert "by image against by group, in points: steel, no increase +10.0" in summary.of_doubts(
        table, scrutiny.variants(table), "results", "paper").data  # fmt: skip
    assert summary.read_all("results", "paper")[1] == []


def git(*words: str) -> None:
    author = ("-c", "user.name=a", "-c", "user.email=a@b.example")
    subprocess.run(["git", *author, *words], check=True, capture_output=True)


def test_predictions_are_cited_by_their_commit(place, monkeypatch):
    """Two of three runs began after it, one of them after it was changed."""
    runs = [record(seed=seed, started=f"20{25 + seed}-01-01T00:00:00+00:00") for seed in range(3)]
    assert "Nothing was predicted" in summary.predicted("results", runs).data
    Path("results").mkdir()
    Path("results/predictions.md").write_text("It will rain.\n")
    assert "not in git" in summary.predicted("results", runs).data
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2025-06-01T00:00:00+00:00")
    git("init", "-q")
    assert "not in git" in summary.predicted("results", runs).data
    git("add", "results/predictions.md")
    git("commit", "-qm", "predictions")
    said = summary.predicted("results", runs).data
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    first = head.strip()
    runs_by = f"first in commit {first} of 2025-06-01. Runs by its newest commit when they began: none: 1; {first}: "
    assert said.endswith(f"{runs_by}2.")
    Path("results/predictions.md").write_text("It will snow.\n")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-06-01T00:00:00+00:00")
    git("commit", "-qam", "changed my mind")
    said = summary.predicted("results", runs).data
    assert f"{runs_by}1; " in said
    assert said.endswith(": 1.")
    Path("results/predictions.md").write_text("Changed after records\nhad been seen: the weather.\n")
    assert summary.predicted("results", runs).data.endswith("Changed after records had been seen: the weather.")


def test_the_queue_says_n_of_m(place):
    """A part of which nothing is there is named all the same; three regimes of one seed are three of 27."""
    assert "three datasets, 3 seeds: 0 of 27 done\n" in summary.queue("results", "paper").data
    assert summary.queue("results", "quick").data == ""
    write(matrix(1, ("steel",)), Path("results"))
    assert "three datasets, 3 seeds: 3 of 27 done on abacus\n" in summary.queue("results", "paper").data


def test_git_that_is_not_there_is_no_error(place, monkeypatch):
    Path("results").mkdir()
    Path("results/predictions.md").write_text("It will rain.\n")
    monkeypatch.setenv("PATH", "")
    assert "not in git" in summary.predicted("results", [record()]).data
