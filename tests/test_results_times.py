"""T is plan x clock: by hand, take by take."""

import json

import by_hand
import pytest

from entr_utils.regimes.plan import Work
from entr_utils.results import times
from entr_utils.util import Damaged

SETTING = ("A device", "resnet18", "float32")
WORK = (
    Work("resize", "SGDR", 90, 100, stored=250),
    Work("step", "SGDR", 20, 100, "head", 8, stored=100),
    Work("step", "CMult", 10, 250, "head", 8, stored=250),
    Work("step", "RPL", 5, 250, "all", 8, stored=250),
    Work("tta", "TTA", 10, 250),
)
SECONDS = {"resize 100 stored=250": 0.01, "step head 100 b8": 0.5, "step head 250 b8": 1.0, "step all 250 b8": 4.0}
SECONDS |= {"tta 250": 0.1}


def write(folder, *seconds: dict, device: str = "A device", first: float = 2.0) -> times.Clocks:
    """The clock of a device with a take for each dictionary of seconds by key, read again."""
    place = dict(zip(("network", "precision"), SETTING[1:], strict=True)) | {"spread": {}, "rounds": 7}
    takes = [
        place | {"taken": f"2026-01-0{number}", "seconds": by_key, "first": dict.fromkeys(by_key, first)}
        for number, by_key in enumerate(seconds, 1)
    ]
    (folder / "clocks").mkdir(exist_ok=True)
    path = folder / "clocks" / f"{device.replace(' ', '-').lower()}.json"
    path.write_text(json.dumps({"device": device, "threads": 2, "torch": "2", "takes": takes}))
    return times.read_clocks(folder)


def slower(factor: float) -> dict[str, float]:
    return {key: factor * value for key, value in SECONDS.items()}


def test_plan_times_clock_by_hand(tmp_path):
    """SGDR .9 + 10, CMult 10, RPL 20, TTA 1; five keys whose first steps cost 2 s more."""
    found = times.of_work(WORK, write(tmp_path, SECONDS), *SETTING)
    assert found.phases == pytest.approx({"SGDR": 10.9, "CMult": 10.0, "RPL": 20.0, "TTA": 1.0})
    assert (found.subtotal, found.total) == pytest.approx((20.9, 41.9))
    assert found.with_first_use == pytest.approx(51.9)
    assert found.device == "A device"


def test_every_figure_is_the_median_over_takes(tmp_path):
    found = times.of_work(WORK, write(tmp_path, slower(1), slower(3), slower(1.1)), *SETTING)
    assert found.total == pytest.approx(1.1 * 41.9)
    assert found.phases["RPL"] == pytest.approx(22.0)
    assert sorted(found.takes.values()) == pytest.approx([41.9, 1.1 * 41.9, 3 * 41.9])
    # One take with a slow first phase, one with a slow last one: the median key by key would be the fast 41.9.
    slow = [SECONDS | {"step head 100 b8": 1.0}, SECONDS | {"step all 250 b8": 6.0}, slower(2)]
    assert times.of_work(WORK, write(tmp_path, *slow), *SETTING).total == pytest.approx(51.9)


def test_a_key_counts_its_first_use_once(tmp_path):
    twice = (WORK[1], Work("step", "CLRS", 3, 100, "head", 8, stored=100))
    found = times.of_work(twice, write(tmp_path, SECONDS), *SETTING)
    assert found.with_first_use - found.total == pytest.approx(2.0)


def test_a_take_without_all_keys_is_left_out(tmp_path):
    assert times.read_clocks(tmp_path) == {}
    clocks = write(tmp_path, {key: value for key, value in SECONDS.items() if key != "step all 250 b8"})
    assert times.of_work(WORK, clocks, *SETTING) is None
    clocks = write(tmp_path, {"tta 250": 9.0}, SECONDS)
    assert times.of_work(WORK, clocks, *SETTING).total == pytest.approx(41.9)


@pytest.mark.parametrize("place", range(3))
def test_another_device_network_or_precision_is_another_clock(tmp_path, place):
    clocks, other = write(tmp_path, SECONDS), list(SETTING)
    other[place] = "another"
    assert times.of_work(WORK, clocks, *other) is None


def test_a_record_is_timed_by_a_clock_of_its_network(tmp_path):
    loaded = [by_hand.record(), by_hand.record(device="No clock, 2 threads"), by_hand.record(network="resnet34")]
    own, borrowed, none = times.of_records(loaded, by_hand.clocks(tmp_path, loaded[:1]))
    assert own == borrowed
    assert own.total == pytest.approx(sum(one.n * by_hand.seconds_of(one) for one in loaded[0].work))
    assert (own.device, none) == (by_hand.DEVICE, None)


def test_all_are_timed_by_the_clock_of_the_device_that_most_ran_on(tmp_path):
    """Of three devices the one with most records has no clock; of the others the one with more records counts."""
    devices = ["A", "B", "B", "C", "C", "C"]
    loaded = [by_hand.record(seed=seed, device=device) for seed, device in enumerate(devices)]
    for device in "AB":
        clocks = by_hand.clocks(tmp_path, loaded, device=device)
    assert {one.device for one in times.of_records(loaded, clocks)} == {"B"}


@pytest.mark.parametrize("lost", ["network", "precision", "taken", "seconds", "first"])
def test_a_take_that_lost_a_field_is_damaged(tmp_path, lost):
    write(tmp_path, SECONDS)
    (path,) = (tmp_path / "clocks").glob("*.json")
    clock = json.loads(path.read_text())
    del clock["takes"][0][lost]
    for text in (json.dumps(clock), '{"takes": []', "[1]", '{"device": "x"}', '{"device": "x", "takes": [3]}'):
        path.write_text(text)
        with pytest.raises(Damaged, match=path.name):
            times.read_clocks(tmp_path)
