"""Images: decoded once into a checked cache, placed where they fit, shown as a regime wants them."""

import hashlib
import os
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from data_by_hand import noise, own, photos, refused
from PIL import Image

from entr_utils import util
from entr_utils.data import split, store
from entr_utils.regimes.base import BatchSpec
from entr_utils.settings import Cell


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ENTR_CACHE", str(tmp_path / "cache"))
    store._load.cache_clear()
    return tmp_path / "cache"


def test_images_of_a_folder(tmp_path):
    folder, total = photos(tmp_path / "mine"), hashlib.sha256()
    (folder / "wood" / "copy.png").write_bytes((folder / "heath" / "02.png").read_bytes())
    for path in sorted(folder.glob("*/*.png")):
        total.update(f"{path.parent.name}/{path.name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    (folder / "lake" / "a.jpg").write_bytes(b"words")
    (folder / "lake" / "b.jpg").touch()
    (folder / "lake" / "c.pdf").touch()
    for _ in range(2):  # decoded, and from the cache
        found = store.load(own(folder))
        store._load.cache_clear()
        assert found.classes == [*found.source.classes] == ["heath", "lake", "wood"]
        assert found.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 9
        assert found.names[8] == "lake/00.png"
        assert (found.pixels.shape, found.pixels.flags.writeable) == ((25, 32, 32, 3), False)
        assert {*found.source.left_out} == {"lake/a.jpg", "lake/b.jpg", "lake/c.pdf"}
        assert found.source.copies == (("heath/02.png", "wood/copy.png"),)
        assert (found.source.n_left_out, found.source.n_copies, found.groups) == (3, 1, {})
        assert found.source.contents == total.hexdigest()
        assert (found.source.kind, found.source.carries, found.source.stand_in) == ("folder", "", False)
    assert (found.pixels[2] == found.pixels[-1]).all()


def test_of_many_files_left_out_a_record_names_a_hundred(tmp_path, monkeypatch):
    """And counts all; so it does with copies, which stay on one side nevertheless."""
    folder = photos(tmp_path / "mine")
    for i in range(7):
        (folder / "lake" / f"{i}.pdf").touch()
        (folder / "wood" / f"copy{i}.png").write_bytes((folder / "heath" / f"0{i}.png").read_bytes())
    monkeypatch.setattr(store, "MOST_NAMED", 5)
    found = store.load(own(folder))
    assert ([*found.source.left_out], found.source.n_left_out) == ([f"lake/{i}.pdf" for i in range(5)], 7)
    assert (len(found.source.copies), found.source.n_copies, len(found.copies)) == (5, 7, 7)


def test_images_are_decoded_once_and_seen_to_have_changed(tmp_path, monkeypatch):
    """Even where size and fingerprint are the same; another question about the same pixels decodes nothing."""
    folder = photos(tmp_path / "mine")
    path, before = folder / "lake" / "00.png", store.load(own(folder))
    with monkeypatch.context() as patch:
        patch.setattr(store, "decode", lambda *arguments: pytest.fail("decoded again"))
        assert store.load(own(folder, regime="gradual", seeds=(1,))) is before
        assert (store.load(own(folder, groups="none")).pixels == before.pixels).all()
    other = folder / "lake" / "01.png"
    swapped = path.read_bytes(), other.read_bytes()
    for file, content in zip((other, path), swapped, strict=True):
        file.write_bytes(content)
        os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    after = store.load(own(folder))
    assert (after.pixels[8] == before.pixels[9]).all()
    assert after.source.contents != before.source.contents
    path.write_bytes(b"words")
    assert {*store.load(own(folder)).source.left_out} == {"lake/00.png"}
    photos(folder / "new", ("pond",))
    assert store.load(own(folder)).classes == ["heath", "lake", "new", "wood"]


def test_images_that_come_split_are_judged_as_they_come(tmp_path):
    """Whatever the seed; a training image that is a copy of a judged one is not trained on."""
    for side in ("train", "Test"):
        photos(tmp_path / "mine" / side, ("heath", "lake"), 8)
        for path in (tmp_path / "mine" / side).rglob("0[1-7].png"):
            noise((60, 48), zlib.crc32(str(path.relative_to(tmp_path)).encode())).save(path)
    found = store.load(own(tmp_path / "mine"))
    assert (found.classes, len(found.names)) == (["heath", "lake"], 32)
    first, second = (split.assign(found, seed) for seed in (0, 7))
    judged = {found.names[i] for i in first.validation}
    assert judged == {f"{name}/Test/{i:02d}.png" for name in ("heath", "lake") for i in range(8)}
    assert {found.names[i] for i in first.training} == {name for name in found.names if "/train/0" in name} - {
        "heath/train/00.png", "lake/train/00.png"
    }  # fmt: skip
    assert (first.by, first.folds, first.validation.tolist()) == ("official", 0, second.validation.tolist())
    for path in (tmp_path / "mine" / "train" / "lake").iterdir():
        path.write_bytes((tmp_path / "mine" / "Test" / "lake" / path.name).read_bytes())
    refused(lambda: split.assign(store.load(own(tmp_path / "mine")), 0), "lake")


def test_brightness_is_of_the_folder_and_8_bits_stay(tmp_path, cache):
    folder = photos(tmp_path / "mine")
    before = np.array(store.load(own(folder)).pixels)
    ramp = np.linspace(0, 4095, 32 * 32).reshape(32, 32).astype(np.uint16)
    for i, top in enumerate((4095, 2000)):
        Image.fromarray(ramp.clip(0, top)).save(folder / "lake" / f"deep{i}.tif")
    found = store.load(own(folder))
    low, high = found.source.brightness
    assert low == pytest.approx(0, abs=20)
    assert high == pytest.approx(4095, abs=20)
    eight = [i for i, name in enumerate(found.names) if "deep" not in name]
    assert (found.pixels[eight] == before).all()
    assert any(f"-{low:g}-{high:g}." in path.name for path in cache.glob("*.npy"))
    assert store.load(own(photos(tmp_path / "other"))).source.brightness is None


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "gone"])
def test_a_damaged_cache_is_made_again(suffix, damage, tmp_path, cache, capsys):
    folder = photos(tmp_path / "mine")
    (folder / "lake" / "x.jpg").write_bytes(b"words")
    whole = store.load(own(folder))
    (spoilt,) = cache.glob(f"*{suffix}")
    pixels, content = np.array(whole.pixels), bytearray(spoilt.read_bytes())
    content[len(content) // 2] ^= 1
    spoilt.unlink()
    if damage != "gone":
        spoilt.write_bytes({"cut": content[:-100], "flipped": content, "empty": b""}[damage])
    for made_again in (True, False):
        store._load.cache_clear()
        again = store.load(own(folder))
        assert (again.pixels == pixels).all()
        assert again.source == whole.source
        assert bool(capsys.readouterr().err) == (made_again and (damage, suffix) != ("gone", ".npy"))


def test_an_interrupted_decoding_leaves_nothing_that_is_taken_for_images(tmp_path, cache, monkeypatch):
    folder, decode = photos(tmp_path / "mine"), store.decode

    def stopped(paths, room, *how):
        decode(paths, room)
        assert {path.suffix for path in cache.iterdir()} == {".lock", ".partial"}
        assert util.temporary(Path("x")).name[1:] in str(room.filename)  # what `util.remove_leftovers` takes away
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "decode", stopped)
        with pytest.raises(KeyboardInterrupt):
            store.load(own(folder))
    assert {path.suffix for path in cache.iterdir()} <= {".lock"}
    assert store.load(own(folder)).pixels[-1].std() > 0


def test_a_full_disk_is_one_line(tmp_path, cache, monkeypatch):
    """Before anything is written: a map of a full disk kills the process that writes to it."""

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    monkeypatch.setattr(store, "decode", lambda *arguments: pytest.fail("written"))
    refused(lambda: store.load(own(photos(tmp_path / "mine"))), cache, "ENTR_CACHE")
    monkeypatch.setattr(store, "free_memory", lambda place: 0)
    refused(lambda: store.empty_images(3, 8), cache, "ENTR_CACHE")


def test_folders_that_cannot_be_trained_on(tmp_path):
    folder = photos(tmp_path / "mine")
    for path in folder.rglob("*.png"):
        path.write_bytes(b"words")
    refused(lambda: store.load(own(folder)), folder)


def test_groups_beside_the_folder(tmp_path):
    """Kept whole unless it is said otherwise; "known" takes images of known group alone, in classes of two or more."""
    photos(tmp_path / "steel")
    rows = [f"{name}/{i:02d}.png,{i // 2 if name != 'wood' else 7}\n" for name in ("heath", "wood") for i in range(6)]
    (tmp_path / "steel_groups.csv").write_text("file,group\n" + "".join(rows) + "lake/00.png,1\nlake/01.png,2\nx/y,1\n")
    cell, every = Cell("steel", data=str(tmp_path), size=32), ("", "none", "known", "known-by-image")
    found = {groups: store.load(replace(cell, groups=groups)) for groups in every}
    assert [found[""].groups[name] for name in found[""].names[:2]] == ["0", "0"]
    assert [*found[""].source.left_out] == ["x/y"]
    assert found["none"].groups == found["known-by-image"].groups == {}
    assert found["known"].names == found["known-by-image"].names == [*found[""].names[:6], "lake/00.png", "lake/01.png"]
    assert [found["known"].groups[name] for name in found["known"].names] == ["0", "0", "1", "1", "2", "2", "1", "2"]
    assert found["known"].classes == ["heath", "lake"]
    assert len(found["known"].source.left_out) == 24 - 8 + 1
    assert all(one.source.stand_in for one in found.values())


def test_drawn_images():
    one = store.load(Cell("steel", data="synthetic-fine", profile="tiny").checked())
    assert (one.pixels.shape, one.names[13], one.classes[1]) == ((84, 40, 40, 3), "class 01/001", "class 01")
    assert (one.source.kind, one.source.carries, one.source.stand_in) == ("formula", "fine", False)
    assert one.labels.tolist() == np.repeat(range(7), 12).tolist()
    assert one.source.contents == hashlib.sha256(np.array(one.pixels).tobytes()).hexdigest()
    assert one.source.contents != store.load(Cell("steel", data="synthetic", profile="tiny").checked()).source.contents


def test_images_in_conflict_are_judged_and_never_trained_on():
    """Twice as many as of the other dials: trained on as "both" draws them, whatever the seed."""
    one, both = (
        store.load(Cell("steel", data=f"synthetic{dial}", profile="tiny").checked()) for dial in ("-conflict", "")
    )
    parts = [split.assign(one, seed) for seed in (0, 1)]
    assert [part.by for part in parts] == ["official"] * 2
    assert [*parts[0].training] == [*parts[1].training] == [*range(84)]
    assert [*parts[0].validation] == [*range(84, 168)]
    assert np.array_equal(one.pixels[:84], both.pixels)
    assert one.names[:84] == both.names
    assert len({*one.names}) == 168
    assert one.labels.tolist() == [*both.labels] * 2


def file_of(tensor: torch.Tensor) -> str:
    """The file that a tensor's memory is a map of, or "": as Linux lists it."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, end = (int(part, 16) for part in line.split()[0].split("-"))
        if begin <= tensor.data_ptr() < end:
            return " ".join(line.split()[5:])
    return ""


@pytest.mark.parametrize(("device", "host", "mapped"), [(2000, 0, False), (1999, 2000, False), (1999, 1999, True)])
def test_images_go_to_the_first_place_that_fits(device, host, mapped, cache, monkeypatch):
    """Half of what is free may be taken: here 1000 bytes by 972. The file has no name, and goes with the tensor."""
    monkeypatch.setattr(store, "free_memory", {"device": device - 56, "host": host - 56}.__getitem__)
    room = store.empty_images(4, 9)
    room[:] = 7
    assert (room.shape, room.dtype) == ((4, 9, 9, 3), torch.uint8)
    assert file_of(room).startswith(str(cache)) == mapped
    assert not cache.exists() or not list(cache.iterdir())


def pixels(n: int, size: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (n, size, size, 3), np.uint8)


def test_images_on_disk_are_the_same(monkeypatch):
    photographs, kept = pixels(store.CHUNK + 44, 24), {}
    chosen = np.arange(len(photographs))[::-3].copy()
    for free in (2**40, 0):
        monkeypatch.setattr(store, "free_memory", lambda place, free=free: free)
        everything = store.place(photographs, np.arange(len(photographs)))
        shown = [store.show(everything, BatchSpec(12, 8, view), 3, 1) for view in ("resized", "cropped")]
        kept[free] = [store.place(photographs, chosen), store.on_device(everything[:5]), *shown]
        assert all(("(deleted)" in file_of(one)) == (free == 0) for one in (everything, *shown))
    assert all(torch.equal(*both) for both in zip(*kept.values(), strict=True))
    assert np.array_equal(kept[0][0].numpy(), photographs[chosen])


def test_resize_is_antialiased_and_keeps_the_order():
    """A chessboard of single pixels shrinks to grey, not to black or white."""
    board = ((torch.arange(40)[:, None] + torch.arange(40)) % 2 * 255).to(torch.uint8)
    small = store.resize(board[None, :, :, None].expand(1, 40, 40, 3), 16)
    assert (small.shape, small.dtype) == ((1, 16, 16, 3), torch.uint8)
    assert (small[0, 2:-2, 2:-2].int() - 127).abs().max() < 20
    many = (torch.arange(600) % 251).to(torch.uint8)[:, None, None, None].expand(600, 8, 8, 3)
    assert torch.equal(store.resize(many, 4)[:, 0, 0, 0], many[:, 0, 0, 0])
    assert torch.equal(store.resize(many, 8), many)


def test_blurred_images_are_made_small_and_large_again():
    photographs = torch.from_numpy(pixels(3, 80))
    seen = store.show(photographs, BatchSpec(80, 8, "blurred", 32))
    assert torch.equal(seen, store.resize(store.resize(photographs, 32), 80))
    assert seen.float().std() < photographs.float().std() / 2


def test_cropped_images_are_windows_drawn_for_each_epoch():
    """Of every image its own, anywhere in it and at its edges too; the middle where no epoch is given."""
    photographs, spec = torch.from_numpy(pixels(64, 33)), BatchSpec(32, 8, "cropped")
    first, again, other, seeded = (store.show(photographs, spec, *of) for of in ((3, 0), (3, 0), (3, 1), (4, 0)))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, seeded)
    corners = [
        {(i, j) for i in (0, 1) for j in (0, 1) if torch.equal(photo[i : i + 32, j : j + 32], crop)}
        for photo, crop in zip(photographs, first, strict=True)
    ]
    assert all(corners)
    assert set.union(*corners) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    middle = store.show(photographs, BatchSpec(31, 8, "cropped"))
    assert torch.equal(middle, photographs[:, 1:32, 1:32])


def test_images_become_square_as_asked(tmp_path):
    """Of an image whose left and right quarters are white: cropped they are gone, padded there is black, squashed all
    of it is there."""
    wide = np.zeros((40, 80, 3), np.uint8) + 100
    wide[:, :20] = wide[:, 60:] = 255
    for name in ("a/1", "a/2", "b/1", "b/2"):
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(wide).save(tmp_path / "mine" / f"{name}.png")
    seen = {square: store.load(own(tmp_path / "mine", square=square)).pixels[0] for square in ("crop", "pad", "squash")}
    assert [int(pixels[16, 2, 0]) for pixels in seen.values()] == [100, 255, 255]
    assert [int(pixels[2, 16, 0]) for pixels in seen.values()] == [100, 0, 100]
