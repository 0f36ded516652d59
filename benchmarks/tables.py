"""What the bench shows, in a terminal and in its notebook: tables and sentences made from bench.json. No torch here."""

from collections.abc import Callable, Iterator

from IPython.display import Markdown

from benchmarks.bench import PARTS
from entr_utils.progress import minutes

TAKES = {
    "ceiling": "some 4 minutes on two slow cores", "versus": "some 6 minutes on two slow cores",
    "growth": "some 4 minutes on two slow cores", "precision": "some 4 minutes on two slow cores",
    "phases": "a quick run, under a minute on two slow cores", "forecast": "reads records only",
}  # fmt: skip
HELD = ("before", "forecast", "used")  # memory: when a process starts to train, as said, as measured
FLAT = 0.05  # over the number of images the time of one may differ by so much
MET = {True: "met", False: "**missed**", None: "none set"}


def table(rows: list[dict]) -> str:
    """A Markdown table that stays readable as text."""
    names = list(rows[0])
    texts: list[list[str]] = [names, *([str(row[name]) for name in names] for row in rows)]
    widths = [max(len(text[i]) for text in texts) for i in range(len(names))]
    texts.insert(1, ["-" * width for width in widths])
    padded = ([cell.ljust(width) for cell, width in zip(text, widths, strict=True)] for text in texts)
    return "\n".join(f"| {' | '.join(text)} |" for text in padded)


def show(bench: dict, part: str) -> Markdown:
    """The tables of one part, with what they mean and what they stood on."""
    if part not in bench:
        return Markdown(f"Not measured: `make bench PARTS={part}` measures it.")
    entry = bench[part]
    return Markdown("\n\n".join((*SHOWN[part](entry["result"]), f"<sub>{stood_on(entry)}</sub>")))


def stood_on(entry: dict) -> str:
    """Device, versions, commit, load, duration of one part."""
    env = entry["environment"]
    return (f"{env['device']}; torch {env['torch']}, fastai {env['fastai']}; commit {env['commit'][:10]}"
            f"{' and changes' if env['commit'].endswith('-dirty') else ''}; load {env['load']:.1f} at the start; "
            f"{env['started']}; took {minutes(entry['seconds'])}.")  # fmt: skip


def _within(row: dict, name: str, low: str = "low", high: str = "high", digits: str = ".1f") -> str:
    return f"{row[name]:{digits}} ({row[low]:{digits}} to {row[high]:{digits}})"


def ceiling(rows: list[dict]) -> list[str]:
    """Ratio of the loop to the bare step, and where the rest of the time goes."""
    shown = [{
        "network": row["network"], "trains": row["trains"], "px": row["size"], "loop, ms": f"{row['loop_ms']:.1f}",
        "bare step, ms": f"{row['bare_ms']:.1f}", "images/s": f"{row['images_per_second']:.1f}",
        "ratio (smallest to largest)": _within(row, "ratio", "ratio_low", "ratio_high", ".2f"),
        "required": "" if row["required"] is None else f"{row['required']:.2f}", "": MET[row["met"]],
        "loading, ms": f"{row['loading_ms']:.1f}", "augmentation, ms": f"{row['augmentation_ms']:.1f}",
        "rest, ms": f"{row['rest_ms']:.1f}", "binds": row["binds"],
        **({} if row["launch_share"] is None else {"launching": f"{row['launch_share']:.0%}"}),
    } for row in rows]  # fmt: skip
    pairs, first = [row["pairs"] for row in rows], rows[0]
    return [table(shown), f"Batch {first['batch']}, {first['precision']}, {min(pairs)} to {max(pairs)} pairs, steps of "
            f"the loop and bare ones {first['block']} at a time. The rest is what remains of the loop: callbacks and "
            "Python; below 0 it is noise, or work done while the device was busy."]  # fmt: skip


def versus(result: dict) -> list[str]:
    """Speed by size and way, then the accuracies."""
    rows = [{
        "px": row["size"], "way": row["way"], "images/s": _within(row, "images_per_second"),
        "ours / way": _within(row, "ratio", "ratio_low", "ratio_high", ".2f"),
        "required": "" if row["required"] is None else f"{row['required']:.1f}", "": MET[row["met"]],
        "images an epoch": row["images"], "rounds": row["rounds"], "set up, s": f"{row['prepare_seconds']:.1f}",
    } for row in result["speed"]]  # fmt: skip
    note = "Set up is done once and is not in the images/s; ours decodes all images there, the others in every epoch."
    if all(row["required"] is None for row in result["speed"]):
        note += " No requirement was set for a CPU without bfloat16."
    return [table(rows), note, _accuracies(result["accuracy"], "ours", "fastai's way")]


def _accuracies(result: dict, first: str, second: str) -> str:
    """Two ways of training the small problem, in a sentence."""
    return (f"Accuracy on the small problem ({result['n_test']} test images, chance {result['chance']:.2f}): {first} "
            f"{result['first_mean']:.3f}, {second} {result['second_mean']:.3f}; paired difference "
            f"{100 * result['difference']:+.1f} points, 95% interval {100 * result['low']:+.1f} to "
            f"{100 * result['high']:+.1f} (n = {result['n']} seeds).")  # fmt: skip


def growth(result: dict) -> list[str]:
    """More images, larger images, memory, places."""
    counts = [{"images": row["images"], "ms an image": _within(row, "ms_per_image"),
               f"to that of {result['images'][0]['images']}": f"{row['ratio']:.2f}"}
              for row in result["images"]]  # fmt: skip
    sizes = [{"px": row["size"], "ms an image": _within(row, "ms_per_image"), "GFLOP an image": f"{row['gflop']:.2f}",
              f"time a GFLOP, to that at {row['reference']} px": f"{row['relative']:.2f}"}
             for row in result["sizes"]]  # fmt: skip
    used = [{"px": row["size"], **{f"{name}, MiB": f"{row[name] / 2**20:.0f}" for name in HELD},
             "error": f"{row['error']:+.0%}"} for row in result["memory"]]  # fmt: skip
    places = [{"images on the": row["place"], "images/s": _within(row, "images_per_second"),
               "to the device's": f"{row['ratio']:.2f}"} for row in result["placement"]]  # fmt: skip
    first, memory, place = result["images"][0], result["memory"][0], result["placement"][0]
    return [
        f"More images: ResNet18, all layers, {first['size']} px, batch {first['batch']}, a whole epoch each, median of "
        f"{first['rounds']} rounds.", table(counts),
        f"Larger images: ResNet18, the head trains, batch {result['sizes'][0]['batch']}.", table(sizes),
        f"Memory of a fresh process with {memory['images']} images, {memory['steps']} steps at batch "
        f"{memory['batch']} with all layers training, then plain and augmented prediction; forecast before the "
        "first step. What the process held before (on a CPU: Python and torch) is in both.", table(used),
        f"Where the images are ({place['images']} at {place['size']} px, the head trains): forced by saying that there "
        "is no room elsewhere. A file this small stays in the system's cache: what is shown is the way through the "
        "file, not a slow disk. On a CPU device and host are one.", table(places),
    ]  # fmt: skip


def precision(result: dict) -> list[str]:
    """Speed by precision, then the accuracies."""
    rows = [{"precision": row["precision"], "px": row["size"], "images/s": _within(row, "images_per_second"),
             "to float32": f"{row['ratio']:.2f}", "rounds": row["rounds"]} for row in result["speed"]]  # fmt: skip
    emulated = f"This processor does not compute in {result['reduced']}: it is emulated, and runs take float32 here. "
    return [table(rows), (emulated if result["emulated"] else "") +
            _accuracies(result["accuracy"], result["reduced"], "float32")]  # fmt: skip


def phases(result: dict) -> list[str]:
    """Seconds and share of each phase, of a quick and a real run."""
    runs = {name: run for name, run in result.items() if run}
    rows: list[dict] = [{"phase": phase} for phase in result["quick"]["phases"]]
    for row in rows:
        for name, run in runs.items():
            seconds = run["phases"][row["phase"]]
            row |= {f"{name}, s": f"{seconds:.1f}", f"{name}, share": f"{seconds / run['seconds']:.1%}"}
    said = [f"The {name} run ({run['run']}, profile {run['profile']}) took {minutes(run['seconds'])}; "
            f"{run['overhead']:.1%} of it went to everything but start-up (kernel, imports, network), training, "
            f"evaluation and TTA; at most {run['required']:.0%} is required: {MET[run['met']]}."
            + (" Its notebook was drawn again since: the times of its cells are the later ones." * run["drawn_again"])
            for name, run in runs.items()]  # fmt: skip
    none = "" if result["real"] else "No real run with its phases is committed."
    return [text for text in (table(rows), *said, none) if text]


def forecast(result: dict) -> list[str]:
    """How good the forecasts were, and those that were not."""
    if not result["n"]:
        return ["No run with a forecast is there."]
    lines = [f"{result['n']} runs: median error {result['median']:.1%} (at most {result['required_median']:.0%} is "
             f"required: {MET[result['median_met']]}), {result['share']:.0%} within {result['near']:.0%} (at least "
             f"{result['required_share']:.0%} are required: {MET[result['share_met']]})."]  # fmt: skip
    lines += [f"Of these, profile {profile}: {one['n']} runs, median error {one['median']:.1%}, {one['share']:.0%} "
              f"within {one['near']:.0%}." for profile, one in result["profiles"].items()]  # fmt: skip
    misses = [row for row in result["runs"] if abs(row["error"]) > result["near"]]
    names = ("profile", "dataset", "network", "regime", "seed")
    rows = [{**{name: row[name] for name in names}, "forecast, s": f"{row['forecast']:.0f}",
             "measured, s": f"{row['measured']:.0f}", "error": f"{row['error']:+.0%}"} for row in misses]  # fmt: skip
    return [*lines, "Misses:", table(rows)] if rows else [*lines, "No miss."]


SHOWN: dict[str, Callable[..., list[str]]] = {
    "ceiling": ceiling, "versus": versus, "growth": growth, "precision": precision, "phases": phases,
    "forecast": forecast,
}  # fmt: skip


def required(bench: dict) -> Iterator[tuple[str, str, str, bool | None]]:
    """(what, measured, required, met) of everything that was required and measured."""
    found = {part: entry["result"] for part, entry in bench.items()}
    for row in found.get("ceiling", []):
        if row["required"] is not None:
            what = f"ceiling: {row['network']}, {row['trains']}, {row['size']} px, loop to bare step"
            yield what, f"{row['ratio']:.2f}", f"at least {row['required']:.2f}", row["met"]
    for row in found.get("versus", {}).get("speed", []):
        if row["required"] is not None:
            what = f"versus: {row['size']} px, ours to {row['way']}"
            yield what, f"{row['ratio']:.2f}", f"at least {row['required']:.1f}", row["met"]
    for row in found.get("growth", {}).get("images", [])[1:]:
        what = f"growth: time an image of {row['images']} images, to the fewest"
        yield what, f"{row['ratio']:.2f}", f"1 +- {FLAT:.2f}", abs(row["ratio"] - 1) <= FLAT
    for name, run in found.get("phases", {}).items():
        if run:
            most = f"at most {run['required']:.0%}"
            yield f"phases: overhead of the {name} run", f"{run['overhead']:.1%}", most, run["met"]
    if (result := found.get("forecast")) and result["n"]:
        yield ("forecast: median error", f"{result['median']:.1%}", f"at most {result['required_median']:.0%}",
               result["median_met"])  # fmt: skip
        yield (f"forecast: runs within {result['near']:.0%}", f"{result['share']:.0%}",
               f"at least {result['required_share']:.0%}", result["share_met"])  # fmt: skip


def requirements(bench: dict) -> Markdown:
    """Every requirement that applies here, met or missed."""
    found = list(required(bench))
    if not found:
        return Markdown("No requirement was measured yet.")
    met = sum(bool(row[3]) for row in found)
    rows = [{"requirement": what, "measured": measured, "required": wanted, "": MET[ok]}
            for what, measured, wanted, ok in sorted(found, key=lambda row: bool(row[3]))]  # fmt: skip
    missed = [what for what, *_, ok in found if not ok]
    head = f"**{met} of {len(found)} requirements that apply to this device were met.**"
    said = f"Missed: {'; '.join(missed)}." if missed else "None was missed."
    return Markdown(f"{head} {said}\n\n{table(rows)}")


def hardware(bench: dict) -> Markdown:
    """On what it was measured, and what was not measured."""
    devices = dict.fromkeys(entry["environment"]["device"] for entry in bench.values())
    missing = [part for part in PARTS if part not in bench]
    lines = [f"Measured on: {'; '.join(devices) or 'nothing yet'}."]
    if missing:
        lines.append(f"Not measured: {', '.join(missing)}; `make bench` measures all, or the PARTS it is told.")
    if devices and all("threads" in device for device in devices):  # a processor is named with its threads
        lines.append("Not measured: any GPU. There was no CUDA device here; nothing below says how one would do.")
    return Markdown("\n\n".join(lines))
