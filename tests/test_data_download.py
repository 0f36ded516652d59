"""Downloads against a server of our own, unpacking, the stand-in for Steel. Nothing leaves this machine; no torch."""

import contextlib
import csv
import hashlib
import io
import sqlite3
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from data_by_hand import archive, files_below, refused
from PIL import Image

from entr_utils.data import download
from entr_utils.util import UserError

UCM_FILES = [f"{name}/{name}{i:02d}.tif" for name in ("agricultural", "beach") for i in range(2)]


@pytest.fixture(scope="module")
def ucm_zip() -> bytes:
    """UCMerced_LandUse.zip in small, and what else is in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("UCMerced_LandUse/readme.txt", "about")
        for name in UCM_FILES:
            packed.writestr(f"UCMerced_LandUse/Images/{name}", np.random.default_rng(0).bytes(200))
    return file.getvalue()


@pytest.fixture(scope="module")
def server(ucm_zip):
    """Serves ucm.zip, something else, a web page, and the first 200 bytes of a longer file; `asked` holds paths."""
    page = b"<!DOCTYPE html><html><title>Sign in</title></html>"
    bodies = {"/ucm.zip": ucm_zip, "/other.zip": b"something else", "/page.zip": page, "/breaks.zip": ucm_zip}

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

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.url = f"http://127.0.0.1:{http.server_port}".__add__
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield http
        http.shutdown()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def fetch(server, ucm_zip, data: Path, *paths: str) -> Path:
    server.asked = []
    md5 = hashlib.md5(ucm_zip, usedforsecurity=False).hexdigest()
    return download.download_ucm(data, map(server.url, paths), md5)


def test_ucm_is_downloaded_checked_and_unpacked(server, ucm_zip, tmp_path):
    """The class folders end in data/ucm/, nothing else stays, and what is there is not asked for again."""
    for asked in (["/ucm.zip"], []):
        assert fetch(server, ucm_zip, tmp_path / "data", "/ucm.zip") == tmp_path / "data" / "ucm"
        assert files_below(tmp_path / "data") == [f"ucm/{name}" for name in UCM_FILES]
        assert server.asked == asked


@pytest.mark.parametrize("first", ["/nowhere.zip", "/other.zip", "/page.zip", "/breaks.zip"])
def test_the_second_mirror_serves_where_the_first_does_not(first, server, ucm_zip, tmp_path):
    assert files_below(fetch(server, ucm_zip, tmp_path, first, "/ucm.zip")) == UCM_FILES
    assert server.asked == [first, "/ucm.zip"]


def test_no_mirror_gives_it(server, ucm_zip, tmp_path):
    """Each is named, and where to put the images by hand; a web page is not kept."""
    paths, by_hand = ("/nowhere.zip", "/page.zip", "/other.zip", "/breaks.zip"), tmp_path / "data" / "ucm"
    refused(
        lambda: fetch(server, ucm_zip, by_hand.parent, *paths), *map(server.url, paths), by_hand, "web page", "200 of"
    )
    refused(lambda: download.download_ucm(tmp_path / "data", ("http://127.0.0.1:9/x.zip",)), "127.0.0.1:9")
    assert files_below(tmp_path / "data") == []


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
@pytest.mark.parametrize("evil", ["../evil.png", "a/../../evil.png", "{tmp}/evil.png"])
def test_nothing_is_unpacked_outside(suffix, evil, tmp_path):
    """A member that climbs out or is absolute is refused or kept inside."""
    path = archive(tmp_path / f"evil{suffix}", {"a/1.png": b"1", evil.format(tmp=tmp_path): b"2"})
    with contextlib.suppress(UserError):
        download.unpack(path, tmp_path / "inner" / "target")
    assert [name for name in files_below(tmp_path) if not name.startswith("inner/target/")] == [path.name]


def test_a_link_out_of_the_target_is_not_followed(tmp_path):
    with tarfile.open(tmp_path / "link.tar", "w") as tar:
        link, entry = tarfile.TarInfo("a"), tarfile.TarInfo("a/evil.png")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)
        tar.addfile(entry, io.BytesIO(b""))
    refused(lambda: download.unpack(tmp_path / "link.tar", tmp_path / "target"), "link.tar")
    assert files_below(tmp_path) == ["link.tar"]


MEMBERS = {f"{name}/{i}.png": bytes(100) * 26 + np.random.default_rng(i).bytes(900) for name in "ab" for i in range(2)}
DAMAGES = {
    "cut": lambda content: content[: len(content) // 2 + 300],
    "no archive": lambda content: b"these are words\n" * 100,
    "begin": lambda content: content[:37] + b"\xff" * 8 + content[45:],
    "middle": lambda content: content[:4096] + b"\xff" * 100 + content[4196:],  # of a .tar: the second member's header
}


@pytest.mark.parametrize(("suffix", "damage"), [(s, d) for s in (".zip", ".tar", ".tar.gz") for d in DAMAGES])
def test_damaged_archives(suffix, damage, tmp_path):
    """One line, and no half of it is left behind."""
    path = archive(tmp_path / f"photos{suffix}", MEMBERS)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    refused(lambda: download.unpack(path, tmp_path / "target"), path)
    assert files_below(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_an_archive_that_unpacks_to_far_more_than_it_should(suffix, tmp_path, monkeypatch):
    """A thousand times its size is a bomb, a hundred times is a drawing; a gigabyte is nothing."""
    path = archive(tmp_path / f"x{suffix}", {"a/0.png": bytes(10**6)})
    monkeypatch.setattr(download, "SMALL_ENOUGH", 10**5)
    refused(lambda: download.unpack(path, tmp_path / "target"), path)
    assert files_below(tmp_path) == [path.name]
    monkeypatch.setattr(download, "SMALL_ENOUGH", 10**6)
    download.unpack(path, tmp_path / "target")
    assert files_below(tmp_path / "target") == ["a/0.png"]


@pytest.fixture
def uhcsdb(tmp_path):
    """UHCSDB in small: the seven classes, one more, an image of no known sample; white info bars below row 484."""
    folder = tmp_path / "uhcsdb"
    (folder / "images").mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(folder / "microstructures.sqlite")) as base, base:
        base.execute("create table micrograph (path text, primary_microconstituent text, sample_key integer)")
        for i, label in enumerate([*sorted(download.UHCSDB_CLASSES), "pearlite", "bainite"]):
            pixels = np.full((522, 645), 10 * i, np.uint8)
            pixels[484:] = 255
            Image.fromarray(pixels).save(folder / "images" / f"micrograph{i}.tif")
            row = (f"micrograph{i}.tif", label, None if i == 7 else i % 3)
            base.execute("insert into micrograph values (?, ?, ?)", row)
    return folder


def test_import_uhcsdb(uhcsdb, tmp_path):
    """Info bar cut off, sample kept as group, other classes left out."""
    steel = download.import_uhcsdb(uhcsdb, tmp_path / "data")
    labels = [*sorted(download.UHCSDB_CLASSES), "pearlite"]
    expected = {f"{label}/micrograph{i}.png": "" if i == 7 else str(i % 3) for i, label in enumerate(labels)}
    assert files_below(steel) == sorted(expected)
    for path in steel.rglob("*.png"):
        with Image.open(path) as image:
            assert image.size == (645, 484)
            assert np.asarray(image).max() < 255
    with open(tmp_path / "data" / "steel_groups.csv", newline="") as file:
        assert dict(csv.reader(file)) == {"file": "group", **expected}
    refused(lambda: download.import_uhcsdb(uhcsdb, tmp_path / "data"), steel)


@pytest.mark.parametrize(
    ("name", "content"),
    [("images/micrograph3.tif", None), ("microstructures.sqlite", None), ("microstructures.sqlite", b"\xff" * 500)],
)
def test_import_uhcsdb_of_missing_or_damaged_files(name, content, uhcsdb, tmp_path):
    (uhcsdb / name).unlink() if content is None else (uhcsdb / name).write_bytes(content)
    refused(lambda: download.import_uhcsdb(uhcsdb, tmp_path / "data"), name.rpartition("/")[2])
    assert not (tmp_path / "data" / "steel").exists()
