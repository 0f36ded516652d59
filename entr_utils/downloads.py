"""Getting public images: UC Merced from its mirrors, UHCSDB's micrographs from a folder; unpacking safely."""

import csv
import hashlib
import shutil
import sqlite3
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path

from PIL import Image

from entr_utils import UserError
from entr_utils.progress import Progress, track

UCM_MIRRORS = (
    "http://weegee.vision.ucmerced.edu/datasets/UCMerced_LandUse.zip",
    "https://hf.co/datasets/torchgeo/ucmerced/resolve/7c5ef3454d9b1cccfa7ccde0c01fc8f00a45909a/UCMerced_LandUse.zip",
)
UCM_MD5 = "5b7ec56793786b6dc8a908e8854ac0e4"
CHUNK = 1 << 20
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
        except (OSError, urllib.error.URLError) as error:  # keep what is there: the next try goes on from it
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
    with response, open(partial, "ab" if response.status == 206 else "wb") as file:
        have = have if response.status == 206 else 0
        total = have + int(response.headers.get("Content-Length", 0))
        progress = Progress(f"downloading {partial.stem}")
        while chunk := response.read(CHUNK):
            file.write(chunk)
            have += len(chunk)
            progress.update(have / max(total, have))
        progress.close()
    if have < total:
        raise OSError(f"stopped after {have} of {total} bytes")


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def unpack(archive: Path, target: Path) -> None:
    """Unpack a .zip or .tar(.*) into the new folder `target`; nothing is ever written outside it.

    Raises UserError where the archive is damaged or of another kind.
    """
    partial = target.with_name(f"{target.name}.unpacking")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                file.extractall(partial)  # drops drive letters, absolute paths and ".." by itself
        else:
            with tarfile.open(archive) as file:
                file.extractall(partial, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(f"{archive}: cannot be unpacked ({error}); a whole .zip or .tar is needed") from error
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)  # last: the folder is there only when it is whole


def own_folder(images: str, data: str | Path = "data") -> Path:
    """The folder of a user's own images that has one sub-folder a class; an archive of one is unpacked under `data`.

    Raises UserError where `images` is neither.
    """
    path = Path(images).expanduser()
    if path.is_file():
        target = Path(data) / "own" / f"{path.name.partition('.')[0]}-{_md5(path)[:8]}"
        if not target.is_dir():
            unpack(path, target)
        path = target
    if not path.is_dir():
        raise UserError(f"images={images!r}: no such folder or archive; allowed: a folder with one sub-folder a class, "
                        "a .zip or .tar of one, or synthetic")  # fmt: skip
    while (
        len(inside := [entry for entry in path.iterdir() if not entry.name.startswith((".", "__MACOSX"))]) == 1
        and inside[0].is_dir()
    ):  # an archive often wraps its folder in another
        path = inside[0]
    return path


def import_uhcsdb(folder: str | Path, data: str | Path = "data") -> Path:
    """Make the public stand-in for Steel from UHCSDB's files: `data/steel/<class>/` and `data/steel_groups.csv`.

    Args:
        folder: holds microstructures.sqlite and, anywhere below, the micrographs it names (645 x 522 pixels).
        data: where to write.
    The info bar (rows from 484 on) is cut off; the physical sample of each image is kept as its group. Images of
    other classes than the seven are left out. Returns the folder. Raises UserError where files are missing.
    """
    folder, steel = Path(folder), Path(data) / "steel"
    database = folder / "microstructures.sqlite"
    if not database.is_file():
        raise UserError(f"{database}: missing; put UHCSDB's files (hdl 11256/940) into {folder}/")
    if steel.exists():
        raise UserError(f"{steel}: exists already; move it away to import again")
    with sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True) as connection:
        rows = connection.execute("select path, primary_microconstituent, sample_key from micrograph").fetchall()
    found = {path.name: path for path in folder.rglob("micrograph*.*")}
    wanted = [(Path(path).name, label, sample) for path, label, sample in rows if label in UHCSDB_CLASSES]
    missing = [name for name, _, _ in wanted if name not in found]
    if missing or not wanted:
        raise UserError(f"{folder}: {len(missing)} of {len(wanted)} micrographs are missing, {missing[:1]} for one")
    partial = steel.with_name("steel.partial")
    shutil.rmtree(partial, ignore_errors=True)
    groups = [_import_one(found[name], label, sample, partial)
              for name, label, sample in track(wanted, len(wanted), "importing micrographs")]  # fmt: skip
    with open(Path(data) / "steel_groups.csv", "w", newline="") as file:
        csv.writer(file).writerows([("file", "group"), *groups])
    partial.rename(steel)
    return steel


def _import_one(path: Path, label: str, sample: int | None, steel: Path) -> tuple[str, str]:
    name = f"{label}/{path.stem}.png"
    (steel / label).mkdir(parents=True, exist_ok=True)
    with Image.open(path) as image:
        image.convert("L").crop((0, 0, image.width, min(image.height, UHCSDB_ROWS))).save(steel / name)
    return name, "" if sample is None else str(sample)
