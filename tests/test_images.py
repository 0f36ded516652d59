"""Images: decoded once and cached, resized, batched."""

import hashlib
import os

import numpy as np
import pytest
import torch
from PIL import Image

from entr_utils import UserError, augmentation, decoding, images, memory
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
    pixels, _ = images.decode([tmp_path / "x.png"], 40)
    assert pixels.shape == (1, 40, 40, 3)
    assert pixels.dtype == np.uint8
    assert (pixels[0, 2:-2, 2:-2] == GREEN).all()


def test_decode_enlarges_small_images(tmp_path):
    Image.new("RGB", (20, 10), BLUE).save(tmp_path / "x.png")
    assert (images.decode([tmp_path / "x.png"], 40)[0] == BLUE).all()


def test_decode_turns_photographs_upright(tmp_path):
    """Orientation 6: the camera was held so that the first row is the right-hand side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    thirds((60, 60), (RED, GREEN, BLUE)).save(tmp_path / "x.jpg", exif=exif, quality=95, subsampling=0)
    pixels = images.decode([tmp_path / "x.jpg"], 60)[0][0].astype(int)
    for row, colour in ((10, RED), (30, GREEN), (50, BLUE)):
        assert abs(pixels[row, 5:-5] - colour).max() < 30


def test_what_cannot_be_decoded_is_left_out(tmp_path):
    """The others stand one after the other; it is named by its place. Kinds of images: tests/test_bad_input.py."""
    Image.new("RGB", (40, 40), RED).save(tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes(b"words")
    Image.new("RGB", (40, 40), BLUE).save(tmp_path / "2.png")
    pixels, reasons = images.decode([tmp_path / f"{i}.png" for i in range(3)], 32)
    assert pixels[:, 16, 16].tolist() == [list(RED), list(BLUE)]
    assert reasons == {1: "not a JPEG, PNG, TIFF, BMP, GIF or WebP image"}


def test_an_image_that_cannot_be_read_is_one_error_with_path_and_reason(tmp_path):
    Image.effect_noise((100, 100), 50).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    with pytest.raises(UserError) as caught:
        decoding.open_image(tmp_path / "half.png")
    assert isinstance(caught.value, decoding.UnreadableImage)
    assert caught.value.path == tmp_path / "half.png"
    assert caught.value.reason.startswith("image file is truncated")
    assert str(caught.value) == (f"{tmp_path}/half.png: cannot be read as an image ({caught.value.reason}); "
                                 "repair it or take it out")  # fmt: skip


def test_a_file_without_permission_is_left_out(photos, tmp_path, cache, monkeypatch):
    """Tests may run as root, whom nothing is forbidden."""
    folder, real = photos(tmp_path / "mine"), open

    def forbidden(path, *arguments, **named):
        if str(path).endswith("lake/03.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **named)

    monkeypatch.setattr("builtins.open", forbidden)
    loaded = images.load(own(folder))
    assert loaded.left_out == {"lake/03.png": "Permission denied"}
    assert len(loaded.names) == len(loaded.pixels) == 23


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
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".npy"]
    assert (loaded.left_out, loaded.copies) == ({}, [])


def test_the_checksum_of_a_folder_is_of_its_names_and_contents(photos, tmp_path, cache):
    """Records are named by it: what is left out does not count, what is not an image neither."""
    folder, total = photos(tmp_path / "mine"), hashlib.sha256()
    for path in sorted(folder.glob("*/*.png")):
        total.update(f"{path.parent.name}/{path.name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    assert images.load(own(folder)).sha256 == total.hexdigest()
    (folder / "lake" / "a.jpg").write_bytes(b"words")
    (folder / "lake" / "b.jpg").touch()
    (folder / "lake" / "c.pdf").touch()
    spoilt = images.load(own(folder, groups="none"))
    assert list(spoilt.left_out) == ["lake/c.pdf", "lake/b.jpg", "lake/a.jpg"]
    assert spoilt.sha256 == total.hexdigest()


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


def test_an_image_left_out_is_known_from_the_cache_too(photos, tmp_path, cache, monkeypatch):
    folder = photos(tmp_path / "mine")
    (folder / "lake" / "03.png").write_bytes(b"words")
    first = images.load(own(folder))
    assert first.left_out == {"lake/03.png": "not a JPEG, PNG, TIFF, BMP, GIF or WebP image"}
    assert len(first.names) == len(first.labels) == len(first.pixels) == 23
    assert "lake/03.png" not in first.names
    monkeypatch.setattr(images, "decode", lambda *arguments: pytest.fail("decoded again"))
    again = images.load(own(folder, groups="none"))
    assert again.left_out == first.left_out
    assert again.names == first.names
    assert np.array_equal(again.pixels, first.pixels)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("suffix", "damage", "said"),
    [
        (".npy", truncate, "damaged; made again"),
        (".npy", flip, "damaged; made again"),
        (".npy", empty, "damaged; made again"),
        (".npy", os.unlink, ""),
        (".json", truncate, "damaged; made again"),
        (".json", flip, "damaged; made again"),
        (".json", empty, "damaged; made again"),
        (".json", os.unlink, "no checksum beside it; made again"),
    ],
)
def test_a_damaged_cache_is_named_and_made_again(suffix, damage, said, photos, tmp_path, cache, capsys):
    folder = photos(tmp_path / "mine")
    whole = np.array(images.load(own(folder)).pixels)
    (spoilt,) = cache.glob(f"*{suffix}")
    damage(spoilt)
    assert np.array_equal(images.load(own(folder, groups="none")).pixels, whole)
    assert capsys.readouterr().err == (f"{spoilt.with_suffix('.npy')}: {said}\n" if said else "")
    images._load.cache_clear()
    assert np.array_equal(images.load(own(folder)).pixels, whole)
    assert capsys.readouterr().err == ""


def test_an_interrupted_decoding_leaves_nothing_in_the_cache(photos, tmp_path, cache, monkeypatch):
    folder, decode = photos(tmp_path / "mine"), images.decode

    def stopped(*arguments):
        decode(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(images, "decode", stopped)
        with pytest.raises(KeyboardInterrupt):
            images.load(own(folder))
    assert list(cache.iterdir()) == []
    assert images.load(own(folder)).pixels[-1].std() > 0


def test_a_full_disk_is_one_line(photos, tmp_path, cache, monkeypatch, refused):
    """Said before anything is written: a map of a full disk kills the process that writes to it."""

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    refused(lambda: images.load(own(photos(tmp_path / "mine"))), ".npy: cannot be written (No space left on device)",
            "0 MB are needed", "ENTR_CACHE=folder")  # fmt: skip
    assert list(cache.iterdir()) == []


def test_copies_are_found_by_their_contents(photos, tmp_path, cache):
    folder = photos(tmp_path / "mine")
    for copy in ("heath/copy.png", "wood/copy.png"):
        (folder / copy).write_bytes((folder / "heath" / "02.png").read_bytes())
    loaded = images.load(own(folder))
    assert [[loaded.names[i] for i in same] for same in loaded.copies] == [
        ["heath/02.png", "heath/copy.png", "wood/copy.png"]]  # fmt: skip


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
