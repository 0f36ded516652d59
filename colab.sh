#!/usr/bin/env bash
# Colab: add what is missing and leave Colab's own torch, ipython and ipykernel alone.
set -eu
cd "$(dirname "$0")"
python3 -m pip install --quiet --no-deps papermill ansicolors
python3 -m pip install --quiet --no-deps --no-build-isolation --editable .
