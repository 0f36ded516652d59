"""Which images there are, and what names them before any is read. No torch."""

import os

import pytest
from data_by_hand import archive, files_below, noise, own, photos, refused

from entr_utils.data import catalog
from entr_utils.settings import Cell
from entr_utils.util import cache_folder


def test_what_there_is_in_a_line_and_a_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "flowers", each=4)
    for name, data, words, count in (
        ("flowers", ".", "12 images in 3 classes", 12),
        ("own", "flowers", "12 images in 3 classes", 12),
        ("ucm", "data", "data/ucm/, will be downloaded (318 MB)", 2100),  # as many as the paper had, where none are
        ("bees", "synthetic", "insects", 22 * 6),
        ("ucm", "synthetic-fine", "aerial", 21 * 6),
    ):
        cell = Cell(name, data=data, profile="tiny", size=40)
        assert words in catalog.described(cell)
        assert catalog.count(cell) == count
    for name, named in (("steel", "import_uhcsdb"), ("bees", "elsewhere/bees/"), ("roses", "elsewhere/roses/")):
        refused(lambda name=name: catalog.described(Cell(name, data="elsewhere")), "missing", named)
    assert catalog.count(Cell("steel", data="elsewhere")) == 1460


def test_the_fingerprint_is_of_names_bytes_and_groups(tmp_path):
    """Wherever the folder is, whenever it was written, and whatever lies in it besides."""
    folder = photos(tmp_path / "mine")
    marks = [catalog.fingerprint(own(folder))]
    folder.rename(tmp_path / "moved")
    folder = tmp_path / "moved"
    os.utime(folder / "lake" / "00.png", (0, 0))
    (folder / "lake" / "notes.txt").touch()
    assert catalog.fingerprint(own(folder)) == marks[0]
    (tmp_path / "moved_groups.csv").write_text("file,group\nlake/00.png,1\n")
    assert catalog.fingerprint(own(folder, groups="none")) == marks[0]
    marks.append(catalog.fingerprint(own(folder)))
    assert catalog.fingerprint(own(folder, groups=str(tmp_path / "moved_groups.csv"))) == marks[1]
    (tmp_path / "moved_groups.csv").write_text("file,group\nlake/00.png,2\n")
    marks.append(catalog.fingerprint(own(folder)))
    (folder / "lake" / "00.png").rename(folder / "lake" / "zero.png")
    marks.append(catalog.fingerprint(own(folder)))
    noise((70, 70)).save(folder / "lake" / "zero.png")
    marks.append(catalog.fingerprint(own(folder)))
    (folder / "lake" / "broken.png").symlink_to("nowhere")
    marks.append(catalog.fingerprint(own(folder)))
    assert len({*marks}) == 6


def test_the_fingerprint_of_drawn_images_is_of_the_formula():
    cells = [
        Cell("steel", data="synthetic", profile="tiny"),
        Cell("steel", data="synthetic-fine", profile="tiny"),
        Cell("bees", data="synthetic", profile="tiny"),
        Cell("steel", data="synthetic", profile="tiny", size=48),
        Cell("steel", data="synthetic", profile="quick", size=40),
        Cell("steel", data="synthetic", profile="compact"),
    ]
    marks = [catalog.fingerprint(cell.checked()) for cell in cells]
    assert len({*marks}) == len(cells)
    again = Cell("steel", "resnet34", "gradual", (3,), data="synthetic", profile="tiny").checked()
    assert catalog.fingerprint(again) == marks[0]


def test_images_that_are_missing_have_no_fingerprint(tmp_path):
    refused(lambda: catalog.fingerprint(Cell("bees", data=str(tmp_path), size=32)), tmp_path / "bees")
    refused(lambda: catalog.fingerprint(own(photos(tmp_path / "mine"), groups="known")), tmp_path / "mine_groups.csv")


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_own_folder_unpacks_an_archive_once(suffix, tmp_path, monkeypatch):
    """As desktops make them: the folder in a folder, and their litter beside it."""
    folder = photos(tmp_path / "photos", each=2)
    members = {f"my photos/{name}": (folder / name).read_bytes() for name in files_below(folder)}
    path = archive(tmp_path / f"mine.2024{suffix}", {**members, "__MACOSX/my photos/._x": b"", ".DS_Store": b""})
    found = catalog.own_folder(str(path))
    assert found.is_relative_to(cache_folder())
    assert [*catalog.found(own(path)).files] == files_below(folder)
    assert catalog.fingerprint(own(path)) == catalog.fingerprint(own(folder))
    with monkeypatch.context() as patch:
        patch.setattr(catalog, "unpack", lambda *arguments: pytest.fail("unpacked again"))
        assert catalog.own_folder(str(path)) == found
    archive(path, dict.fromkeys(("a/1.png", "b/1.png"), b""))  # another one of the same name
    assert files_below(catalog.own_folder(str(path))) == ["a/1.png", "b/1.png"]


@pytest.mark.parametrize("images", ["nowhere", "nowhere.zip", "", " ", None, 7, "~nobody-here/x", "x" * 300, "x\0y"])
def test_own_folder_that_is_not_to_be_found(images, tmp_path):
    refused(lambda: catalog.own_folder(images), repr(images))
    noise().save(tmp_path / "one.png")
    refused(lambda: catalog.own_folder(str(tmp_path / "one.png")), "one.png")
