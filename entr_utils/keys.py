"""Names that follow from content."""

import hashlib
import json
import re


def key_of(identity: dict) -> str:
    """sha256 of an identity in canonical JSON: names a run by all that makes its numbers."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def slug(text: str) -> str:
    """A file-system name: lower case, hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", text.lower())).strip("-")
