"""Getting public images: UC Merced from its mirrors, UHCSDB's micrographs from a folder; unpacking safely. No torch.

torchvision's downloader is not used: it waits for a silent server for ever and unpacks whatever an archive holds.
"""

import contextlib
import hashlib
import http.client
import shutil
import sqlite3
import tarfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from entr_utils.data.pixels import open_image
from entr_utils.util import Missing, Progress, UserError, cache_folder, lock, track

UCM_MIRRORS = (
    "http://weegee.vision.ucmerced.edu/datasets/UCMerced_LandUse.zip",
    "https://hf.co/datasets/torchgeo/ucmerced/resolve/7c5ef3454d9b1cccfa7ccde0c01fc8f00a45909a/UCMerced_LandUse.zip",
)
UCM_MD5 = "5b7ec56793786b6dc8a908e8854ac0e4"
CHUNK = 1 << 20
# An archive may unpack to SMALL_ENOUGH bytes or RATIO times its own size, whichever is more, if the disk has the room:
# photographs hardly shrink, drawings and scans by 10 to 50, a bomb by 1000.
SMALL_ENOUGH, RATIO = 1 << 30, 100
UHCSDB_CLASSES = {"spheroidite", "network", "pearlite", "martensite", "pearlite+spheroidite"}
UHCSDB_CLASSES |= {"spheroidite+widmanstatten", "pearlite+widmanstatten"}
UHCSDB_ROWS = 484  # of 522; below is an info bar that gives the sample away


def download_ucm(data: Path, mirrors: Iterable[str] = UCM_MIRRORS, md5: str = UCM_MD5) -> Path:
    """Download, check and unpack UC Merced into `data/ucm/<class>/`; otherwise as `download_folder`."""
    return download_folder(data / "ucm", mirrors, md5, lambda unpacked: unpacked / "UCMerced_LandUse" / "Images")


def download_folder(target: Path, mirrors: Iterable[str], md5: str, inside: Callable[[Path], Path]) -> Path:
    """Download, check and unpack an archive; what `inside` names in it becomes the folder `target`, which is returned.

    Raises UserError where no mirror gives the file.
    """
    archive, unpacked = (target.with_name(f"{target.name}.{what}") for what in ("archive", "unpacked"))
    with lock(cache_folder() / f"{target.name}.lock", f"{target}: another process downloads it; waiting"):
        if not target.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            download(mirrors, archive, md5)
            unpack(archive, unpacked)
            inside(unpacked).rename(target)  # last: the folder is whole or not there
            shutil.rmtree(unpacked)
            archive.unlink()
    return target


def download(mirrors: Iterable[str], path: Path, md5: str) -> None:
    """Fetch `path` from the first mirror that gives it, by its md5. Raises UserError with each mirror's reason."""
    partial, reasons = path.with_name(f"{path.name}.partial"), []
    for url in mirrors:
        try:
            _fetch(url, partial)
            with open(partial, "rb") as file:
                if hashlib.file_digest(file, "md5").hexdigest() == md5:
                    partial.rename(path)
                    return
            reasons.append(f"{url}: wrong checksum")
        except (OSError, http.client.HTTPException) as error:
            reasons.append(f"{url}: {error}")
        finally:
            partial.unlink(missing_ok=True)
    raise Missing(
        f"{path.stem} cannot be downloaded ({'; '.join(reasons)}); fetch it by hand, unpack it and put its class "
        f"folders into {path.with_suffix('')}/"
    )


def _fetch(url: str, path: Path) -> None:
    shown = contextlib.closing(Progress(f"downloading {path.stem}"))
    with shown as progress, urllib.request.urlopen(url, timeout=30) as response, open(path, "wb") as file:
        total = response.length or 0
        while chunk := response.read(CHUNK):
            if not file.tell() and chunk.lstrip().lower().startswith((b"<!doctype html", b"<html")):
                raise OSError("a web page came instead of the file, as sign-in and error pages do")
            file.write(chunk)
            progress.update(file.tell() / max(total, file.tell()))
        if file.tell() < total:
            raise OSError(f"stopped after {file.tell()} of {total} bytes")


def unpack(archive: Path, target: Path) -> None:
    """Unpack a .zip or .tar(.*) into the new folder `target`; nothing is ever written outside it.

    Raises UserError where the archive is damaged, of another kind, or unpacks to more than it should (SMALL_ENOUGH).
    """
    partial, text = target.with_name(f"{target.name}.unpacking"), f"unpacking {archive.name}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                members = list(_bounded(file.infolist(), archive, partial))
                # Drops drive letters, absolute paths and ".." by itself, writes no more of a member than was announced.
                file.extractall(partial, track(members, text))
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(partial, track(_bounded(tar, archive, partial), text), filter="data")
                _check_end(tar)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)  # last: the folder is whole or not there
    except UserError:
        raise
    except Exception as error:  # the decoders raise many types; all mean the same to the user
        reason = str(error).partition("\n")[0].rstrip(":") or type(error).__name__
        raise UserError(f"{archive}: cannot be unpacked ({reason}); a whole .zip or .tar is needed") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _bounded(members: Iterable[Any], archive: Path, target: Path) -> Iterator[Any]:
    """The members, until they add up to more than an archive of this size should hold or the disk does."""
    allowed = min(max(SMALL_ENOUGH, RATIO * archive.stat().st_size), shutil.disk_usage(target).free)
    for member in members:
        allowed -= member.size if isinstance(member, tarfile.TarInfo) else member.file_size
        if allowed < 0:
            raise UserError(
                f"{archive}: unpacks to more than its size promises, or than is free beside {target}; if it is what "
                "you think, unpack it by hand where there is room, and name the folder"
            )
        yield member


def _check_end(tar: tarfile.TarFile) -> None:
    """Raises an error where a tar that was read is not whole: tarfile takes a damaged header for the end, and does not
    read what comes after the last member, a compressed stream's checksum with it."""
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it ends too early, or is damaged")
    for _ in range(SMALL_ENOUGH // CHUNK):
        if not tar.fileobj.read(CHUNK):
            break


def import_uhcsdb(folder: str | Path, data: str | Path = "data") -> Path:
    """Make the public stand-in for Steel from UHCSDB's files: `data/steel/<class>/` and `data/steel_groups.csv`.

    Args:
        folder: holds microstructures.sqlite and, anywhere below, the micrographs it names (645 x 522 pixels).
    The info bar (rows from 484 on) is cut off; the physical sample of each image is kept as its group. Images of
    other classes than the seven are left out. Returns the folder. Raises UserError where files are missing or damaged.
    """
    folder, steel = Path(folder), Path(data) / "steel"
    database, partial = folder / "microstructures.sqlite", steel.with_name("steel.importing")
    if steel.exists():
        raise UserError(f"{steel}: exists already; move it away to import again")
    found = {path.name: path for path in folder.rglob("micrograph*.*")}
    try:
        with contextlib.closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            table = pd.read_sql("select * from micrograph", connection, dtype={"sample_key": "Int64"})
    except (sqlite3.DatabaseError, pd.errors.DatabaseError) as error:
        raise UserError(f"{database}: cannot be read ({error}); put UHCSDB's files (hdl 11256/940) there") from error
    rows = table[table["primary_microconstituent"].isin(UHCSDB_CLASSES)]
    names = [Path(path).name for path in rows["path"]]
    if (missing := sorted({*names} - {*found})) or not names:
        raise UserError(
            f"{folder}: {len(missing)} of {len(names)} micrographs are missing: {missing[:1]} ...; add them"
        )
    rows = rows.assign(file=rows["primary_microconstituent"] + "/" + [f"{Path(name).stem}.png" for name in names])
    shutil.rmtree(partial, ignore_errors=True)
    for name, written in track(zip(names, rows["file"], strict=True), "importing micrographs"):
        (partial / written).parent.mkdir(parents=True, exist_ok=True)
        image = open_image(found[name]).convert("L")
        image.crop((0, 0, image.width, min(image.height, UHCSDB_ROWS))).save(partial / written)
    groups = rows.rename(columns={"sample_key": "group"})[["file", "group"]]
    groups.to_csv(Path(data) / "steel_groups.csv", index=False, lineterminator="\r\n")
    partial.rename(steel)
    return steel
