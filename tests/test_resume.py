"""Stopped anywhere, a run goes on and leaves the record of one that never stopped; what is damaged is named."""

import hashlib
import io
import json
import os
import pickle
import shutil
import signal
import time
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import tiny
from data_by_hand import refused

from entr_utils import util
from entr_utils.results.record import repeatable
from entr_utils.training import loop, resume, step
from entr_utils.training.books import Books
from entr_utils.util import UserError


@pytest.fixture(autouse=True)
def often(narrow, own_regime, monkeypatch):
    """A checkpoint at the end of every epoch."""
    monkeypatch.setenv(resume.SECONDS, "0")
    monkeypatch.setattr(util.os, "fsync", lambda number: None)  # a second for each checkpoint, on a slow disk


def stop(run, batches: int) -> None:
    """Stop a run, as Ctrl-C would, after so many batches; a tiny one has four epochs of four."""
    left, show = iter(range(batches - 1, -1, -1)), Books.show

    def stopped(books, share):
        show(books, share)
        if not next(left):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Books, "show", stopped)
        with pytest.raises(KeyboardInterrupt):
            loop.train(run)


def local(run) -> Path:
    return run.path.with_suffix(".checkpoint")


def left(run) -> list[str]:
    """What is beside the record, and the record."""
    return sorted(path.suffix for path in run.path.parent.iterdir() if path.is_file())


@pytest.fixture
def whole(trained):
    """What can be compared of gradual, never stopped."""
    return repeatable(trained("gradual").record)


def goes_on(run, whole: dict, *epochs: int):
    """Train the rest: the record is that of a run that never stopped, and names the epochs it went on after."""
    record = loop.train(run)
    assert repeatable(record) == whole
    assert [attempt.epoch for attempt in record.attempts] == [*epochs]
    assert left(run) == [".json"]
    return record


@pytest.mark.parametrize("batches", [1, 4, 5, 9, 16], ids=lambda batches: f"after batch {batches}")
def test_a_run_that_was_stopped_ends_like_one_that_was_not(batches, whole, capsys):
    """In the middle of an epoch, at its end, in the last epoch: it goes on after the last whole one."""
    run, begun = tiny(), (batches - 1) // 4
    stop(run, batches)
    assert not run.path.exists()
    assert resume.about(local(run)).get("epoch", 0) == begun
    goes_on(run, whole, *([begun] if begun else []))
    assert (str(local(run)) in capsys.readouterr().out) == (begun > 0)


GOES_ON = [("cropped", 6), ("short", 4), ("packed", 5), ("slope", 9), ("averaged", 14), ("decrement", 6), ("ramp", 10)]
GOES_ON += [("progressive", 7), ("random_size", 9), ("pooled", 11), ("bounded_depth:nats=5.27,bound=layer_a_bit", 7)]


@pytest.mark.parametrize(("regime", "batches"), GOES_ON)
def test_every_kind_of_regime_goes_on(regime, batches, trained):
    """Windows drawn anew, batches that change in size, number or mode, hooks with a state, another network."""
    fields = {"network": "resnet34"} if "bound" in regime else {}
    stop(tiny(regime, **fields), batches)
    done = resume.about(local(tiny(regime, **fields)))["epoch"]
    goes_on(tiny(regime, **fields), repeatable(trained(regime, **fields).record), done)


def test_a_run_may_be_stopped_again_and_again(whole):
    """Once in every epoch, and once with nothing trained since the checkpoint: such an attempt left nothing behind."""
    for batches in (6, 1, 3, 5):
        stop(tiny(), batches)
    goes_on(tiny(), whole, 1, 2)


def test_epochs_that_are_skipped_leave_no_checkpoint(whole, monkeypatch):
    """Though it is time for one as soon as a run goes on: it would hold more than its epoch."""
    stop(tiny(), 14)
    once = iter([True])
    with monkeypatch.context() as patch:
        patch.setattr(resume.Store, "due", lambda store: next(once, False))
        stop(tiny(), 1)
    goes_on(tiny(), whole, 3)


@pytest.mark.parametrize("regime", ["gradual", "pooled"])
def test_frozen_layers_go_on_too(regime, trained, checkpoint):
    """Stopped in CLRS, whose body is frozen, and in RPL, where all layers train."""
    run = tiny(regime, weights=str(checkpoint))
    for batches in (6, 11):
        stop(run, batches)
    goes_on(run, repeatable(trained(regime, weights=str(checkpoint)).record), 1, 3)


def test_a_run_stopped_while_it_tests_goes_on_there(whole, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(step, "predict_averaged", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            loop.train(tiny())
    monkeypatch.setattr(Books, "take", lambda *arguments: pytest.fail("trained again"))
    goes_on(tiny(), whole, 4)


def test_a_run_that_is_killed_goes_on(whole):
    child = os.fork()
    if not child:
        shown, show = iter(range(100)), Books.show
        Books.show = lambda *given: os.kill(os.getpid(), signal.SIGKILL) if next(shown) == 9 else show(*given)  # type: ignore[method-assign]
        loop.train(tiny())
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    goes_on(tiny(), whole, 2)


def test_t_goes_on_where_it_was(whole):
    stop(tiny(), 10)
    state = resume.read(local(tiny()), tiny().spec.key)
    record = goes_on(tiny(), whole, 2)
    assert [row.seconds for row in record.epochs[:2]] == [row["seconds"] for row in state["epochs"]]
    assert record.costs.wall > state["wall"]
    assert record.environment.started == state["first"]["environment"]["started"]
    assert record.costs.warmup == state["first"]["costs"]["warmup"]


def test_what_is_left_counts_from_where_it_goes_on(monkeypatch):
    """One of four epochs of equal cost was done before: the first step makes 5 of 16, the last one all."""
    shown: list[float] = []
    stop(tiny("no_increase"), 6)
    for name in ("start_at", "update"):
        monkeypatch.setattr(util.Progress, name, lambda line, share, note="": shown.append(share))
    loop.train(tiny("no_increase"))
    assert shown == pytest.approx([0.25, *(part / 16 for part in range(5, 17))])


def test_writing_checkpoints_is_no_part_of_t(monkeypatch):
    save = resume.Store.save

    def slow(store, state):
        save(store, state)
        time.sleep(0.4)

    monkeypatch.setattr(resume.Store, "save", slow)
    record = loop.train(tiny())
    assert record.costs.checkpoint >= 4 * 0.4
    assert record.seconds_total + record.costs.checkpoint < record.costs.wall


WHERE = [("", "results", 30), ("mount", "results", 300), ("mount", "mount", 300)]


@pytest.mark.parametrize(("folder", "results", "every"), WHERE)
def test_how_often(folder, results, every, monkeypatch, capsys):
    """Every 30 seconds at most; every 5 minutes where they go to another file system, or where all of this lies on a
    drive, though it hiccups once."""
    monkeypatch.delenv(resume.SECONDS)
    Path("mount").mkdir()
    run, stat = tiny(results=results, checkpoint_dir=folder), Path.stat
    run.path.parent.mkdir(parents=True)

    def of_another(path, **named):
        found = stat(path, **named)
        return os.stat_result([*found[:2], 7 if "mount" in path.parts else 1, *found[3:]])

    monkeypatch.setattr(Path, "stat", of_another)
    store = resume.Store(run)
    if results == "mount":
        store.file_system = 8
        store.save({"epoch": 1})
        assert (store.path, "mount" in capsys.readouterr().out) == (local(run), True)
    for seconds, due in ((every - 1, False), (every + 1, True)):
        monkeypatch.setattr(resume.time, "monotonic", lambda seconds=seconds: store.last + seconds)
        assert store.due() is due
    monkeypatch.setattr(util, "DRIVE", Path.cwd())
    monkeypatch.setattr(resume.time, "monotonic", lambda: store.last + 299)
    assert not store.due()


@pytest.mark.parametrize("how", ["an error", "an empty folder of the disk below"])
def test_a_record_waits_where_results_are_gone_and_is_put_in_place(how, whole, monkeypatch, capsys):
    run, write, begun = tiny(), util.write_json, loop.file_system

    def gone(value, path):
        if path == run.path:
            raise UserError(f"{path}: cannot be written (Transport endpoint is not connected)")
        write(value, path)

    with monkeypatch.context() as patch:
        if how == "an error":
            patch.setattr(util, "write_json", gone)
        else:
            patch.setattr(loop, "file_system", lambda folder: begun(folder) + 1)
        made = loop.train(run)
    line = capsys.readouterr().out.splitlines()[-1]
    (waits,) = (util.cache_folder() / "waiting").glob("*.json")
    assert str(run.path) in line
    assert str(waits) in line
    assert not run.path.exists()
    assert repeatable(made) == whole
    monkeypatch.setattr(loop, "_train", lambda run: pytest.fail("trained again"))
    assert loop.train(tiny()) == made
    assert run.path.exists()
    assert waits.exists() == (how != "an error")  # a drive that comes back has not got it yet
    waits.unlink(missing_ok=True)


def flipped(content: bytes) -> bytes:
    return content[:900] + bytes([content[900] ^ 8]) + content[901:]


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"", flipped])
def test_a_damaged_checkpoint_is_named_and_left_out(damage, whole, capsys):
    run = tiny()
    stop(run, 6)
    local(run).write_bytes(damage(local(run).read_bytes()))
    goes_on(run, whole)
    assert [str(local(run)) in line for line in capsys.readouterr().out.splitlines()] == [True]


def test_a_checkpoint_of_another_run_is_refused():
    run, another = tiny(), tiny(seed=1, results="other")
    stop(another, 6)
    run.path.parent.mkdir(parents=True)
    os.replace(local(another), local(run))
    refused(lambda: loop.train(run), local(run), another.spec.key[:12], run.spec.key[:12])
    assert local(run).exists()


class Code:
    """What a pickle can do to who opens it."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("write", [pickle.dump, torch.save])
def test_nothing_in_a_checkpoint_is_executed(write, whole, capsys):
    buffer, run = io.BytesIO(), tiny()
    write({"epoch": Code()}, buffer)
    rest = json.dumps({"key": run.spec.key, "epoch": 1, "epochs": 4}).encode() + b"\n" + buffer.getvalue()
    run.path.parent.mkdir(parents=True)
    local(run).write_bytes(hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)
    with warnings.catch_warnings(action="ignore"):  # of the pickle's protocol
        goes_on(run, whole)
    assert str(local(run)) in capsys.readouterr().out
    assert not Path("executed").exists()


def test_a_checkpoint_of_another_kind_of_device_goes_on_with_a_line(whole, monkeypatch, capsys):
    """Without that device's random numbers; here none of them are used."""
    state_of = resume.state_of
    monkeypatch.setattr(resume, "state_of", lambda learner: state_of(learner) | {"cuda": torch.zeros(16).byte()})
    stop(tiny(), 6)
    goes_on(tiny(), whole, 1)
    assert len(capsys.readouterr().out.splitlines()) == 2  # from where it goes on, and this


def test_a_checkpoint_of_two_gpus_goes_on_with_one(monkeypatch):
    network, restored = torch.nn.Linear(1, 1), []
    learner = SimpleNamespace(model=network, opt=torch.optim.SGD(network.parameters()))
    gpu = {"is_available": lambda: True, "get_rng_state": lambda: torch.ones(16).byte(), "device_count": lambda: 2}
    for name, value in (gpu | {"set_rng_state": restored.append}).items():
        monkeypatch.setattr(torch.cuda, name, value)
    state = resume.state_of(learner)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    resume.put_back(learner, state)
    assert [one.shape for one in restored] == [(16,)]


def test_checkpoints_go_where_they_are_asked_for(whole):
    Path("drive").mkdir()
    run = tiny(checkpoint_dir="drive")
    stop(run, 10)
    assert [path.name for path in Path("drive").iterdir()] == [local(run).name]
    assert left(run) == []
    shutil.rmtree("results")  # a new machine has the drive, and nothing of the old disk
    (Path("drive") / f"{local(run).name}.host.12.partial").touch()  # a kill while one was written
    goes_on(run, whole, 2)
    assert list(Path("drive").iterdir()) == []


@pytest.mark.parametrize("how", ["no folder", "a file", "an empty folder of the disk below"])
def test_a_mount_that_drops_costs_a_line_and_no_epoch(how, whole, capsys):
    """It is gone after one epoch: its state stays on the local disk, and what was the drive is not written into."""
    drive, save = Path("drive"), resume.Store.save
    drive.mkdir()
    run = tiny(checkpoint_dir="drive")

    def drops(store, state):
        if state["epoch"] == 2:
            shutil.rmtree(drive)
            if how == "a file":
                drive.write_text("no longer a folder")
            elif how != "no folder":
                drive.mkdir()
                store.file_system += 1  # as that of a drive was
            store.save = partial(save, store)  # once
        save(store, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume.Store, "save", drops)
        stop(run, 14)
    assert ["drive" in line for line in capsys.readouterr().out.splitlines()] == [True]
    goes_on(run, whole, 3)
    assert not drive.is_dir() or list(drive.iterdir()) == []


def test_a_full_disk_costs_checkpoints_not_the_run(whole, monkeypatch, capsys):
    def full(path, *parts):
        raise UserError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr(resume, "write_whole", full)
    goes_on(tiny(), whole)
    assert capsys.readouterr().out.count("No space left on device") == 4


def test_killed_between_record_and_clearing_up(whole):
    stop(tiny(), 6)
    kept = local(tiny()).read_bytes()
    record = goes_on(tiny(), whole, 1)
    local(tiny()).write_bytes(kept)
    assert goes_on(tiny(), whole, 1) == record
