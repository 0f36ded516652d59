"""What the README and notebooks take from elsewhere: the repository's address and the committed results.

    python -m entr_utils.readme badges owner/name
    python -m entr_utils.readme results

The address is kept in pyproject.toml alone; the numbers come from the records alone.
"""

import json
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from entr_utils import UserError

ROOT = Path(__file__).parents[1]
BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({link})"
LINK = "https://colab.research.google.com/github/{repository}/blob/main/notebooks/{notebook}"
PICTURE, SUMMARY = "results/paper/front.png", "results/paper/summary.ipynb"
UNSET = "The repository's address is not set yet: `make badges REPO=owner/name` writes the Colab badges here."


def write_badges(repository: str = "", root: Path = ROOT) -> str:
    """Write `repository` (owner/name; "" keeps what is set) to pyproject.toml, the notebooks and the README.

    Returns one line on what was done. Raises UserError on an address of another form.
    """
    project = root / "pyproject.toml"
    repository = repository or tomllib.loads(project.read_text())["tool"]["entr"]["repository"]
    if not repository:
        return UNSET
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise UserError(f"REPO={repository!r}: allowed: owner/name")
    project.write_text(re.sub(r'(?m)^repository = ".*?"', f'repository = "{repository}"', project.read_text()))
    notebooks = sorted((root / "notebooks").glob("*.ipynb"))
    for path in notebooks:
        _write_notebook(path, repository)
    lines = [f"{path.stem}: {_badge(repository, path.name)}" for path in notebooks]
    _write_block(root / "README.md", "badges", "<br>\n".join(lines))
    return f"badges for {repository} written to README.md and {len(notebooks)} notebooks"


def write_results(root: Path = ROOT) -> str:
    """Write the committed results (results/paper, results/bench) and their picture to the README. Returns one line."""
    from entr_utils import overview, summary

    folder = str(root / "results")
    _, loaded = summary.read_all(folder, "paper")
    overview.front(loaded).savefig(root / PICTURE, dpi=80)
    _write_block(root / "README.md", "results", results(root))
    _write_block(root / "README.md", "speed", speed(summary.read_bench(folder)))
    return f"results of {len(loaded)} runs and the bench's written to README.md"


def results(root: Path = ROOT) -> str:
    """The answer so far, from the committed records alone: the verdict, what is missing, what is compared, claims."""
    from entr_utils import claims, controls, statistics, summary

    folder = str(root / "results")
    table, loaded = summary.read_all(folder, "paper")
    compared = statistics.compare(table)
    best = statistics.best(compared)
    parts = [
        summary.verdict(compared, loaded, "paper").data,
        f"![Validation accuracy over seconds of training]({PICTURE})",
        summary.reading(compared, loaded).data,
        summary.queue(folder, "paper").data,
        summary.comparisons(best, loaded).data.partition("\n\n<sub>")[0],  # the verdict says what was stand-in
        f"All {len(compared)} comparisons, and what each machine says by itself, are in [the summary]({SUMMARY}).",
        f"The paper's claims: {claims.tally(claims.judge(table))}",
        controls.missing(table),
        _mechanism(folder),
    ]
    return "\n\n".join(filter(None, parts))


def _mechanism(folder: str) -> str:
    """What the runs on images drawn by formula say of the paper's Figure 1."""
    from entr_utils import mechanism, summary
    from entr_utils.statistics import PLACE
    from entr_utils.verdicts import number

    _, loaded = summary.read_all(folder, "mechanism")
    contrasts = mechanism.contrasts(mechanism.table(loaded))
    about = ("Why it works, if it does, on images drawn by formula, whose class is carried by coarse patterns, by fine "
             "texture, or by both, trained from scratch: evidence on them alone.")  # fmt: skip
    places = contrasts.groupby(PLACE, sort=False) if len(contrasts) else ()
    each = [f"{network}, {alike}, {number(int(found['n'].max()), 'seed')}. {mechanism.says(found)}"
            for (_, network, alike), found in places]  # fmt: skip
    return " ".join([about, *(each or [mechanism.says(contrasts)])])


def speed(bench: dict) -> str:
    """How fast training is, in a few sentences, from bench.json; a part that was not measured has none."""
    say: dict[str, Callable] = {
        "ceiling": _ceiling,
        "versus": _versus,
        "phases": _phases,
        "precision": _precision,
        "forecast": _forecast,
    }
    lines = [f"- {line(bench[part]['result'])}" for part, line in say.items() if part in bench]
    if not lines:
        return "Not measured yet: `make bench` measures, `make readme` writes it here."
    where = " and ".join(sorted({
        f"{entry['environment']['device']}, torch {entry['environment']['torch']}" for entry in bench.values()
    }))  # fmt: skip
    on_cpu = all("threads" in entry["environment"]["device"] for entry in bench.values())  # a CPU is named with them
    lines += ["- No GPU was at hand: nothing here says how one would do."] * on_cpu
    end = "All tables are in [results/bench](results/bench/bench.ipynb), what was tried in its LOG.md."
    return "\n".join([f"Measured on {where}:", "", *lines, "", end])


def _met(rows: list[dict]) -> str:
    judged = [row["met"] for row in rows if row["met"] is not None]
    return f"the required ratio was met in {sum(judged)} of {len(judged)} cells" if judged else "none was required"


def _ceiling(rows: list[dict]) -> str:
    from entr_utils.verdicts import span

    of = {what: span((row["ratio"] for row in rows if row["trains"] == what), 2) for what in ("all", "head")}
    sizes, names = span((row["size"] for row in rows), 0), ", ".join(dict.fromkeys(row["network"] for row in rows))
    return (f"fastai's training loop, with indexing and augmentation, ran at {of['all']} of the speed of its bare "
            f"arithmetic with all layers, {of['head']} with the head only ({names}, {sizes} px, "
            f"{rows[0]['precision']}); {_met(rows)}.")  # fmt: skip


def _versus(result: dict) -> str:
    ratios = [
        f"{row['ratio']:.1f} x {row['way']} at {row['size']} px" for row in result["speed"] if row["way"] != "ours"
    ]
    accuracy = result["accuracy"]
    return (f"Images per second against what a user would write: {', '.join(ratios)}; {_met(result['speed'])}. "
            f"Accuracy against fastai's way on a small problem: {_points(accuracy)}.")  # fmt: skip


def _points(accuracy: dict) -> str:
    low, mean, high = (100 * accuracy[name] for name in ("low", "difference", "high"))
    return f"{mean:+.1f} points (95% {low:+.1f} to {high:+.1f}, n = {accuracy['n']} seeds)"


def _phases(result: dict) -> str:
    said = [f"{100 * run['overhead']:.0f}% of a {name} run" for name, run in result.items() if run]
    met = _said(all(run["met"] for run in result.values() if run))
    return f"Everything but start-up, training and evaluation took {' and '.join(said)} (at most 10% required: {met})."


def _precision(result: dict) -> str:
    ratio, emulated = result["speed"][1]["ratio"], ", emulated there" if result["emulated"] else ""
    return (f"{result['reduced']}{emulated}: {ratio:.2f} x the speed of float32; accuracy "
            f"{_points(result['accuracy'])}.")  # fmt: skip


def _forecast(result: dict) -> str:
    if not result["n"]:
        return "Forecasts: no committed run has one yet."
    kinds = "; ".join(f"{profile} {100 * one['median']:.0f}%, n = {one['n']}"
                      for profile, one in result["profiles"].items())  # fmt: skip
    return (f"Forecasts of T were off by {100 * result['median']:.0f}% in the median of {result['n']} runs ({kinds}; "
            f"at most 10% required: {_said(result['median_met'])}), {100 * result['share']:.0f}% of them within "
            f"20% (90% required: {_said(result['share_met'])}).")  # fmt: skip


def _said(met: bool) -> str:
    return "met" if met else "missed"


def _write_block(readme: Path, name: str, text: str) -> None:
    """Replace what stands between <!-- name --> and <!-- /name -->."""
    block = f"<!-- {name} -->\n{text}\n<!-- /{name} -->"
    readme.write_text(re.sub(f"(?s)<!-- {name} -->.*<!-- /{name} -->", lambda _: block, readme.read_text()))


def _badge(repository: str, notebook: str) -> str:
    return BADGE.format(link=LINK.format(repository=repository, notebook=notebook))


def _write_notebook(path: Path, repository: str) -> None:
    """The badge on top of the first cell, the address in the setup cell; nothing else is touched."""
    notebook = json.loads(path.read_text())
    first, setup = notebook["cells"][:2]
    kept = [line for line in first["source"] if not line.startswith("[![Open in Colab]")]
    first["source"] = [_badge(repository, path.name) + "\n", *(["\n"] if kept[0].strip() else []), *kept]
    setup["source"] = [re.sub(r'^REPO = ".*?"', f'REPO = "{repository}"', line) for line in setup["source"]]
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    try:
        command, *words = sys.argv[1:]
        print(write_badges("".join(words)) if command == "badges" else write_results())
    except UserError as error:
        sys.exit(f"error: {error}")
