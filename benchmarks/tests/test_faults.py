"""The fault campaign, on a command that does in a moment what a training does, well or badly; once on a real one."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from by_hand import record

from benchmarks import bench, cases, faults
from benchmarks.cases import Case, truncate
from benchmarks.faults import CHECKPOINT, Campaign, Fault
from benchmarks.place import ALL, CTRL_C, MAKE, RECORDS, SAMPLES, SIGTERM, STOPS, Place, place
from entr_utils.results import record as records
from entr_utils.util import UserError

COMMAND = """
import os, signal, sys, time
from pathlib import Path
source, how, *words = sys.argv[1:]
signal.signal(signal.SIGTERM, signal.SIG_IGN if how == "deaf" else signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback
folder = Path(os.environ["ENTR_FAULTS"])
for made in (folder / "cache", target := folder / "results" / "paper"):
    made.mkdir(parents=True, exist_ok=True)
if not (data := folder / "data.txt").exists():
    data.write_text("whole")
if data.read_text() != "whole":
    sys.exit(2)
for one in sorted(Path(source).iterdir()):
    path, checkpoint = target / one.name, target / f"{one.stem}.checkpoint"
    whole = path.exists() and path.read_text().strip() == one.read_text().strip()
    if path.exists() and how != "forgets" and (how == "blind" or whole):
        continue
    checkpoint.touch()
    if how == "in place":
        path.write_text("half")
    time.sleep({"deaf": 5, "slow": 2}.get(how, 0.2))
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(one.read_text() + " " * path.exists())
    partial.rename(path)
    checkpoint.unlink(missing_ok=True)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """The records that the command makes."""
    folder = tmp_path_factory.mktemp("source")
    for seed in range(2):
        made = record("gradual", seed)
        records.write(made, folder / f"{made.spec.name}.json")
    return folder


@pytest.fixture
def command(source, tmp_path):
    """The command by how it works; its name lets a place find it."""
    script = tmp_path / "benchmarks.place.py"
    script.write_text(COMMAND)
    return lambda how="well": (sys.executable, str(script), str(source), how)


@pytest.fixture
def campaign(source, tmp_path) -> Campaign:
    (tmp_path / "cache").mkdir()
    reference = {path.name: records.repeatable(records.read(path)) for path in source.iterdir()}
    return Campaign((), tmp_path / "cache", reference)


@pytest.mark.parametrize(
    ("how", "fault", "survived"),
    [
        *(("well", Fault("x", CHECKPOINT, stop), 1) for stop in (ALL, SIGTERM, CTRL_C)),
        ("in place", Fault("x", CHECKPOINT, ALL), 0),
        ("blind", Fault("x", spoil=truncate, spoilt=RECORDS), 0),
        ("well", Fault("x", spoil=truncate, spoilt=RECORDS), 1),
        ("well", Fault("x", spoil=Path.unlink, spoilt=RECORDS), 1),
        ("forgets", Fault("x", "results/*/*-s1-*.checkpoint", ALL), 0),
        ("deaf", Fault("x", CHECKPOINT, SIGTERM), 0),
        ("well", Fault("x", spoil=truncate, spoilt="data.txt", back=True), 1),
        ("well", Fault("x", spoil=truncate, spoilt="data.txt"), 0),
    ],
)
def test_what_survives_a_fault(how, fault, survived, campaign, command):
    object.__setattr__(fault, "command", command(how))
    assert faults.tried(campaign, fault) == (1, survived, "")


@pytest.mark.parametrize("fault", [Fault("x", "never/*"), Fault("x", spoil=truncate, spoilt="never/*")])
def test_what_did_not_come_about_was_not_tried(fault, campaign, command):
    object.__setattr__(fault, "command", command())
    tried, survived, note = faults.tried(campaign, fault)
    assert (tried, survived) == (0, 0)
    assert note


def test_stops_at_random_moments_are_counted(campaign, command):
    faults.kills(campaign, 3, command("slow"), (ALL, SIGTERM, CTRL_C), 0.5)
    *each, ending = campaign.rows
    assert [row["tried"] for row in each] == [1, 1, 1]
    assert [row["lost"] for row in campaign.rows] == [0] * 4
    assert ending["tried"] > 0


def test_what_is_lost_is_counted(campaign, command):
    """Of a reference that the command cannot make."""
    campaign.reference["another.json"] = {"key": "another"}
    faults.kills(campaign, 2, command("slow"), (ALL, SIGTERM), 0.5)
    assert [row["lost"] for row in campaign.rows[:2]] == [1, 1]


def test_two_at_once(campaign, command, monkeypatch):
    monkeypatch.setattr(faults, "PLAIN", command("blind"))
    monkeypatch.setattr(faults, "MAKE", (sys.executable, "-c", "raise SystemExit(1)"))
    faults.company(campaign)
    assert [row["survived"] for row in campaign.rows] == [1, 0]


def test_without_the_right_to_mount_nothing_is_tried(campaign, monkeypatch):
    monkeypatch.setattr(faults.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1))
    faults.places(campaign)
    assert [row["tried"] for row in campaign.rows] == [0, 0]
    assert all(row["note"] for row in campaign.rows)


def test_a_place_hides_what_make_was_given(tmp_path, monkeypatch):
    for name in ("MAKEFLAGS", "PROFILE", "KEPT"):
        monkeypatch.setenv(name, "x")
    program = "import json, os, sys; json.dump([dict(os.environ), sys.argv[1:]], open('{folder}/seen', 'w'))"
    here = Place(tmp_path, (program, "DATA={folder}/data"), (sys.executable, "-c"))
    assert here.to_end() == 0
    seen, words = json.loads((tmp_path / "seen").read_text())
    assert not {"MAKEFLAGS", "PROFILE"} & seen.keys()
    assert seen["KEPT"] == "x"
    assert Path(seen["ENTR_CACHE"]).is_relative_to(tmp_path)
    assert words == [f"DATA={tmp_path}/data", f"RESULTS={tmp_path}/results"]


def drawn(folder: Path, name: str, keys: list[str]) -> None:
    (folder / name).write_text(json.dumps({"cells": [{}], "metadata": {"entr": {"keys": keys}}}))


def test_make_all_has_to_leave_notebooks_that_show_all_records(source, campaign, tmp_path):
    results = tmp_path / "results" / "paper"
    results.mkdir(parents=True)
    here = Place(tmp_path, (), MAKE)
    keys = []
    for path in sorted(source.iterdir()):
        (results / path.name).write_text(path.read_text())
        keys.append(json.loads(path.read_text())["key"])
    for notebook, summary in ((keys[1:], keys), (keys, keys[1:]), ([], keys), (keys, []), (keys, keys)):
        drawn(results, "steel-resnet18-gradual.ipynb", notebook)
        drawn(results, "summary.ipynb", sorted(summary))
        assert here.like(campaign.reference) == (notebook == summary == keys)
    assert not here.like(campaign.reference | {here.files(RECORDS)[0].name: {"key": "another"}})
    truncate(here.files(RECORDS)[0])
    assert not here.like(campaign.reference)


def test_the_campaign_keeps_figures_and_a_page(command, monkeypatch):
    """A part run again replaces its own figures; one that lost something ends with 1."""
    works = command()
    monkeypatch.setattr(faults, "place", lambda words, how=works, cache=None: place(words, how, cache))
    fed = Case("fed", cases.READ, "x", lambda folder: (cases.READ, "x | y"))
    rows = {"moments": (Fault("a fault", CHECKPOINT, ALL, command=works),)}
    for name, table in {"FAULTS": rows, "IMAGES": [fed], "FOLDERS": [], "FILES": []}.items():
        monkeypatch.setattr(faults, name, table)
    assert faults.command(["PARTS=inputs"]) == 0
    assert faults.command(["PARTS=moments"]) == 0
    kept = bench.read("results/faults", "faults.json")
    assert kept["moments"]["rows"] == [{"case": "a fault", "tried": 1, "survived": 1, "lost": 0, "note": ""}]
    assert kept["moments"]["runs"] == 2
    page = Path("results/faults/README.md").read_text()
    assert "| moments | a fault | 1 | 1 | 0 |" in page
    assert "| fed | read | x &#124; y | True |" in page
    monkeypatch.setattr(Place, "like", lambda *_: False)
    assert faults.command(["PARTS=moments", "PROFILE=quick"]) == 1
    assert [*bench.read("results/faults", "faults.json")] == ["inputs", "moments", "moments (quick)"]


@pytest.mark.parametrize("word", ["KILLS=many", "KILLS=-1", "PARTS=kill", "SPEED=1"])
def test_a_wrong_word_is_refused(word):
    with pytest.raises(UserError, match=word.partition("=")[0]):
        faults.command([word])


def test_a_run_that_nobody_disturbs_has_to_work(monkeypatch):
    broken = (sys.executable, "-c", "import sys; print('no images'); sys.exit(2)")
    monkeypatch.setattr(faults, "place", lambda words, how=broken, cache=None: place(words, how, cache))
    with pytest.raises(UserError, match="no images"):
        faults.command(["PARTS=company"])


def test_every_way_to_stop_is_known():
    assert {fault.how for table in faults.FAULTS.values() for fault in table} <= {*STOPS}


def test_a_real_training_goes_on(tmp_path):
    """Killed at its first checkpoint, it ends with the record of a run that nobody disturbed, and knows of its stop."""
    words = ("PROFILE=tiny", "DATASETS=steel", "REGIMES=gradual", "SEEDS=0", SAMPLES)
    with place(words) as here:
        assert here.to_end() == 0, here.printed()
        reference = here.outcome()
        assert len(reference) == 1
    with place(words) as here:
        process = here.start()
        assert here.comes(CHECKPOINT, process)
        assert here.stop(process, ALL) == (1, 0)
        assert not here.outcome()
        assert here.to_end() == 0
        assert here.like(reference)
        assert [len(records.read(path).attempts) for path in here.files(RECORDS)] == [1]
    assert not here.folder.exists()
