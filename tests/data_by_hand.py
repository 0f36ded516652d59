"""Photographs, archives, a server and refusals for the tests of the data."""

import contextlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from entr_utils.settings import Cell
from entr_utils.util import UserError


def refused(call: Callable[[], object], *named: object) -> None:
    """Check that a call raises a UserError of one line that names all of these."""
    with pytest.raises(UserError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    assert [one for one in map(str, named) if one not in text] == [], text


def own(folder: object, **other) -> Cell:
    """Of a folder of one's own, at 32 px."""
    return Cell("own", data=str(folder), size=32, **other)


def noise(size: tuple[int, int] = (40, 40), seed: int = 0) -> Image.Image:
    """An image like no other of another seed."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8))


def photos(folder: Path, classes: tuple[str, ...] = ("heath", "lake", "wood"), each: int = 8, seed: int = 0) -> Path:
    """`folder/<class>/<i>.png`: all of them different, and from those of another seed."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            noise((60, 48), 1000 * label + i + seed).save(folder / name / f"{i:02d}.png")
    return folder


def archive(path: Path, members: dict[str, bytes]) -> Path:
    """A .zip, .tar or .tar.gz of these members, whatever their names are."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            for name, content in members.items():
                file.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


@contextlib.contextmanager
def serving(bodies: dict[str, bytes]) -> Iterator[Any]:
    """A server on this machine that gives these by path, only 200 bytes of /breaks.zip; `asked` holds the paths."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = bodies.get(self.path, b"")
            http.asked.append(self.path)
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:200] if self.path == "/breaks.zip" else body)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http, pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "127.0.0.1")
        http.url, http.asked = f"http://127.0.0.1:{http.server_port}".__add__, []
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield http
        http.shutdown()


def files_below(folder: Path) -> list[str]:
    """The files anywhere below a folder, as relative names, sorted."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
