"""Getting public images: UC Merced from its mirrors, UHCSDB's micrographs from a folder; unpacking safely."""

import contextlib
import csv
import hashlib
import http.client
import os
import shutil
import sqlite3
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from entr_utils import UserError
from entr_utils.decoding import open_image
from entr_utils.progress import CHANNEL, Progress, track

UCM_MIRRORS = (
    "http://weegee.vision.ucmerced.edu/datasets/UCMerced_LandUse.zip",
    "https://hf.co/datasets/torchgeo/ucmerced/resolve/7c5ef3454d9b1cccfa7ccde0c01fc8f00a45909a/UCMerced_LandUse.zip",
)
UCM_MD5 = "5b7ec56793786b6dc8a908e8854ac0e4"
CHUNK = 1 << 20
# An archive may unpack to SMALL_ENOUGH bytes or RATIO times its own size, whichever is more, if the disk has the room:
# photographs hardly shrink, drawings and scans by 10 to 50, a bomb by 1000.
SMALL_ENOUGH, RATIO = 1 << 30, 100
Member = TypeVar("Member", zipfile.ZipInfo, tarfile.TarInfo)
UHCSDB_CLASSES = ("spheroidite", "network", "pearlite", "pearlite+spheroidite", "spheroidite+widmanstatten",
                  "martensite", "pearlite+widmanstatten")  # fmt: skip
UHCSDB_ROWS = 484  # of 522; below is an info bar that gives the sample away


def download_ucm(data: Path, mirrors: tuple[str, ...] = UCM_MIRRORS, md5: str = UCM_MD5) -> Path:
    """Download, check and unpack UC Merced into `data/ucm/<class>/`; returns that folder.

    Raises UserError where no mirror gives the file.
    """
    target = data / "ucm"
    if target.is_dir():
        return target
    data.mkdir(parents=True, exist_ok=True)
    archive = data / "UCMerced_LandUse.zip"
    download(mirrors, archive, md5)
    unpacked = data / "ucm.partial"
    unpack(archive, unpacked)
    (unpacked / "UCMerced_LandUse" / "Images").rename(target)  # last: the folder is there only when it is whole
    shutil.rmtree(unpacked)
    archive.unlink()
    return target


def download(mirrors: tuple[str, ...], path: Path, md5: str) -> None:
    """Fetch `path` from the first mirror that gives it, going on from what an earlier try left; check its md5.

    Raises UserError with each mirror's reason.
    """
    partial = path.with_suffix(path.suffix + ".partial")
    reasons = []
    for url in mirrors:
        try:
            _fetch(url, partial)
        except (OSError, http.client.HTTPException) as error:  # keep what is there: the next try goes on from it
            reasons.append(f"{url}: {error}")
            continue
        if _md5(partial) == md5:
            partial.rename(path)
            return
        reasons.append(f"{url}: wrong checksum")
        partial.unlink()
    raise UserError(f"{path.name} cannot be downloaded ({'; '.join(reasons)}); "
                    f"fetch it by hand, unpack it and put its class folders into {path.parent / 'ucm'}/")  # fmt: skip


def _fetch(url: str, partial: Path) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing beyond what is there: it may be whole, the checksum tells
            return
        raise
    with response:
        have = have if response.status == 206 else 0
        total, chunk = have + (response.length or 0), response.read(CHUNK)
        if not have and chunk.lstrip().lower().startswith((b"<!doctype html", b"<html")):
            raise OSError("a web page came instead of the file, as sign-in and error pages do")
        progress = Progress(f"downloading {partial.stem}")
        with open(partial, "ab" if have else "wb") as file:
            while chunk:
                file.write(chunk)
                have += len(chunk)
                progress.update(have / max(total, have))
                chunk = response.read(CHUNK)
        progress.close()
    if have < total:
        raise OSError(f"stopped after {have} of {total} bytes")


def _md5(path: Path) -> str:
    total = hashlib.md5()
    with open(path, "rb") as file:
        for _ in track(range(-(-path.stat().st_size // CHUNK)), f"reading {path.name}"):
            total.update(file.read(CHUNK))
    return total.hexdigest()


def unpack(archive: Path, target: Path) -> None:
    """Unpack a .zip or .tar(.*) into the new folder `target`; nothing is ever written outside it.

    Raises UserError where the archive is damaged, of another kind, or unpacks to more than it should (SMALL_ENOUGH).
    """
    partial = target.with_name(f"{target.name}.unpacking")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        with open(archive, "rb") as read:
            if zipfile.is_zipfile(read):
                with zipfile.ZipFile(read) as file:
                    members = list(_bounded(file.infolist(), archive, partial))
                    # Drops drive letters, absolute paths and ".." by itself, writes no more of a member than it said.
                    file.extractall(partial, _told(members, archive, read))
            else:
                read.seek(0)
                with tarfile.open(fileobj=read) as file:
                    file.extractall(partial, _told(_bounded(file, archive, partial), archive, read), filter="data")
                    _check_end(file)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)  # last: the folder is there only when it is whole
    except UserError:
        raise
    except Exception as error:  # the decoders raise many types; all mean the same to the user
        reason = str(error).partition("\n")[0].rstrip(":") or type(error).__name__
        raise UserError(f"{archive}: cannot be unpacked ({reason}); a whole .zip or .tar is needed") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _told(members: Iterable[Member], archive: Path, read: BinaryIO) -> Iterator[Member]:
    """The members, with a line that says how much of the archive was read."""
    progress, size = Progress(f"unpacking {archive.name}"), archive.stat().st_size
    for member in members:
        yield member
        if CHANNEL not in os.environ:  # the channel is for the run as a whole
            progress.update(min(1.0, read.tell() / size))
    progress.close()


def _bounded(members: Iterable[Member], archive: Path, target: Path) -> Iterator[Member]:
    """The members, until they add up to more than an archive of this size should hold or the disk does."""
    allowed, unpacked = max(SMALL_ENOUGH, RATIO * archive.stat().st_size), 0
    room = shutil.disk_usage(target).free
    for member in members:
        unpacked += member.size if isinstance(member, tarfile.TarInfo) else member.file_size
        if unpacked > allowed:
            raise UserError(f"{archive}: unpacks to more than {allowed / 1e9:.1f} GB, far more than its size promises; "
                            "if it is what you think, unpack it by hand and name the folder")  # fmt: skip
        if unpacked > room:
            raise UserError(f"{archive}: unpacks to more than the {room / 1e9:.1f} GB free in {target.parent}; "
                            "make room there")  # fmt: skip
        yield member


def _check_end(file: tarfile.TarFile) -> None:
    """Whether a tar that was read is whole: tarfile takes a damaged header for the end, and what comes after the last
    member, a compressed stream's checksum with it, it does not read. Raises an error where it is not."""
    assert file.fileobj is not None
    file.fileobj.seek(file.offset)
    if file.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it ends too early, or is damaged")
    for _ in range(SMALL_ENOUGH // CHUNK):
        if not file.fileobj.read(CHUNK):
            break


def own_folder(images: str, data: str | Path = "data") -> Path:
    """The folder of a user's own images that has one sub-folder a class; an archive of one is unpacked under `data`.

    Raises UserError where `images` is neither.
    """
    path = Path(os.path.expanduser(images)) if isinstance(images, str) and images.strip() else None
    if path and os.path.isfile(path):
        try:
            target = Path(data) / "own" / f"{path.name.partition('.')[0][:40]}-{_md5(path)[:8]}"
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); make it readable") from error
        if not target.is_dir():
            unpack(path, target)
        path = target
    if not path or not os.path.isdir(path):
        raise UserError(f"images={images!r}: no such folder or archive; allowed: a folder with one sub-folder a class, "
                        "a .zip or .tar of one, or synthetic")  # fmt: skip
    while (inside := _wrapped(path)) is not None:
        path = inside
    return path


def _wrapped(folder: Path) -> Path | None:
    """The only thing in a folder, where that is a folder of folders: an archive often wraps its folder in another."""
    try:
        inside = [path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))]
        only = len(inside) == 1 and inside[0].is_dir() and not inside[0].is_symlink()
        return inside[0] if only and any(path.is_dir() for path in inside[0].iterdir()) else None
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}); make it readable") from error


def import_uhcsdb(folder: str | Path, data: str | Path = "data") -> Path:
    """Make the public stand-in for Steel from UHCSDB's files: `data/steel/<class>/` and `data/steel_groups.csv`.

    Args:
        folder: holds microstructures.sqlite and, anywhere below, the micrographs it names (645 x 522 pixels).
        data: where to write.
    The info bar (rows from 484 on) is cut off; the physical sample of each image is kept as its group. Images of
    other classes than the seven are left out. Returns the folder. Raises UserError where files are missing or damaged.
    """
    folder, steel = Path(folder), Path(data) / "steel"
    database = folder / "microstructures.sqlite"
    if not database.is_file():
        raise UserError(f"{database}: missing; put UHCSDB's files (hdl 11256/940) into {folder}/")
    if steel.exists():
        raise UserError(f"{steel}: exists already; move it away to import again")
    found = {path.name: path for path in folder.rglob("micrograph*.*")}
    wanted = [(Path(str(path)).name, label, sample) for path, label, sample in _micrographs(database)
              if label in UHCSDB_CLASSES]  # fmt: skip
    missing = [name for name, _, _ in wanted if name not in found]
    if missing or not wanted:
        raise UserError(f"{folder}: {len(missing)} of {len(wanted)} micrographs are missing, {missing[:1]} for one")
    partial = steel.with_name("steel.partial")
    shutil.rmtree(partial, ignore_errors=True)
    groups = [_import_one(found[name], label, sample, partial)
              for name, label, sample in track(wanted, "importing micrographs")]  # fmt: skip
    with open(Path(data) / "steel_groups.csv", "w", newline="") as file:
        csv.writer(file).writerows([("file", "group"), *groups])
    partial.rename(steel)
    return steel


def _micrographs(database: Path) -> list[tuple]:
    """(path, class, sample) of each."""
    try:
        with contextlib.closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute("select path, primary_microconstituent, sample_key from micrograph").fetchall()
    except sqlite3.DatabaseError as error:
        raise UserError(f"{database}: cannot be read as UHCSDB's database ({error}); fetch it again") from error


def _import_one(path: Path, label: str, sample: int | None, steel: Path) -> tuple[str, str]:
    name = f"{label}/{path.stem}.png"
    (steel / label).mkdir(parents=True, exist_ok=True)
    image = open_image(path).convert("L")
    image.crop((0, 0, image.width, min(image.height, UHCSDB_ROWS))).save(steel / name)
    return name, "" if sample is None else str(sample)
