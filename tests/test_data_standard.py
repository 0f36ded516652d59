"""Standard sets: downloaded from a local server, as folders of a split; folders by name; small images."""

import hashlib
import pickle
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from data_by_hand import archive, files_below, photos, refused, serving
from PIL import Image

from entr_utils import cli, networks
from entr_utils.data import catalog, download
from entr_utils.results.studies import STUDIES, cells
from entr_utils.settings import Cell, RunSpec
from entr_utils.training.run import plan_of, prepare
from entr_utils.util import UserError

PICTURES = np.random.default_rng(0).integers(0, 256, (14, 3072), np.uint8)


@pytest.fixture
def served(monkeypatch, tmp_path) -> Iterator[dict[str, bytes]]:
    """What a server on this machine gives, by path: both sets in small."""
    parts = {f"data_batch_{i + 1}": {"data": PICTURES[2 * i : 2 * i + 2], "labels": [0, 1]} for i in range(5)}
    parts |= {"test_batch": {"data": PICTURES[10:], "labels": [1, 1, 0, 0]}}
    parts |= {"batches.meta": {"label_names": ["frog", "ship"]}}
    cifar10 = {f"cifar-10-batches-py/{name}": pickle.dumps(part) for name, part in parts.items()}
    for side, each in (("train", 3), ("val", 2)):
        photos(tmp_path / "made" / "imagenette2-160" / side, ("n0", "n1"), each, seed=100 * each)
    names = files_below(tmp_path / "made")
    members = {"cifar10": cifar10, "imagenette": {name: (tmp_path / "made" / name).read_bytes() for name in names}}
    bodies = {f"/{name}": archive(tmp_path / f"{name}.tar.gz", one).read_bytes() for name, one in members.items()}
    with serving(bodies) as http:
        for name in members:
            md5 = hashlib.md5(bodies[f"/{name}"], usedforsecurity=False).hexdigest()
            made = replace(download.ARCHIVES[name], urls=(http.url(f"/{name}"),), md5=md5)
            monkeypatch.setitem(download.ARCHIVES, name, made)
        yield bodies


@pytest.mark.parametrize(("name", "trained", "judged"), [("imagenette", 6, 4), ("cifar10", 10, 4)])
def test_a_standard_set_is_downloaded_and_judged_as_it_comes_split(name, trained, judged, served, tmp_path, narrow):
    (tmp_path / "data").mkdir()
    cell = Cell(name, profile="tiny", data=str(tmp_path / "data"), seeds=(0, 1))
    assert "will be downloaded" in catalog.described(cell)
    runs = prepare(cell)
    assert [path.name for path in (tmp_path / "data").iterdir()] == [name]
    for one in runs:
        assert (one.split.by, len(one.split.training), len(one.split.validation)) == ("official", trained, judged)
    assert (runs[0].split.validation == runs[1].split.validation).all()
    served.clear()  # is not asked again
    assert [one.spec.fingerprint for one in prepare(cell)] == [one.spec.fingerprint for one in runs]


def test_cifar_keeps_every_pixel_and_its_class(served, tmp_path):
    download.fetch(download.ARCHIVES["cifar10"], folder := tmp_path / "cifar10")
    labels = {"train": ["frog", "ship"] * 5, "test": ["ship", "ship", "frog", "frog"]}
    expected = [f"{side}/{name}/{i:05}.png" for side, names in labels.items() for i, name in enumerate(names)]
    assert files_below(folder) == sorted(expected)
    first = PICTURES[0].reshape(3, 32, 32)  # as CIFAR is laid out
    assert (np.asarray(Image.open(folder / "train/frog/00000.png")) == first.transpose(1, 2, 0)).all()


def test_any_number_of_folders_are_datasets(tmp_path):
    """By a name and a path, in a matrix and in a study; a folder of the same name inside is a class like others."""
    pets, split = photos(tmp_path / "a", ("cats", "dogs")), tmp_path / "b"
    for side, seed in (("train", 6), ("test", 2)):
        photos(split / side, ("x", "y"), seed)
    words = ["PROFILE=tiny", f"DATASETS=cats:{pets} pairs:{split} steel", "REGIMES=gradual", "WEIGHTS=none"]
    made = cli.matrix(cli.read(words, cli.MATRIX))
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
