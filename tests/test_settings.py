"""What a run is made of: phases, profiles, what a user may ask for, and the key that names a run. No torch."""

import os
from pathlib import Path
from typing import Any

import pytest
from data_by_hand import refused
from pydantic import ValidationError

from entr_utils import settings, util
from entr_utils.settings import NETWORKS, PROFILES, PROTOCOL, Cell, RunSpec, seeds_of

SPEC: dict[str, Any] = {"dataset": "bees", "network": "resnet18", "regime": "stepwise:switch=RPL", "seed": 3}
SPEC |= {"profile": "paper", "size": 250, "batch": 64, "lr": 0.02, "weights": "resnet18-standin.pt"}
SPEC |= {"precision": "bfloat16", "augmentation": "two", "protocol": 3}
DEFAULTS = {"fingerprint": "", "weights_sha256": "", "groups": "", "square": "crop"}
WHOLE = SPEC | DEFAULTS | {"fingerprint": "799937689b4504f0", "weights_sha256": "036bf987bccec4f8", "groups": "known"}
KEY = "cfae510143359303ed38e57c441db5768da519fc41ed6e0219ac8bf448629b9a"
KEY_OF_DEFAULTS = "8d4682a1de7caea6eed0fe2cb95cec885217e8f78e13998d31c5deb843b4d4fc"


def test_a_key_once_released_never_changes():
    """Nor where a field with a default is added: records made before would be made again. Today's protocol, which is a
    default, is in it: raised, it makes every key another."""
    assert RunSpec(**WHOLE).key == KEY
    assert RunSpec(**SPEC).key == RunSpec(**SPEC | DEFAULTS).key == KEY_OF_DEFAULTS
    assert RunSpec(**dict(reversed(WHOLE.items()))).key == KEY
    assert {*WHOLE} == {*RunSpec.model_fields}
    today = RunSpec(**{name: value for name, value in WHOLE.items() if name != "protocol"})
    assert (today.protocol, today.key) == (PROTOCOL, KEY)


@pytest.mark.parametrize("name", WHOLE)
def test_every_field_is_in_the_key(name):
    other = {"seed": 4, "size": 128, "batch": 32, "lr": 0.01, "profile": "compact", "protocol": 2}.get(name, "other")
    assert RunSpec(**WHOLE | {name: other}).key != KEY


def test_the_name_tells_a_run():
    assert RunSpec(**WHOLE).name == f"bees-resnet18-stepwise-switch-rpl-s3-{KEY[:6]}"
    assert RunSpec(**SPEC | {"regime": "short:share=0.5"}).name.startswith("bees-resnet18-short-share-0.5-s3-")


def test_a_spec_is_frozen_and_takes_no_other_fields():
    with pytest.raises(ValidationError):
        RunSpec(**SPEC).seed = 4
    with pytest.raises(ValidationError):
        RunSpec(**SPEC | {"device": "Xeon"})


def test_the_papers_phases():
    """The head learns alone until RPL; without pretrained weights nothing is frozen."""
    phases, scratch = RunSpec(**SPEC).phases, RunSpec(**SPEC | {"weights": "none"}).phases
    assert [phase.name for phase in phases] == ["SGDR", "CLRS", "CMult", "RPL"]
    assert [phase.cycle_epochs for phase in phases] == [(1, 1, 1), (2, 2), (1, 2, 4), (1, 2, 4)]
    assert [phase.epochs for phase in phases] == [3, 4, 7, 7]
    assert [phase.trains for phase in phases] == ["head", "head", "head", "all"]
    assert [phase.lr for phase in phases] == [(0, 0, 1), (0, 0, 1), (0, 0, 1), (0.01, 0.1, 1)]
    assert {(phase.trains, phase.lr) for phase in scratch} == {("all", (1, 1, 1))}


def test_the_epochs_of_a_profile_never_change():
    """They are not in the key, which has the profile's name alone."""
    epochs = {name: (*map(sum, profile.cycles),) for name, profile in PROFILES.items()}
    short = {"tiny": (1, 1, 1, 1), "mechanism": (1, 1, 2, 2), "scratch": (8, 8, 12, 12)}
    assert epochs == short | dict.fromkeys(("quick", "compact", "paper"), (3, 4, 7, 7))


WRONG: dict[str, tuple[list, str]] = {  # parameter -> values that are refused, and what the line names beside them
    "network": (["vgg", ["resnet18"]], "resnet18, resnet34, resnet50"),
    "profile": (["huge"], "quick"),
    "size": ([31, -250, 99.5, "128", 10**9], "32"),
    "batch": ([1, -16, 16.0, "16", True], "2"),
    "seeds": ([("x",), (0, 1.5), (True,), (-1,), (2**31,)], "2147483647"),
    "data": (["nowhere", "x" * 300], "steel/<class>/"),
    "weights": (["nowhere.pt", "x\0y"], "none, demo"),
    "checkpoint_dir": (["nowhere", "~nobody/x"], "folder"),
    "groups": (["nowhere.csv"], "known-by-image"),
    "lr": ([-0.1, 10, float("nan"), float("inf"), True, "fast"], "10"),
    "precision": (["float8", None], "float32, bfloat16, float16"),
    "orientations": (["four"], "two, eight"),
    "classes": (["outer", None], "inner"),
    "dataset": ([5], "text"),
    "regime": ([None], "text"),
    "results": ([None], "text"),
}
MORE = [("data", 5, "text"), ("data", "synthetic-medium", "synthetic-coarse"), ("groups", None, "text")]


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [*MORE, *((n, value, words) for n, (values, words) in WRONG.items() for value in values)],
)
def test_wrong_parameters(name, value, allowed):
    named = f"seed={value[-1]!r}" if name == "seeds" else f"{name}={value!r}"
    refused(Cell(**{"dataset": "steel", name: value}).checked, named, allowed)


@pytest.mark.parametrize("name", ["results", "checkpoint_dir"])
@pytest.mark.parametrize("typed", ["{drive}/MyDrive/entr", "link", "{drive}"])
def test_a_drive_that_is_not_mounted_is_refused(name, typed, tmp_path, monkeypatch):
    """What is written there would go with the machine, however the folder is named."""
    monkeypatch.setattr(util, "DRIVE", tmp_path / "drive")
    monkeypatch.setattr(settings, "DRIVE", tmp_path / "drive")
    (tmp_path / "drive" / "MyDrive" / "entr").mkdir(parents=True)
    Path("link").symlink_to(tmp_path / "drive" / "MyDrive")
    value = typed.format(drive=tmp_path / "drive")
    refused(Cell("steel", **{name: value}).checked, f"{name}={value!r}", "mount")
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == tmp_path / "drive")
    assert Cell("steel", **{name: value}).checked()


def test_the_smallest_size_is_the_profiles():
    assert Cell("steel", profile="tiny", size=16).checked().size == 16
    refused(Cell("steel", profile="tiny", size=15).checked, "size=15", "16")


def test_defaults_come_from_the_profile():
    usual, paper = Cell("steel", results="").checked(), Cell("steel", profile="paper").checked()
    assert (usual.size, usual.batch, usual.weights, usual.data) == (80, 32, "demo", "synthetic")
    assert (paper.size, paper.batch, paper.weights, paper.data) == (250, 64, "imagenet", "data")
    assert (usual.precision, usual.lr, usual.orientations, usual.groups) == ("", 0.0, "", "")
    assert usual.folder == Path("results/quick")


def test_what_is_given_is_kept(tmp_path):
    (tmp_path / "weights.pt").touch()
    given: dict[str, Any] = {"network": "resnet50", "regime": "stepwise:switch=RPL", "seeds": (3, 5), "size": 96}
    given |= {"profile": "paper", "weights": str(tmp_path / "weights.pt"), "data": str(tmp_path), "groups": "known"}
    given |= {"precision": "bfloat16", "batch": 12, "lr": 0.05, "orientations": "two", "results": "elsewhere"}
    cell = Cell("mine", checkpoint_dir=str(tmp_path), **given)
    assert cell.checked() == cell
    assert cell.folder.parts == ("elsewhere", "paper")


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", [32, 10_000])
def test_what_is_allowed_is_taken(network, size):
    cell = Cell("steel", network, size=size, batch=2, lr=9.99, seeds=(0, 2**31 - 1)).checked()
    assert (cell.network, cell.size, cell.batch, cell.lr) == (network, size, 2, 9.99)


def test_seeds():
    assert [seeds_of(text) for text in ("0 1 2", "0,1, 2", " 7 ", 3, "2 0 2")] == [(0, 1, 2)] * 2 + [(7,), (3,), (2, 0)]


@pytest.mark.parametrize("text", ["", " ", "0 x", "1.5", "-1", "0;1", "1e3", "9" * 11])
def test_wrong_seeds(text):
    refused(lambda: seeds_of(text), f"seeds={text!r}", "whole numbers")


def test_weights_that_a_network_does_not_have_are_refused_and_never_the_default():
    assert Cell("steel", "resnet18", profile="quick").checked().weights == "none"
    assert Cell("steel", "resnet18-narrow", profile="paper").checked().weights == "none"
    for network, weights in (("resnet18", "demo"), ("resnet18-narrow", "imagenet")):
        refused(Cell("steel", network, weights=weights).checked, f"weights={weights!r}", network)
