"""The notebooks: clean and short in git, whole and quiet when they are rendered."""

import json
import re
import shutil
from pathlib import Path

import pytest

from entr_utils import execution, records, runs

NOTEBOOKS = sorted(runs.NOTEBOOKS.glob("*.ipynb"))
DATASETS = ("steel", "ucm", "bees")
FORBIDDEN = re.compile(r"/(work|home|root|tmp|Users|usr)/|[A-Z]:\\\\|pypi\.|pythonhosted\.|index[-]url|anaconda\.org")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str = "code") -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def parameters(path: Path) -> str:
    (cell,) = (cell for cell in cells(path) if cell["metadata"].get("tags") == ["parameters"])
    return source(cell)


def test_all_are_there():
    assert [path.stem for path in NOTEBOOKS] == ["bees", "bench", "own_images", "steel", "summary", "ucm"]


@each_notebook
def test_no_outputs_are_committed(path):
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells(path))


@each_notebook
def test_the_second_code_cell_holds_the_parameters(path):
    """The first sets Colab up. Each value is a form field."""
    assert cells(path)[1]["metadata"].get("tags") == ["parameters"]
    assert all(re.fullmatch(r"\w+ = .+  # ?@param .+", line) for line in parameters(path).splitlines())


@each_notebook
def test_code_cells_are_few_and_short(path):
    assert len(cells(path)) <= 13
    assert max(len(source(cell).splitlines()) for cell in cells(path)) <= 15


@each_notebook
def test_nothing_of_this_machine_is_in_them(path):
    assert FORBIDDEN.findall(path.read_text()) == []


@each_notebook
def test_github_can_render_them(path):
    """It refuses notebooks with widgets that have no state; and a kernel of any machine must fit."""
    metadata = json.loads(path.read_text())["metadata"]
    assert "widgets" not in metadata
    assert metadata["kernelspec"]["name"] == "python3"


def test_the_setup_cell_is_the_same_everywhere():
    assert len({source(cells(path)[0]) for path in NOTEBOOKS}) == 1


def test_the_dataset_notebooks_have_the_same_parameters():
    """Apart from values: each name, and each form field."""
    texts = [parameters(runs.NOTEBOOKS / f"{name}.ipynb") for name in DATASETS]
    assert len({re.sub(r"(?m) = \S+ ", " = value ", text) for text in texts}) == 1


def test_the_dataset_notebooks_differ_in_their_story_alone():
    """Nothing is written three times: apart from the dataset's name the code is the same."""
    code = {
        name: [source(cell).replace(f'"{name}"', "dataset") for cell in cells(runs.NOTEBOOKS / f"{name}.ipynb")[2:]]
        for name in DATASETS
    }
    assert code["steel"] == code["ucm"] == code["bees"]
    assert len({source(cells(runs.NOTEBOOKS / f"{name}.ipynb", "markdown")[0]) for name in DATASETS}) == 3


@pytest.mark.parametrize("name", DATASETS)
def test_make_all_can_fill_in_every_parameter(name):
    (run,) = runs.plan(runs.read_settings([f"DATASETS={name}", "REGIMES=gradual"]))
    execution._check_names(runs.NOTEBOOKS / f"{name}.ipynb", runs.notebook_parameters(run))


def outputs(path: Path) -> list[dict]:
    return [output for cell in cells(path) for output in cell["outputs"]]


def text_of(output: dict) -> str:
    """All that is shown as text, whatever kind of output it is."""
    shown = {"text": output.get("text", "")} | output.get("data", {})
    return "\n".join("".join(value) for kind, value in shown.items() if kind.startswith("text") and value)


def check_rendered(path: Path) -> str:
    """A rendered notebook that reads well; returns its text."""
    text = "\n".join(map(text_of, outputs(path)))
    assert [output for output in outputs(path) if output["output_type"] == "error"] == []
    assert [text_of(output) for output in outputs(path) if output.get("name") == "stderr"] == []
    assert "warning" not in text.lower()
    assert "Traceback" not in text
    assert not re.search(r"\d%\|", text), "progress bars"
    assert path.stat().st_size < 400_000
    return text


def figures_in(path: Path) -> int:
    return sum(kind.startswith("image/") for output in outputs(path) for kind in output.get("data", {}))


def render(name: str, place: Path, **values) -> Path:
    output = place / f"{name}.ipynb"
    runs.execute(runs.NOTEBOOKS / f"{name}.ipynb", values, output)
    return output


def test_a_dataset_notebook_as_make_all_renders_it(made):
    """What ran on what, the schedule, the outcome, curves, stages, confusion, pairs, the environment."""
    path = made.one("*no_increase*.ipynb")
    text = check_rendered(path)
    for part in ("steel, resnet18, no increase, seed 0", "77 to train, 7 to validate", "1460",
                 "Forecast on this machine: ", "Precision: ", "batch 16",
                 "sub-total (through CMult)", "accuracy, training size", "a demonstration, not evidence",
                 "validation images were wrong", "run key"):  # fmt: skip
        assert part in text
    assert figures_in(path) == 3


def test_the_summary(made):
    """The first screen answers; every figure is there; every run counts."""
    path = made.results / "tiny" / "summary.ipynb"
    text = check_rendered(path)
    (record,) = (record for record in records.read_all(made.results) if record["regime"] == "gradual")
    first = text_of(outputs(path)[0])
    assert first.strip().startswith("**Does it pay? Not answered yet: yes in 0, no in 0, open in 1 of 1 comparisons.**")
    assert "2 runs (dataset steel; network resnet18; regime no increase, gradual; seed 0)" in first
    assert "a demonstration, not evidence" in first
    assert f"{record['accuracy_total']:.3f}" in text
    assert "not enough data" in text or "other setting" in text
    assert "No record yet of these controls: small, short, reversed on steel." in text
    assert "Nothing was predicted" in text
    assert figures_in(path) == 7


def test_ucm_with_everything_switched_on(place):
    """The learning-rate finder and the samples, too: two figures more."""
    given = {"profile": "tiny", "regime": "no_increase", "size": 32, "results": "results"}
    path = render("ucm", place, find_lr=True, show_samples=True, **given)
    text = check_rendered(path)
    assert "ucm, resnet18, no increase, seed 0" in text
    assert figures_in(path) == 5
    assert len(records.read_all("results")) == 1


def test_bees(place):
    """With a size, a batch and a precision of one's own."""
    given = {"size": 32, "batch": 12, "precision": "float32"}
    path = render("bees", place, profile="tiny", regime="no_increase", results="results", **given)
    text = check_rendered(path)
    for part in ("bees, resnet18, no increase, seed 0", "batch 12", "Precision: float32"):
        assert part in text
    (record,) = records.read_all("results")
    assert (record["size"], record["batch"], record["precision"]) == (32, 12, "float32")


def test_own_images_from_a_folder_and_from_an_archive_of_it(photos, place):
    """Three runs and a verdict; the archive holds the same images, so its runs are done."""
    folder = photos(place / "mine", classes=("heath", "wood"), per_class=12)
    given = {"profile": "tiny", "weights": "none", "results": "results"}
    path = render("own_images", place, images=str(folder), **given)
    text = check_rendered(path)
    assert re.search(r"\*\*One seed favours (gradual|stepwise|no increase)\*\*", text)
    assert "Gradual took" in text
    assert "Stepwise took" in text
    assert "3 runs, 3 of them to be trained now" in text
    assert "the user's own images" in text
    assert figures_in(path) == 4
    assert {record["regime"] for record in records.read_all("results")} == {"no_increase", "gradual", "stepwise"}

    archive = shutil.make_archive(str(place / "archive"), "zip", place, "mine")
    again = render("own_images", place / "again", images=archive, **given)
    text_again = check_rendered(again)
    assert "3 runs, 0 of them to be trained now" in text_again
    assert re.findall(r"\*\*One seed .*", text_again) == re.findall(r"\*\*One seed .*", text)


def test_a_wrong_parameter_is_one_line_in_the_notebook(place):
    """No traceback to read through."""
    with pytest.raises(RuntimeError, match="UserError: network='vgg': unknown; allowed: resnet18"):
        render("bees", place, profile="tiny", network="vgg")
    assert [path.name for path in place.iterdir() if path.suffix == ".ipynb"] == []


def test_the_rendered_check_finds_what_it_should(tmp_path):
    """The checks above can fail."""
    for output in ({"output_type": "stream", "name": "stderr", "text": ["x"]},
                   {"output_type": "stream", "name": "stdout", "text": ["FutureWarning: x"]},
                   {"output_type": "stream", "name": "stdout", "text": [" 45%|####     | 3/7"]},
                   {"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []}):  # fmt: skip
        book = {"cells": [{"cell_type": "code", "source": [], "outputs": [output], "metadata": {}}]}
        (tmp_path / "x.ipynb").write_text(json.dumps(book))
        with pytest.raises(AssertionError):
            check_rendered(tmp_path / "x.ipynb")
