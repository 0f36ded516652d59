"""How image files become pixels, beside the kinds in `benchmarks.bad_images`. No torch."""

import os
from pathlib import Path

import numpy as np
import pytest
from data_by_hand import noise, refused
from PIL import Image, PngImagePlugin

from entr_utils.data import pixels
from entr_utils.util import UserError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def decoded(path: Path, size: int = 32, brightness=None) -> np.ndarray:
    room, paths = np.zeros((1, size, size, 3), np.uint8), {path.name: path}
    assert pixels.decode(paths, room, brightness or pixels.brightness(paths)) == {}
    return room[0]


@pytest.mark.parametrize(
    ("name", "mode", "value", "grey"), [("x.png", "I;16", 128 * 256 + 7, 128), ("x.tif", "I", 200, 200)]
)
def test_greys_are_rounded_and_numbers_of_32_bits_may_hold_8(name, mode, value, grey, tmp_path):
    Image.new(mode, (40, 40), value).save(tmp_path / name)
    assert decoded(tmp_path / name)[16, 16].tolist() == [grey] * 3


THIRDS = np.repeat(np.repeat(np.array([[RED, GREEN, BLUE]], np.uint8), 50, 1), 50, 0)  # 150 wide, 50 high


def orientation_beside_a_spoilt_tag() -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x829A] = 6, (1, 0)
    return exif.tobytes()[:-6] + b"\xff" * 6


@pytest.mark.parametrize("tag", [b"\xff" * 40, b"MM\0*" + b"\xff" * 40, b"", orientation_beside_a_spoilt_tag()])
def test_orientation_turns_a_photo_where_it_can_be_read(tag, tmp_path):
    """It can be, though what else EXIF says cannot be written again."""
    exif = tag if tag.startswith(b"Exif") else b"Exif\0\0" + tag
    Image.fromarray(np.repeat(THIRDS, 3, 0)).save(tmp_path / "x.jpg", exif=exif, quality=95)
    seen = decoded(tmp_path / "x.jpg").astype(int)
    line = seen[:, 16] if tag.startswith(b"Exif") else seen[16]
    assert line[[2, 16, 29]].argmax(1).tolist() == [0, 1, 2]


@pytest.mark.parametrize("describes", ["", "large text", "large profile", "spoilt chunk"])
def test_photographs_are_turned_upright_whatever_else_describes_them(describes, tmp_path):
    """Orientation 6: the camera was held so that the first row is the right-hand side."""
    exif, text, path = Image.Exif(), PngImagePlugin.PngInfo(), tmp_path / "x.png"
    exif[0x0112] = 6
    text.add_text("Comment", "x" * 2_000_000, zip=True)
    also = {"large text": {"pnginfo": text}, "large profile": {"icc_profile": bytes(2_000_000)}}.get(describes, {})
    Image.fromarray(np.repeat(THIRDS, 3, 0)).save(path, exif=exif, dpi=(72, 72), **also)
    if describes == "spoilt chunk":
        content = bytearray(path.read_bytes())
        content[content.index(b"pHYs") + 5] ^= 255
        path.write_bytes(content)
    assert [tuple(decoded(path)[row, 16].tolist()) for row in (2, 16, 29)] == [RED, GREEN, BLUE]
    assert pixels.header(path) == ((150, 150), "RGB")


@pytest.mark.parametrize("kind", pixels.FORMATS)
def test_a_suffix_is_not_a_format(kind, tmp_path):
    Image.new("RGB", (40, 40), (200, 100, 0)).save(tmp_path / "x.jpg", kind)
    assert abs(decoded(tmp_path / "x.jpg")[16, 16].astype(int) - (200, 100, 0)).max() < 8


def ramp(path: Path, low: float, high: float, kind=np.uint16) -> Path:
    """A grey ramp over (40, 40), from low to high."""
    Image.fromarray(np.linspace(low, high, 1600).reshape(40, 40).astype(kind)).save(path)
    return path


@pytest.mark.parametrize(
    ("ranges", "kind", "expected"),
    [
        (((0, 4095), (1000, 2000)), np.uint16, (0, 4095)),  # 12 bits in 16
        (((0, 199), (100, 300)), np.int32, (0, 300)),
        (((-1, 0), (0, 3)), np.float32, (-1, 3)),
    ],
)
def test_files_of_more_than_8_bits_share_one_brightness(ranges, kind, expected, tmp_path):
    """Robust percentiles of all of them: a bright speck changes nothing; equal values become equal greys."""
    paths = [ramp(tmp_path / f"{i}.tif", *of, kind) for i, of in enumerate(ranges)]
    named = {path.name: path for path in paths}
    low, high = pixels.brightness(named)
    width = expected[1] - expected[0]
    assert low == pytest.approx(expected[0], abs=0.02 * width)
    assert high == pytest.approx(expected[1], abs=0.02 * width)
    speck = np.asarray(Image.open(paths[0])).copy()
    speck[0, 0] = 30_000
    Image.fromarray(speck).save(paths[0])
    assert pixels.brightness(named)[1] == pytest.approx(expected[1], abs=0.02 * width)
    greys = [decoded(path, 40, (low, high))[..., 0].astype(int) for path in paths]
    values = [np.asarray(Image.open(path)).astype(float) for path in paths]
    for grey, value in zip(greys, values, strict=True):
        assert abs(grey - ((value - low) / (high - low) * 255).clip(0, 255)).max() <= 0.5
    assert len(np.unique(greys[0])) > 60


def test_brightness_of_what_has_one_value(tmp_path):
    """Then the usual range that holds it; none of what has 8 bits or cannot be read."""
    for value, kind, usual in ((0.5, np.float32, 1), (200, np.int32, 255), (300, np.uint16, 65535), (-2, np.int32, -1)):
        assert pixels.brightness({"x": ramp(tmp_path / "x.tif", value, value, kind)})[1] == usual
    (tmp_path / "y.tif").write_bytes((tmp_path / "x.tif").read_bytes()[:-2000])
    low, high = pixels.brightness({"y": tmp_path / "y.tif"})
    assert low < high
    (tmp_path / "y.tif").write_bytes(b"words")
    noise().save(tmp_path / "z.png")
    assert pixels.brightness({name: tmp_path / name for name in ("y.tif", "z.png")}) is None


def test_a_format_that_is_not_ours_has_a_reason_and_names_the_file(tmp_path):
    noise().save(path := tmp_path / "x.jpg", "PPM")
    assert [*pixels.decode({"x": path}, np.zeros((1, 32, 32, 3), np.uint8))] == ["x"]
    refused(lambda: pixels.open_image(path), path)


def test_readable_images_follow_one_another(tmp_path):
    paths = {f"{i}": tmp_path / f"{i}.png" for i in range(3)}
    for path, colour in zip(paths.values(), (RED, GREEN, BLUE), strict=True):
        Image.new("RGB", (40, 40), colour).save(path)
    paths["1"].write_bytes(b"words")
    room = np.zeros((3, 8, 8, 3), np.uint8)
    assert [*pixels.decode(paths, room)] == ["1"]
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
        pixels.open_image(tmp_path / "x.png")
    assert isinstance(caught.value, pixels.UnreadableImage) == isinstance(trouble, PermissionError)
