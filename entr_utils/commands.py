"""What the command lines share: NAME=value words as make passes them, errors in one line, stopping at once."""

import os
import signal
import sys
from collections.abc import Callable, Iterable

from entr_utils import UserError
from entr_utils.execution import KERNEL_ENVIRONMENT

STOPPED = 130  # exit code after Ctrl-C or SIGTERM


def named(words: list[str], known: Iterable[str]) -> list[tuple[str, str]]:
    """(name, value) of each NAME=value word. Raises UserError on a name that is not known."""
    found, names = [], list(known)
    for word in words:
        name, _, value = word.partition("=")
        if name not in names:
            raise UserError(f"{name}={value!r}: unknown name; allowed: {', '.join(names)}")
        found.append((name, value))
    return found


def with_defaults(words: list[str], defaults: dict[str, str], parts: Iterable[str]) -> dict[str, str]:
    """`defaults` with what the words name; empty values are the defaults, and no PARTS means all of `parts`.

    Raises UserError on an unknown name or part.
    """
    settings, allowed = {"PARTS": " ".join(parts), **defaults}, list(parts)
    settings |= {name: value.strip() for name, value in named(words, settings) if value.strip()}
    for part in settings["PARTS"].split():
        if part not in allowed:
            raise UserError(f"PARTS={part!r}: unknown; allowed: {', '.join(allowed)}")
    return settings


def guarded(command: Callable[[], int], stopped: str, errors: tuple[type[Exception], ...] = (UserError,)) -> int:
    """The exit code of a command: 2 after one of `errors`, in one line; STOPPED after Ctrl-C, with `stopped`."""
    try:
        return command()
    except errors as error:
        print(f"error: {_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return STOPPED


def _line(error: Exception) -> str:
    if isinstance(error, OSError):  # a full disk, a folder that may not be read
        return f"{error.filename or 'a file'}: {error.strerror or error}"
    return str(error)


def with_kernel_environment(module: str) -> None:
    """Start `module` once more where the kernels' memory allocation is not set: glibc reads it when a process starts,
    and what is measured here has to hold for the kernels."""
    if not KERNEL_ENVIRONMENT.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], os.environ | KERNEL_ENVIRONMENT)


def start(module: str, main: Callable[[list[str]], int]) -> None:
    """Run a command that trains, as a process: SIGTERM stops it as Ctrl-C does. When it is done it ends at once."""
    with_kernel_environment(module)
    signal.signal(signal.SIGTERM, stop)
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # to take torch apart takes a second or two


def stop(*_: object) -> None:
    """SIGTERM is Ctrl-C by another name."""
    raise KeyboardInterrupt
