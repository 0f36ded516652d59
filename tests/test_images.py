"""Images: decoded once and cached, resized, batched."""

import numpy as np
import pytest
import torch
from PIL import Image

from entr_utils import augmentation, images, memory
from entr_utils.parameters import Parameters

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def thirds(size, colours, down=False) -> Image.Image:
    """An image of three equal stripes, left to right or top to bottom."""
    image = Image.new("RGB", size)
    for i, colour in enumerate(colours):
        box = (0, size[1] * i // 3, size[0], size[1] * (i + 1) // 3) if down else (
            size[0] * i // 3, 0, size[0] * (i + 1) // 3, size[1])  # fmt: skip
        image.paste(colour, box)
    return image


@pytest.mark.parametrize("down", [False, True])
def test_decode_takes_the_central_square(down, tmp_path):
    """Shorter side to the size: of 150 x 50 in three colours only the middle one stays."""
    thirds((50, 150) if down else (150, 50), (RED, GREEN, BLUE), down).save(tmp_path / "x.png")
    pixels = images.decode([tmp_path / "x.png"], 40)
    assert pixels.shape == (1, 40, 40, 3)
    assert pixels.dtype == np.uint8
    assert (pixels[0, 2:-2, 2:-2] == GREEN).all()


def test_decode_enlarges_small_images(tmp_path):
    Image.new("RGB", (20, 10), BLUE).save(tmp_path / "x.png")
    assert (images.decode([tmp_path / "x.png"], 40) == BLUE).all()


def test_decode_turns_photographs_upright(tmp_path):
    """Orientation 6: the camera was held so that the first row is the right-hand side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    thirds((60, 60), (RED, GREEN, BLUE)).save(tmp_path / "x.jpg", exif=exif, quality=95, subsampling=0)
    pixels = images.decode([tmp_path / "x.jpg"], 60)[0].astype(int)
    for row, colour in ((10, RED), (30, GREEN), (50, BLUE)):
        assert abs(pixels[row, 5:-5] - colour).max() < 30


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("L", 90, (90, 90, 90)),
        ("1", 1, (255, 255, 255)),
        ("RGBA", (10, 200, 30, 255), (10, 200, 30)),
        ("CMYK", (0, 255, 255, 0), RED),
        ("P", 0, (0, 0, 0)),
        ("I;16", 128 * 257, (128, 128, 128)),  # microscopes write 16 bits
    ],
)
def test_every_kind_of_image_becomes_rgb(mode, value, expected, tmp_path):
    Image.new(mode, (40, 40), value).save(tmp_path / "x.tif")
    assert images.decode([tmp_path / "x.tif"], 32)[0, 16, 16].tolist() == list(expected)


@pytest.mark.parametrize("content", [b"", b"these are words", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_an_image_that_cannot_be_read_is_named(content, tmp_path, refused):
    (tmp_path / "broken.png").write_bytes(content)
    refused(lambda: images.open_image(tmp_path / "broken.png"), "broken.png: cannot be read as an image", "take it out")


def test_a_truncated_image_is_named(tmp_path, refused):
    Image.effect_noise((100, 100), 50).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    refused(lambda: images.open_image(tmp_path / "half.png"), "half.png: cannot be read as an image")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def own(folder, **other) -> Parameters:
    return Parameters("own", data=str(folder), size=32, **other).checked()


def test_images_of_a_folder(photos, tmp_path, cache):
    loaded = images.load(own(photos(tmp_path / "mine")))
    assert loaded.classes == ["heath", "lake", "wood"]
    assert loaded.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert loaded.names[:2] == ["heath/00.png", "heath/01.png"]
    assert loaded.pixels.shape == (24, 32, 32, 3)
    assert loaded.source == "the user's own images"
    assert [path.suffix for path in cache.iterdir()] == [".npy"]


def test_images_are_decoded_once(photos, tmp_path, cache, monkeypatch):
    """groups=none is another question about the same pixels."""
    folder = photos(tmp_path / "mine")
    first = images.load(own(folder))
    monkeypatch.setattr(images, "decode", lambda *arguments: pytest.fail("decoded again"))
    again = images.load(own(folder, groups="none"))
    assert again is not first
    assert np.array_equal(again.pixels, first.pixels)


def test_a_changed_folder_is_decoded_again(photos, tmp_path, cache):
    folder = photos(tmp_path / "mine")
    before = images.load(own(folder))
    Image.new("RGB", (40, 40), RED).save(folder / "lake" / "00.png")
    after = images.load(own(folder, groups="none"))
    assert after.sha256 != before.sha256
    assert (after.pixels[8] == RED).all()


def test_the_cache_holds_only_whole_arrays(photos, tmp_path, cache, refused):
    folder = photos(tmp_path / "mine")
    whole = (folder / "wood" / "07.png").read_bytes()
    (folder / "wood" / "07.png").write_bytes(whole[: len(whole) // 2])  # the last to be decoded
    refused(lambda: images.load(own(folder)), "07.png")
    assert list(cache.iterdir()) == []
    (folder / "wood" / "07.png").write_bytes(whole)
    assert images.load(own(folder)).pixels[-1].std() > 0


def test_groups_beside_the_folder_are_used_unless_told_otherwise(photos, tmp_path, cache):
    folder = photos(tmp_path / "mine")
    (tmp_path / "mine_groups.csv").write_text("file,group\nheath/00.png,7\nheath/01.png,7\n")
    assert images.load(own(folder)).groups[:2] == ["7", "7"]
    assert images.load(own(folder, groups="none")).groups is None


@pytest.mark.parametrize(
    ("images_a_class", "said"),
    [(2, "a stand-in for the paper's Steel micrographs (1460 images, 7 classes)")],
)
def test_another_number_of_images_is_called_a_stand_in(images_a_class, said, photos, tmp_path, cache):
    photos(tmp_path / "steel", per_class=images_a_class)
    assert said in images.load(Parameters("steel", data=str(tmp_path), size=32).checked()).source


def test_a_missing_dataset_says_what_to_put_where(tmp_path, refused):
    parameters = Parameters("bees", data=str(tmp_path), size=32).checked()
    refused(lambda: images.load(parameters), "bees: missing", f"{tmp_path}/bees/", "DATA=folder")


def test_resize_to_the_same_size_changes_nothing():
    pixels = torch.randint(0, 256, (3, 20, 20, 3), dtype=torch.uint8)
    assert torch.equal(images.resize(pixels, 20), pixels)


def test_resize_is_antialiased():
    """A chessboard of single pixels shrinks to grey, not to black or white."""
    board = (torch.arange(40)[:, None] + torch.arange(40)) % 2 * 255
    small = images.resize(board.to(torch.uint8)[None, :, :, None].expand(1, 40, 40, 3), 16)
    assert small.shape == (1, 16, 16, 3)
    assert small.dtype == torch.uint8
    assert (small[0, 2:-2, 2:-2].int() - 127).abs().max() < 20


def test_resize_does_all_chunks():
    """More images than one chunk holds; each keeps its place."""
    pixels = (torch.arange(600) % 251).to(torch.uint8)[:, None, None, None].expand(600, 8, 8, 3)
    assert torch.equal(images.resize(pixels, 4)[:, 0, 0, 0], pixels[:, 0, 0, 0])


def batches(n=37, size=8, batch=8, seed=0):
    """Images whose grey is their number."""
    pixels = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, size, size, 3)
    return images.Batches(pixels, torch.arange(n), batch, seed, augmentation.normalise)


def order(some, epoch=0) -> list[int]:
    some.epoch = epoch
    return [int(label) for _, labels in some for label in labels]


def test_the_last_incomplete_batch_is_left_out():
    some = batches()
    assert len(some) == 4
    assert [len(labels) for _, labels in some] == [8, 8, 8, 8]


def test_fewer_images_than_a_batch_make_one_batch():
    assert [len(labels) for _, labels in batches(n=5)] == [5]


def test_labels_follow_their_images():
    for pictures, labels in batches():
        grey = (pictures[:, 0, 0, 0] * augmentation.IMAGENET_STD[0] + augmentation.IMAGENET_MEAN[0]) * 255
        assert torch.equal(grey.round().long(), labels)


def test_the_order_is_the_same_at_every_size():
    """Whatever a regime trains at, and whatever else drew random numbers."""
    some = batches(size=8)
    first = order(some, epoch=3)
    torch.rand(5)
    some.pixels = images.resize(some.pixels, 4)
    assert order(some, epoch=3) == first
    assert next(iter(some))[0].shape == (8, 3, 4, 4)


def test_every_epoch_and_seed_has_an_order_of_its_own():
    orders = [order(batches(seed=seed), epoch) for seed in (0, 1) for epoch in range(4)]
    assert len({tuple(one) for one in orders}) == 8
    assert all(len(set(one)) == 32 for one in orders)
