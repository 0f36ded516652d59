"""What the README and notebooks take from elsewhere: the repository's address and the committed results.

    python -m entr_utils.readme badges owner/name
    python -m entr_utils.readme results

The address is kept in pyproject.toml alone; the numbers come from the records alone.
"""

import json
import re
import sys
import tomllib
from pathlib import Path

from entr_utils import UserError

ROOT = Path(__file__).parents[1]
BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({link})"
LINK = "https://colab.research.google.com/github/{repository}/blob/main/notebooks/{notebook}"
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
    """Write the committed results (results/paper) to the README: verdict, table, figure. Returns one line."""
    from entr_utils import figures, reports, statistics

    table, loaded = reports.read_all(str(root / "results"), "paper")
    compared = statistics.compare(table)
    picture = root / "results" / "paper" / "accuracy_over_time.png"
    figures.accuracy_over_time(loaded).savefig(picture, dpi=80)
    parts = [
        reports.verdict(compared, loaded, "paper").data,
        reports.matrix(loaded, "paper", empty=False).data,
        "Linear-probe accuracy of the frozen weights by image size, the most that small images lose or gain before any "
        "training of the body:",
        reports.probes(str(root / "results"), "paper").data,
        f"![Validation accuracy over seconds of training]({picture.relative_to(root)})",
    ]
    _write_block(root / "README.md", "results", "\n\n".join(parts))
    return f"results of {len(loaded)} runs written to README.md"


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
