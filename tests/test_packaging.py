"""What is written in several places agrees: versions, ranges, commands, addresses."""

import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import entr_utils
from entr_utils import mechanism, readme, regimes, reports, runs, scrutiny, statistics, summary, why
from entr_utils.datasets import DATASETS
from entr_utils.parameters import NETWORKS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHONS = [Version(f"3.{minor}") for minor in range(8, 20)]


def pins() -> dict[str, Version]:
    lines = [line.partition("#")[0].strip() for line in (ROOT / "requirements.lock").read_text().splitlines()]
    names = (line.split("==") for line in lines if line)
    return {canonicalize_name(name): Version(version.partition(";")[0].strip()) for name, version in names}


def tracked() -> list[str]:
    """Files in git."""
    return subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def ranges() -> list[str]:
    project = PROJECT["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["dev"], *PROJECT["build-system"]["requires"]]


@pytest.mark.parametrize("requirement", ranges())
def test_the_lock_fits_the_range(requirement):
    """Every dependency is pinned (setuptools too: the package is built without a network), within its range."""
    wanted = Requirement(requirement)
    assert pins()[canonicalize_name(wanted.name)] in wanted.specifier


def test_every_pin_is_one_version():
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    assert len(pins()) == len(lines)


def test_a_torch_that_does_not_import_is_left_out():
    """2.13.0's CPU build with its torchvision."""
    (torch,) = (Requirement(text) for text in PROJECT["project"]["dependencies"] if Requirement(text).name == "torch")
    assert "2.13.0" not in torch.specifier
    assert "2.11.0" in torch.specifier  # Colab's


def conda() -> tuple[SpecifierSet, list[str]]:
    """The Python range and what pip installs."""
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (python,) = (text for text in dependencies if isinstance(text, str) and text.startswith("python"))
    (pip,) = (entry["pip"] for entry in dependencies if isinstance(entry, dict))
    return Requirement(python).specifier, pip


def test_conda_installs_the_same():
    python, pip = conda()
    allowed = SpecifierSet(PROJECT["project"]["requires-python"])
    assert [one for one in PYTHONS if one in python] == [one for one in PYTHONS if one in allowed]
    assert pip == ["-r requirements.lock", "-e ."]


def test_the_hosted_tests_run_on_every_python_that_is_allowed():
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    allowed = SpecifierSet(PROJECT["project"]["requires-python"])
    (job,) = workflow["jobs"].values()
    assert [Version(one) for one in job["strategy"]["matrix"]["python"]] == [one for one in PYTHONS if one in allowed]
    assert job["steps"][-1]["run"] == "bash .ci/run"


def test_ci_runs_the_readmes_command():
    assert "make test" in (ROOT / ".ci/run").read_text().splitlines()
    assert "make test" in (ROOT / "README.md").read_text()


def test_there_is_one_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["project"]["version"] == entr_utils.__version__ == str(citation["version"])


def makefile_targets() -> list[str]:
    return re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()


def make(*words: str) -> str:
    """What make prints, whatever make the tests run under."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "COLAB"))
    }
    return subprocess.run(
        ["make", *words], cwd=ROOT, capture_output=True, text=True, check=True, env=environment
    ).stdout


def test_make_help_lists_every_target():
    listed = re.findall(r"^  ([a-z]+)\s+\S", make("help"), re.MULTILINE)
    assert sorted(makefile_targets()) == sorted(listed)


def test_make_help_lists_every_name():
    """And what may be said for each."""
    names = re.search(r"^SETTINGS := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    text = make("help")
    assert [name for name in (*names, *regimes.REGIMES, *NETWORKS, *DATASETS) if name not in text] == []
    assert sorted(names) == sorted([*runs.LISTS, *runs.VALUES])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["all"], {}),
        (["all", "SEEDS=0 1", "DATASETS=ucm"], {"SEEDS": "0 1", "DATASETS": "ucm"}),
        (["paper", "NETWORKS=resnet18"], {"PROFILE": "paper", "NETWORKS": "resnet18"}),
        (["all", "NETWORK=resnet18"], {"NETWORK": "resnet18"}),  # a slip, for the command to refuse
    ],
)
def test_make_passes_on_what_it_is_told(words, expected):
    """`make -n` prints the command and runs nothing."""
    (line,) = (line for line in make("-n", *words).splitlines() if "entr_utils.runs" in line)
    _, _, _, command, *passed = shlex.split(line)
    assert command == "all"
    assert dict(word.split("=", 1) for word in passed) == expected


@pytest.fixture
def setup(tmp_path):
    """setup.sh in a folder of its own, on a machine that has nothing but a Python 3.9."""
    shutil.copy(ROOT / "setup.sh", tmp_path)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("dirname", "basename", "readlink"):
        (tools / name).symlink_to(shutil.which(name))
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tools / "python3").chmod(0o755)
    return lambda: subprocess.run([shutil.which("bash"), str(tmp_path / "setup.sh")], capture_output=True, text=True,
                                  env={"PATH": str(tools)}, check=False)  # fmt: skip


def test_setup_without_a_fitting_python_says_which_to_install(setup, tmp_path):
    answer = setup()
    assert answer.returncode == 2
    assert len(answer.stderr.splitlines()) == 1
    assert "Python 3.11, 3.12 or 3.13 is needed" in answer.stderr
    assert not (tmp_path / ".venv").exists()


def test_setup_empties_no_environment_that_is_linked(setup, tmp_path):
    """`venv --clear` would delete what the link leads to, which may be another project's."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "theirs").touch()
    (tmp_path / ".venv").symlink_to("shared")
    answer = setup()
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: .venv is a link to shared, which would be emptied; remove the link")
    assert len(answer.stderr.splitlines()) == 1
    assert (tmp_path / "shared" / "theirs").exists()


def test_no_committed_notebook_names_a_folder_of_some_machine():
    """Runs that are committed are given their images and weights by a path relative to the checkout."""
    notebooks = [ROOT / path for path in tracked() if path.endswith(".ipynb")]
    given = re.compile(r'(data|weights|results|checkpoint_dir) = \\"(/|~|\w:)')
    assert [path.name for path in notebooks if path.is_file() and given.search(path.read_text())] == []


HOSTS = re.compile(rb"pypi\.|pythonhosted\.|anaconda\.org|artifactory\.|jfrog\.|index[-]url|/simple[/]|PIP[_]INDEX")


def test_no_file_names_a_package_registry():
    """Where packages come from is the machine's affair. (The pattern above does not match itself.)"""
    paths = [path for path in tracked() if (ROOT / path).is_file()]
    assert [path for path in paths if HOSTS.search((ROOT / path).read_bytes())] == []
    assert len(paths) > 30


def test_no_inputs_are_committed():
    """Neither images nor weights nor quick results; of what is evidence, what was measured only."""
    kinds = {os.path.splitext(path)[1] for path in tracked()}
    assert kinds.isdisjoint({".jpg", ".jpeg", ".tif", ".tiff", ".npy", ".npz", ".pt", ".pth", ".zip", ".sqlite"})
    assert [path for path in tracked() if path.startswith(("data/", ".venv/"))] == []
    folders = ("paper", "bench", "faults", "mechanism", "leakage")
    kept = ("results/predictions.md", *(f"results/{name}/" for name in folders))
    assert [path for path in tracked() if path.startswith("results/") and not path.startswith(kept)] == []


@pytest.fixture
def checkout(tmp_path):
    """What `make badges` may write to."""
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*"))
    return tmp_path


def test_badges_are_written_everywhere_and_once(checkout):
    """Twice is the same as once; the address stands in pyproject.toml, every setup cell, every badge."""
    readme.write_badges("someone/entr", checkout)
    first = {path: path.read_text() for path in checkout.rglob("*.*") if path.is_file()}
    readme.write_badges("", checkout)
    assert {path: path.read_text() for path in first} == first
    assert tomllib.loads(first[checkout / "pyproject.toml"])["tool"]["entr"]["repository"] == "someone/entr"
    for path in (checkout / "notebooks").glob("*.ipynb"):
        cells = json.loads(first[path])["cells"]
        assert f"github/someone/entr/blob/main/notebooks/{path.name}" in cells[0]["source"][0]
        assert any(line.startswith('REPO = "someone/entr"') for line in cells[1]["source"])
        assert first[checkout / "README.md"].count(f"notebooks/{path.name})") >= 1


def test_badges_move_to_another_address(checkout):
    readme.write_badges("someone/entr", checkout)
    readme.write_badges("else/where", checkout)
    assert "someone/entr" not in "".join(path.read_text() for path in checkout.rglob("*.*") if path.is_file())


def test_badges_without_an_address_say_so(checkout):
    (checkout / "pyproject.toml").write_text('[tool.entr]\nrepository = ""\n')
    before = (checkout / "README.md").read_text()
    assert "make badges REPO=owner/name" in readme.write_badges("", checkout)
    assert (checkout / "README.md").read_text() == before


@pytest.mark.parametrize("address", ["entr", "https://github.com/someone/entr", "some one/entr"])
def test_wrong_addresses_are_refused(address, checkout, refused):
    refused(lambda: readme.write_badges(address, checkout), f"REPO={address!r}", "owner/name")


def test_the_readmes_speed_is_what_the_bench_measured():
    """Not a number of it is typed."""
    path = ROOT / "results" / "bench" / "bench.json"
    bench = json.loads(path.read_text()) if path.exists() else {}
    block = (ROOT / "README.md").read_text().split("<!-- speed -->\n")[1].split("\n<!-- /speed -->")[0]
    assert block == readme.speed(bench)


def test_the_readmes_result_is_what_the_records_say():
    """Not a number of it is typed; its picture is there."""
    block = (ROOT / "README.md").read_text().split("<!-- results -->\n")[1].split("\n<!-- /results -->")[0]
    assert block == readme.results(ROOT)
    assert (ROOT / readme.PICTURE).is_file()


def test_the_committed_summary_is_of_the_committed_records():
    """All its sentences and tables are what the records say now; it was rendered to its end."""
    results = str(ROOT / "results")
    table, loaded = summary.read_all(results, "paper")
    _, controlled = summary.read_all(results, "mechanism")
    compared, contrasts = statistics.compare(table), mechanism.contrasts(mechanism.table(controlled))
    notebook = json.loads((ROOT / "results" / "paper" / "summary.ipynb").read_text())
    shown = "\n".join("".join(output["data"].get("text/markdown", "")) for cell in notebook["cells"]
                      for output in cell.get("outputs", []) if "data" in output)  # fmt: skip
    for part in (
        summary.verdict(compared, loaded, "paper"), summary.reading(compared, loaded), summary.queue(results, "paper"),
        summary.table1(loaded), reports.environments(loaded), summary.of_pace(table, loaded),
        summary.matrix(loaded, "paper"), summary.comparisons(statistics.by_machine(compared, table), loaded),
        summary.how_sure(compared, loaded), summary.of_claims(table, loaded), summary.of_controls(table, loaded),
        summary.of_doubts(table, scrutiny.variants(table), results, "paper"), summary.probes(results, "paper"),
        why.of_mechanism(controlled, contrasts), summary.recommended(table, compared, loaded, contrasts),
    ):  # fmt: skip
        assert part.data in shown
    predictions = " ".join((ROOT / "results" / "predictions.md").read_text().split())
    assert "Changed after records had been seen" in predictions  # what the summary looks for
    assert all(cell.get("execution_count") for cell in notebook["cells"] if cell["cell_type"] == "code")


def test_speed_in_sentences():
    """A part that was not measured has no sentence; a requirement that was missed is counted as missed."""
    rows = [{"trains": trains, "network": "resnet18", "size": size, "ratio": ratio, "precision": "float32", "met": met}
            for trains, size, ratio, met in (("all", 100, 0.9, True), ("all", 250, 0.95, True),
                                             ("head", 100, 0.7, False), ("head", 250, 0.7, None))]  # fmt: skip
    missed = {
        "n": 3,
        "median": 0.123,
        "share": 2 / 3,
        "median_met": False,
        "share_met": False,
        "profiles": {"quick": {"n": 3, "median": 0.123}},
    }
    environment = {"device": "Abacus, 9 threads", "torch": "2.14.1"}
    bench = {part: {"environment": environment, "result": result}
             for part, result in (("ceiling", rows), ("forecast", missed))}  # fmt: skip
    text = readme.speed(bench)
    assert text.startswith("Measured on Abacus, 9 threads, torch 2.14.1:")
    assert "with indexing and augmentation, ran at 0.90 to 0.95 of the speed of its bare arithmetic with all" in text
    assert "all layers, 0.70 with the head only" in text
    assert "(resnet18, 100 to 250 px, float32); the required ratio was met in 2 of 3 cells" in text
    assert "off by 12% in the median of 3 runs (quick 12%, n = 3;" in text
    assert "67% of them within 20%" in text
    assert text.count("\n- ") == 3
    assert "No GPU was at hand" in text
    assert readme.speed({}).startswith("Not measured yet")
