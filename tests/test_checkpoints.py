"""Stopped anywhere, a run goes on and leaves the record of one that never stopped; what is damaged is named."""

import hashlib
import io
import json
import os
import pickle
import shutil
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import once_for_all

from entr_utils import UserError, checkpoints, experiment, files, regimes, training
from entr_utils.checkpoints import Attempts, Store
from entr_utils.records import repeatable

BATCHES, EPOCHS = 4, 4  # of a tiny run: batches an epoch, epochs


def prepare(results, regime="no_increase", **parameters) -> experiment.Experiment:
    """A run of one small size, which is trained soon, unless another regime is named."""
    size = 32 if regime == "no_increase" else 0
    return experiment.prepare("steel", profile="tiny", regime=regime, size=size, results=str(results), **parameters)


@pytest.fixture
def run(tmp_path, narrow, monkeypatch) -> experiment.Experiment:
    """A run that keeps a checkpoint at the end of every epoch."""
    monkeypatch.setenv(checkpoints.SECONDS, "0")
    monkeypatch.setattr(files.os, "fsync", lambda number: None)  # a second for each checkpoint, on a slow disk
    return prepare(tmp_path / "results")


@pytest.fixture
def whole(run, common) -> dict:
    """What can be compared of a run of the same parameters that was never stopped."""
    return once_for_all(common / "whole.pickle", lambda: repeatable(training.train(prepare("whole"))))


@pytest.fixture
def stop(monkeypatch):
    """Stop a run, as Ctrl-C would, after so many batches."""

    def at(run: experiment.Experiment, batches: int) -> None:
        left, touch = iter(range(batches, -1, -1)), Attempts.touch

        def stopped(attempts):
            touch(attempts)
            if next(left) == 1:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Attempts, "touch", stopped)
            with pytest.raises(KeyboardInterrupt):
                training.train(run)

    return at


def left(run: experiment.Experiment) -> list[str]:
    """What stands beside the record, but for the forecast."""
    return sorted(path.suffix for path in run.path.parent.iterdir() if path.suffix != ".forecast")


@pytest.mark.parametrize("batches", [1, 4, 5, 16], ids=lambda batches: f"after batch {batches}")
def test_a_run_that_was_stopped_ends_like_one_that_was_not(batches, run, stop, whole, capsys):
    """In the middle of an epoch, at its end, in the last epoch: it goes on after the last whole one."""
    stop(run, batches)
    assert not run.path.exists()
    begun = (batches - 1) // BATCHES
    assert checkpoints.about(Store(run).local).get("epoch", 0) == begun
    record = training.train(run)
    assert repeatable(record) == whole
    assert ("going on after epoch" in capsys.readouterr().out) == (begun > 0)
    assert [row["epoch"] for row in record["attempts"]] == ([begun] if begun else [])
    assert left(run) == [".trained"]


@pytest.mark.parametrize("regime", ["gradual", "cropped"])
def test_growing_images_go_on_too(regime, run, tmp_path, monkeypatch, stop):
    """Stopped in the second epoch of a stage, whose small images are made again, off the clock (crops are new in every
    epoch); and where the next stage, with a size of its own, begins."""
    longer = regimes.PROFILES["tiny"].cycles | {"SGDR": (2, 1, 1)}
    monkeypatch.setitem(regimes.PROFILES, "tiny", replace(regimes.PROFILES["tiny"], cycles=longer))
    uninterrupted = training.train(prepare(tmp_path / "whole", regime))
    run = prepare(tmp_path / "stopped", regime)
    for batches in (6, 5):
        stop(run, batches)
    record = training.train(run)
    assert repeatable(record) == repeatable(uninterrupted)
    assert (record["epochs"][1]["resize_seconds"] == 0) == (regime == "gradual")
    assert record["epochs"][2]["resize_seconds"] > 0


def test_a_shortened_run_goes_on_too(run, tmp_path, stop):
    """Two batches an epoch instead of four: stopped in the second epoch."""
    whole, run = (
        experiment.prepare("steel", profile="tiny", regime="short", share=0.5, size=32, results=str(tmp_path / name))
        for name in ("whole", "stopped")
    )
    uninterrupted = training.train(whole)
    stop(run, 3)
    record = training.train(run)
    assert repeatable(record) == repeatable(uninterrupted)
    assert [row["epoch"] for row in record["attempts"]] == [1]


def test_what_is_left_is_reckoned_from_where_it_goes_on(run, stop, monkeypatch):
    """One of four epochs of equal cost was done before: the first step makes 5 of 16, the last one all."""
    stop(run, 6)
    told = []
    monkeypatch.setattr(training.Progress, "update", lambda line, share, note="": told.append((line.start, share)))
    training.train(run)
    assert {start for start, _ in told} == {0.25}
    assert [share for _, share in told] == pytest.approx([step / 16 for step in range(5, 17)])


def test_a_run_may_be_stopped_again_and_again(run, stop, whole):
    """Once in every epoch, and once with nothing trained since the checkpoint: such an attempt left nothing behind."""
    for batches in (6, 1, 3, 5):
        stop(run, batches)
    record = training.train(run)
    assert repeatable(record) == whole
    assert [row["epoch"] for row in record["attempts"]] == [1, 2]


def test_a_run_stopped_while_it_tests_goes_on_there(run, whole, monkeypatch):
    """In the augmented passes at the end: no epoch is trained again, and the passes draw what they would have drawn."""
    with monkeypatch.context() as patch:
        patch.setattr(training, "_tta", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            training.train(run)
    monkeypatch.setattr(Attempts, "touch", lambda attempts: pytest.fail("trained again"))
    assert repeatable(training.train(run)) == whole


def test_pretrained_weights_and_frozen_stages_go_on_too(tmp_path, by_hand, monkeypatch, stop, checkpoint):
    monkeypatch.setenv(checkpoints.SECONDS, "0")
    whole = training.train(prepare(tmp_path / "whole", weights=str(checkpoint)))
    run = prepare(tmp_path / "stopped", weights=str(checkpoint))
    for batches in (6, 11):  # in CLRS, whose body is frozen; in RPL, where all layers train
        stop(run, batches)
    assert repeatable(training.train(run)) == repeatable(whole)


def test_t_goes_on_where_it_was(run, stop, monkeypatch):
    """The seconds of whole epochs are those measured before; nothing is counted twice."""
    stop(run, 10)
    state = checkpoints.read(Store(run).local, run.key)
    record = training.train(run)
    assert record["epochs"][:2] == state["epochs"]
    assert record["seconds_total"] == pytest.approx(sum(stage["seconds"] for stage in record["stages"]))
    assert record["wall_seconds"] > state["wall"]
    assert record["environment"] == state["first"]["environment"]
    assert record["warmup_seconds"] == state["first"]["costs"]["warmup_seconds"]


def test_writing_checkpoints_is_no_part_of_t(run, monkeypatch):
    """A clock that moves only while a checkpoint is written: T stays as small as it was."""
    now, save = [0.0], Store.save

    def slow(store, state):
        now[0] += 1000
        save(store, state)

    monkeypatch.setattr(Store, "save", slow)
    monkeypatch.setattr("entr_utils.timing.time.perf_counter", lambda: now.__setitem__(0, now[0] + 1e-6) or now[0])
    record = training.train(run)
    assert record["checkpoint_seconds"] > 1000 * EPOCHS - 1
    assert record["seconds_total"] < 1


@pytest.mark.parametrize(
    ("wanted", "seconds", "due"), [("", 29, False), ("", 31, True), ("mount", 299, False), ("mount", 301, True)]
)
def test_how_often(wanted, seconds, due, tmp_path, by_hand, monkeypatch):
    """Every 30 seconds at most; every 5 minutes where they go to another file system."""
    (tmp_path / "mount").mkdir()
    run = prepare(tmp_path / "results", checkpoint_dir=str(tmp_path / "mount") if wanted else "")
    run.path.parent.mkdir(parents=True)
    stat, now = Path.stat, time.monotonic()
    monkeypatch.setattr(Path, "stat", lambda path, **named: os.stat_result(
        [*stat(path, **named)[:2], 7 if path.name == "mount" else 1, *stat(path, **named)[3:]]))  # fmt: skip
    store = Store(run)
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now + seconds)
    store.last = now
    assert store.due() is due


def spoil(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "truncated":
        content = content[: len(content) // 2]
    elif how == "empty":
        content = bytearray()
    else:
        content[len(content) * 2 // 3] ^= 8
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("how", ["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_is_named_and_left_out(how, run, stop, whole, capsys):
    stop(run, 10)
    spoil(Store(run).local, how)
    capsys.readouterr()
    record = training.train(run)
    assert capsys.readouterr().out.splitlines() == [
        f"checkpoint {Store(run).local}: damaged, its checksum does not fit; it is left out"]  # fmt: skip
    assert repeatable(record) == whole


def test_a_checkpoint_of_another_run_is_refused(run, stop, tmp_path, refused):
    other = prepare(tmp_path / "other", seed=1)
    stop(other, 10)
    run.path.parent.mkdir(parents=True)
    os.replace(Store(other).local, Store(run).local)
    refused(lambda: training.train(run), str(Store(run).local), "another run", other.key[:12], run.key[:12], "move it")
    assert Store(run).local.exists()


class Evil:
    """What a pickle can do to who opens it."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("write", [pickle.dump, torch.save], ids=["pickle", "torch"])
def test_nothing_in_a_checkpoint_is_executed(write, run, capsys, whole):
    """Even one whose checksum fits."""
    buffer = io.BytesIO()
    write({"epoch": Evil()}, buffer)
    rest = json.dumps({"key": run.key, "epoch": 1, "epochs": 4, "saved": 0.0}).encode() + b"\n" + buffer.getvalue()
    path = Store(run).local
    path.parent.mkdir(parents=True)
    path.write_bytes(hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)
    assert repeatable(training.train(run)) == whole
    assert f"checkpoint {path}: cannot be read" in capsys.readouterr().out
    assert not Path("executed").exists()


def test_checkpoints_go_where_they_are_asked_for(run, stop, tmp_path, whole):
    (tmp_path / "drive").mkdir()
    run = prepare(tmp_path / "results", checkpoint_dir=str(tmp_path / "drive"))
    stop(run, 10)
    assert [path.name for path in (tmp_path / "drive").iterdir()] == [run.path.with_suffix(".checkpoint").name]
    assert left(run) == [".alive"]
    (tmp_path / "drive" / f"{Store(run).path.name}.12.partial").touch()  # a kill while one was written
    assert repeatable(training.train(run)) == whole
    assert list((tmp_path / "drive").iterdir()) == []


def test_a_new_machine_knows_what_was_repeated(run, stop, tmp_path):
    """It has the drive, and nothing of the disk that the run was stopped on."""
    (tmp_path / "drive").mkdir()
    run = prepare(tmp_path / "results", checkpoint_dir=str(tmp_path / "drive"))
    stop(run, 6)
    stop(run, 6)
    before = checkpoints.read(Store(run).path, run.key)["repeated"]
    assert before > 0
    shutil.rmtree(tmp_path / "results")
    assert training.train(run)["seconds_repeated"] > before


def test_killed_between_record_and_clearing_up(run, stop):
    """Nothing stays beside the record."""
    stop(run, 10)
    kept = {path: path.read_bytes() for path in run.path.parent.iterdir() if path.suffix in (".checkpoint", ".alive")}
    record = training.train(run)
    for path, content in kept.items():
        path.write_bytes(content)
    assert training.train(run) == record
    assert left(run) == [".trained"]


@pytest.mark.parametrize("how", ["no folder", "a file", "an empty folder of the disk below"])
def test_a_mount_that_drops_costs_a_line_and_no_epoch(how, run, stop, tmp_path, capsys, monkeypatch, whole):
    """It is there for one epoch, then no longer: the run says so once, and its state stays on the local disk. What was
    the drive is not written into."""
    drive, save = tmp_path / "drive", Store.save
    drive.mkdir()
    run = prepare(tmp_path / "results", checkpoint_dir=str(drive))

    def drops(store, state):
        if state["epoch"] == 2:
            shutil.rmtree(drive)
            if how == "a file":
                drive.write_text("no longer a folder")
            elif how != "no folder":
                drive.mkdir()
                store.device += 1  # as that of a drive was
            store.save = partial(save, store)  # once
        save(store, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "save", drops)
        stop(run, 14)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("checkpoint")]
    assert len(said) == 1
    assert "drive" in said[0]
    assert "cannot be written" in said[0]
    assert said[0].endswith("training goes on")
    record = training.train(run)
    assert [row["epoch"] for row in record["attempts"]] == [3]
    assert repeatable(record) == whole
    assert not drive.is_dir() or list(drive.iterdir()) == []


def test_a_full_disk_costs_checkpoints_not_the_run(run, monkeypatch, capsys, whole):
    write = files.write_whole

    def full(path, *parts):
        if path.suffix == ".checkpoint":
            raise UserError(f"{path}: cannot be written (No space left on device)")
        write(path, *parts)

    monkeypatch.setattr(files, "write_whole", full)
    assert repeatable(training.train(run)) == whole
    assert capsys.readouterr().out.count("No space left on device); training goes on") == EPOCHS


def test_a_file_is_replaced_only_by_a_whole_one(tmp_path, monkeypatch, refused):
    path = tmp_path / "state"
    files.write_whole(path, b"before")
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", lambda number: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        refused(lambda: files.write_whole(path, b"after"), str(path), "No space left on device", "free some space")
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]
    files.write_whole(path, b"after")
    assert path.read_bytes() == b"after"


def test_work_done_twice_is_counted_apart(tmp_path):
    """Begun at 100, checkpoint at 130, last sign of life at 147: 17 seconds are lost. Then 5 more, with none kept."""
    path = tmp_path / "run.json"
    alive = path.with_suffix(".alive")
    alive.write_text(json.dumps({"began": 100.0, "repeated": 0.0}))
    os.utime(alive, (147, 147))
    second = Attempts(path)
    second.began = 200.0
    second.begin(130.0)
    assert second.repeated == 17
    os.utime(alive, (205, 205))
    third = Attempts(path)
    third.begin(130.0)
    assert third.repeated == 17 + 5
    third.again(3.0)
    assert third.repeated == 25
    assert json.loads(alive.read_text())["repeated"] == 25
    third.end()
    assert not alive.exists()


def test_the_larger_count_of_repeated_work_is_true(tmp_path):
    """The checkpoint's, where a run went on elsewhere meanwhile; the file's, where no checkpoint was written since."""
    path = tmp_path / "run.json"
    first = Attempts(path)
    first.begin(130.0, 1000.0)
    assert first.repeated == 1000
    alive = path.with_suffix(".alive")
    for kept, said, expected in ((20.0, 1000.0, 1000), (30.0, 5.0, 30)):
        alive.write_text(json.dumps({"began": 100.0, "repeated": kept}))
        os.utime(alive, (120, 120))  # its last sign of life is older than the checkpoint
        again = Attempts(path)
        again.begin(130.0, said)
        assert again.repeated == expected


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"began": "x", "repeated": 0}'])
def test_a_damaged_sign_of_life_counts_nothing(content, tmp_path):
    (tmp_path / "run.alive").write_text(content)
    attempts = Attempts(tmp_path / "run.json")
    attempts.begin(None)
    assert attempts.repeated == 0


def test_seconds_repeated_stand_in_the_record(run, stop):
    stop(run, 10)
    assert training.train(run)["seconds_repeated"] > 0


def test_an_uninterrupted_run_repeats_nothing(trained):
    record = trained("no_increase", size=32).record
    assert record["seconds_repeated"] == 0
    assert record["attempts"] == []
