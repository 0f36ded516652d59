"""Processes killed, commands stopped: `make all` goes on, says so, and nobody is left behind."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import psutil
import pytest

from benchmarks import faults
from benchmarks.place import Place
from entr_utils import execution, locks, records, runs

WORDS = ("PROFILE=tiny", "DATASETS=steel", "REGIMES=no_increase", "SIZE=32")
PATIENCE = 120  # seconds until something that hangs is given up


@pytest.fixture
def reference(trained) -> dict:
    """The run of WORDS, trained here and never stopped."""
    return {"record": trained("no_increase", size=32).record, "path": trained("no_increase", size=32).experiment.path}


@pytest.fixture
def here(place, reference):
    """A place of its own; the rates that the reference's forecast measured and its images are there already."""
    one = Place(place, WORDS, (sys.executable, "-m", "entr_utils.runs", "all"))
    shutil.copytree(os.environ["ENTR_CACHE"], place / "cache", ignore=shutil.ignore_patterns("*.tmp", "*.partial"))
    yield one
    one.clear()


def until(process, seen) -> None:
    """Wait until something is seen of a process that goes on."""
    end = time.monotonic() + PATIENCE
    while not seen():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)


def trains(here: Place) -> bool:
    """Whether a kernel has begun to train: it gives signs of life."""
    return any(here.results.rglob("*.alive"))


def gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=PATIENCE)[1]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_stopping_says_where_it_goes_on(how, here):
    process = here.start()
    until(process, partial(trains, here))
    kernels = here.processes()["kernel"]
    process.send_signal(how)
    assert process.wait(PATIENCE) == 130
    assert len(kernels) == 1
    assert gone(kernels)
    assert "steel resnet18 no_increase s0: stopped; it will " in here.printed()
    assert "the same command goes on from here" in here.printed()
    assert list(here.results.rglob("*-s0-*.json")) == []


def killed(victim: str, here: Place) -> list[psutil.Process]:
    """kill -9 of one part; the kernels that were at work."""
    found = here.processes()
    for one in found[victim]:
        one.kill()
    return found["kernel"]


def test_no_kernel_outlives_its_runner(here):
    """No Python code runs in the one that is killed: its kernel has to notice by itself."""
    process = here.start()
    until(process, partial(trains, here))
    kernels = killed("runner", here)
    assert len(kernels) == 1
    assert gone(kernels)
    process.wait(PATIENCE)
    assert list(here.results.rglob("*-s0-*.json")) == []


def test_a_kernel_or_papermill_that_is_killed_is_a_failure(here):
    """As the system does for want of memory: never a success, and no kernel stays; the other runs have their turn."""
    here.words = (*WORDS, "SEEDS=0 1")
    process = here.start()
    for victim, said in (
        ("kernel", "s0: FAILED, its kernel died, perhaps for want of memory"),
        ("papermill", "s1: FAILED, its process was killed (signal 9); the same command goes on"),
    ):
        until(process, partial(trains, here))
        kernels = killed(victim, here)
        assert len(kernels) == 1
        assert gone(kernels)
        for alive in here.results.rglob("*.alive"):
            alive.unlink()
        until(process, lambda said=said: said in here.printed())
    assert process.wait(PATIENCE) == 1
    assert list(here.results.rglob("*-s[01]-*.json")) == []


def test_a_short_campaign(here, reference):
    """`make faults` with two kills of a single run: it ends like the one that was never stopped."""
    known = {reference["path"].name: records.repeatable(reference["record"])}
    campaign = faults.Campaign(WORDS, known, here.folder / "cache", command=here.command)
    faults.kills(campaign, 2, longest=12, victims=("all", "kernel"))
    assert [row["tried"] for row in campaign.rows] == [1, 1, 0]  # neither takes a kernel's parent alone
    assert [row["lost"] for row in campaign.rows] == [0] * 3


def test_the_words_of_make_faults_are_not_those_of_make_all(place, monkeypatch):
    monkeypatch.setenv("MAKEFLAGS", " -- KILLS=1")
    monkeypatch.setenv("MAKEOVERRIDES", "KILLS=1")
    one = Place(place, (), (sys.executable, "-c", "import os; print('KILLS=1' in str(os.environ))"))
    assert one.make_all() == 0
    assert one.printed() == "False\n"


def test_who_comes_second_waits(here, reference):
    """Two commands in the same results: the second says whom it waits for, then finds the run done."""
    folder = here.results / "tiny" / reference["path"].parent.name
    with locks.results(here.results / "tiny"):
        process = here.start()
        until(process, lambda: "waiting" in here.printed())
        assert f"waiting: {here.results}/tiny/ is in use by process {os.getpid()}" in here.printed()
        assert not folder.exists()
        records.write(reference["record"], folder / reference["path"].name)
        (folder / reference["path"].with_suffix(".ipynb").name).write_text('{"cells": [1]}')
    assert process.wait(PATIENCE) == 0
    assert "1 runs: 1 done, 0 to do, 0 cannot run" in here.printed()


def test_a_process_whose_parent_is_gone_does_nothing(tmp_path):
    """The one that started it was killed before it began."""
    gone_before = subprocess.Popen(["true"])
    gone_before.wait()
    words = [str(runs.NOTEBOOKS / "summary.ipynb"), str(tmp_path / "out.ipynb"), "nowhere.json", str(gone_before.pid)]
    late = subprocess.run([sys.executable, "-m", "entr_utils.execution", *words], capture_output=True, text=True)
    assert (late.returncode, late.stderr) == (1, "")
    assert list(tmp_path.iterdir()) == []


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


def test_who_holds_a_lock_may_take_it_again(tmp_path, capsys):
    """A run that has the device may still have to measure; it lets go once, at the end."""
    path = tmp_path / "lock"
    with locks.hold(path, "it is"):
        with locks.hold(path, "it is"):
            pass
        child = os.fork()
        if not child:
            with open(path) as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert capsys.readouterr().out == ""


def test_a_lock_that_cannot_be_written_is_one_line(tmp_path, refused):
    (tmp_path / "file").write_text("")
    refused(lambda: locks.results(tmp_path / "file" / "results").__enter__(), "cannot be written", "take another one")


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
