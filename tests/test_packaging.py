"""What is written in several places agrees; make hands on what was typed; a set-up works or says what is missing."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from data_by_hand import files_below, refused
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from setuptools import find_packages

import entr_utils
from entr_utils import cli
from entr_utils.data.catalog import DATASETS
from entr_utils.regimes import REGIMES
from entr_utils.results.studies import STUDIES
from entr_utils.settings import NETWORKS, PROFILES

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RANGES = {
    requirement.name: requirement.specifier
    for text in (*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["dev"])
    if (requirement := Requirement(text))
}
PYTHONS = [f"3.{minor}" for minor in range(8, 20)]
ALLOWED = [one for one in PYTHONS if one in SpecifierSet(PROJECT["project"]["requires-python"])]
README = (ROOT / "README.md").read_text().splitlines()
MAKEFILE = (ROOT / "Makefile").read_text()
NOTEBOOK = json.loads((ROOT / "notebooks" / "own_images.ipynb").read_text())
NAMES = re.search(r"NAMES := ((?:.*\\\n)*.*)", MAKEFILE)[1].replace("\\", " ").split()


def test_every_dependency_is_pinned_within_its_range():
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert [one for one in lines if not re.fullmatch(r'[\w.-]+==[\w.]+( ; python_version == "[\d.]+")?', one)] == []
    pins = {canonicalize_name(one.name): str(one.specifier)[2:] for one in map(Requirement, lines)}
    assert len(pins) == len(lines)
    assert [name for name, wanted in RANGES.items() if pins[canonicalize_name(name)] not in wanted] == []
    assert "setuptools" in pins  # the package is built without a network
    assert "2.13.0" not in RANGES["torch"]  # does not import with its torchvision
    assert "2.11.0" in RANGES["torch"]  # Colab's


def stubs(folder: Path, **scripts: str) -> dict[str, str]:
    """The environment in which these shell scripts are found first."""
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.parametrize(("words", "pip"), [((), 0), (("tests",), 0), ((), 1)])
def test_colab_installs_what_is_missing_and_says_so(words, pip, tmp_path):
    """In an empty Python all is missing; what only the tests need is not installed for users."""
    python = f'[ "$1" = -m ] && echo "$@" >> {tmp_path}/log && exit {pip}\nexec {sys.executable} -I -S "$@"'
    given = {"env": stubs(tmp_path, python3=python), "capture_output": True, "text": True, "check": False}
    answer = subprocess.run(["bash", ROOT / "colab.sh", *words], **given)
    installed = (tmp_path / "log").read_text().split()
    assert {"fastai", "papermill"} <= {*installed}
    assert ("pytest" in installed, "pytest-xdist" in installed) == (bool(words), bool(words))
    assert (answer.returncode, answer.stdout) == (pip, "" if words or pip else "ready\n")


@pytest.mark.parametrize(("git", "shell"), [("exit 128", "exit 0"), ("mkdir -p entr/entr_utils", "exit 1")])
def test_a_first_cell_that_cannot_fetch_the_repository_stops(git, shell, tmp_path):
    (cell, *_) = (one for one in NOTEBOOK["cells"] if one["cell_type"] == "code")
    code = "import sys; from IPython.core.interactiveshell import InteractiveShell as Shell; "
    code += f"sys.exit(not Shell.instance().run_cell({''.join(cell['source'])!r}).success)"
    (tmp_path / "stubs").mkdir()
    (tmp_path / "here").mkdir()
    environment = stubs(tmp_path / "stubs", git=git, bash=shell) | {"IPYTHONDIR": str(tmp_path / "ipython")}
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "here", env=environment, check=False)
    assert answer.returncode == 1
    assert [*(tmp_path / "here").iterdir()] == []


def test_what_a_message_names_is_there():
    """NAME=value (field): the one for make, the other a field of the notebooks that train."""
    sources = "".join(path.read_text() for path in (ROOT / "entr_utils").rglob("*.py"))
    named = {*re.findall(r"\b([A-Z_]{2,})(?:=[^;\"]*?)? \(([a-z_]+)[);]", sources)}
    assert {("LR", "lr"), ("PRECISION", "precision"), ("GROUPS", "groups"), ("CLASSES", "classes")} <= named
    assert {name for name, _ in named} <= {*NAMES}
    for notebook in ("own_images", "steel"):
        cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text())["cells"]
        (fields,) = (cell["source"] for cell in cells if "parameters" in cell["metadata"].get("tags", ()))
        assert {field for _, field in named} <= {line.partition(" = ")[0] for line in fields}


def test_conda_and_the_hosted_tests_have_the_same_ranges():
    *conda, last = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    of_conda = {one.name.replace("pytorch", "torch"): one.specifier for one in map(Requirement, conda)}
    pythons = of_conda.pop("python")
    assert [one for one in PYTHONS if one in pythons] == ALLOWED
    design = {"torch", "torchvision", "fastai", "papermill", "jupyter", "seaborn", "pandas"}
    assert {name: one for name, one in of_conda.items() if name in design} == {name: RANGES[name] for name in design}
    assert (of_conda.keys() - design, last) == ({"pip", "make", "git"}, {"pip": ["-e .[dev]"]})
    jobs = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == ALLOWED
    steps = [step["run"] for step in jobs["test"]["steps"] if "run" in step]
    assert steps == ["make test", "make lint", "make test-bench"]
    assert any(step.get("with", {}).get("environment-file") == "environment.yml" for step in jobs["conda"]["steps"])
    assert (ROOT / ".ci/run").read_text().splitlines()[-2:] == steps[:2]


def test_there_is_one_version_and_every_room_is_packed():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["project"]["version"] == entr_utils.__version__ == str(citation["version"])
    rooms = {f"entr_utils.{path.parent.name}" for path in ROOT.glob("entr_utils/*/__init__.py")}
    assert {*find_packages(str(ROOT), **PROJECT["tool"]["setuptools"]["packages"]["find"])} == {"entr_utils", *rooms}


@pytest.fixture
def checkout(tmp_path) -> Path:
    """What make needs, with an environment whose Python writes down what it is given."""
    for name in ("Makefile", "setup.sh", "pyproject.toml", "README.md", "CITATION.cff", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*"))
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    code = "import json, os, sys; json.dump([sys.argv[1:], dict(os.environ)], open('given', 'w'))"
    (tmp_path / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
    (tmp_path / ".venv" / "bin" / "python").chmod(0o755)
    (tmp_path / ".venv" / "ready").touch()
    return tmp_path


def make(folder: Path, *words: str, **more: str) -> str:
    """What make prints in a folder, whatever make and variables the tests run under."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "COLAB"))}
    ours = {name: value for name, value in ours.items() if name not in NAMES} | more
    return subprocess.run(["make", *words], cwd=folder, env=ours, capture_output=True, text=True, check=True).stdout


def test_make_help_lists_every_target_and_every_name(checkout):
    text = make(checkout, "help")
    targets = re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)[1].split()
    listed = re.findall(r"^  ([\w-]+)\s+\S", text, re.MULTILINE)
    assert sorted(listed) == sorted([*targets, *NAMES])
    known = {*REGIMES, *NETWORKS, *DATASETS, *PROFILES, *STUDIES} - {"tiny"}
    assert [one for one in known if one not in text] == []
    assert {*NAMES} == {"PARTS", "KILLS", "PYTHON"}.union(*(names for _, names in cli.COMMANDS.values()))
    called = re.findall(r"([\w-]+): .*\n(?:ifdef .*\n)?\t@\$\(PY\) -m entr_utils\.cli \1 --make", MAKEFILE)
    assert sorted(called) == sorted(cli.COMMANDS)


TYPED = r"""/data/R&D photos|photos (1)|Bob's photos|a;touch evil|a$b|$(touch evil)|$(shell touch evil)|`touch evil`|a"b
c|a#b|a\ b\|a -- b=c|*|$${HOME}|ä  b|~|a	b"""


@pytest.mark.parametrize("value", TYPED.split("|"))
def test_make_hands_on_what_was_typed(value, checkout, monkeypatch):
    before = files_below(checkout)
    make(checkout, "-k", "-j2", "paper", f"DATA={value}", "SEEDS=0 1", PYTHONPATH="/theirs", MPLBACKEND="Agg")
    words, environment = json.loads((checkout / "given").read_text())
    assert words == ["-m", "entr_utils.cli", "paper", "--make"]
    assert environment.keys().isdisjoint(("PYTHONPATH", "MPLBACKEND"))
    assert files_below(checkout) == sorted([*before, "given"])
    for name in ("MAKEFLAGS", "DATA", "SEEDS"):
        monkeypatch.setenv(name, environment[name])
    assert cli.read(["--make"], cli.MATRIX) == {"DATA": value, "SEEDS": "0 1"}
    refused(lambda: cli.read(["--make"], ["DATA"]), "SEEDS")


def test_clean_keeps_what_is_evidence(checkout):
    for name in (*PROFILES, "bench", "clocks"):
        (checkout / "results" / name).mkdir(parents=True)
    make(checkout, "clean")
    left = {path.name for path in (checkout / "results").iterdir()}
    assert left == {*PROFILES, "bench", "clocks"} - {"quick", "tiny"}


def setup(folder: Path, **python: str) -> subprocess.CompletedProcess:
    """setup.sh on a machine that has nothing but a Python made of shell: what it does by the first word it knows."""
    (tools := folder / "tools").mkdir()
    for name in ("dirname", "basename", "readlink", "mkdir", "cp", "touch", "sh"):
        (tools / name).symlink_to(shutil.which(name))
    cases = "".join(f'  *"{text}"*) {do} ;;\n' for text, do in python.items())
    (tools / "python3").write_text(f'#!/bin/sh\necho "$PIP_USER $*" >> {folder}/log\ncase "$*" in\n{cases}esac\n')
    (tools / "python3").chmod(0o755)
    environment = {"PATH": str(tools), "PIP_USER": "1", "PYTHONPATH": "/theirs"}
    words = [shutil.which("bash"), str(folder / "setup.sh")]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


MISSING = [({"version_info": "exit 1"}, "3.11, 3.12 or 3.13"), ({"ensurepip": "exit 1"}, "venv package")]


@pytest.mark.parametrize(("python", "named"), [*MISSING, ({}, "is a link")])
def test_a_set_up_names_what_is_missing_and_empties_no_environment_that_is_linked(python, named, checkout):
    """`venv --clear` would delete what the link leads to, which may be another project's."""
    (checkout / ".venv").rename(checkout / "theirs")
    if not python:
        (checkout / ".venv").symlink_to("theirs")
    answer = setup(checkout, **python)
    assert (answer.returncode, len(answer.stderr.splitlines())) == (2, 1)
    assert named in answer.stderr
    assert (checkout / ".venv").exists() == (not python)
    assert (checkout / "theirs" / "ready").exists()


@pytest.mark.parametrize("uv", ["exit 0", "exit 1"])
def test_a_set_up_is_by_uv_and_by_pip_where_that_fails(uv, checkout):
    """With a line more; settings of other people's pip do not count."""
    made = {"-m uv ": uv, "--clear": "mkdir -p .venv/bin; cp $0 .venv/bin/python"}
    shutil.rmtree(checkout / ".venv")
    answer = setup(checkout, **made)
    assert (answer.returncode, answer.stderr) == (0, "")
    log = (checkout / "log").read_text().splitlines()
    assert sum("-m pip" in line and "-r requirements.lock" in line for line in log) == (uv == "exit 1")
    assert len(answer.stdout.splitlines()) == 1 + (uv == "exit 1")
    assert all(line.startswith("0 ") for line in log)
    assert (checkout / ".venv" / "ready").exists()


HOSTS = re.compile(rb"pypi\.|pythonhosted\.|anaconda\.org|artifactory\.|jfrog\.|index[-]url|/simple[/]|PIP[_]INDEX")


def test_what_is_committed():
    """No file names a package registry (the pattern does not match itself), no notebook a folder of some machine;
    neither images nor weights nor results of quick and tiny."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = {name: ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()}
    assert [name for name, path in files.items() if HOSTS.search(path.read_bytes())] == []
    path_of = re.compile(r'(data|weights|results|checkpoint_dir) = \\"(/|~|\w:)')
    assert [name for name in files if name.endswith(".ipynb") and path_of.search(files[name].read_text())] == []
    assert [name for name in files if re.search(r"\.(jpe?g|tiff?|np[yz]|zip|sqlite|pth)$", name)] == []
    assert [name for name in files if re.match(r"data/|\.venv/|results/(quick|tiny|own)/", name)] == []


def test_badges_are_written_everywhere_and_once(checkout):
    cli.badges({"REPO": "else/where"}, checkout)
    cli.badges({"REPO": "someone/entr"}, checkout)
    first = {path: path.read_text() for path in checkout.rglob("*.*") if path.is_file()}
    cli.badges({}, checkout)
    assert {path: path.read_text() for path in first} == first
    assert "else/where" not in "".join(first.values())
    assert tomllib.loads(first[checkout / "pyproject.toml"])["tool"]["entr"]["repository"] == "someone/entr"
    assert yaml.safe_load(first[checkout / "CITATION.cff"])["repository-code"] == "https://github.com/someone/entr"
    heading, line, *rest = first[checkout / "README.md"].splitlines()
    assert [heading, *rest] == [*README[:1], *README[2:]]
    assert all(f"entr/blob/main/notebooks/{name}.ipynb)" in line for name in ("own_images", "ucm", "clock"))
    for path in (checkout / "notebooks").glob("*.ipynb"):
        cells, before = (json.loads(one.read_text())["cells"] for one in (path, ROOT / "notebooks" / path.name))
        assert f"github/someone/entr/blob/main/notebooks/{path.name})" in cells[0]["source"][0]
        assert cells[0]["source"][1:] == [one for one in before[0]["source"] if "Open in Colab" not in one]
        assert any(line.startswith('REPO = "someone/entr"') for cell in cells for line in cell["source"])
