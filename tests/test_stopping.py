"""Processes killed, commands stopped, files spoilt: `make all` goes on, says so, and nobody is left behind."""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks import faults
from benchmarks.place import Place
from entr_utils import execution, locks, records, runs

WORDS = ("PROFILE=tiny", "DATASETS=steel", "REGIMES=gradual")
PATIENCE = 120  # seconds until something that hangs is given up


@pytest.fixture
def here(place, made, tmp_path):
    """A place of its own; the rates that `made` measured and its images are there already."""
    one = Place(place, WORDS, (sys.executable, "-m", "entr_utils.runs", "all"))
    shutil.copytree(os.environ["ENTR_CACHE"], place / "cache")
    yield one
    one.clear()


def until(process, seen) -> None:
    """Wait until `seen` or the process has ended."""
    end = time.monotonic() + PATIENCE
    while process.poll() is None and not seen() and time.monotonic() < end:
        time.sleep(0.01)
    assert seen()


def gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=PATIENCE)[1]


def same_as_made(here: Place, made) -> bool:
    (path,) = here.results.rglob("*gradual*.json")
    return records.repeatable(records.read(path)) == records.repeatable(records.read(made.one("*gradual*.json")))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_stopping_says_where_it_goes_on(how, here, made):
    process = here.start()
    until(process, lambda: list(here.results.rglob("*.checkpoint")))
    kernels = here.processes()["kernel"]
    process.send_signal(how)
    assert process.wait(PATIENCE) == 130
    assert len(kernels) == 1
    assert gone(kernels)
    assert "steel resnet18 gradual s0: stopped; it will go on after epoch" in here.printed()
    assert "the same command goes on from here" in here.printed()
    assert here.make_all() == 0
    assert same_as_made(here, made)
    assert "going on after epoch" in next(here.results.rglob("*gradual*.ipynb")).read_text()


@pytest.mark.parametrize("victim", ["runner", "papermill"])
def test_no_kernel_outlives_who_started_it(victim, here):
    """No Python code runs in the one that is killed: its kernel has to notice by itself."""
    process = here.start()
    until(process, lambda: list(here.results.rglob("*.checkpoint")))
    found = here.processes()
    for one in found[victim]:
        one.kill()
    assert gone(found["kernel"])
    process.wait(PATIENCE)
    assert list(here.results.rglob("*-s0-*.json")) == []
    if victim == "papermill":
        assert "its process was killed (signal 9); the same command goes on" in here.printed()


def test_a_kernel_that_is_killed_is_a_failure(here):
    """The system does so for want of memory: never a success, and nothing trained is lost."""
    process = here.start()
    until(process, lambda: list(here.results.rglob("*.checkpoint")))
    for kernel in here.processes()["kernel"]:
        kernel.kill()
    assert process.wait(PATIENCE) == 1
    assert "FAILED, its kernel died, perhaps for want of memory" in here.printed()
    assert len(list(here.results.rglob("*.checkpoint"))) == 1


def test_a_short_campaign(here, made):
    """`make faults`, with three kills and one matrix of a single run."""
    reference = {path.name: records.repeatable(records.read(path)) for path in made.results.rglob("*gradual*.json")}
    campaign = faults.Campaign(WORDS, reference, here.folder / "cache", command=here.command)
    faults.kills(campaign, 3, longest=15, victims=("all", "kernel", "runner"))
    assert [row["tried"] for row in campaign.rows] == [1, 1, 1, 2]
    assert [row["lost"] for row in campaign.rows] == [0] * 4


def test_who_comes_second_waits(here, made, tmp_path, capsys):
    """Two commands in the same results: the second says whom it waits for, then finds everything done."""
    (here.results / "tiny").mkdir(parents=True)
    with locks.results(here.results / "tiny"):
        process = here.start()
        until(process, lambda: "waiting" in here.printed())
        assert f"waiting: {here.results}/tiny/ is in use by process {os.getpid()}" in here.printed()
        assert not list(here.results.rglob("*.ipynb"))
        device = next(path.parent.name for path in made.results.rglob("*gradual*.json"))
        shutil.copytree(made.results / "tiny" / device, here.results / "tiny" / device)
    assert process.wait(PATIENCE) == 0
    assert "1 runs: 1 done, 0 to do, 0 cannot run" in here.printed()


def test_a_dead_process_holds_no_lock(tmp_path, capsys):
    """However it died: the system lets go of it."""
    child = os.fork()
    if not child:
        with locks.hold(tmp_path / "lock", "it is"):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    with locks.hold(tmp_path / "lock", "it is"):
        pass
    assert capsys.readouterr().out == ""


def test_a_lock_that_cannot_be_written_is_one_line(tmp_path, refused):
    (tmp_path / "file").write_text("")
    refused(lambda: locks.results(tmp_path / "file" / "results").__enter__(), "cannot be written", "take another one")


@pytest.fixture
def finished(made, place) -> Path:
    """The results of `made`, free to be spoilt."""
    shutil.copytree(made.results, place / "results")
    return place / "results"


def again(capsys) -> str:
    """`make all` once more, in this process; what it prints."""
    assert runs.main(["all", "PROFILE=tiny", "DATASETS=steel", "REGIMES=no_increase gradual", "RESULTS=results"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("spoil", [faults.truncate, faults.flip])
def test_a_damaged_record_is_named_kept_and_made_again(spoil, finished, made, capsys):
    (path,) = finished.rglob("*gradual*.json")
    spoil(path)
    spoilt, said = path.read_bytes(), again(capsys)
    assert f"{path.relative_to(finished.parent)}: " in said
    assert f"it is kept as {path.name}.damaged and the run trained again" in said
    assert path.with_name(f"{path.name}.damaged").read_bytes() == spoilt
    assert records.repeatable(records.read(path)) == records.repeatable(records.read(made.one("*gradual*.json")))


def test_a_damaged_notebook_is_named_and_drawn_again(finished, capsys):
    (path,) = finished.rglob("*gradual*.ipynb")
    faults.truncate(path)
    assert f"{path.relative_to(finished.parent)}: not a whole notebook; it is drawn again" in again(capsys)
    assert execution.whole(path)


def test_a_damaged_summary_is_drawn_again(finished, capsys):
    path = finished / "tiny" / "summary.ipynb"
    faults.truncate(path)
    assert "drawing the summary" in again(capsys)
    assert execution.whole(path)


def test_a_summary_older_than_a_record_is_drawn_again(finished, capsys):
    """A command was killed between a run's end and the summary."""
    os.utime(finished / "tiny" / "summary.ipynb", (0, 0))
    assert "drawing the summary" in again(capsys)
    assert "nothing new" in again(capsys)


def test_what_killed_commands_left_is_swept(finished, capsys):
    left = [finished / "tiny" / name for name in ("summary.partial", "a/run.checkpoint.12.partial")]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    again(capsys)
    assert [path for path in left if path.exists()] == []


def test_every_bit_of_a_record_counts(made, tmp_path, refused):
    """A digit of a loss follows from nothing else: the checksum tells."""
    record = json.loads(made.one("*gradual*.json").read_text())
    record["epochs"][0]["loss"] += 1e-9
    path = tmp_path / "one-s0-1.json"
    path.write_text(json.dumps(record))
    refused(lambda: records.read(path), str(path), "the checksum does not follow from the rest")


@pytest.mark.parametrize(
    ("log", "code", "reason"),
    [
        ("a\nnbclient.exceptions.DeadKernelError: Kernel died\n", 1, "its kernel died, perhaps for want of memory"),
        ("", -9, "its process was killed (signal 9)"),
        ("Traceback\nValueError: x\n\n", 1, "ValueError: x"),
        ("", 3, "exit code 3"),
    ],
)
def test_why_a_notebook_failed(log, code, reason):
    assert execution._reason(log, code).startswith(reason)
