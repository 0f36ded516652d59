"""Downloads against a server of our own, unpacking, the stand-in for Steel. Nothing leaves this machine; no torch."""

import contextlib
import csv
import hashlib
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from data_by_hand import archive, files_below, refused, serving
from PIL import Image

from entr_utils.data import download

FILES = [f"{name}/{name}{i:02d}.tif" for name in ("agricultural", "beach") for i in range(2)]


@pytest.fixture
def server(tmp_path):
    """Serves an archive of FILES and more, something else, a web page, and the first 200 bytes of a longer file."""
    members = {f"Land/Images/{name}": np.random.default_rng(0).bytes(200) for name in FILES}
    path = archive(tmp_path / "x.zip", {"Land/readme.txt": b"about", **members})
    page, content = b"<!DOCTYPE html><html><title>Sign in</title></html>", path.read_bytes()
    path.unlink()
    bodies = {"/ucm.zip": content, "/other.zip": b"something else", "/page.zip": page, "/breaks.zip": content}
    with serving(bodies) as http:
        http.md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        yield http


def fetch(server, folder: Path, *paths: str) -> None:
    download.fetch(download.Archive(tuple(map(server.url, paths)), server.md5, "Land/Images"), folder)


def test_a_set_is_downloaded_checked_and_unpacked(server, tmp_path):
    for _ in range(2):
        fetch(server, tmp_path / "data" / "ucm", "/ucm.zip")
        assert files_below(tmp_path / "data") == [f"ucm/{name}" for name in FILES]
        assert server.asked == ["/ucm.zip"]


@pytest.mark.parametrize("first", ["/nowhere.zip", "/other.zip", "/page.zip", "/breaks.zip"])
def test_the_second_mirror_serves_where_the_first_does_not(first, server, tmp_path):
    fetch(server, tmp_path / "ucm", first, "/ucm.zip")
    assert files_below(tmp_path) == [f"ucm/{name}" for name in FILES]
    assert server.asked == [first, "/ucm.zip"]


def test_no_mirror_gives_it(server, tmp_path):
    paths, folder = ("/nowhere.zip", "/page.zip", "/other.zip", "/breaks.zip"), tmp_path / "data" / "ucm"
    refused(lambda: fetch(server, folder, *paths), *map(server.url, paths), folder, "web page", "200 of", "checksum")
    refused(lambda: download.fetch(download.Archive(("http://127.0.0.1:9/x.zip",), "", ""), folder), "127.0.0.1:9")
    assert files_below(tmp_path) == []


MEMBERS = {f"{name}/{i}.png": bytes(100) * 26 + np.random.default_rng(i).bytes(900) for name in "ab" for i in range(2)}
DAMAGES = {
    "cut": lambda content: content[: len(content) // 2 + 300],
    "begin": lambda content: content[:37] + b"\xff" * 8 + content[45:],
    "middle": lambda content: content[:4096] + b"\xff" * 100 + content[4196:],  # of a .tar: the second member's header
}


@pytest.mark.parametrize(("suffix", "damage"), [(s, d) for s in (".zip", ".tar", ".tar.gz") for d in DAMAGES])
def test_damaged_archives(suffix, damage, tmp_path):
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
