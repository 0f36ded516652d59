"""`make look`: what would be taken of a folder, before any training."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from data_by_hand import archive, files_below, noise, photos, refused
from PIL import Image

from entr_utils import cli
from entr_utils.data import look, pixels


def seen(*given: object) -> str:
    return "\n".join(look.lines(*map(str, given)))


def shows(text: str, *words: str) -> bool:
    """Whether one line holds all of these."""
    return any(all(word in line for word in words) for line in text.splitlines())


def test_classes_sizes_copies_and_what_is_left_out(tmp_path):
    folder = photos(tmp_path / "mine", each=12)
    (folder / "pond").mkdir()
    for i in range(3):
        noise((30 + i, 500), i).save(folder / "pond" / f"{i}.png")
    for i in range(40):
        noise((48, 60), 5000 + i).save(folder / "lake" / f"more {i}.png")
    Image.fromarray(np.full((300, 300), 4000, np.uint16)).save(folder / "wood" / "deep.tif")
    (folder / "wood" / "copy.png").write_bytes((folder / "heath" / "02.png").read_bytes())
    (folder / "wood" / "x.jpg").write_bytes(b"words")
    text = seen(folder)
    assert shows(text, str(folder), "81 images", "4 classes")
    assert all(shows(text, f"{name}: {count}") for name, count in (("lake", 52), ("pond", 3), ("wood", 14)))
    assert shows(text, "30 to 300 px")
    assert shows(text, "More than 8 bits: 1 ")
    assert shows(text, "heath/02.png = wood/copy.png")
    assert shows(text, "wood/x.jpg", "PNG")
    assert shows(text, "pond (3)")
    assert shows(text, "52", "lake", "3", "pond")
    assert shows(text, "largest class", "%")


def test_split_groups_and_both_readings(tmp_path):
    for side, each in (("train", 9), ("test", 3)):
        photos(tmp_path / "split" / side, ("a", "b"), each, seed=100 * each)
    text = seen(tmp_path / "split")
    assert shows(text, "split", "train", "test")
    assert shows(text, "trains on 18", "judges 6")
    assert shows(text, "50.0%")
    for year in ("2023", "2024"):
        photos(tmp_path / "years" / year, ("cat", "dog"), 4)
    assert shows(seen(tmp_path / "years"), "2023", "cat", "CLASSES=inner")
    assert shows(seen(tmp_path / "years", "inner"), "cat: 8")
    folder = photos(tmp_path / "mine")
    rows = "".join(f"{name},{name[-6:]}\n" for name in files_below(folder))
    (folder / "lake" / "spoilt.png").write_bytes(b"words")  # an image all the same
    (tmp_path / "mine_groups.csv").write_text(f"file,group\n{rows}x/y.png,1\nlake/spoilt.png,1\n")
    assert shows(seen(folder), "roups", "8", "mine_groups.csv", "(1 names in it are no image)")
    (tmp_path / "mine_groups.csv").write_text(
        "file,group\nheath/00.png,1\nheath/01.png,2\nlake/00.png,1\nlake/01.png,2\n"
    )
    refused(lambda: seen(folder, "", "known"), "2 groups")


def test_an_archive_and_what_is_drawn(tmp_path):
    folder = photos(tmp_path / "photos")
    path = archive(tmp_path / "x.zip", {f"down/{name}": (folder / name).read_bytes() for name in files_below(folder)})
    assert shows(seen(path), "24 images", "down")
    assert shows(seen("synthetic"), "formula")


def test_what_cannot_be_trained_is_one_line_and_exit_code_2(tmp_path, capsys):
    few, single = photos(tmp_path / "few", ("a", "b"), 2), photos(tmp_path / "single", ("heath", "lake"), 1)
    for folder, named in ((few, "3 folds"), (single, "heath"), ("nowhere", "nowhere")):
        assert cli.guarded(cli.command, ["look", f"IMAGES={folder}"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert named in line


def test_no_torch_is_needed(tmp_path):
    folder = photos(tmp_path / "mine", ("a", "b"), 4)
    code = f"import sys; from entr_utils import cli; cli.command(['look', 'IMAGES={folder}'])"
    code += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_nothing_is_decoded(tmp_path, monkeypatch):
    """Headers are read, and whole files only where several have the same size: seconds for ten thousand."""
    folder, hashed = photos(tmp_path / "mine", ("a", "b"), 4), []
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr(look, "sha256_of", lambda path: hashed.append(path) or pixels.sha256_of(path))
    sizes = [path.stat().st_size for path in folder.rglob("*.png")]
    assert seen(folder)
    assert len(hashed) == sum(sizes.count(size) > 1 for size in sizes)
