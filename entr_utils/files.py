"""Files that are there whole or not at all, and JSON files that can be told from damaged ones."""

import json
import os
import sys
from pathlib import Path

from entr_utils import UserError
from entr_utils.keys import key_of


def write_whole(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file of these parts whole or not at all: a temporary file, forced to the disk, then renamed.

    What stood there before stays until the new file is whole. Raises UserError where it cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); free some space there, make the folder "
                        "writable or take another one") from error  # fmt: skip


def write_json(value: dict, path: Path) -> None:
    """Write a JSON file whole or not at all. Raises UserError where it cannot be written."""
    write_whole(path, (json.dumps(value, indent=1) + "\n").encode())


class Damaged(UserError):
    """A file that is not what was written."""


def read_json(path: Path, what: str = "a whole file") -> dict:
    """What `write_json` wrote. Raises Damaged naming the file, UserError where it cannot be read."""
    try:
        return json.loads(Path(path).read_text())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); make it readable") from error
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path}: not {what} ({error}); delete it and run again") from error


def known(path: Path) -> dict:
    """What a JSON file holds so far; {} where there is none. Raises as `read_json` does."""
    return read_json(path) if path.exists() else {}


def write_sealed(value: dict, path: Path) -> None:
    """As `write_json`, with a checksum of its own."""
    write_json({"sha256": key_of(value), "value": value}, path)


def read_sealed(path: Path) -> dict:
    """What `write_sealed` wrote; {} where there is none, or where it is damaged: that is said."""
    if not path.exists():
        return {}
    try:
        sealed = read_json(path)
        if sealed["sha256"] == key_of(sealed["value"]):
            return sealed["value"]
    except (Damaged, KeyError, TypeError):
        pass
    print(f"{path}: damaged, or of another version; made again", file=sys.stderr)
    return {}
