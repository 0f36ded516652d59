"""Rows of the bad-input table: archives, downloads, databases, checkpoints and parameters."""

import copy
import hashlib
import io
import pickle
import tarfile
import threading
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch
import torchvision

from benchmarks.cases import FATAL, READ, Case, noise
from entr_utils import downloads, experiment, networks, training
from entr_utils.parameters import Parameters

Attempt = Callable[[Path], tuple[str, str]]
WHOLE = "; a whole .zip or .tar is needed"
HAND = "; fetch it by hand, unpack it and put its class folders into {folder}/data/ucm/"
NO_FOLDER = ("no such folder or archive; allowed: a folder with one sub-folder a class, a .zip or .tar of one, or "
             "synthetic")  # fmt: skip


def _picture(seed: int = 0) -> bytes:
    file = io.BytesIO()
    noise(seed=seed).save(file, "png")
    return file.getvalue()


def _zip(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), _picture())


def _tar(path: Path, *names: str) -> None:
    kind = path.suffix[1:].removeprefix("tar")
    with tarfile.open(path, f"w:{kind}") as archive:  # type: ignore[call-overload]
        for name in names:
            member, content = tarfile.TarInfo(name), _picture()
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _link(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("lake")
        member.type, member.linkname = tarfile.SYMTYPE, "../.."
        archive.addfile(member)


def _zip_bomb(path: Path) -> None:
    """100 MB of nothing, named 20 times."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("lake/0.png", bytes(10**8))
        for i in range(1, 20):
            archive.filelist.append(copy.copy(archive.filelist[0]))
            archive.filelist[-1].filename = f"lake/{i}.png"


def _tar_bomb(path: Path) -> None:
    """Says that 100 GB follow."""
    member = tarfile.TarInfo("lake/0.png")
    member.size = 10**11
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT))


def _half(make: Callable[..., None], *names: str) -> Callable[[Path], None]:
    def damaged(path: Path) -> None:
        make(path, *names)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return damaged


def _flipped(path: Path) -> None:
    _tar(path, "lake/0.png", "wood/0.png")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _unpack(name: str, make: Callable[[Path], object]) -> Attempt:
    """Unpack an archive of this name; what is said are the files it became."""

    def attempt(folder: Path) -> tuple[str, str]:
        make(folder / name)
        downloads.unpack(folder / name, folder / "data" / "own")
        inside = sorted(path for path in (folder / "data" / "own").rglob("*") if path.is_file())
        return READ, " ".join(str(path.relative_to(folder)) for path in inside)

    return attempt


PAGE = b"<!DOCTYPE html><html><title>Sign in</title></html>"


class _Answers(BaseHTTPRequestHandler):
    """/stops.zip ends early, /page.zip is a web page, anything else is a file of another content."""

    def do_GET(self) -> None:
        body = PAGE if "page" in self.path else b"words" * 100
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:200] if "stops" in self.path else body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def _download(name: str) -> Attempt:
    def attempt(folder: Path) -> tuple[str, str]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/{name}"
            downloads.download_ucm(folder / "data", (url,), hashlib.md5(b"", usedforsecurity=False).hexdigest())
        finally:
            server.shutdown()
            server.server_close()
        return READ, name

    return attempt


def _database(folder: Path) -> tuple[str, str]:
    (folder / "microstructures.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 500)
    downloads.import_uhcsdb(folder, folder / "data")
    return READ, ""


class _Code:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def _state(**changed: torch.Tensor) -> dict[str, torch.Tensor]:
    """A state dict of ResNet18 in half precision, with some tensors changed (_ for the dots in their names)."""
    state = torchvision.models.resnet18(num_classes=2).half().state_dict()
    return state | {name.replace("__", "."): value for name, value in changed.items()}


def _weights(make: Callable[[Path], object]) -> Attempt:
    """Load a checkpoint into ResNet18."""

    def attempt(folder: Path) -> tuple[str, str]:
        make(folder / "w.pt")
        try:
            networks.build("resnet18", str(folder / "w.pt"), 2, 0.5, "float32")
        finally:
            if (folder / "was here").exists():
                raise AssertionError("code of a checkpoint was run")
        return READ, ""

    return attempt


def _save(state: Callable[[], object]) -> Callable[[Path], object]:
    return lambda path: torch.save(state(), path)


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"conv1.weight": _Code(path.with_name("was here"))}))


def _torch_pickle(path: Path) -> None:
    torch.save({"conv1.weight": _Code(path.with_name("was here"))}, path)


def _cut(path: Path) -> None:
    torch.save(_state(), path)
    path.write_bytes(path.read_bytes()[:100_000])


def _bad_loss(folder: Path) -> tuple[str, str]:
    """Train with weights so large that the first loss is no number."""
    state = _state()
    torch.save({name: value * 6e4 if "bn" in name and name.endswith("weight") else value
                for name, value in state.items()}, folder / "w.pt")  # fmt: skip
    run = experiment.prepare("steel", profile="tiny", size=32, weights=str(folder / "w.pt"))
    training.train(run)
    return READ, ""


def _parameters(**given: object) -> Attempt:
    def attempt(folder: Path) -> tuple[str, str]:
        Parameters("steel", **given).checked()  # type: ignore[arg-type]
        return READ, str(given)

    return attempt


def _images(images: object) -> Attempt:
    def attempt(folder: Path) -> tuple[str, str]:
        experiment.prepare_own(images, "0")  # type: ignore[arg-type]
        return READ, str(images)

    return attempt


UNPACKED, FIT = "{{folder}}/x.{}: cannot be unpacked ({})" + WHOLE, "; name a torchvision state dict of this network"
BOMB = ("{{folder}}/x.{}: unpacks to more than 1.1 GB, far more than its size promises; if it is what you think, "
        "unpack it by hand and name the folder")  # fmt: skip
NO_ARCHIVE = "file could not be opened successfully"
OUTSIDE = "which is outside the destination"
LOADED, UCM = "weights={folder}/w.pt: cannot be loaded (", "UCMerced_LandUse.zip cannot be downloaded (http://{server}/"

FILES = [
    Case("a zip with ../: kept inside", READ, "data/own/evil.png data/own/lake/0.png",
         _unpack("x.zip", lambda path: _zip(path, "lake/0.png", "../../evil.png"))),
    Case("a zip with absolute names: kept inside", READ, "data/own/evil.png data/own/lake/0.png",
         _unpack("x.zip", lambda path: _zip(path, "lake/0.png", "/evil.png"))),
    Case("a tar with ../", FATAL,
         UNPACKED.format("tar", f"'../../evil.png' would be extracted to '{{folder}}/evil.png', {OUTSIDE}"),
         _unpack("x.tar", lambda path: _tar(path, "lake/0.png", "../../evil.png"))),
    Case("a tar with absolute names: kept inside", READ, "data/own/evil.png data/own/lake/0.png",
         _unpack("x.tar", lambda path: _tar(path, "lake/0.png", "/evil.png"))),
    Case("a tar with a link out of itself", FATAL,
         UNPACKED.format("tar", f"'lake' would link to '{{folder}}', {OUTSIDE}"), _unpack("x.tar", _link)),
    Case("a zip that unpacks to far more than it should", FATAL, BOMB.format("zip"), _unpack("x.zip", _zip_bomb)),
    Case("a tar that unpacks to far more than it should", FATAL, BOMB.format("tar"), _unpack("x.tar", _tar_bomb)),
    Case("a truncated zip", FATAL, UNPACKED.format("zip", NO_ARCHIVE),
         _unpack("x.zip", _half(_zip, "lake/0.png"))),
    Case("a truncated tar", FATAL, UNPACKED.format("tar", "unexpected end of data"),
         _unpack("x.tar", _half(_tar, "lake/0.png", "wood/0.png"))),
    Case("a truncated tar.gz", FATAL,
         UNPACKED.format("gz", "Compressed file ended before the end-of-stream marker was reached"),
         _unpack("x.gz", _half(_tar, "lake/0.png", "wood/0.png"))),
    Case("a damaged tar.xz", FATAL, UNPACKED.format("xz", NO_ARCHIVE), _unpack("x.xz", _flipped)),
    Case("no archive at all", FATAL, UNPACKED.format("zip", NO_ARCHIVE),
         _unpack("x.zip", lambda path: path.write_bytes(b"words"))),
    Case("a download that stops", FATAL, f"{UCM}stops.zip: stopped after 200 of 500 bytes){HAND}",
         _download("stops.zip")),
    Case("a download with the wrong checksum", FATAL, f"{UCM}other.zip: wrong checksum){HAND}", _download("other.zip")),
    Case("a download that is an HTML error page", FATAL,
         f"{UCM}page.zip: a web page came instead of the file, as sign-in and error pages do){HAND}",
         _download("page.zip")),
    Case("a damaged sqlite database", FATAL,
         "{folder}/microstructures.sqlite: cannot be read as UHCSDB's database (file is not a database); "
         "fetch it again",
         _database),
    Case("a checkpoint that is a pickle with code in it", FATAL,
         f"{LOADED}not tensors alone; code and other objects are never loaded){FIT}", _weights(_pickle)),
    Case("a checkpoint with code in it", FATAL,
         f"{LOADED}not tensors alone; code and other objects are never loaded){FIT}", _weights(_torch_pickle)),
    Case("a checkpoint of other shapes", FATAL,
         f"{LOADED}1 tensors of other shapes: conv1.weight is 64x3x3x3 instead of 64x3x7x7){FIT}",
         _weights(_save(lambda: _state(conv1__weight=torch.zeros(64, 3, 3, 3))))),
    Case("a checkpoint of another network", FATAL, f"{LOADED}not this network's: 0 tensors missing, 96 unknown){FIT}",
         _weights(_save(lambda: torchvision.models.resnet34().state_dict()))),
    Case("a checkpoint with NaN in it", FATAL, f"{LOADED}NaN or infinity in 1 tensors: bn1.weight){FIT}",
         _weights(_save(lambda: _state(bn1__weight=torch.full((64,), torch.nan))))),
    Case("a truncated checkpoint", FATAL, f"{LOADED}damaged or cut short){FIT}", _weights(_cut)),
    Case("a checkpoint that is none", FATAL, f"{LOADED}not tensors by name){FIT}", _weights(_save(lambda: [1, 2]))),
    Case("a loss that becomes NaN", FATAL,
         "loss is not a number in SGDR, epoch 1 of 4, step 1 of 4, learning rate 0.01; try a lower lr", _bad_loss),
    Case("lr=True", FATAL, "lr=True: not a learning rate; allowed: above 0 and below 10, or 0 for the default",
         _parameters(lr=True)),
    Case("lr=nan", FATAL, "lr=nan: not a learning rate; allowed: above 0 and below 10, or 0 for the default",
         _parameters(lr=float("nan"))),
    Case("size=1000000", FATAL, "size=1000000: allowed: a whole number from 32 to 10000", _parameters(size=10**6)),
    Case("images='': not the current folder", FATAL, f"images='': {NO_FOLDER}", _images("")),
    Case("images=None", FATAL, f"images=None: {NO_FOLDER}", _images(None)),
]  # fmt: skip
