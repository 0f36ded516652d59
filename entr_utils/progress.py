"""One line that says how far something is and how long it still takes; nothing for what is over in five seconds."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
QUIET_SECONDS = 5.0
BELIEF = 180.0  # seconds of a forecast that weigh as much as what was seen: a first minute is no sample of the rest
CHANNEL = "ENTR_PROGRESS"  # names a file: then the share done goes there, for a parent process to show


def minutes(seconds: float) -> str:
    """45 s, 3 min, 1 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    whole = round(seconds / 60)
    return f"{whole} min" if whole < 60 else f"{whole // 60} h {whole % 60} min"


def seconds_left(to_do: float, done: float, passed: float) -> float:
    """What a forecast of `to_do` seconds is worth after `passed` seconds in which `done` of its seconds were done: at
    first it is believed, later it is scaled by how far off it was so far."""
    belief = min(BELIEF, (to_do + done) / 2)
    return to_do * (passed + belief) / (done + belief) if belief else 0.0


class Progress:
    """A line updated in place: in a notebook one output that is emptied at the end, in a terminal one line.

    `start` is the share that was done before: by a run that was stopped and goes on. `expected` are the seconds that
    were forecast for all of it; without them what is left follows from what was done alone.
    """

    def __init__(self, text: str, expected: float = 0.0) -> None:
        self.expected = expected
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
        left = self._left(share, now - self.began)
        self._show(f"{self.text}: {share:.0%}{', ' + note if note else ''}, about {minutes(left)} left")

    def _left(self, share: float, passed: float) -> float:
        if not self.expected:
            return passed * (1 - share) / (share - self.start)
        return seconds_left((1 - share) * self.expected, (share - self.start) * self.expected, passed)

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


class Bar:
    """One bar over several runs, in seconds of their forecasts; with it, what is left of all (`seconds_left`)."""

    def __init__(self, forecasts: list[float]) -> None:
        form = "{desc} {percentage:3.0f}%|{bar:20}| {elapsed} so far{postfix}"
        often = 1 if sys.stderr.isatty() else 60
        self.bar = tqdm(total=sum(forecasts), bar_format=form, disable=not forecasts, mininterval=often)

    def begin(self, name: str, forecast: float, start: float) -> None:
        """The next run, of which `start` seconds are its start and end, which it says nothing of."""
        self.before, self.forecast, self.start = self.bar.n, forecast, start
        self.began, self.share = time.monotonic(), 0.0
        self.bar.set_description_str(name, refresh=False)

    def update(self, share: float) -> None:
        """Say that `share` (0 to 1) of the run is done. What the first word of it says was done before, elsewhere."""
        if share and not self.share:
            self.bar.initial += share * (self.forecast - self.start)
        self.share = max(self.share, share)
        now = min(self.start / 2, time.monotonic() - self.began) + self.share * (self.forecast - self.start)
        self._move(self.before + now)

    def end(self, worked: bool = True) -> None:
        """The run is over. One that failed takes its forecast with it, else it would count as done in no time."""
        if worked:
            self._move(self.before + self.forecast)
        else:
            self.bar.total -= self.before + self.forecast - self.bar.n

    def _move(self, done: float) -> None:
        step = max(0.0, done - self.bar.n)
        done = self.bar.n + step
        left = seconds_left(self.bar.total - done, done - self.bar.initial, self.bar.format_dict["elapsed"])
        self.bar.set_postfix_str(f"about {minutes(left)} left", refresh=False)
        self.bar.update(step)


def track(items: Sequence[Item], text: str) -> Iterator[Item]:
    """The items, with a progress line."""
    progress = Progress(text)
    for i, item in enumerate(items):
        yield item
        if CHANNEL not in os.environ:  # the channel is for the run as a whole
            progress.update((i + 1) / len(items))
    progress.close()
