"""One line that says how far something is and how long it still takes; nothing for what is over in five seconds."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
QUIET_SECONDS = 5.0
CHANNEL = "ENTR_PROGRESS"  # names a file: then the share done goes there, for a parent process to show


def minutes(seconds: float) -> str:
    """45 s, 3 min, 1 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    whole = round(seconds / 60)
    return f"{whole} min" if whole < 60 else f"{whole // 60} h {whole % 60} min"


class Progress:
    """A line updated in place: in a notebook one output that is emptied at the end, in a terminal one line.

    `start` is the share that was done before: by a run that was stopped and goes on.
    """

    def __init__(self, text: str) -> None:
        self.text, self.began, self.handle, self.shown, self.start = text, time.monotonic(), None, 0.0, 0.0

    def update(self, share: float, note: str = "") -> None:
        """Say that `share` (0 to 1) is done."""
        if channel := os.environ.get(CHANNEL):
            with open(channel, "w") as file:
                file.write(f"{share:.4f}")
            return
        now = time.monotonic()
        if now - self.began < QUIET_SECONDS or now - self.shown < 0.5 or share <= self.start:
            return
        self.shown = now
        left = (now - self.began) * (1 - share) / (share - self.start)
        self._show(f"{self.text}: {share:.0%}{', ' + note if note else ''}, about {minutes(left)} left")

    def close(self) -> None:
        """Take the line away."""
        if self.shown:
            self._show("")

    def _show(self, line: str) -> None:
        if "ipykernel" in sys.modules:
            from IPython.display import display

            content = {"text/plain": line}
            if self.handle:
                self.handle.update(content, raw=True)
            else:
                self.handle = display(content, raw=True, display_id=True)
        elif sys.stderr.isatty():
            print(f"\r{line:<100}", end="" if line else "\r", file=sys.stderr, flush=True)


def track(items: Sequence[Item] | Iterable[Item], total: int, text: str) -> Iterator[Item]:
    """The items, with a progress line."""
    progress = Progress(text)
    for i, item in enumerate(items):
        yield item
        if CHANNEL not in os.environ:  # the channel is for the run as a whole
            progress.update((i + 1) / total)
    progress.close()
