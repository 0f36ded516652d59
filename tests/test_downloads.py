"""Downloads against a server of our own, unpacking, the stand-in for Steel. Nothing leaves this machine."""

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
from PIL import Image

from entr_utils import UserError, downloads

CLASSES = ("agricultural", "beach")


def picture(size=(8, 8), suffix="tiff") -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)).save(file, suffix)
    return file.getvalue()


@pytest.fixture(scope="module")
def ucm_zip() -> bytes:
    """UCMerced_LandUse.zip in small: UCMerced_LandUse/Images/<class>/<class>NN.tif, and what else lies in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("UCMerced_LandUse/readme.txt", "about")
        for name in CLASSES:
            for i in range(2):
                archive.writestr(f"UCMerced_LandUse/Images/{name}/{name}{i:02d}.tif", picture())
    return file.getvalue()


class Server:
    """Serves `files` (path to bytes) with ranges; `asked` holds (path, Range header, bytes sent) of each request."""

    def __init__(self, files: dict[str, bytes]):
        self.files, self.asked, self.break_after = files, [], {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                wanted, body = self.headers.get("Range"), outer.files.get(self.path)
                if body is None:
                    outer.asked.append((self.path, wanted, 0))
                    return self.send_error(404)
                first = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
                if wanted and first >= len(body):
                    outer.asked.append((self.path, wanted, 0))
                    return self.send_error(416)
                rest = body[first:]
                self.send_response(206 if wanted else 200)
                self.send_header("Content-Length", str(len(rest)))
                self.end_headers()
                sent = rest[: outer.break_after.get(self.path, len(rest))]
                outer.asked.append((self.path, wanted, len(sent)))
                self.wfile.write(sent)
                return None

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http.server_port}{path}"


@pytest.fixture
def server(ucm_zip, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server({"/ucm.zip": ucm_zip, "/other.zip": b"something else"})
    yield server
    server.http.shutdown()
    server.http.server_close()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def download(server, ucm_zip, data: Path, *paths: str) -> Path:
    return downloads.download_ucm(data, tuple(map(server.url, paths)), md5(ucm_zip))


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


UCM_FILES = [f"{name}/{name}{i:02d}.tif" for name in CLASSES for i in range(2)]


def test_ucm_is_downloaded_checked_and_unpacked(server, ucm_zip, tmp_path):
    """The class folders end in data/ucm/, and nothing else stays."""
    folder = download(server, ucm_zip, tmp_path / "data", "/ucm.zip")
    assert folder == tmp_path / "data" / "ucm"
    assert files_below(folder) == UCM_FILES
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["ucm"]


def test_ucm_that_is_there_is_not_asked_for(server, ucm_zip, tmp_path):
    (tmp_path / "ucm").mkdir()
    download(server, ucm_zip, tmp_path, "/ucm.zip")
    assert server.asked == []


@pytest.mark.parametrize("first", ["/nowhere.zip", "/other.zip"], ids=["404", "wrong checksum"])
def test_the_second_mirror_serves_where_the_first_does_not(first, server, ucm_zip, tmp_path):
    assert files_below(download(server, ucm_zip, tmp_path, first, "/ucm.zip")) == UCM_FILES
    assert [(path, wanted) for path, wanted, _ in server.asked] == [(first, None), ("/ucm.zip", None)]


def test_a_download_goes_on_from_what_is_there(server, ucm_zip, tmp_path):
    (tmp_path / "UCMerced_LandUse.zip.partial").write_bytes(ucm_zip[:300])
    assert files_below(download(server, ucm_zip, tmp_path, "/ucm.zip")) == UCM_FILES
    assert server.asked == [("/ucm.zip", "bytes=300-", len(ucm_zip) - 300)]


def test_a_broken_connection_goes_on_at_the_next_mirror(server, ucm_zip, tmp_path):
    server.files["/breaks.zip"], server.break_after["/breaks.zip"] = ucm_zip, 200
    assert files_below(download(server, ucm_zip, tmp_path, "/breaks.zip", "/ucm.zip")) == UCM_FILES
    assert server.asked == [("/breaks.zip", None, 200), ("/ucm.zip", "bytes=200-", len(ucm_zip) - 200)]


def test_a_broken_connection_goes_on_the_next_time(server, ucm_zip, tmp_path, refused):
    server.files["/breaks.zip"], server.break_after["/breaks.zip"] = ucm_zip, 200
    refused(lambda: download(server, ucm_zip, tmp_path, "/breaks.zip"), f"stopped after 200 of {len(ucm_zip)} bytes")
    assert files_below(download(server, ucm_zip, tmp_path, "/ucm.zip")) == UCM_FILES
    assert server.asked[-1] == ("/ucm.zip", "bytes=200-", len(ucm_zip) - 200)


def test_a_whole_partial_needs_nothing_more(server, ucm_zip, tmp_path):
    """The server answers 416; the checksum tells that all is there."""
    (tmp_path / "UCMerced_LandUse.zip.partial").write_bytes(ucm_zip)
    assert files_below(download(server, ucm_zip, tmp_path, "/ucm.zip")) == UCM_FILES


def test_no_mirror_gives_it(server, ucm_zip, tmp_path, refused):
    refused(
        lambda: download(server, ucm_zip, tmp_path, "/nowhere.zip", "/other.zip"),
        "UCMerced_LandUse.zip cannot be downloaded", "404", "wrong checksum", f"into {tmp_path}/ucm/",
    )  # fmt: skip
    assert files_below(tmp_path) == []
    assert not (tmp_path / "ucm").exists()


def test_a_dead_server_is_one_line_too(tmp_path, refused, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    refused(lambda: downloads.download_ucm(tmp_path, ("http://127.0.0.1:9/x.zip",)), "127.0.0.1:9", "by hand")
    assert not (tmp_path / "ucm").exists()


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
@pytest.mark.parametrize("evil", ["../evil.png", "a/../../evil.png", "{tmp}/evil.png"])
def test_nothing_is_unpacked_outside(suffix, evil, tmp_path):
    """A member that climbs out or is absolute is refused or kept inside."""
    make = make_zip if suffix == ".zip" else make_tar
    archive = make(tmp_path / f"evil{suffix}", {"a/1.png": b"1", evil.format(tmp=tmp_path): b"2"})
    target = tmp_path / "inner" / "target"
    with contextlib.suppress(UserError):
        downloads.unpack(archive, target)
    assert [path for path in files_below(tmp_path) if not path.startswith("inner/target/")] == [archive.name]


def test_a_link_out_of_the_target_is_not_followed(tmp_path, refused):
    with tarfile.open(tmp_path / "link.tar", "w") as archive:
        link = tarfile.TarInfo("a")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        archive.addfile(link)
        entry = tarfile.TarInfo("a/evil.png")
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"1"))
    refused(lambda: downloads.unpack(tmp_path / "link.tar", tmp_path / "target"), "link.tar: cannot be unpacked")
    assert files_below(tmp_path) == ["link.tar"]


MEMBERS = {
    f"{name}/{i}.png": bytes(range(65, 91)) * 100 + np.random.default_rng(i).bytes(900)
    for name in "ab"
    for i in range(2)
}
DAMAGES = {
    "truncated": lambda content: content[: len(content) // 2 + 300],
    "not an archive": lambda content: b"these are words\n" * 100,
    "overwritten": lambda content: content[:37] + b"\xff" * 8 + content[45:],  # begins and ends as it should
}


@pytest.mark.parametrize(
    ("name", "damage"),
    [(f"photos{suffix}", damage) for suffix in (".zip", ".tar", ".tar.gz") for damage in DAMAGES
     if (suffix, damage) != (".tar", "overwritten")],
)  # fmt: skip
def test_damaged_archives(name, damage, tmp_path, refused):
    """One line, and no half of it is left behind. (A plain .tar has no checksum that could tell of other contents.)"""
    archive = (make_zip if name.endswith(".zip") else make_tar)(tmp_path / name, MEMBERS)
    archive.write_bytes(DAMAGES[damage](archive.read_bytes()))
    refused(lambda: downloads.unpack(archive, tmp_path / "target"), name, "cannot be unpacked", ".zip or .tar")
    assert not (tmp_path / "target").exists()


def test_own_folder_is_the_folder(photos, tmp_path):
    folder = photos(tmp_path / "photos")
    assert downloads.own_folder(str(folder)) == folder


def wrapped(folder: Path, suffix: str) -> Path:
    """An archive as desktops make them: the folder in a folder, and their own litter beside it."""
    members = {f"my photos/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*.png")}
    members |= {"__MACOSX/my photos/._x": b"", ".DS_Store": b""}
    return (make_zip if suffix == ".zip" else make_tar)(folder.parent / f"mine.2024{suffix}", members)


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_own_folder_unpacks_an_archive(suffix, photos, tmp_path):
    folder = photos(tmp_path / "photos")
    found = downloads.own_folder(str(wrapped(folder, suffix)), tmp_path / "data")
    assert found.is_relative_to(tmp_path / "data" / "own")
    assert files_below(found) == files_below(folder)


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_unpacking_says_how_far_it_is(suffix, photos, tmp_path, monkeypatch):
    """By what was read of the archive; a large one on a slow drive takes minutes."""
    archive, shares = wrapped(photos(tmp_path / "photos"), suffix), []
    monkeypatch.setattr(downloads.Progress, "update", lambda self, share: shares.append(share))
    downloads.unpack(archive, tmp_path / "target")
    assert len(shares) > 20
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] <= 1


def test_own_folder_unpacks_an_archive_once(photos, tmp_path, monkeypatch):
    archive = wrapped(photos(tmp_path / "photos"), ".zip")
    first = downloads.own_folder(str(archive), tmp_path / "data")
    monkeypatch.setattr(downloads, "unpack", lambda *arguments: pytest.fail("unpacked again"))
    assert downloads.own_folder(str(archive), tmp_path / "data") == first


def test_an_interrupted_unpacking_is_begun_again(photos, tmp_path, monkeypatch):
    """Half of an archive must never be taken for the whole."""
    folder = photos(tmp_path / "photos")
    archive = wrapped(folder, ".zip")

    def stopped(self, target, *arguments, **named):
        self.extract(self.namelist()[0], target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", stopped)
        with pytest.raises(KeyboardInterrupt):
            downloads.own_folder(str(archive), tmp_path / "data")
    assert files_below(downloads.own_folder(str(archive), tmp_path / "data")) == files_below(folder)


@pytest.mark.parametrize("images", ["nowhere", "nowhere.zip", "", " ", None, 7, "~nobody-here/x", "x" * 300, "x\0y"])
def test_own_folder_that_is_not_there(images, refused):
    """Nothing at all is not the current folder."""
    refused(lambda: downloads.own_folder(images), f"images={images!r}", "one sub-folder a class", ".zip or .tar")


def test_own_folder_of_one_class_is_not_taken_for_a_wrapping(photos, tmp_path):
    folder = photos(tmp_path / "photos", classes=("heath",))
    assert downloads.own_folder(str(folder)) == folder


def test_own_folder_is_no_picture(tmp_path, refused):
    (tmp_path / "one.png").write_bytes(picture(suffix="png"))
    refused(lambda: downloads.own_folder(str(tmp_path / "one.png"), tmp_path), "one.png: cannot be unpacked")


@pytest.fixture
def uhcsdb(tmp_path):
    """UHCSDB in small: the seven classes, one more, an image of no known sample; white info bars below row 484."""
    folder = tmp_path / "uhcsdb"
    (folder / "images").mkdir(parents=True)
    labels = [*downloads.UHCSDB_CLASSES, "pearlite", "bainite"]
    with sqlite3.connect(folder / "microstructures.sqlite") as base:
        base.execute(
            "create table micrograph (id integer, path text, primary_microconstituent text, sample_key integer)"
        )
        for i, label in enumerate(labels):
            pixels = np.full((522, 645), 10 * i, np.uint8)
            pixels[484:] = 255
            Image.fromarray(pixels).save(folder / "images" / f"micrograph{i}.tif")
            sample = None if i == 7 else i % 3
            base.execute("insert into micrograph values (?, ?, ?, ?)", (i, f"micrograph{i}.tif", label, sample))
    base.close()
    return folder


def test_import_uhcsdb(uhcsdb, tmp_path):
    """Info bar cut off, sample kept as group, other classes left out."""
    steel = downloads.import_uhcsdb(uhcsdb, tmp_path / "data")
    assert steel == tmp_path / "data" / "steel"
    expected = [f"{label}/micrograph{i}.png" for i, label in enumerate([*downloads.UHCSDB_CLASSES, "pearlite"])]
    assert files_below(steel) == sorted(expected)
    for path in steel.rglob("*.png"):
        with Image.open(path) as image:
            assert image.size == (645, 484)
            assert np.asarray(image).max() < 255
    with open(tmp_path / "data" / "steel_groups.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["file", "group"]
    assert dict(rows[1:]) == {name: "" if i == 7 else str(i % 3) for i, name in enumerate(expected)}


def without_an_image(folder):
    (folder / "images" / "micrograph3.tif").unlink()


def without_the_database(folder):
    (folder / "microstructures.sqlite").unlink()


@pytest.mark.parametrize(
    ("spoil", "fragments"),
    [
        (without_an_image, ("1 of 8 micrographs are missing", "micrograph3.tif")),
        (without_the_database, ("microstructures.sqlite: missing", "hdl 11256/940")),
    ],
)
def test_import_uhcsdb_with_missing_files(spoil, fragments, uhcsdb, tmp_path, refused):
    spoil(uhcsdb)
    refused(lambda: downloads.import_uhcsdb(uhcsdb, tmp_path / "data"), *fragments)
    assert not (tmp_path / "data").exists()


def test_import_uhcsdb_keeps_what_is_there(uhcsdb, tmp_path, refused):
    (tmp_path / "steel").mkdir()
    refused(lambda: downloads.import_uhcsdb(uhcsdb, tmp_path), f"{tmp_path}/steel: exists already")
