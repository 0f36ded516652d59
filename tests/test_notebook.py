"""A notebook is there whole or not at all, and its kernel is this environment's own Python."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from data_by_hand import files_below, refused

from entr_utils import notebook
from entr_utils.notebook import Refused, execute, keys_shown


def source(folder: Path, *cells: str, parameters: str = "number = 1") -> Path:
    """A notebook of these code cells."""
    first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    made = nbformat.v4.new_notebook(cells=[first, *map(nbformat.v4.new_code_cell, cells)])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(made, path := folder / "source.ipynb")
    return path


LOOKS = """
import json, os, pathlib, sys, time
pathlib.Path(os.environ["ENTR_PROGRESS"]).write_text("0.5")
time.sleep(1)
names = ("ONLY_HERE", "MALLOC_MMAP_MAX_")
drawn = "inline" in os.environ["MPLBACKEND"]
try:
    import theirs
except ImportError:
    theirs = None
print(json.dumps([number * 2, sys.prefix, bool(theirs), drawn, "ä", *map(os.environ.get, names)]))
"""


def test_a_notebook_is_executed_by_our_own_python(tmp_path, monkeypatch):
    theirs, shares = tmp_path / "theirs", []
    (theirs / "kernels" / "python3").mkdir(parents=True)
    kernel = {"argv": ["false", "{connection_file}"], "display_name": "Python 3", "language": "python"}
    (theirs / "kernels" / "python3" / "kernel.json").write_text(json.dumps(kernel))
    (theirs / "theirs.py").touch()
    for name in ("JUPYTER_PATH", "JUPYTER_DATA_DIR", "PYTHONPATH", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(theirs))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    output = tmp_path / "out" / "x.ipynb"
    execute(source(tmp_path, LOOKS), {"number": 21}, output, ["b", "a"], {"ONLY_HERE": "1"}, shares.append)
    rendered = json.loads(output.read_text())
    printed = "".join(rendered["cells"][-1]["outputs"][0]["text"])
    limit = notebook.KERNEL_ENVIRONMENT["MALLOC_MMAP_MAX_"]
    assert json.loads(printed) == [42, sys.prefix, False, True, "ä", "1", limit]
    assert set(shares) == {0.0, 0.5}
    assert keys_shown(output) == ["a", "b"]
    assert files_below(tmp_path / "out") == ["x.ipynb"]


@pytest.mark.parametrize(
    ("code", "kind", "named"),
    [
        ("import os; os._exit(0)", RuntimeError, "kernel died"),
        ("from entr_utils.util import Damaged\nraise Damaged('lr=9: too high')", Refused, "UserError: lr=9: too high"),
    ],
    ids=["kernel ends", "user error"],
)
def test_a_notebook_that_does_not_reach_its_end(code, kind, named, tmp_path):
    output = tmp_path / "out" / "x.ipynb"
    output.parent.mkdir()
    output.write_text("whole")
    with pytest.raises(RuntimeError) as caught:
        execute(source(tmp_path, code, "print('reached the end')"), {}, output)
    assert type(caught.value) is kind
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(output.with_suffix(".log")) in str(caught.value)
    assert output.read_text() == "whole"
    assert files_below(output.parent) == ["x.ipynb", "x.log"]


def test_unknown_parameters_are_refused_before_a_kernel_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(notebook.subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    refused(
        lambda: execute(source(tmp_path), {"numbr": 2}, tmp_path / "out.ipynb"), "numbr=2", "source.ipynb", "number"
    )
    refused(lambda: execute(tmp_path / "none.ipynb", {}, tmp_path / "out.ipynb"), "none.ipynb")
    assert not (tmp_path / "out.ipynb").exists()


BROKEN = ["", "{", "[]", '{"cells": []}', '{"cells": [1], "metadata": {}}']


@pytest.mark.parametrize("content", [*BROKEN, '{"cells": [], "metadata": {"entr": {"keys": []}}}'])
def test_a_notebook_that_is_not_whole_shows_nothing(content, tmp_path):
    path = tmp_path / "x.ipynb"
    assert keys_shown(path) is None
    path.write_text(content)
    assert keys_shown(path) is None


def test_a_process_whose_parent_is_gone_does_nothing(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    words = [sys.executable, "-m", "entr_utils.notebook", str(source(tmp_path)), str(tmp_path), str(gone.pid)]
    late = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ""})
    assert (late.returncode, late.stderr) == (1, "")
    assert files_below(tmp_path) == ["source.ipynb"]
