"""Names that follow from content: keys of runs, commits of files."""

import hashlib
import json
import re
import subprocess
from pathlib import Path


def key_of(identity: dict) -> str:
    """sha256 of an identity in canonical JSON: names a run by all that makes its numbers."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def slug(text: str) -> str:
    """A file-system name: lower case, hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", text.lower())).strip("-")


def git(folder: Path, *words: str) -> str:
    """What git says in a folder; "" where there is no git, or it has no answer."""
    try:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def short_commit(environment: dict) -> str:
    """The commit a run was made at, in ten digits, and whether files had changed since."""
    commit = environment["commit"]
    return f"{commit[:10]}{'-dirty' if commit.endswith('-dirty') else ''}"
