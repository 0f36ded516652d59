#!/usr/bin/env bash
# Colab: add what is missing, without dependencies, so that Colab's own torch, ipython and ipykernel stay as they are.
# What only the tests need comes with `bash colab.sh tests`.
set -eu
cd "$(dirname "$0")"
missing=$(python3 - "$@" <<'PYTHON'
import sys
from importlib.util import find_spec

try:
    from filelock import SoftFileLease  # torch brings a filelock that may be older
    older = []
except ImportError:
    older = ["filelock>=3.30"]
needed = {"papermill": "papermill", "colors": "ansicolors", "entrypoints": "entrypoints", "tenacity": "tenacity",
          "nbclient": "nbclient", "fastjsonschema": "fastjsonschema", "seaborn": "seaborn", "fastai": "fastai",
          "psutil": "psutil", "pydantic": "pydantic", "platformdirs": "platformdirs"}
tests = {"pytest": "pytest", "xdist": "pytest-xdist", "execnet": "execnet"}
wanted = needed | tests if sys.argv[1:] else needed
print(*older, *(package for module, package in wanted.items() if not find_spec(module)))
PYTHON
)
[ -z "$missing" ] || python3 -m pip install --quiet --no-deps $missing
[ -n "$*" ] || echo ready
