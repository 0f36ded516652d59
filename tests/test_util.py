"""Files that are whole or not there, locks across processes, names that follow from content, progress. No torch."""

import fcntl
import io
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from data_by_hand import refused

from entr_utils import util
from entr_utils.util import Damaged, Progress, UserError


def test_an_error_is_one_line_wherever_it_is_shown():
    error = UserError("seed='x':\n  no\tsuch  seed")
    assert str(error) == "seed='x': no such seed"
    assert error._render_traceback_() == ["UserError: seed='x': no such seed"]  # what IPython shows


def test_a_file_is_replaced_only_by_a_whole_one(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "state"
    util.write_whole(path, b"be", memoryview(b"fore"))
    with monkeypatch.context() as patch:
        patch.setattr(util.os, "fsync", Mock(side_effect=OSError(28, "No space left on device")))
        refused(lambda: util.write_whole(path, b"after"), path, "No space left on device")
        patch.setattr(util.os, "fsync", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            util.write_whole(path, b"after")
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in path.parent.iterdir()] == ["state"]
    util.write_whole(path, b"after")
    assert path.read_bytes() == b"after"
    refused(lambda: util.write_whole(path / "below", b""), path / "below", "folder")


def test_a_path_is_looked_for_where_the_notebook_began(tmp_path, monkeypatch):
    """Its first cell goes elsewhere; what is here is taken first, and what is nowhere stays as it was typed."""
    (tmp_path / "photos.zip").touch()
    assert util.where("photos.zip") == Path("photos.zip")
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(user_ns={"_dh": [str(tmp_path), "elsewhere"]}))
    assert util.where("photos.zip") == tmp_path / "photos.zip"
    assert util.where("nowhere.zip") == Path("nowhere.zip")
    Path("photos.zip").touch()
    assert util.where("photos.zip") == Path("photos.zip")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000], ids=["empty", "cut", "bytes", "deep"])
def test_json_is_read_as_written_or_not_at_all(content, tmp_path):
    """Damaged; a file that cannot be read is not, so nothing is to be deleted."""
    util.write_json(value := {"b": [1, 2.5, None], "a": "\u00e4"}, tmp_path / "x.json")
    assert util.read_json(tmp_path / "x.json") == value
    (tmp_path / "x.json").write_bytes(content)
    for path, damaged in ((tmp_path / "x.json", True), (tmp_path, False), (tmp_path / "nowhere.json", False)):
        with pytest.raises(UserError, match=str(path)) as caught:
            util.read_json(path)
        assert isinstance(caught.value, Damaged) == damaged


def test_temporary_files_of_the_dead_are_removed(tmp_path):
    dead, here = subprocess.Popen(["true"]), socket.gethostname()
    dead.wait()
    assert util.temporary(tmp_path / "a.json").name == f"a.json.{here}.{os.getpid()}.partial"
    kept = ["a.json", "x.partial", util.temporary(tmp_path / "a.json").name, f"a.json.far-{here}.{dead.pid}.partial"]
    (tmp_path / "deep").mkdir()
    for name in (*kept, f"a.json.{here}.{dead.pid}.partial", f"deep/b.{here}.{dead.pid}.partial"):
        (tmp_path / name).touch()
    util.remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {*kept}


HOLDER = """
import sys
from pathlib import Path
from entr_utils.util import lock
with lock(Path(sys.argv[1])) as held:
    print(held, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock tmp_path/lock until it is killed or its input ends."""
    words = [sys.executable, "-c", HOLDER, str(tmp_path / "lock")]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "True\n"
    yield process
    process.kill()
    process.wait()


def test_a_lock_is_held_by_one_process_and_not_by_a_dead_one(holder, tmp_path, capsys):
    with util.lock(tmp_path / "lock") as held:
        assert held is False
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    for path in (tmp_path / "lock", tmp_path / "lock", tmp_path / "deep" / "lock"):
        with pytest.raises(KeyError), util.lock(path, "waiting") as held:
            raise KeyError(held)  # passed on, and the lock let go
        assert held is True
    assert capsys.readouterr().out == ""


def test_who_waits_prints_a_line_once(holder, tmp_path, monkeypatch):
    printed: list[str] = []

    def show(text, **_):
        printed.append(text)
        holder.stdin.close()

    monkeypatch.setattr("builtins.print", show)
    with util.lock(tmp_path / "lock", "waiting: someone has it") as held:
        assert (held, printed) == (True, ["waiting: someone has it"])


def test_a_lock_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    refused(lambda: util.lock(tmp_path / "file" / "lock").__enter__(), tmp_path / "file" / "lock")


def test_names_follow_from_content():
    assert util.checksum({"a": 1, "b": [2.5]}) == util.checksum({"b": [2.5], "a": 1}) != util.checksum({"a": 2})
    assert util.checksum({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # sha256 of "{}"
    assert util.slug("Intel(R) Xeon(R) Processor, 2 threads") == "intel-xeon-processor-2-threads"
    assert (util.slug("Tesla T4"), util.slug("")) == ("tesla-t4", "")
    durations = [util.minutes(seconds) for seconds in (0, 89, 91, 3590, 4800)]
    assert durations == ["0 s", "89 s", "2 min", "1 h 0 min", "1 h 20 min"]


def test_the_cache_is_where_the_environment_names_it(tmp_path, monkeypatch):
    for named, name in ((str(tmp_path), tmp_path.name), ("", "entr_utils")):
        monkeypatch.setenv("ENTR_CACHE", named)
        assert util.cache_folder().name == name


@pytest.fixture
def seen(monkeypatch) -> io.StringIO:
    """What a terminal shows to somebody who looks."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.delenv(util.CHANNEL, raising=False)
    monkeypatch.setattr(util, "tqdm", partial(util.tqdm, file=terminal))
    return terminal


def test_what_is_over_in_five_seconds_shows_nothing_nor_what_a_parent_process_reads(seen, tmp_path, monkeypatch):
    progress = Progress("training")
    progress.update(0.5)
    progress.close()
    assert list(util.track([1, 2, 3], "reading")) == [1, 2, 3]
    monkeypatch.setenv(util.CHANNEL, str(tmp_path / "channel"))
    monkeypatch.setattr(util, "QUIET_SECONDS", 0.0)
    progress = Progress("training")
    for show, share in ((progress.start_at, 0.125), (progress.update, 0.25)):
        show(share)
        assert float((tmp_path / "channel").read_text()) == share
    progress.close()
    assert seen.getvalue().strip() == ""


def test_progress_counts_from_where_a_run_goes_on(seen, monkeypatch):
    """The half that was done before took none of this minute: the next quarter takes as long as the last."""
    monkeypatch.setattr(util, "QUIET_SECONDS", 0.0)
    progress = Progress("training")
    progress.start_at(0.5)
    progress.bar.start_t -= 60
    progress.bar.last_print_t -= 60
    progress.update(0.75, "epoch 3 of 4")
    shown = seen.getvalue().split("\r")[-1]
    assert re.search(r"75%.*(01:00|00:59).*epoch 3 of 4", shown)


@pytest.mark.parametrize("columns", [80, 40])
def test_a_progress_line_is_no_wider_than_the_terminal(columns, monkeypatch):
    """A wider one would leave a line at every update."""
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    monkeypatch.delenv(util.CHANNEL, raising=False)
    monkeypatch.setattr(util, "QUIET_SECONDS", 0.0)
    with open(terminal, "w") as file:
        monkeypatch.setattr(util, "tqdm", partial(util.tqdm, file=file))
        progress = Progress("photographs of beetles, resnet50, stepwise:switch=RPL, fold 3 of ten")
        progress.update(0.5, ", epoch 12 of 21, and what else there is to say of it")
        progress.close()
        for _ in util.track(range(3), "reading images of a folder with a rather long name, one after the other"):
            pass
        shown = [line for line in re.split("[\r\n]", os.read(screen, 10**5).decode()) if line.strip()]
    os.close(screen)
    assert "photographs" in shown[0]
    assert max(map(len, shown)) <= columns
