"""Which images there are, and what names them before any is read. No torch."""

import os
import subprocess
import sys

import pytest
from data_by_hand import archive, files_below, noise, photos, refused

from entr_utils.data import catalog
from entr_utils.settings import Cell


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ENTR_CACHE", str(tmp_path / "cache"))


def own(folder, **other) -> Cell:
    return Cell("own", data=str(folder), size=32, **other)


@pytest.mark.parametrize(
    ("dataset", "data", "state", "named"),
    [
        ("ucm", "data", "downloadable", "data/ucm/"),
        ("steel", "data", "missing", "import_uhcsdb"),
        ("bees", "elsewhere", "missing", "elsewhere/bees/"),
        ("flowers", "elsewhere", "missing", "elsewhere/flowers/"),
        ("bees", "synthetic", "synthetic", "insects"),
        ("ucm", "synthetic-fine", "synthetic", "aerial"),
    ],
)
def test_status(dataset, data, state, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, line = catalog.status(dataset, data)
    assert found == state
    assert named in line
    assert "\n" not in line


def test_status_of_what_is_found_counts_it(tmp_path):
    photos(tmp_path / "flowers", each=4)
    state, line = catalog.status("flowers", str(tmp_path))
    assert state == "found"
    assert "12 images in 3 classes" in line
    assert catalog.status("own", str(tmp_path / "flowers"))[0] == "found"
    assert catalog.count(own(tmp_path / "flowers")) == 12
    assert catalog.count(Cell("steel", data="synthetic", profile="tiny", size=40)) == 7 * 12
    assert catalog.count(Cell("steel", data=str(tmp_path), size=40)) == 1460  # as many as the paper had, where none are
    photos(tmp_path / "bees", ("one",))
    refused(lambda: catalog.status("bees", str(tmp_path)), tmp_path / "bees")


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
    """Size, dial and number of images count; network and regime do not."""
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


def test_no_torch_is_needed():
    code = "import sys; from entr_utils.data import catalog; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_own_folder_is_the_folder(tmp_path):
    folder = photos(tmp_path / "photos")
    assert catalog.own_folder(str(folder)) == folder
    folder = photos(tmp_path / "one", ("heath",))  # a single class is no wrapping
    assert catalog.own_folder(str(folder)) == folder


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_own_folder_unpacks_an_archive_once(suffix, tmp_path, monkeypatch):
    """As desktops make them: the folder in a folder, and their litter beside it."""
    folder = photos(tmp_path / "photos", each=2)
    members = {f"my photos/{name}": (folder / name).read_bytes() for name in files_below(folder)}
    path = archive(tmp_path / f"mine.2024{suffix}", {**members, "__MACOSX/my photos/._x": b"", ".DS_Store": b""})
    found = catalog.own_folder(str(path))
    assert found.is_relative_to(tmp_path / "cache")
    assert [*catalog.found(own(path)).files] == files_below(folder)
    assert catalog.fingerprint(own(path)) == catalog.fingerprint(own(folder))
    with monkeypatch.context() as patch:
        patch.setattr(catalog, "unpack", lambda *arguments: pytest.fail("unpacked again"))
        assert catalog.own_folder(str(path)) == found
    archive(path, dict.fromkeys(("a/1.png", "b/1.png"), b""))  # another one of the same name
    assert files_below(catalog.own_folder(str(path))) == ["a/1.png", "b/1.png"]


@pytest.mark.parametrize("images", ["nowhere", "nowhere.zip", "", " ", None, 7, "~nobody-here/x", "x" * 300, "x\0y"])
def test_own_folder_that_is_not_to_be_found(images, tmp_path):
    """Nothing at all is not the current folder; a picture is no archive."""
    refused(lambda: catalog.own_folder(images), repr(images))
    noise().save(tmp_path / "one.png")
    refused(lambda: catalog.own_folder(str(tmp_path / "one.png")), "one.png")
