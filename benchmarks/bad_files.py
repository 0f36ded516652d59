"""Rows of the bad-input table: archives, downloads, databases, checkpoints and parameters."""

import copy
import io
import pickle
import tarfile
import threading
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import torch
import torchvision

from benchmarks.cases import FATAL, READ, Case, flip, noise, of_path, truncate
from entr_utils import networks
from entr_utils.data import download
from entr_utils.settings import Cell
from entr_utils.training import loop
from entr_utils.training.run import prepare, prepare_own

Make = Callable[[Path], object]
LAKE, WOOD, KEPT = "lake/0.png", "wood/0.png", "data/own/evil.png data/own/lake/0.png"


@of_path
def packed(path: Path, *names: str) -> None:
    """An archive, of the kind that its suffix names, of files of these names."""
    contents = {name: noise(name).tobytes() for name in names}
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            for name, content in contents.items():
                file.writestr(zipfile.ZipInfo(name), content)
        return
    with tarfile.open(path, f"w:{path.suffix[1:].removeprefix('tar')}") as tar:  # type: ignore[call-overload]
        for name, content in contents.items():
            (member := tarfile.TarInfo(name)).size = len(content)
            tar.addfile(member, io.BytesIO(content))


def linked(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("lake")
        member.type, member.linkname = tarfile.SYMTYPE, "../.."
        archive.addfile(member)


def zip_bomb(path: Path) -> None:
    """100 MB of nothing, named 20 times."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(LAKE, bytes(10**8))
        for i in range(1, 20):
            archive.filelist.append(copy.copy(archive.filelist[0]))
            archive.filelist[-1].filename = f"lake/{i}.png"


def tar_bomb(path: Path) -> None:
    """Promises 100 GB."""
    (member := tarfile.TarInfo(LAKE)).size = 10**11
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT))


@of_path
def unpacked(folder: Path, name: str, make: Make, spoil: Make = Path.exists) -> tuple[str, str]:
    """Unpack an archive of this name; the line are the files it became."""
    make(folder / name)
    spoil(folder / name)
    download.unpack(folder / name, folder / "data" / "own")
    inside = sorted(path for path in (folder / "data" / "own").rglob("*") if path.is_file())
    return READ, " ".join(str(path.relative_to(folder)) for path in inside)


class Answers(BaseHTTPRequestHandler):
    """/stops.zip ends early, /page.zip is a web page, anything else is a file of another content."""

    def do_GET(self) -> None:
        body = b"<!DOCTYPE html><html><title>Sign in</title></html>" if "page" in self.path else b"words" * 100
        sent = body[:200] if "stops" in self.path else body
        self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), sent))


@of_path
def fetched(folder: Path, name: str) -> tuple[str, str]:
    """Download UC Merced from a server that answers as `Answers` do."""
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{name}"
        download.fetch(download.Archive((url,), "md5 of another", ""), folder / "data" / "ucm")
    return READ, name


def database(folder: Path) -> tuple[str, str]:
    (folder / "microstructures.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 500)
    return READ, str(download.import_uhcsdb(folder, folder / "data"))


class Code:
    """Unpickled, it writes a file beside the case's folder."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("../was here"),)


def state(**changed: torch.Tensor) -> dict[str, torch.Tensor]:
    """A state dict of ResNet18 in half precision, with some tensors changed."""
    return torchvision.models.resnet18(num_classes=2).half().state_dict() | changed


@of_path
def weights(folder: Path, content: Callable[[], object], spoil: Make = Path.exists) -> tuple[str, str]:
    path, made = folder / "w.pt", content()
    path.write_bytes(made) if isinstance(made, bytes) else torch.save(made, path)
    spoil(path)
    return READ, type(networks.build("resnet18", str(path), 2, "float32")).__name__


def exploding(folder: Path) -> tuple[str, str]:
    """Train with weights so large that the first loss is no number."""
    large = {name: value * (6e4 if name.endswith("bn1.weight") else 1) for name, value in state().items()}
    torch.save(large, folder / "w.pt")
    (run,) = prepare(Cell("steel", profile="tiny", weights=str(folder / "w.pt"), results=str(folder / "results")))
    return READ, loop.train(run).key


@of_path
def asked(folder: Path, **fields) -> tuple[str, str]:
    return READ, str(Cell("steel", **fields).checked())


@of_path
def images(folder: Path, value: Any) -> tuple[str, str]:
    return READ, str(prepare_own(value, (0,)))


BOTH, CODE = packed(LAKE, WOOD), {"conv1.weight": Code()}
NARROW, NAN = torch.zeros(64, 3, 3, 3), torch.full((64,), torch.nan)
FILES = [
    Case("a zip with ../: kept inside", READ, KEPT, unpacked("x.zip", packed(LAKE, "../../evil.png"))),
    Case("a zip with absolute names: kept inside", READ, KEPT, unpacked("x.zip", packed(LAKE, "/evil.png"))),
    Case("a tar with ../", FATAL, "../../evil.png", unpacked("x.tar", packed(LAKE, "../../evil.png"))),
    Case("a tar with absolute names: kept inside", READ, KEPT, unpacked("x.tar", packed(LAKE, "/evil.png"))),
    Case("a tar with a link out of itself", FATAL, "lake", unpacked("x.tar", linked)),
    Case("a zip that unpacks to far more than it should", FATAL, "x.zip: unpacks to more", unpacked("x.zip", zip_bomb)),
    Case("a tar that unpacks to far more than it should", FATAL, "x.tar: unpacks to more", unpacked("x.tar", tar_bomb)),
    Case("a truncated zip", FATAL, "x.zip", unpacked("x.zip", packed(LAKE), truncate)),
    Case("a truncated tar", FATAL, "x.tar", unpacked("x.tar", BOTH, truncate)),
    Case("a truncated tar.gz", FATAL, "x.gz", unpacked("x.gz", BOTH, truncate)),
    Case("a damaged tar.xz", FATAL, "x.xz", unpacked("x.xz", BOTH, flip)),
    Case("no archive at all", FATAL, "x.zip", unpacked("x.zip", lambda path: path.write_bytes(b"words"))),
    Case("a download that stops", FATAL, "200 of 500 bytes", fetched("stops.zip")),
    Case("a download with the wrong checksum", FATAL, "checksum", fetched("other.zip")),
    Case("a download that is an HTML error page", FATAL, "web page", fetched("page.zip")),
    Case("a damaged sqlite database", FATAL, "microstructures.sqlite", database),
    Case("a checkpoint that is a pickle with code in it", FATAL, "w.pt", weights(lambda: pickle.dumps(CODE))),
    Case("a checkpoint with code in it", FATAL, "w.pt", weights(lambda: CODE)),
    Case("a checkpoint of other shapes", FATAL, "conv1.weight", weights(lambda: state(**{"conv1.weight": NARROW}))),
    Case("a checkpoint of another network", FATAL, "96", weights(lambda: torchvision.models.resnet34().state_dict())),
    Case("a checkpoint with NaN in it", FATAL, "bn1.weight", weights(lambda: state(**{"bn1.weight": NAN}))),
    Case("a truncated checkpoint", FATAL, "w.pt", weights(state, truncate)),
    Case("a checkpoint that is none", FATAL, "w.pt", weights(lambda: [1, 2])),
    Case("a loss that becomes NaN", FATAL, "SGDR, epoch 1, step 1", exploding),
    Case("lr=True", FATAL, "lr=True", asked(lr=True)),
    Case("lr=nan", FATAL, "lr=nan", asked(lr=float("nan"))),
    Case("size=1000000", FATAL, "size=1000000", asked(size=10**6)),
    Case("images='': not the current folder", FATAL, "images=''", images("")),
    Case("images=None", FATAL, "images=None", images(None)),
]
