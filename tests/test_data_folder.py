"""What is in a folder of images, and how every kind of file becomes pixels. No torch."""

import os
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from data_by_hand import noise, refused
from PIL import Image

from entr_utils.data import folder as folders
from entr_utils.util import UserError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_what_is_listed_what_is_left_out_and_what_is_passed_over(tmp_path):
    touch(tmp_path, "b/2.png", "b/1.JPG", "a/x.tif", "a/y.webp")
    touch(tmp_path, "a/notes.pdf", "top.png", "a/deeper/z.png", "empty/read.me")
    touch(tmp_path, "a/.DS_Store", "a/._x.png", ".git/x.png", "a/Thumbs.db", "__MACOSX/x.png")
    paths, left_out = folders.list_folder(tmp_path)
    assert [folders.name_of(path) for path in paths] == ["a/x.tif", "a/y.webp", "b/1.JPG", "b/2.png"]
    assert {*left_out} == {"a/notes.pdf", "top.png", "a/deeper", "empty", "empty/read.me"}
    assert all(left_out.values())


def test_names_that_look_the_same_or_are_no_text_are_refused(tmp_path):
    wald = "W\u00e4lder"
    touch(tmp_path / "twice", f"{wald}/1.png", f"{normalize('NFD', wald)}/1.png", "a/1.png")
    refused(lambda: folders.list_folder(tmp_path / "twice"), tmp_path / "twice", wald)
    bytes_name = os.fsdecode(b"b\xff")
    touch(tmp_path / "bytes", f"{bytes_name}/1.png", "a/1.png")
    refused(lambda: folders.list_folder(tmp_path / "bytes"), "b\\udcff")
    touch(tmp_path / "file", f"a/{os.fsdecode(b'1' + bytes([255]))}.png", "a/2.png")
    assert len(folders.list_folder(tmp_path / "file")[0]) == 1
    refused(lambda: folders.list_folder(tmp_path / "nowhere"), tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("names", "unreadable", "named"),
    [
        ((), {}, ".png"),
        (("a/1", "a/2"), {}, ".png"),
        (("a/1", "a/2", "pond/1"), {}, "pond"),
        (("a/1", "a/2", "pond/1"), {"pond/2": "an empty file"}, "pond/2 (an empty file)"),
        (("a/1", "a/2"), {"pond/2": "an empty file"}, "pond/2 (an empty file)"),
    ],
)
def test_classes_that_cannot_be_trained_and_judged(names, unreadable, named):
    refused(lambda: folders.check_classes(Path("mine"), names, unreadable), "mine", named)
    folders.check_classes(
        Path("mine"), (*names, "a/5", "a/6", "pond/5", "pond/6"), unreadable
    )  # with these they will do


def decoded(path: Path, size: int = 32) -> np.ndarray:
    room = np.zeros((1, size, size, 3), np.uint8)
    assert folders.decode({path.name: path}, room) == {}
    return room[0]


def reason(path: Path) -> str:
    return folders.decode({"x": path}, np.zeros((1, 32, 32, 3), np.uint8)).get("x", "")


def palette(path: Path, **options) -> None:
    image = Image.new("P", (40, 40), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.save(path, **options)


def floats(path: Path, *values: float) -> None:
    """A float TIFF with the first of the values in its middle and all at its rim."""
    pixels = np.full((40, 40), values[0], np.float32)
    pixels[0, : len(values)] = values
    Image.fromarray(pixels).save(path)


def frames(path: Path) -> None:
    images = [Image.new("RGB", (40, 40), colour) for colour in (RED, BLUE)]
    images[0].save(path, save_all=True, append_images=images[1:])


def new(mode: str, value, size=(40, 40)):
    return lambda path: Image.new(mode, size, value).save(path)


@pytest.mark.parametrize(
    ("name", "make", "middle"),
    [
        ("cmyk.tif", new("CMYK", (0, 255, 255, 0)), RED),
        ("palette.png", palette, (10, 200, 30)),
        ("clear palette.png", lambda path: palette(path, transparency=1), (255, 255, 255)),
        ("half transparent.png", new("RGBA", (255, 0, 0, 128)), (255, 127, 127)),
        ("transparent grey.png", new("LA", (55, 128)), (155, 155, 155)),
        ("one bit.tif", new("1", 1), (255, 255, 255)),
        ("16 bits.png", new("I;16", 128 * 256 + 7), (128, 128, 128)),
        ("16 bits.tif", new("I;16", 128 * 257), (128, 128, 128)),
        ("32 bits that hold 16.tif", new("I", 128 * 257), (128, 128, 128)),
        ("32 bits that hold 8.tif", new("I", 200), (200, 200, 200)),
        ("0 to 1.tif", lambda path: floats(path, 0.5, 0.0, 1.0), (128, 128, 128)),
        ("-1 to 3.tif", lambda path: floats(path, 0.0, -1.0, 3.0), (64, 64, 64)),
        ("no number.tif", lambda path: floats(path, np.nan, np.inf, 1.0), (0, 0, 0)),
        ("pages.tif", frames, RED),
        ("frames.gif", frames, RED),
        ("one pixel.png", new("RGB", RED, (1, 1)), RED),
        ("a line.png", new("RGB", RED, (20_000, 1)), RED),
        ("wrong suffix.jpg", lambda path: Image.new("RGB", (40, 40), RED).save(path, "PNG"), RED),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_kind_of_image_becomes_rgb(name, make, middle, tmp_path):
    make(tmp_path / name)
    assert tuple(decoded(tmp_path / name)[16, 16].tolist()) == middle


THIRDS = np.repeat(np.repeat(np.array([[RED, GREEN, BLUE]], np.uint8), 50, 1), 50, 0)  # 150 wide, 50 high


@pytest.mark.parametrize("stripes", [THIRDS, THIRDS.transpose(1, 0, 2)])
def test_the_central_square_is_taken(stripes, tmp_path):
    Image.fromarray(stripes).save(tmp_path / "x.png")
    assert (decoded(tmp_path / "x.png", 40)[2:-2, 2:-2] == GREEN).all()


def test_photographs_are_turned_upright(tmp_path):
    """Orientation 6: the camera was held so that the first row is the right-hand side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.repeat(THIRDS, 3, 0)).save(tmp_path / "x.png", exif=exif)
    pixels = decoded(tmp_path / "x.png")
    assert [tuple(pixels[row, 16].tolist()) for row in (2, 16, 29)] == [RED, GREEN, BLUE]


def truncated(path: Path) -> None:
    noise((64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.touch(),
        truncated,
        lambda path: path.write_bytes(b"these are words"),
        lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        lambda path: noise().save(path, "PPM"),
        lambda path: path.symlink_to("nowhere"),
        os.mkfifo,
        lambda path: floats(path.with_suffix(".tif"), np.nan) or path.with_suffix(".tif").rename(path),
    ],
    ids=["empty", "truncated", "words", "PostScript", "another format", "broken link", "pipe", "nothing but NaN"],
)
def test_what_cannot_be_decoded_has_a_reason(make, tmp_path):
    make(tmp_path / "x.jpg")
    assert reason(tmp_path / "x.jpg")
    refused(lambda: folders.open_image(tmp_path / "x.jpg"), tmp_path / "x.jpg")


def test_a_decompression_bomb_is_not_opened(tmp_path, monkeypatch):
    noise().save(tmp_path / "x.png")
    assert reason(tmp_path / "x.png") == ""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 40 // 2 - 1)
    assert "million pixels" in reason(tmp_path / "x.png")


def test_readable_images_follow_one_another(tmp_path):
    paths = {f"{i}": tmp_path / f"{i}.png" for i in range(3)}
    for path, colour in zip(paths.values(), (RED, GREEN, BLUE), strict=True):
        Image.new("RGB", (40, 40), colour).save(path)
    paths["1"].write_bytes(b"words")
    room = np.zeros((3, 8, 8, 3), np.uint8)
    assert [*folders.decode(paths, room)] == ["1"]
    assert room[:, 4, 4].tolist() == [list(RED), list(BLUE), [0, 0, 0]]


@pytest.mark.parametrize(("module", "name"), [(Image, "open"), (os, "stat")])
@pytest.mark.parametrize("trouble", [MemoryError(), OSError(5, "Input/output"), PermissionError(13, "Forbidden")])
def test_a_machine_in_trouble_leaves_no_image_out(module, name, trouble, tmp_path, monkeypatch):
    """The file may be whole: a run without it would be another run. Not so where it must not be read."""
    noise().save(tmp_path / "x.png")

    def fails(*arguments, **named):
        raise trouble

    monkeypatch.setattr(module, name, fails)
    with pytest.raises(UserError) as caught:
        folders.open_image(tmp_path / "x.png")
    assert isinstance(caught.value, folders.UnreadableImage) == isinstance(trouble, PermissionError)
