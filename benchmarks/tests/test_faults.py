"""The fault campaign, on a command that does in a moment what a training does, well or badly; once on a real one."""

import json
import shutil
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from by_hand import record

from benchmarks import bench, cases, faults
from benchmarks.cases import Case, truncate
from benchmarks.faults import CHECKPOINT, Fault
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
    folder = tmp_path_factory.mktemp("source")
    for seed in range(2):
        made = record("gradual", seed)
        records.write(made, folder / f"{made.spec.name}.json")
    return folder


@pytest.fixture
def reference(source) -> dict:
    return {path.name: records.repeatable(records.read(path)) for path in source.iterdir()}


@pytest.fixture
def command(source, tmp_path):
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    return lambda how="well": (sys.executable, str(script), str(source), how)


@pytest.fixture
def new(reference):
    """A place of a command, as the campaign makes them."""
    return partial(place, (), reference=reference)


@pytest.mark.parametrize(
    ("how", "fault", "tried", "survived"),
    [
        *(("well", Fault("x", CHECKPOINT, stop), 1, 1) for stop in (ALL, SIGTERM, CTRL_C)),
        ("in place", Fault("x", CHECKPOINT, ALL), 1, 0),
        ("blind", Fault("x", spoil=truncate, spoilt=RECORDS), 1, 0),
        ("well", Fault("x", spoil=truncate, spoilt=RECORDS), 1, 1),
        ("well", Fault("x", spoil=Path.unlink, spoilt=RECORDS), 1, 1),
        ("forgets", Fault("x", "results/*/*-s1-*.checkpoint", ALL), 1, 0),
        ("deaf", Fault("x", CHECKPOINT, SIGTERM), 1, 0),
        ("well", Fault("x", spoil=truncate, spoilt="data.txt", back=True), 1, 1),
        ("well", Fault("x", spoil=truncate, spoilt="data.txt"), 1, 0),
        ("well", Fault("x", "never/*"), 0, 0),
        ("well", Fault("x", spoil=truncate, spoilt="never/*"), 0, 0),
    ],
)
def test_what_survives_a_fault(how, fault, tried, survived, new, command):
    ((*found, note),) = faults.spoilt(new, [fault._replace(command=command(how))])
    assert found == ["x", tried, survived]
    assert bool(note) == (not tried)


@pytest.mark.parametrize("more", [{}, {"another.json": {"key": "what the command cannot make"}}])
def test_stops_at_random_moments_are_counted(more, new, command, reference):
    reference |= more
    *each, ending = faults.kills(new, 3, command("slow"), (ALL, SIGTERM, CTRL_C), 0.5)
    assert [(tried, survived) for _, tried, survived, _ in each] == [(1, int(not more))] * 3
    assert ending[1] == ending[2] > 0


def test_two_at_once(new, command, monkeypatch):
    monkeypatch.setattr(faults, "PLAIN", command("blind"))
    monkeypatch.setattr(faults, "MAKE", (sys.executable, "-c", "raise SystemExit(1)"))
    assert [survived for _, _, survived, _ in faults.company(new)] == [1, 0]


def test_without_the_right_to_mount_nothing_is_tried(new, monkeypatch):
    monkeypatch.setattr(faults.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1))
    rows = [*faults.places(new)]
    assert [tried for _, tried, _, _ in rows] == [0, 0]
    assert all(note for *_, note in rows)


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


def test_make_all_has_to_leave_notebooks_that_show_all_records(source, reference, tmp_path):
    results = shutil.copytree(source, tmp_path / "results" / "paper")
    here = Place(tmp_path, (), MAKE, reference)
    keys = [one["key"] for one in reference.values()]
    for notebook, summary in ((keys[1:], keys), (keys, keys[1:]), ([], keys), (keys, []), (keys, keys)):
        drawn(results, "steel-resnet18-gradual.ipynb", notebook)
        drawn(results, "summary.ipynb", sorted(summary))
        assert here.like() == (notebook == summary == keys)
    reference[here.files(RECORDS)[0].name] = {"key": "another"}
    assert not here.like()
    reference.clear()
    truncate(here.files(RECORDS)[0])
    assert not here.like()


def test_the_campaign_keeps_figures_and_a_page(command, monkeypatch):
    works = command()
    monkeypatch.setattr(faults, "place", lambda words, how=works, **more: place(words, how, **more))
    fed = Case("fed", cases.READ, "x", lambda folder: (cases.READ, "x | y"))
    rows = {"moments": (Fault("a fault", CHECKPOINT, ALL, command=works),)}
    for name, table in {"FAULTS": rows, "IMAGES": [fed], "FILES": []}.items():
        monkeypatch.setattr(faults, name, table)
    assert faults.command(["PARTS=inputs"]) == 0
    assert faults.command(["PARTS=moments"]) == 0
    kept = bench.read("results/faults", "faults.json")
    assert kept["moments"]["rows"] == [{"case": "a fault", "tried": 1, "survived": 1, "lost": 0, "note": ""}]
    assert kept["moments"]["runs"] == 2
    page = Path("results/faults/README.md").read_text()
    assert "| moments | a fault | 1 | 1 | 0 |" in page
    assert "| inputs | fed | 1 | 1 | 0 | read: x &#124; y |" in page
    monkeypatch.setattr(Place, "like", lambda _: False)
    assert faults.command(["PARTS=moments", "PROFILE=quick"]) == 1
    assert [*bench.read("results/faults", "faults.json")] == ["inputs", "moments", "moments (quick)"]


def test_a_run_that_nobody_disturbs_has_to_work(monkeypatch):
    broken = (sys.executable, "-c", "import sys; print('no images'); sys.exit(2)")
    monkeypatch.setattr(faults, "place", lambda words: place(words, broken))
    with pytest.raises(UserError, match="no images"):
        faults.command(["PARTS=company"])


def test_every_way_to_stop_is_known():
    assert {fault.how for table in faults.FAULTS.values() for fault in table} <= {*STOPS}


def test_a_real_training_goes_on():
    """Killed at its first checkpoint, it ends with the record of a run that nobody disturbed, and knows of its stop."""
    words = ("PROFILE=tiny", "DATASETS=steel", "REGIMES=gradual", "SEEDS=0", SAMPLES)
    with place(words) as here:
        assert here.to_end() == 0, here.printed()
        reference = here.outcome()
        assert len(reference) == 1
    with place(words, reference=reference) as here:
        process = here.start()
        assert here.comes(CHECKPOINT, process)
        assert here.stop(process, ALL) == (1, 0)
        assert not here.outcome()
        assert here.fine()
        assert [len(records.read(path).attempts) for path in here.files(RECORDS)] == [1]
    assert not here.folder.exists()
