"""Files that are there whole or not at all."""

import os
from pathlib import Path

from entr_utils import UserError


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
