"""Notebooks side by side: places, what kernels are given, Ctrl-C; several hosts on one folder, with locks or leases."""

# ruff: noqa: F811  fixtures

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT
from data_by_hand import refused
from test_notebook import source
from test_sweep import TWO, kernel, make  # noqa: F401

from entr_utils import fan, machine, util
from entr_utils.notebook import KERNEL_ENVIRONMENT
from entr_utils.results import record
from entr_utils.util import AT_ONCE, lock, write_json


@pytest.fixture
def threads(monkeypatch) -> list[int]:
    """What this process is left with, of eight threads; variables are put back."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", (left := []).append)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return left


def test_places(threads, monkeypatch):
    assert fan.places() == [{}]
    assert [one["OMP_NUM_THREADS"] for one in fan.places(jobs=3)] == ["2"] * 3
    assert threads == [2]  # its clock is that of a job
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for gpus, expected in (("all", "0123"), ("2,0", "20"), ("3 3", "3")):
        found = fan.places(gpus)
        assert [one["CUDA_VISIBLE_DEVICES"] for one in found] == [*expected]
        assert {one[AT_ONCE] for one in found} == {str(len(expected))}
        assert os.environ.pop("CUDA_VISIBLE_DEVICES") == expected[0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-x, 7")  # what a user or a cluster allows
    refused(lambda: fan.places("0"), "GPUS='0'", "GPU-x,7")
    assert [one["CUDA_VISIBLE_DEVICES"] for one in fan.places("all")] == ["GPU-x", "7"]


@pytest.mark.parametrize("word", ["JOBS=9", "JOBS=-1", "JOBS=x", "GPUS=0", "GPUS=all", "ON=moon", "ON=slurm", "TIME=x"])
def test_a_place_that_is_not_there_is_one_line(word, kernel, threads, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nowhere")  # without sbatch
    assert make(*TWO, word) == 2
    out, error = capsys.readouterr()
    assert (out, len(error.splitlines()), kernel.asked) == ("", 1, [])
    assert word.partition("=")[0] in error


def test_two_are_made_at_once_and_the_records_say_so(kernel, threads, monkeypatch):
    """Each kernel with its share of the threads; neither takes the clock, which needs a quiet machine."""
    both = threading.Barrier(2)
    kernel.before = lambda: kernel.asked[-1] == ("summary",) or both.wait(20)
    assert make(*TWO, "JOBS=2") == 0
    shared = {"OMP_NUM_THREADS": "4", AT_ONCE: "2", "ENTR_CLOCK": "off"}
    assert kernel.variables == [shared, shared, {}]
    monkeypatch.setenv(AT_ONCE, "2")
    here = machine.environment()
    assert record.Environment(**here).at_once == 2
    assert record.Environment(**{name: value for name, value in here.items() if name != "at_once"}).at_once == 1  # old


@pytest.fixture
def ctrl_c():
    """SIGINT stops, also where the tests themselves were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_one_stop_ends_all_and_the_same_command_goes_on(kernel, threads, capsys, ctrl_c):
    begun = threading.Barrier(2, lambda: os.kill(os.getpid(), signal.SIGINT))

    class Slow(list):
        def __iter__(self):
            for _ in range(1000):
                time.sleep(0.01)
                yield 0.5

    kernel.before, kernel.shares = lambda: begun.wait(20), Slow()
    assert make(*TWO, "JOBS=2") == 130
    assert 1 <= capsys.readouterr().out.count("stopped; ") <= 2  # who had begun says so
    assert list(Path("results/tiny").glob("*.json")) == []
    kernel.before, kernel.shares = bool, ()
    assert make(*TWO, "JOBS=2") == 0
    assert len(record.load("results")) == 2


def test_a_stop_kills_kernels_within_two_seconds(tmp_path, ctrl_c):
    """Real ones, of a command in a process of its own that gets SIGINT while they sleep."""
    sleeps = f"import os, time\nopen('{tmp_path}/' + str(os.getpid()), 'w')\ntime.sleep(60)"
    notebook = source(tmp_path, sleeps)
    code = f"""
from pathlib import Path
from types import SimpleNamespace
from entr_utils import cli, fan, notebook
tasks = [SimpleNamespace(lock=Path("locks", name), missing=list, done=bool) for name in "ab"]
def make(task, place, show):
    notebook.execute(Path({str(notebook)!r}), {{}}, Path(task.lock.name + ".ipynb"), (), place, show)
cli.start("x", lambda words: fan.Queue(tasks, make, {{}}).run([{{}}, {{}}]))
"""
    environment = {**os.environ, **KERNEL_ENVIRONMENT}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while len(kernels := [int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()]) < 2:
        assert time.monotonic() < end
        time.sleep(0.1)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    while any(Path(f"/proc/{pid}/exe").exists() for pid in kernels):
        assert time.monotonic() - began < 2
        time.sleep(0.05)
    assert len(process.stderr.read().splitlines()) == 1


def test_git_of_a_folder(tmp_path):
    assert machine.git(tmp_path, "rev-parse", "HEAD") == ""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert machine.git(tmp_path, "rev-parse", "--is-inside-work-tree") == "true"


def test_a_gpu_is_known_by_its_uuid_and_a_cpu_by_its_host(monkeypatch):
    """Numbers repeat: every host, and every job of a cluster, counts its own from 0."""
    names = []
    for host, uuid in (("a", "x"), ("a", "y"), ("b", "z"), ("a", ""), ("b", "")):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        monkeypatch.setattr(torch.cuda, "is_available", lambda uuid=uuid: bool(uuid))
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        properties = SimpleNamespace(uuid=uuid)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index, found=properties: found)
        names.append(machine.device_id())
    assert len({*names}) == 5


# Kind of file system, options -> whether leases stand in.
KINDS = """ext4 rw -> no; nfs4 rw,vers=4.2,local_lock=none -> no; nfs rw,nolock -> yes; nfs rw,local_lock=all -> yes
nfs rw,local_lock=flock -> yes; lustre rw,flock -> no; lustre rw -> yes; lustre rw,localflock -> yes; cifs rw -> no
cifs rw,nobrl -> yes; fuse.sshfs rw -> yes; fuse.drive rw -> no; overlay rw -> no; fuse.fuse-overlayfs rw -> no"""


@pytest.mark.parametrize("kind", KINDS.replace("\n", "; ").split("; "))
def test_where_locks_do_not_reach_other_hosts_leases_stand_in(kind, tmp_path, monkeypatch, capsys):
    (name, options), expected = kind.partition(" -> ")[0].split(), kind.endswith("yes")
    mounts = [("/", "ext4", "rw"), (str(tmp_path), name, options)]
    found = [SimpleNamespace(mountpoint=at, fstype=kind, opts=opts) for at, kind, opts in mounts]
    monkeypatch.setattr(util.psutil, "disk_partitions", lambda all: found)
    with lock(tmp_path / "lock") as held, lock(tmp_path / "lock") as again:
        assert (held, again, (tmp_path / "lock.lease").exists()) == (True, False, expected)
    assert len(capsys.readouterr().out.splitlines()) == expected


def test_two_hosts_that_are_killed_at_random_lose_nothing_and_make_nothing_twice(tmp_path):
    """Twenty times, while they work; once with locks, once with leases."""
    processes = {}
    for asked in ("", "1"):  # a shorter lease ends on a busy machine, a longer one takes minutes
        (tmp_path / f"lease{asked}").mkdir()
        words = [sys.executable, str(ROOT / "tests" / "two_hosts.py"), str(tmp_path / f"lease{asked}"), "20"]
        usual = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "ENTR_LEASE": asked}
        processes[tmp_path / f"lease{asked}"] = subprocess.Popen(words, env=usual, stdout=subprocess.DEVNULL)
    for folder, process in processes.items():
        assert process.wait(400) == 0
        assert json.loads((folder / "result.json").read_text()) == {"kills": 20, "codes": [0, 0]}
        made = (folder / "log").read_text().splitlines()
        assert sorted(made) == sorted(f"made {path.name}" for path in folder.rglob("*-s[01]-*.json"))
        assert (len(made), len(record.load(folder / "results"))) == (20, 20)
        assert len(list(folder.rglob("*.ipynb"))) == 11


def test_status_knows_what_is_done_from_records_and_what_is_alive_from_squeue(kernel, tmp_path, monkeypatch, capsys):
    """Five notebooks: done, running as a job, waiting as a job, lost, and made by another process."""
    regimes = ["no_increase", "gradual", "stepwise", "small", "reversed"]
    words = ("PROFILE=tiny", "DATASETS=steel", f"REGIMES={' '.join(regimes)}")
    assert make(*words, "REGIMES=no_increase") == 0
    folder, jobs = Path("results/tiny"), zip(regimes, ("7_0", "7_1", "7_2", "7_3"), strict=False)
    write_json({f"steel-resnet18-{regime}": job for regime, job in jobs}, folder / ".slurm" / "jobs.json")
    (tmp_path / "squeue").write_text("#!/bin/sh\necho 7_1 RUNNING\necho 7_2 PENDING\necho 8 RUNNING\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    capsys.readouterr()
    with lock(folder / ".locks" / "steel-resnet18-reversed"):
        assert make(*words, command="status") == 0
    found = [line.split()[0] for line in capsys.readouterr().out.splitlines()[-6:-1]]
    assert found == ["done", "running", "waiting", "lost", "running"]
    (tmp_path / "squeue").write_text("#!/bin/sh\necho no answer >&2\nexit 1\n")
    assert make(*words, command="status") == 2
    assert "no answer" in capsys.readouterr().err
