"""What is in a folder of images, however people have it. No torch."""

import os
from pathlib import Path

import pytest
from data_by_hand import noise, refused

from entr_utils.data import folder as folders


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names(folder: Path, classes: str = "") -> list[str]:
    return [*folders.look_at(folder, classes).files]


def test_what_is_listed_what_is_left_out_and_what_is_passed_over(tmp_path):
    touch(tmp_path, "b/2.png", "b/1.JPG", "a/x.tif", "a/y.webp")
    touch(tmp_path, "a/notes.pdf", "top.png", "docs/read.md")
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "a/.DS_Store", "a/._x.png", ".git/x.png", "a/Thumbs.db", "__MACOSX/x.png", "b/@eaDir/2.png/S.jpg")
    touch(tmp_path, "list.csv", "b/1.xmp", "b/2.JSON", "desktop.ini", "README.txt")
    found = folders.look_at(tmp_path)
    assert [*found.files] == ["a/x.tif", "a/y.webp", "b/1.JPG", "b/2.png"]
    assert [*found.files.values()] == [tmp_path / name for name in found.files]
    assert {*found.left_out} == {"a/notes.pdf", "top.png", "empty", "docs"}
    assert all(found.left_out.values())
    assert (found.root, found.sides, found.reading) == (tmp_path, {}, ())


def test_a_file_whose_name_is_no_text_is_left_out(tmp_path):
    touch(tmp_path / "file", f"a/{os.fsdecode(b'1' + bytes([255]))}.png", "a/2.png", "b/1.png")
    assert names(tmp_path / "file") == ["a/2.png", "b/1.png"]
    refused(lambda: folders.look_at(tmp_path / "nowhere"), tmp_path / "nowhere")


@pytest.mark.parametrize("trained", ["train", "Training", "TRAIN_SET", "seg_train", "train2017", "Training Images"])
@pytest.mark.parametrize("judged", ["test", "val", "Validation", "valid", "seg_test", "testing-data"])
def test_a_set_that_comes_split(trained, judged, tmp_path):
    """Classes are the folders in it; a folder of neither side is not used, nor images outside of any class."""
    touch(tmp_path, *(f"{side}/{name}/{i}.png" for side in (trained, judged) for name in ("cat", "dog") for i in "01"))
    touch(tmp_path, "seg_pred/1.png", f"{judged}/7.png", f"{judged}/bird/1.png", f"{trained}/dog/sub/9.png")
    found = folders.look_at(tmp_path)
    sides = {f"{name}/{top}/{i}.png": side for name in ("cat", "dog") for top, side in
             ((trained, "train"), (judged, "test")) for i in "01"}  # fmt: skip
    assert found.sides == sides | {f"dog/{trained}/sub/9.png": "train"}
    assert found.files.keys() == found.sides.keys()
    assert {*found.left_out} == {"seg_pred", judged}
    assert "2 images" in found.left_out[judged]
    assert trained in found.reading[0]


@pytest.mark.parametrize(
    ("files", "judged"),
    [
        (["train/{}/1.png", "val/{}/2.png", "test/{}/3.png"], "test"),
        (["train/{}/1.png", "val/{}/2.png", "test/{}3.png"], "val"),  # a competition's: the test set has no classes
        (["train/{}/1.png", "test/{}3.png"], ""),
        (["x/seg_train/seg_train/{}/1.png", "x/seg_test/seg_test/{}/3.png"], "seg_test"),
        (["{}/train/1.png", "{}/test/2.png"], "test"),  # split within each class
    ],
)
def test_who_is_judged(files, judged, tmp_path):
    """Test, else val, else folds of what train holds."""
    touch(tmp_path, *(one.format(name) for one in files for name in ("cat", "dog")))
    found = folders.look_at(tmp_path)
    assert {folders.class_of(name) for name in found.files} == {"cat", "dog"}
    assert {name.split("/")[1] for name, side in found.sides.items() if side == "test"} == {*filter(None, [judged])}
    assert bool(found.sides) == bool(judged)
    assert found.reading


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ("train/1.png train/2.png test/3.png", "train holds 2 images"),  # half a split, or one without classes
        ("IMAGES/1.png Validation_Images/1.png", "Validation_Images"),
        ("control/1.png control/2.png test/1.png", "test"),
        ("train/cat/1.png test/cat/1.png", "1 class"),
        ("IMAGES/1.png IMAGES/2.png x.csv", "1 class folders with images (IMAGES holds 2 images)"),
        ("x.csv", "0 class folders with images (it holds no image)"),
        ("cat/1.png dog/1.png pond/1.heic", "pond has files and no image (pond/1.heic"),
        ("cat/1.png dog/1.png pond/deep/1.svg", "pond/deep/1.svg"),
        ("cat/1.png dog/1.png pond/x.dng", "pond/x.dng"),
    ],
)
def test_what_holds_no_two_classes_is_refused(files, named, tmp_path):
    touch(tmp_path, *files.split())
    refused(lambda: folders.look_at(tmp_path), tmp_path, named)


def test_words_of_a_split_that_are_classes(tmp_path):
    touch(tmp_path / "vehicles", "train/1.png", "bus/1.png", "test tube/1.png")
    assert names(tmp_path / "vehicles") == ["bus/1.png", "test tube/1.png", "train/1.png"]
    touch(tmp_path / "papers", "valid/1.png", "invalid/1.png")
    assert names(tmp_path / "papers") == ["invalid/1.png", "valid/1.png"]


@pytest.mark.parametrize("wrapped", ["PetImages", "a/b c/deep"])
def test_what_was_downloaded_is_unwrapped(wrapped, tmp_path):
    touch(tmp_path, f"{wrapped}/Cat/1.jpg", f"{wrapped}/Dog/1.jpg", f"{wrapped}/Dog/2.heic")
    touch(tmp_path, "readme[1].txt", "MSR-LA - 3467.docx", "notes.pdf", "annotations/1.xml", "masks/1.svg")
    found = folders.look_at(tmp_path)
    assert (found.root, [*found.files]) == (tmp_path / wrapped, ["Cat/1.jpg", "Dog/1.jpg"])
    assert {*found.left_out} == {"Dog/2.heic", "notes.pdf", "annotations", "masks/1.svg"}
    assert str(tmp_path / wrapped) in found.reading[0]


def test_images_count_for_the_top_folder_at_any_depth(tmp_path):
    touch(tmp_path, "cat/indoor/1.png", "cat/outdoor/far/1.png", "dog/1.png", "dog/2.png")
    (tmp_path / "dog" / "loop").symlink_to(tmp_path)
    (tmp_path / "fox").symlink_to(tmp_path / "dog")  # a link to a folder is one
    found = folders.look_at(tmp_path)
    assert [*found.files] == ["cat/indoor/1.png", "cat/outdoor/far/1.png", "dog/1.png", "dog/2.png", "fox/1.png",
                              "fox/2.png"]  # fmt: skip
    assert {*found.left_out} == {"dog/loop", "fox/loop"}
    assert found.reading == ()


def test_both_readings_of_folders_in_folders(tmp_path):
    """Where their names recur both are shown; "inner" takes the other one, under other names."""
    touch(tmp_path, *(f"{year}/{name}/{i}.png" for year in (2023, 2024) for name in ("cat", "dog") for i in "01"))
    touch(tmp_path, "2024/stray.png")
    outer, inner = folders.look_at(tmp_path), folders.look_at(tmp_path, "inner")
    assert {folders.class_of(name) for name in outer.files} == {"2023", "2024"}
    assert {folders.class_of(name) for name in inner.files} == {"cat", "dog"}
    assert inner.files["cat/2023/0.png"] == tmp_path / "2023" / "cat" / "0.png"
    assert {*inner.left_out} == {"2024/stray.png"}
    for found in (outer, inner):
        assert all(word in found.reading[0] for word in ("2023", "2024", "cat", "dog", "CLASSES=inner"))
    touch(tmp_path / "flat", "a/1.png", "b/1.png")
    refused(lambda: folders.look_at(tmp_path / "flat", "inner"), "CLASSES=inner")
    split = [(side, f"{year}/{name}") for side in ("train", "test") for year in (1, 2) for name in "ab"]
    touch(tmp_path / "split", *(f"{side}/{below}/1.png" for side, below in split))
    found = folders.look_at(tmp_path / "split", "inner")
    assert found.sides == {f"{below[-1]}/{side}/{below[0]}/1.png": side for side, below in split}


def test_a_suffix_is_not_a_format(tmp_path):
    """What is known by its suffix is not opened, of other files the header is read. Nobody waits for a pipe."""
    touch(tmp_path, "a/1.jfif", "a/2.JPE", "b/1.avif")
    noise().save(tmp_path / "a" / "scan", "TIFF")
    noise().save(tmp_path / "b" / "photo.jpg-large", "WEBP")
    noise().save(tmp_path / "b" / "raw.dng", "TIFF")  # such a file begins with a thumbnail
    (tmp_path / "b" / "words.jpg2").write_text("these are words")
    (tmp_path / "b" / "doc.eps").write_bytes(b"%!PS-Adobe-3.0")
    os.mkfifo(tmp_path / "b" / "pipe")
    found = folders.look_at(tmp_path)
    assert [*found.files] == ["a/1.jfif", "a/2.JPE", "a/scan", "b/1.avif", "b/photo.jpg-large"]
    assert {*found.left_out} == {"b/raw.dng", "b/words.jpg2", "b/doc.eps", "b/pipe"}
