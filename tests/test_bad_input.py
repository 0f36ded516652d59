"""The bad-input table (benchmarks/bad_input.py), row by row; records, notebooks and exit codes that say the same."""

import builtins
import os
import re
from pathlib import Path

import pytest
from by_hand import record
from conftest import ROOT

from benchmarks import bad_input, cases
from entr_utils import UserError, decoding, experiment, images, memory, reports, runs


@pytest.mark.parametrize("case", bad_input.CASES, ids=lambda case: case.name)
def test_bad_input(case):
    row = cases.run(case)
    assert (row["what happens"], row["message"]) == (case.happens, case.message)
    assert "\n" not in row["message"]
    assert row["as_said"]


def outside(folder):
    (folder.parent / "elsewhere").touch()
    return cases.READ, "all"


def broken(folder):
    raise KeyError("what")


def refused_so(folder):
    raise UserError("another line")


@pytest.mark.parametrize(
    ("attempt", "happens", "message"),
    [
        (lambda folder: (cases.READ, "all of it"), cases.READ, "all"),
        (lambda folder: (cases.LEFT_OUT, "all"), cases.READ, "all"),
        (refused_so, cases.FATAL, "one line"),
        (broken, cases.FATAL, "'what'"),
        (outside, cases.READ, "all"),
    ],
)
def test_what_is_not_as_the_table_says_is_counted(attempt, happens, message):
    row = cases.run(cases.Case("x", happens, message, attempt))
    assert not row["as_said"]
    assert "0 as the table says" in bad_input.as_markdown([row])


def test_the_table_in_markdown():
    row = cases.run(cases.Case("a | b", cases.FATAL, "another line", refused_so))
    assert bad_input.as_markdown([row]).splitlines() == [
        "1 kinds of input tried, 1 as the table says.", "", "| case | what happens | message |", "| --- | --- | --- |",
        "| a &#124; b | fatal | another line |"]  # fmt: skip


def spoilt(folder):
    """More than a notebook names, one of them with markup for a name, and an image in two classes."""
    for i in range(6):
        (folder / "lake" / f"{i}.jpg").write_bytes(b"words")
    (folder / "lake" / "<b>.pdf").touch()
    (folder / "wood" / "again.png").write_bytes((folder / "lake" / "00.png").read_bytes())
    return folder


def test_what_is_left_out_stands_in_the_notebook_and_the_record(photos, tmp_path, by_hand):
    run = experiment.prepare("own", data=str(spoilt(photos(tmp_path / "mine"))), profile="tiny")
    about = run.about
    assert about["n_left_out"] == len(about["left_out"]) == 7
    assert about["left_out"][1] == "lake/1.jpg: not a JPEG, PNG, TIFF, BMP, GIF or WebP image"
    assert about["copies"] == ["lake/00.png = wood/again.png (in several classes)"]
    assert about["split"] == "seed 0, stratified by class, 90/10, 1 set of identical images kept whole, by image"
    shown = reports.what_runs(run).data
    assert "- Left out, 7 in all: lake/0.jpg: not a JPEG" in shown
    assert shown.count("not a JPEG") == 5
    assert "; and 2 more.\n" in shown
    assert "- Identical images, kept on one side of the split, 1 in all: lake/00.png = wood/again.png" in shown
    (run.images.left_out).clear()
    run.images.left_out["lake/<b>.pdf"] = "no image by its suffix"
    assert "lake/&lt;b&gt;.pdf" in reports.what_runs(run).data


def test_a_record_names_a_hundred_files_and_counts_the_rest(photos, tmp_path):
    folder = photos(tmp_path / "mine")
    for i in range(150):
        (folder / "lake" / f"{i}.txt").touch()
    about = experiment.prepare("own", data=str(folder), profile="tiny").about
    assert (about["n_left_out"], len(about["left_out"])) == (150, 100)


def one_readable(folder):
    for path in sorted((folder / "steel" / "lake").iterdir())[1:]:
        path.write_bytes(b"")


def contradictory_groups(folder):
    (folder / "steel_groups.csv").write_text("file,group\nlake/00.png,1\nlake/00.png,2\n")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(one_readable, "a single image that can be read in lake"), (contradictory_groups, "in two groups, 1 and 2")],
)
def test_fatal_input_exits_with_2(spoil, said, photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runs, "train_all", lambda todo: pytest.fail("trained") if todo else 0)
    monkeypatch.setattr(runs, "summarise", lambda *arguments, **named: 0)
    photos(tmp_path / "data" / "steel")
    spoil(tmp_path / "data")
    words = ["PROFILE=tiny", "WEIGHTS=none", "DATASETS=steel", f"DATA={tmp_path / 'data'}", f"RESULTS={tmp_path / 'r'}"]
    assert runs.main(["all", *words]) == 2
    assert [said in line for line in "".join(capsys.readouterr()).splitlines()].count(True) == 1
    assert [path for path in (tmp_path / "r").rglob("*") if path.suffix in (".json", ".ipynb")] == []


def test_nothing_of_the_data_is_unpickled_or_run():
    """numpy's default refuses pickles; torch is told to; no decoder of Pillow that starts programs is asked."""
    texts = [path.read_text() for folder in ("entr_utils", "benchmarks") for path in (ROOT / folder).glob("*.py")]
    for text in texts:
        assert not re.search(r"pickle\.loads?\(|allow_pickle|(?<![.\w])(eval|exec)\(|weights_only=False", text)
        assert text.count("torch.load(") == text.count("weights_only=True)")
    assert sum(text.count("Image.open(") for text in texts) == 1  # the one door


@pytest.mark.parametrize(
    ("module", "name", "trouble"),
    [(decoding.Image, "open", MemoryError()), (decoding.Image, "open", OSError(5, "Input/output error")),
     (os, "stat", OSError(5, "Input/output error")),
     (builtins, "open", OSError(24, "Too many open files"))])  # fmt: skip
def test_a_machine_in_trouble_leaves_no_image_out(module, name, trouble, photos, tmp_path, monkeypatch, refused):
    """The file may be whole: one line, and nothing about it in the cache, so that the next run reads it."""
    folder, usual = photos(tmp_path / "mine"), getattr(module, name)
    monkeypatch.setattr(memory, "CACHE", tmp_path / "cache")

    def fails(path, *others, **named):
        if Path(path).name == "03.png":
            raise trouble
        return usual(path, *others, **named)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, fails)
        refused(lambda: images.load(experiment.Parameters("own", data=str(folder), size=32).checked()),
                "03.png: cannot be read now", "try again")  # fmt: skip
    assert not memory.CACHE.exists() or list(memory.CACHE.iterdir()) == []
    assert len(images.load(experiment.Parameters("own", data=str(folder), size=32).checked()).labels) == 24


def test_a_folder_of_ones_own_that_is_not_there_is_one_line(refused):
    """Nothing is told of a dataset of the paper."""
    refused(lambda: experiment.prepare("own", profile="paper", weights="none"), "data='data': no such folder")


def test_class_names_are_no_formulas(photos, tmp_path):
    """matplotlib reads what stands between two $; a notebook of such classes is drawn all the same."""
    from entr_utils import figures

    folder = photos(tmp_path / "mine", classes=("$x^$", "$\\frac$", "a b"), per_class=2)
    found = images.load(experiment.Parameters("own", data=str(folder), size=32).checked())
    assert figures.samples(found.pixels, found.labels, found.classes, found.source)
    run = record(dataset="own", accuracy=1.0, n_val=3, classes=3) | {"class_names": found.classes}
    figures.confusion(run).savefig(tmp_path / "x.png")
    assert (tmp_path / "x.png").exists()
