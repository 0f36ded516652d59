"""Getting public images: archives from their mirrors, UHCSDB's micrographs from a folder; unpacking safely. No torch.

torchvision's downloader is not used: it waits for a silent server for ever and unpacks whatever an archive holds.
"""

import contextlib
import hashlib
import http.client
import pickle
import shutil
import sqlite3
import tarfile
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from entr_utils.data.pixels import open_image
from entr_utils.util import Missing, Progress, UserError, cache_folder, lock, track


@dataclass(frozen=True)
class Archive:
    """A public set to download from the first address that gives it; `inside` lie its classes, or train and test."""

    urls: tuple[str, ...]
    md5: str
    inside: str
    megabytes: int = 0


UCM = (
    "http://weegee.vision.ucmerced.edu/datasets/UCMerced_LandUse.zip",
    "https://hf.co/datasets/torchgeo/ucmerced/resolve/7c5ef3454d9b1cccfa7ccde0c01fc8f00a45909a/UCMerced_LandUse.zip",
)
IMAGENETTE = ("https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz",)  # Howard 2019, shorter side 160 px
CIFAR10 = ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",)  # Krizhevsky 2009, 32 px
ARCHIVES = {
    "ucm": Archive(UCM, "5b7ec56793786b6dc8a908e8854ac0e4", "UCMerced_LandUse/Images", 318),
    "imagenette": Archive(IMAGENETTE, "e793b78cc4c9e9a4ccc0c1155377a412", "imagenette2-160", 99),
    "cifar10": Archive(CIFAR10, "c58f30108f718f92721af3b95e74349a", "files", 170),
}
CHUNK = 1 << 20
# An archive may unpack to SMALL_ENOUGH bytes or RATIO times its own size, whichever is more, if the disk has the room:
# photographs hardly shrink, drawings and scans by 10 to 50, a bomb by 1000.
SMALL_ENOUGH, RATIO = 1 << 30, 100
UHCSDB_CLASSES = {"spheroidite", "network", "pearlite", "martensite", "pearlite+spheroidite"}
UHCSDB_CLASSES |= {"spheroidite+widmanstatten", "pearlite+widmanstatten"}
UHCSDB_ROWS = 484  # of 522; below is an info bar that gives the sample away


def fetch(archive: Archive, folder: Path) -> None:
    """Download, check and unpack what becomes `folder`, where it is not there. Raises Missing with each reason."""
    path, unpacked = (folder.with_name(f"{folder.name}.{what}") for what in ("archive", "unpacked"))
    with lock(cache_folder() / f"{folder.name}.lock", f"{folder}: another process downloads it; waiting"):
        if folder.is_dir():
            return
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            _download(archive, path)
            unpack(path, unpacked)
            if (unpacked / "cifar-10-batches-py").is_dir():
                _cifar_as_files(unpacked)
            (unpacked / archive.inside).rename(folder)  # last: the folder is whole or not there
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
            path.unlink(missing_ok=True)


def _cifar_as_files(folder: Path) -> None:
    """CIFAR-10's pickled arrays, whose checksum was right, as PNG files beside them."""
    paths = sorted(folder.glob("cifar-10-batches-py/*batch*"))  # batches.meta, data_batch_1 to 5, test_batch
    meta, *train, test = (pickle.loads(path.read_bytes(), encoding="latin1") for path in paths)
    for side, parts in (("train", train), ("test", [test])):
        images = np.concatenate([part["data"] for part in parts]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        labels = [meta["label_names"][label] for part in parts for label in part["labels"]]
        for i, label in enumerate(track(labels, f"writing {side} images, once")):
            path = folder / "files" / side / label / f"{i:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[i]).save(path)


def _download(archive: Archive, path: Path) -> None:
    reasons = []
    for url in archive.urls:
        try:
            return _download_from(url, path, archive.md5)
        except (OSError, http.client.HTTPException) as error:
            reasons.append(f"{url}: {error}")
    raise Missing(
        f"{path.stem} cannot be downloaded ({'; '.join(reasons)}); fetch it by hand, unpack it and put its class "
        f"folders into {path.with_suffix('')}/"
    )


def _download_from(url: str, path: Path, md5: str) -> None:
    shown, digest = contextlib.closing(Progress(f"downloading {path.stem}")), hashlib.md5(usedforsecurity=False)
    with shown as progress, urllib.request.urlopen(url, timeout=30) as response, open(path, "wb") as file:
        total = response.length or 0
        while chunk := response.read(CHUNK):
            if not file.tell() and chunk.lstrip().lower().startswith((b"<!doctype html", b"<html")):
                raise OSError("a web page came instead of the file, as sign-in and error pages do")
            digest.update(chunk)
            file.write(chunk)
            progress.update(file.tell() / max(total, file.tell()))
        if file.tell() < total:
            raise OSError(f"stopped after {file.tell()} of {total} bytes")
        if digest.hexdigest() != md5:
            raise OSError("wrong checksum")


def unpack(archive: Path, target: Path) -> None:
    """Unpack a .zip or .tar(.*) into the folder `target`, whole; nothing is ever written outside it. Raises UserError
    where it is damaged, of another kind, or unpacks to more than it should (SMALL_ENOUGH)."""
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
        partial.rename(target)
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
    """Raises where a tar that was read is not whole: tarfile takes a damaged header for the end, and does not read what
    comes after the last member, a compressed stream's checksum with it."""
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it ends too early, or is damaged")
    for _ in range(SMALL_ENOUGH // CHUNK):
        if not tar.fileobj.read(CHUNK):
            break


def import_uhcsdb(folder: str | Path, data: str | Path = "data") -> Path:
    """Make the public stand-in for Steel, data/steel/<class>/ and data/steel_groups.csv, from UHCSDB's files: `folder`
    holds microstructures.sqlite and, anywhere below, the micrographs it names (645 x 522 pixels). Their info bar is cut
    off, the physical sample of each is its group. Raises UserError where files are missing or damaged."""
    folder, steel = Path(folder), Path(data) / "steel"
    database, partial = folder / "microstructures.sqlite", steel.with_name("steel.importing")
    if steel.exists():
        raise UserError(f"{steel}: exists already; move it away to import again")
    found = {path.name: path for path in folder.rglob("micrograph*.*")}
    try:
        with contextlib.closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            query = 'select path, primary_microconstituent as label, sample_key as "group" from micrograph'
            table = pd.read_sql(query, connection, dtype={"group": "Int64"})
    except (sqlite3.DatabaseError, pd.errors.DatabaseError) as error:
        raise UserError(f"{database}: cannot be read ({error}); put UHCSDB's files (hdl 11256/940) there") from error
    rows = table[table["label"].isin(UHCSDB_CLASSES)]
    names = [Path(path).name for path in rows["path"]]
    if (missing := sorted({*names} - {*found})) or not names:
        raise UserError(
            f"{folder}: {len(missing)} of {len(names)} micrographs are missing: {missing[:1]} ...; add them"
        )
    rows = rows.assign(file=rows["label"] + "/" + [f"{Path(name).stem}.png" for name in names])
    shutil.rmtree(partial, ignore_errors=True)
    for name, written in track(zip(names, rows["file"], strict=True), "importing micrographs"):
        (partial / written).parent.mkdir(parents=True, exist_ok=True)
        image = open_image(found[name]).convert("L")
        image.crop((0, 0, image.width, min(image.height, UHCSDB_ROWS))).save(partial / written)
    rows[["file", "group"]].to_csv(Path(data) / "steel_groups.csv", index=False, lineterminator="\r\n")
    partial.rename(steel)
    return steel
