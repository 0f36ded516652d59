"""Standard sets: downloaded from a local server, checked, as folders of a split; folders by name; small images."""

import hashlib
import io
import pickle
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from data_by_hand import files_below, noise, photos, refused
from PIL import Image
from torchvision.datasets import CIFAR10, Imagenette

from entr_utils import cli, networks
from entr_utils.data import catalog, standard
from entr_utils.results.studies import STUDIES, cells
from entr_utils.settings import Cell, RunSpec
from entr_utils.training.run import plan_of, prepare
from entr_utils.util import UserError


def tgz(members: dict[str, bytes]) -> bytes:
    with tarfile.open(fileobj=(whole := io.BytesIO()), mode="w:gz") as tar:
        for name, content in members.items():
            (entry := tarfile.TarInfo(name)).size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return whole.getvalue()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def png(seed: int) -> bytes:
    noise((70, 60), seed).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


@pytest.fixture
def served(monkeypatch) -> Iterator[dict[str, bytes]]:
    """What a server on this machine gives, by path; torchvision's addresses and checksums are those of small sets."""
    pictures = np.random.default_rng(0).integers(0, 256, (14, 3072), np.uint8)
    batch = {"data": pictures[:10], "labels": [0, 1] * 5}, {"data": pictures[10:], "labels": [1, 1, 0, 0]}
    files = {"data_batch_1": batch[0], "test_batch": batch[1], "batches.meta": {"label_names": ["frog", "ship"]}}
    packed = {name: pickle.dumps(content) for name, content in files.items()}
    sides = {"train": (0, 3), "val": (3, 5)}
    photographs = {
        f"imagenette2-160/{side}/n{label}/{i}.PNG": png(10 * label + i)
        for side, ends in sides.items()
        for label in range(2)
        for i in range(*ends)
    }
    bodies = {
        "/cifar.tgz": tgz({f"cifar-10-batches-py/{name}": content for name, content in packed.items()}),
        "/imagenette.tgz": tgz(photographs),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body := bodies[self.path])))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{http.server_port}"
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        found = f"{url}/imagenette.tgz", md5(bodies["/imagenette.tgz"])
        monkeypatch.setattr(Imagenette, "_ARCHIVES", {"160px": found})
        monkeypatch.setattr(CIFAR10, "url", f"{url}/cifar.tgz")
        monkeypatch.setattr(CIFAR10, "tgz_md5", md5(bodies["/cifar.tgz"]))
        lists = [[name, md5(packed[name])] for name in packed]
        monkeypatch.setattr(CIFAR10, "train_list", lists[:1])
        monkeypatch.setattr(CIFAR10, "test_list", lists[1:2])
        meta = {"filename": lists[2][0], "key": "label_names", "md5": lists[2][1]}
        monkeypatch.setattr(CIFAR10, "meta", meta)
        bodies["pictures"] = pictures.tobytes()
        yield bodies
        http.shutdown()


@pytest.mark.parametrize(("name", "trained", "judged"), [("imagenette", 6, 4), ("cifar10", 10, 4)])
def test_a_standard_set_is_downloaded_and_judged_as_it_comes_split(name, trained, judged, served, tmp_path, narrow):
    """Once; nothing else stays in the folder; every seed judges the same images."""
    (tmp_path / "data").mkdir()
    cell = Cell(name, profile="tiny", data=str(tmp_path / "data"), seeds=(0, 1))
    assert catalog.status(name, cell.data)[0] == "downloadable"
    runs = prepare(cell)
    assert [path.name for path in (tmp_path / "data").iterdir()] == [name]
    for one in runs:
        assert (one.split.by, len(one.split.training), len(one.split.validation)) == ("official", trained, judged)
    assert (runs[0].split.validation == runs[1].split.validation).all()
    served.clear()  # is not asked again
    assert [one.spec.fingerprint for one in prepare(cell)] == [one.spec.fingerprint for one in runs]


def test_cifar_keeps_every_pixel_and_its_class(served, tmp_path):
    folder = standard.fetch("cifar10", tmp_path)
    labels = {"train": ["frog", "ship"] * 5, "test": ["ship", "ship", "frog", "frog"]}
    expected = [f"{side}/{name}/{i:05}.png" for side, names in labels.items() for i, name in enumerate(names)]
    assert files_below(folder) == sorted(expected)
    first = np.frombuffer(served["pictures"], np.uint8)[:3072].reshape(3, 32, 32)  # as CIFAR is laid out
    assert (np.asarray(Image.open(folder / "train/frog/00000.png")) == first.transpose(1, 2, 0)).all()


@pytest.mark.parametrize("name", ["imagenette", "cifar10"])
def test_what_is_not_the_set_is_refused(name, served, tmp_path):
    for path in ("/cifar.tgz", "/imagenette.tgz"):
        served[path] = tgz({"x": b"something else"})
    refused(lambda: standard.fetch(name, tmp_path), "127.0.0.1")
    assert files_below(tmp_path) == []


def test_any_number_of_folders_are_datasets(tmp_path):
    """By a name and a path, in a matrix and in a study; a folder of the same name inside is a class like others."""
    pets, split = photos(tmp_path / "a", ("cats", "dogs")), tmp_path / "b"
    for side, seed in (("train", 6), ("test", 2)):
        photos(split / side, ("x", "y"), seed)
    words = ["PROFILE=tiny", f"DATASETS=cats:{pets} pairs:{split} steel", "REGIMES=gradual", "WEIGHTS=none"]
    made = cli.matrix(cli.read(words, cli.MATRIX))[0]
    assert [one.name for one in made] == ["cats-resnet18-gradual", "pairs-resnet18-gradual", "steel-resnet18-gradual"]
    runs = [prepare(one)[0] for one in made]
    assert [one.images.classes for one in runs[:2]] == [["cats", "dogs"], ["x", "y"]]
    assert [one.split.by for one in runs] == ["fold", "official", "fold"]
    assert [one.spec.dataset for one in runs] == ["cats", "pairs", "steel"]
    moved = pets.rename(tmp_path / "elsewhere")
    again = prepare(Cell("cats", profile="tiny", regime="gradual", data=f"cats:{moved}"))
    assert again[0].spec.key == runs[0].spec.key
    study = replace(STUDIES["controls"], datasets=(f"cats:{moved}", "bees"))
    assert {(one.dataset, one.data) for one in cells(study, data="data")} == {
        ("cats", f"cats:{moved}"),
        ("bees", "data"),
    }
    for wrong in ("cats", "steel:x"):
        refused(lambda wrong=wrong: cli.matrix({"DATASETS": wrong}), wrong, "name:folder")
    refused(lambda: Cell("cats", data="cats:nowhere").checked(), "cats:nowhere")


def test_a_stem_that_keeps_the_size_takes_images_of_13_pixels():
    """40% of 32; any other network refuses them."""
    cell = Cell("cifar10", "resnet18-cifar", "gradual", profile="scratch", size=32, data="synthetic").checked()
    assert cell.weights == "none"
    spec = {"fingerprint": "", "precision": "float32", "augmentation": "two", "lr": 0.1, "regime": "gradual"}
    spec |= {name: getattr(cell, name) for name in ("dataset", "network", "profile", "size", "batch", "weights")}
    plan, _ = plan_of(RunSpec(**spec, seed=0), 200)
    assert min(block.spec.size for block in plan) == 13
    with pytest.raises(UserError):
        plan_of(RunSpec(**spec | {"network": "resnet18"}, seed=0), 200)
    network = networks.build("resnet18-cifar", "none", 10, "float32").eval()
    maps = network.body[:4](torch.zeros(1, 3, 13, 13))
    assert (maps.shape, network(torch.zeros(2, 3, 13, 13)).shape) == ((1, 64, 13, 13), (2, 10))
    refused(lambda: Cell("cifar10", "resnet18-cifar", weights="imagenet").checked(), "weights='imagenet'")
