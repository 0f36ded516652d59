"""One line that says how far something is."""

import pytest

from entr_utils.progress import CHANNEL, Bar, Progress, minutes, seconds_left


@pytest.fixture
def minute_old(monkeypatch):
    """A progress that began a minute ago, and the lines it shows."""
    monkeypatch.delenv(CHANNEL, raising=False)
    progress, lines = Progress("training"), []
    progress.began -= 60
    monkeypatch.setattr(progress, "_show", lines.append)
    return progress, lines


def test_what_is_left_follows_from_what_was_done(minute_old):
    progress, lines = minute_old
    progress.update(0.75, "epoch 3 of 4")
    assert lines == ["training: 75%, epoch 3 of 4, about 20 s left"]


def test_a_run_that_goes_on_counts_from_where_it_was(minute_old):
    """A quarter took this minute, so the last quarter takes another; before anything is done nothing is foretold."""
    progress, lines = minute_old
    progress.start = 0.5
    progress.update(0.5)
    assert lines == []
    progress.update(0.75)
    assert lines == ["training: 75%, about 60 s left"]


def test_a_forecast_is_believed_until_enough_was_seen(minute_old):
    """Of 200 s forecast 2 were done in a minute, most of it start-up: not another 99 minutes."""
    progress, lines = minute_old
    progress.expected = 200.0
    progress.update(0.01)
    assert lines == ["training: 1%, about 5 min left"]  # 198 s x (60 + 100) / (2 + 100) = 311 s


def test_a_forecast_that_was_wrong_is_scaled():
    assert seconds_left(1000, 0, 0) == 1000
    assert seconds_left(1000, 100_000, 200_000) == pytest.approx(2000, rel=0.01)


@pytest.fixture
def bar(monkeypatch):
    """A bar over three runs of an hour each, and a clock to be turned by hand."""
    now = [0.0]
    monkeypatch.setattr("entr_utils.progress.time.monotonic", lambda: now[0])
    bar = Bar([3600.0] * 3)
    monkeypatch.setattr(type(bar.bar), "format_dict", property(lambda self: {"elapsed": now[0]}))
    yield bar, now
    bar.bar.disable = True


def test_a_run_that_was_half_done_counts_for_nothing_that_took_time(bar):
    """A minute in, a minute's worth was done: the rest of the forecasts is left, not a tenth of it."""
    bar, now = bar
    bar.begin("one", 3600, 0)
    bar.update(0.5)
    now[0] = 60
    bar.update(0.5 + 60 / 3600)
    assert bar.bar.postfix == f"about {minutes(2.5 * 3600 - 60)} left"


def test_a_run_that_failed_takes_its_forecast_with_it(bar):
    bar, now = bar
    bar.begin("one", 3600, 0)
    now[0] = 3
    bar.end(worked=False)
    bar.begin("two", 3600, 0)
    bar.update(1e-9)
    now[0] = 6
    bar.update(3 / 3600)
    assert bar.bar.total == 7200
    assert bar.bar.postfix == f"about {minutes((7200 - 3) * 186 / 183)} left"


def test_a_word_that_was_not_heard_takes_nothing_back(bar):
    """The file that the share comes through may be read while it is empty."""
    bar, now = bar
    bar.begin("one", 3600, 0)
    for share in (0.001, 0.25, 0.0):
        now[0] = 900
        bar.update(share)
    assert bar.bar.n == pytest.approx(900)
    bar.end()
    assert bar.bar.n == pytest.approx(3600)


def test_what_is_over_in_five_seconds_shows_nothing(minute_old):
    progress, lines = minute_old
    progress.began += 57
    progress.update(0.5)
    assert lines == []


def test_a_parent_process_is_told_the_share(minute_old, tmp_path, monkeypatch):
    progress, lines = minute_old
    monkeypatch.setenv(CHANNEL, str(tmp_path / "channel"))
    progress.update(0.25)
    assert (tmp_path / "channel").read_text() == "0.2500"
    assert lines == []


@pytest.mark.parametrize(("seconds", "said"), [(89, "89 s"), (91, "2 min"), (3590, "1 h 0 min"), (4800, "1 h 20 min")])
def test_minutes(seconds, said):
    assert minutes(seconds) == said
