"""The clock: seconds of work measured side by side on a quiet machine, and what this machine is."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import tiny
from data_by_hand import refused

from entr_utils import machine
from entr_utils.data import store
from entr_utils.regimes import parse
from entr_utils.regimes.plan import Work
from entr_utils.results import times
from entr_utils.training import clock, loop, step

BUSY = machine.busy_seconds_of_others


@pytest.fixture(autouse=True)
def quiet(narrow, own_regime, tmp_path, monkeypatch):
    """Nothing else runs on this machine, so nothing has to come to rest; locks of the test's own."""
    monkeypatch.setenv("ENTR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=time.perf_counter, sleep=lambda seconds: None))
    monkeypatch.setattr(machine, "busy_seconds_of_others", lambda: 0.0)


def take(works, rounds: int = 3, **regimes) -> dict:
    regimes = {"": parse("no_increase")} | regimes
    return clock.take(works, regimes, "resnet18", "float32", "two", rounds=rounds, patience=5.0)


def shown(pixels: int, images: int) -> float:
    """Seconds to make images small, by hand."""
    return 0.02 * images * pixels**2 / 40**2


def seconds_of(work: Work) -> float:
    """Of a step, or of one image to resize or to predict, by hand; linear in pixels."""
    if work.kind != "step":
        return 0.05 if work.kind == "tta" else shown(work.detail or work.size, 1)
    made_small = shown(work.size, work.batch) if work.stored != work.size else 0.0
    return 0.1 + 0.01 * work.batch * work.size**2 / 40**2 + made_small


@pytest.fixture
def now(monkeypatch) -> SimpleNamespace:
    """Time that passes only where something is done, as `seconds_of` has it; 3 s more for the first step of a kind."""
    passed, before, show = SimpleNamespace(seconds=0.0), set(), store.show

    def takes(seconds: float, *what) -> None:
        passed.seconds += seconds + (0 if what in before else 3)
        before.add(what)

    def make_small(pixels, spec):
        if spec.view != "resized" or pixels.shape[1] != spec.size:
            passed.seconds += shown(spec.detail or spec.size, len(pixels))
        return show(pixels, spec)

    def take_step(network, regime, spec, *rest):
        takes(0.1 + 0.01 * spec.batch * spec.size**2 / 40**2, network.trains, spec)

    monkeypatch.setattr(clock.time, "perf_counter", lambda: passed.seconds)
    monkeypatch.setattr(clock.store, "show", make_small)
    monkeypatch.setattr(step, "take_step", take_step)
    monkeypatch.setattr(step, "predict_averaged", lambda network, pixels, *rest: takes(0.05 * len(pixels), "tta"))
    return passed


@pytest.mark.parametrize("regime", ["gradual", "blurred", "packed"])
def test_every_kind_of_work_is_timed(regime, now):
    """A step, an image to resize, an image in five passes; the median over rounds, first use apart."""
    entry, works = take(tiny(regime).work), tiny(regime).work
    assert entry["seconds"] == pytest.approx({work.key: seconds_of(work) for work in works})
    first = {work.key: 3.0 * (work.kind != "resize") for work in works}
    assert entry["first"] == pytest.approx(first, abs=1e-9)
    assert entry["spread"] == pytest.approx(dict.fromkeys(first, 0.0), abs=1e-9)
    about = {"network": "resnet18", "precision": "float32", "augmentation": "two", "rounds": 2}
    assert about.items() <= entry.items()


def test_beyond_eight_sizes_seconds_are_interpolated_over_pixels(now):
    """Sixteen sizes, eight of them timed, the outer two among them: exact where seconds are linear in pixels."""
    works = tiny("slope").work
    steps = sorted((work for work in works if work.kind == "step"), key=lambda work: work.size)
    entry = take(works)
    timed = {*entry["spread"]} & {work.key for work in steps}
    assert (len(steps), len(timed), {steps[0].key, steps[-1].key} - timed) == (16, 8, set())
    assert entry["seconds"] == pytest.approx({work.key: seconds_of(work) for work in works})
    assert entry["first"].keys() == entry["seconds"].keys()


@pytest.fixture
def record(trained):
    """Of gradual; asked for before `now`, it is trained in real time."""
    return trained("gradual").record


def test_t_of_a_record_is_plan_times_clock(record, now):
    """Takes are added to the device's clock; T is n x seconds, the median over takes. The forecast is the same."""
    path = clock.path_of("results")
    entry = take(record.work) | {"augmentation": record.spec.augmentation}
    for factor in (1.0, 3.0, 2.0):
        scaled = {key: factor * seconds for key, seconds in entry["seconds"].items()}
        assert clock.keep(entry | {"taken": str(factor), "seconds": scaled}, "results") == path
    (found,) = times.of_records([record], times.read_clocks("results"))
    assert found.total == pytest.approx(sum(2 * work.n * seconds_of(work) for work in record.work)) == tiny().forecast()
    assert found.with_first_use == pytest.approx(found.total + 3 * 5)
    assert (len(found.takes), path.parent, tiny("cropped").forecast()) == (3, Path("results/clocks"), None)
    path.write_text("{")
    refused(lambda: clock.keep(entry, "results"), path)
    assert path.read_text() == "{"


def test_what_is_missing_is_taken_once(now, monkeypatch, capsys):
    run, other = tiny(), tiny("cropped")
    assert [clock.take_missing([run], "results", again) for again in (False, False, True)] == [1, 0, 1]
    assert run.forecast() == pytest.approx(sum(work.n * seconds_of(work) for work in run.work))
    monkeypatch.setattr(machine, "busy_seconds_of_others", lambda: now.seconds)
    for switch, lines in (("off", 0), ("", 1)):
        monkeypatch.setenv("ENTR_CLOCK", switch)
        clock.ensure([run, other], "results")
        assert len(capsys.readouterr().out.splitlines()) == lines
    assert other.forecast() is None


def test_a_round_in_which_others_were_busy_is_measured_again(now, monkeypatch):
    """Twice at most: here the third try of a round was quiet, and so was the first of the next."""
    noise, works = iter([0.0, 0.0, 0.0, 1e6, 0.0, 1e6, 0.0, 0.0, 0.0, 0.0]), tiny("no_increase").work
    monkeypatch.setattr(machine, "busy_seconds_of_others", lambda: next(noise))
    assert take(works)["seconds"] == pytest.approx({work.key: seconds_of(work) for work in works})
    assert list(noise) == []


@pytest.mark.parametrize("cores", [0.04, 0.06, 1.0])
def test_a_busy_machine_is_refused(cores, now, monkeypatch):
    """Where other processes use more than 5% of a core: in three tries, or before the first. Nothing is written."""
    monkeypatch.setattr(machine, "busy_seconds_of_others", lambda: cores * now.seconds)
    for rests in (0, 1):  # whether seconds pass while the others may come to rest
        monkeypatch.setattr(clock.time, "sleep", lambda _, rests=rests: vars(now).update(seconds=now.seconds + rests))
        if cores > 0.05:
            refused(lambda: take(tiny().work), "busy", f"{cores:.2f}")
        else:
            assert take(tiny().work)["rounds"] == 2
    assert not Path("results").exists()


def test_a_take_beside_a_busy_process_is_refused(monkeypatch):
    monkeypatch.setattr(clock, "time", time)
    monkeypatch.setattr(machine, "busy_seconds_of_others", BUSY)
    busy = subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])
    try:
        refused(lambda: take(tiny().work), "busy")
    finally:
        busy.kill()
        busy.wait()


def test_busy_seconds_are_those_of_others():
    before, code = BUSY(), "import time\nwhile time.process_time() < 0.5: pass"
    child = subprocess.Popen([sys.executable, "-S", "-c", code])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # over, but not yet counted as a child of this process
    assert BUSY() - before > 0.4
    child.wait()


def test_a_real_take_has_every_key(monkeypatch):
    monkeypatch.setattr(clock, "BLOCK_SECONDS", 0.005)
    for regime in ("cropped", "averaged", "pooled", "bounded_depth:nats=5.27,bound=layer_a_bit"):
        works = tiny(regime).work
        entry = take(works, 2, **{work.mode: parse(regime) for work in works if work.mode})
        assert {*entry["seconds"]} == {work.key for work in works}
        assert min(entry["seconds"].values()) > 0


def test_a_training_pauses_while_the_clock_is_taken(monkeypatch):
    printed, waits, records, run = [], threading.Event(), [], tiny()

    def show(text, **_):
        printed.append(text)
        waits.set()

    monkeypatch.setattr("builtins.print", show)
    thread = threading.Thread(target=lambda: records.append(loop.train(run)))
    with clock.measuring():
        thread.start()
        assert waits.wait(60)
        time.sleep(0.2)
        assert (records, len(printed)) == ([], 1)
    thread.join(60)
    assert (records[0].spec, len(printed)) == (run.spec, 1)


def test_a_clock_whose_process_died_stops_nobody(capsys):
    child = os.fork()
    if not child:
        with clock.measuring():
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    for _ in range(2):
        clock.wait_while_measuring()
    with clock.measuring():
        assert capsys.readouterr().out == ""


LIMITS = [("8000 5000 1000", "max 10 0", 4000), ("max 5 0", "max 5 0", 10_000), ("9000 1000 0", "3000 2500 100", 600)]


@pytest.mark.parametrize(("job", "step", "left"), [*LIMITS, ("nonsense 5 0", "max 5 0", 10_000)])
def test_what_a_container_or_a_job_allows_counts(job, step, left, tmp_path, monkeypatch):
    """The least of the limits of a process's group and of those above it; its file cache is room."""
    for folder, numbers in ((tmp_path / "job", job.split()), (tmp_path / "job" / "step", step.split())):
        folder.mkdir()
        for name, number in zip(("max", "current", "stat"), numbers, strict=True):
            (folder / f"memory.{name}").write_text(f"{'inactive_file ' * (name == 'stat')}{number}\n")
    (tmp_path / "groups").write_text("1:cpu:/elsewhere\n0::/job/step\n")
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: SimpleNamespace(available=10_000))
    assert machine.free_memory("host") == left


def test_what_this_machine_is():
    assert machine.precision() in ("float32", "bfloat16", "float16")
    assert machine.precision("bfloat16") == "bfloat16"
    found = machine.environment()
    assert (found["device"], found["threads"]) == (machine.device_model(), torch.get_num_threads())
    machine.forget_peak_memory()
    kept = torch.ones(20_000_000)
    assert machine.peak_memory() >= 4 * len(kept)
    assert min(map(machine.free_memory, ("device", "host"))) > 2**20
