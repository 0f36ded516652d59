#!/usr/bin/env bash
# Make .venv with a fitting Python and the tested versions, or say what is missing.
set -eu
cd "$(dirname "$0")"
unset PYTHONPATH PYTHONHOME
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 # a setting of others would put the packages elsewhere
if [ -L .venv ]; then
    echo "error: .venv is a link to $(readlink .venv), which would be emptied; remove the link, or 'touch .venv/ready' to use it as it is" >&2
    exit 2
fi
python=""
for candidate in "${PYTHON:-python3}" python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "error: Python 3.11, 3.12 or 3.13 is needed and none was found; install one (Debian, Ubuntu: apt install python3 python3-venv) or name it with PYTHON=path" >&2
    exit 2
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    echo "error: $python cannot make environments; install its venv package (Debian, Ubuntu: apt install $(basename "$python")-venv)" >&2
    exit 2
fi
echo "making .venv with $("$python" --version) and the versions of requirements.lock; the first time takes a minute or more"
"$python" -m venv --clear .venv
pip() { .venv/bin/python -m pip install --quiet "$@"; }
# uv downloads side by side, but it reads no settings of pip's and knows no local folders of packages.
if ! { pip uv && .venv/bin/python -m uv pip install --quiet --python .venv/bin/python -r requirements.lock; } 2>/dev/null; then
    echo "uv cannot install them here (it takes no settings from pip): pip does, which takes longer"
    pip --no-compile -r requirements.lock
fi
# On all cores, and not at every import where PYTHONDONTWRITEBYTECODE is set; but not the packages' own tests, which
# nobody imports. Some are of newer Pythons and cannot be compiled.
.venv/bin/python -m compileall -qq -j 0 -x '/tests/' .venv/lib || true
pip --no-deps --no-build-isolation --editable .
touch .venv/ready
