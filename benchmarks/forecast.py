"""Was the forecast right? Every run that was told beforehand what it would take, against what it took (T)."""

import statistics
from pathlib import Path

from entr_utils import records

PROFILES = ("paper", "mechanism", "quick")
NEAR, MEDIAN, SHARE = 0.2, 0.1, 0.9  # a forecast within NEAR is a hit; required: median error, share of hits


def measure(results: str = "results") -> dict:
    """A row for each run of these profiles that has a forecast, and how good they were together."""
    loaded = [record for profile in PROFILES for record in records.read_all(Path(results) / profile)]
    rows = [row(record) for record in loaded if "forecast_seconds" in record]
    each = {profile: summary([row["error"] for row in rows if row["profile"] == profile])
            for profile in dict.fromkeys(row["profile"] for row in rows)}  # fmt: skip
    return {"runs": rows, "profiles": each, **summary([row["error"] for row in rows])}


def row(record: dict) -> dict:
    """Seconds of T forecast and measured, and the relative error (above 0: it took less than was said)."""
    said, took = record["forecast_seconds"], record["seconds_total"]
    names = ("profile", "dataset", "network", "regime", "seed")
    return {**{name: record[name] for name in names}, "device": record["environment"]["device"], "forecast": said,
            "measured": took, "error": said / took - 1}  # fmt: skip


def summary(errors: list[float]) -> dict:
    """Median absolute error, share within NEAR, what is required of both, and whether it is met; None without runs."""
    required = {"near": NEAR, "required_median": MEDIAN, "required_share": SHARE}
    if not errors:
        return {"n": 0, "median": None, "share": None, "median_met": None, "share_met": None, **required}
    median = statistics.median(map(abs, errors))
    share = sum(abs(error) <= NEAR for error in errors) / len(errors)
    return {"n": len(errors), "median": median, "share": share, "median_met": median <= MEDIAN,
            "share_met": share >= SHARE, **required}  # fmt: skip
