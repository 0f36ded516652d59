"""Where images stay, and how much memory is counted."""

import gc
from pathlib import Path

import numpy as np
import pytest
import torch

from entr_utils import forecast, images, memory, networks
from entr_utils.augmentation import normalise
from entr_utils.parameters import Parameters


@pytest.fixture
def free(tmp_path, monkeypatch):
    """Set the bytes that are free on device and host; the disk has room. A cache of the test's own."""
    monkeypatch.setattr(memory, "CACHE", tmp_path / "cache")

    def set_free(device: int, host: int) -> None:
        monkeypatch.setattr(memory, "free", lambda place: {"device": device, "host": host, "disk": 2**40}[place])

    return set_free


@pytest.mark.parametrize(
    ("job", "step", "left"),
    [(("8000", "5000", "1000"), ("max", "10", "0"), 4000), (("max", "5", "0"), ("max", "5", "0"), None),
     (("9000", "1000", "0"), ("3000", "2500", "100"), 600), (("nonsense", "5", "0"), ("max", "5", "0"), None)],
)  # fmt: skip
def test_what_a_container_or_a_job_allows_counts(job, step, left, tmp_path, monkeypatch):
    """The least of the limits of a process's group and of those above it; its file cache is room."""
    for folder, (most, now, cached) in ((tmp_path / "job", job), (tmp_path / "job" / "step", step)):
        folder.mkdir()
        (folder / "memory.max").write_text(f"{most}\n")
        (folder / "memory.current").write_text(f"{now}\n")
        (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\n")
    (tmp_path / "groups").write_text("1:cpu:/elsewhere\n0::/job/step\n")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "_available", lambda: 10_000)
    assert memory.free("host") == (10_000 if left is None else left)


@pytest.mark.parametrize(
    ("device", "host", "where"),
    [
        (2000, 0, "device"),
        (2000, 9999, "device"),
        (1999, 2000, "host"),
        (0, 2000, "host"),
        (1999, 1999, "disk"),
        (0, 0, "disk"),
    ],
)
def test_the_first_place_that_fits(device, host, where, free):
    """A block of 1000 bytes may take half of what is free."""
    free(device, host)
    assert memory.place_for(1000) == where


def test_there_is_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CACHE", tmp_path / "cache")
    assert min(memory.free(place) for place in ("device", "host", "disk")) > 2**20
    assert 2**20 < memory.taken() < 2**40


def file_of(tensor: torch.Tensor) -> str:
    """The file that a tensor's memory is a map of, or "": as Linux lists it."""
    at = tensor.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, end = (int(part, 16) for part in line.split()[0].split("-"))
        if begin <= at < end:
            return " ".join(line.split()[5:])
    return ""


linux = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux alone lists a process's maps")


@linux
@pytest.mark.parametrize(("host", "mapped"), [(0, True), (2**40, False)])
def test_images_that_fit_nowhere_are_mapped_from_the_disk(host, mapped, free):
    """The file is in the cache, has no name there, and goes with the tensor."""
    free(0, host)
    room = memory.empty_images(5, 16)
    assert (room.shape, room.dtype) == ((5, 16, 16, 3), torch.uint8)
    room[:] = 7
    assert file_of(room).startswith(str(memory.CACHE)) == mapped
    assert "(deleted)" in file_of(room) or not mapped
    assert not mapped or list(memory.CACHE.iterdir()) == []
    del room
    gc.collect()
    assert str(memory.CACHE) not in Path("/proc/self/maps").read_text()


def noise(n: int, size: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (n, size, size, 3), np.uint8)


def test_images_on_disk_are_the_same(free):
    """More than a chunk, in an order of their own; resized, in batches, on the device."""
    pixels, chosen = noise(images.CHUNK + 44, 24), np.arange(images.CHUNK + 44)[::-3].copy()
    kept = {}
    for host in (2**40, 0):
        free(host, host)
        placed = images.place(pixels, chosen)
        small = images.resize(images.place(pixels, np.arange(len(pixels))), 12)
        batches = images.Batches(placed, torch.arange(len(chosen)), 8, 0, normalise)
        kept[host] = [placed, small, images.on_device(placed[:5]), *(photos for photos, _ in batches)]
    assert all(torch.equal(here, there) for here, there in zip(*kept.values(), strict=True))
    assert np.array_equal(kept[0][0].numpy(), pixels[chosen])


@linux
def test_what_is_resized_is_placed_too(free):
    free(0, 0)
    assert file_of(images.resize(torch.from_numpy(noise(3, 24)), 12)).startswith(str(memory.CACHE))


def test_images_are_decoded_into_the_cache(photos, tmp_path, free, monkeypatch):
    """Whatever their size, nothing but the image in hand is held: the array that is filled is a file."""
    free(0, 0)
    rooms, decode = [], images.decode

    def watched(paths, size, room):
        rooms.append(room)
        return decode(paths, size, room)

    monkeypatch.setattr(images, "decode", watched)
    loaded = images.load(Parameters("own", data=str(photos(tmp_path / "mine")), size=32).checked())
    (room,) = rooms
    assert isinstance(room, np.memmap)
    assert Path(room.filename).parent == memory.CACHE
    assert isinstance(loaded.pixels, np.memmap)
    assert not loaded.pixels.flags.writeable
    assert np.array_equal(loaded.pixels, room)
    assert sorted(path.suffix for path in memory.CACHE.iterdir()) == [".json", ".npy"]


def test_the_peak_of_a_step_by_hand():
    """4000 and 2000 bytes at once; then the first goes, 2800 come, and a view costs nothing."""

    def step():
        first, second = torch.zeros(1000), torch.zeros(500)
        view = first.view(10, 100)
        del first, view
        return second, torch.zeros(700)

    assert memory.peak_of_step(step) == 6000


def test_the_peak_counts_what_operations_make():
    """a + 1 beside a, then its double beside that. What changes in place makes nothing, nor does what was there."""
    there = torch.ones(1000)

    def step():
        a = there + 1  # 4000
        b = a + 1  # 8000
        del a
        c = b * 2  # 8000 again
        c.add_(1)
        return c.double()  # 16000

    assert memory.peak_of_step(step) == 4000 + 4000 + 8000


def test_the_peak_holds_what_gradients_need():
    """sin keeps its input: two of 4000 bytes and their gradients come before any goes."""
    weights = torch.ones(1000, requires_grad=True)
    assert memory.peak_of_step(lambda: (weights * 2).sin().sin()) == 3 * 4000
    with torch.no_grad():
        assert memory.peak_of_step(lambda: (weights * 2).sin().sin()) == 2 * 4000


def test_the_peak_of_a_step_grows_with_batch_and_area():
    """Four times the pixels, four times the activations, apart from the head; and the same each time."""
    network = networks.build("resnet18", "none", 5, 0.0, "float32").train()

    def each(size: int) -> float:
        peaks = [memory.peak_of_step(lambda n=n: network(torch.zeros(n, 3, size, size)).sum()) for n in (2, 4, 4)]
        assert peaks[1] == peaks[2]
        return (peaks[1] - peaks[0]) / 2

    assert each(64) / each(32) == pytest.approx(4, rel=0.05)


BODY, HEAD = 11_176_512, 537_600  # parameters of ResNet18's body, and of a head for 20 classes
BYTES = {32: 1e6, 48: 2e6, 64: 3e6, 80: 4e6}


def rates_of(p: Parameters) -> dict:
    names = [f"{size} {trains}" for size in BYTES for trains in ("head", "all")] + ["80 plain", "80 augmented"]
    return {name: {"seconds": 1.0, "flops": 1.0, "resize": 1.0, "bytes": BYTES[int(name.split()[0])]} for name in names}


IMAGES = 3 * (77 + 7) * 80**2
WEIGHTS = 4 * (BODY + HEAD)


@pytest.mark.parametrize(
    ("regime", "pretrained", "expected"),
    [
        # from scratch everything trains: the last stage, at full size, is the largest
        ("no_increase", False, IMAGES + WEIGHTS + 8 * (BODY + HEAD) + 16 * 4e6),
        ("gradual", False, IMAGES + WEIGHTS + 8 * (BODY + HEAD) + 16 * 4e6),
        # frozen until the last: there body and head have gradients and momentum
        ("gradual", True, IMAGES + WEIGHTS + 8 * (BODY + HEAD) + 16 * 4e6),
    ],
)
def test_the_formula_by_hand(regime, pretrained, expected, checkpoint, monkeypatch):
    """Images + weights + activations of the stage that takes most; batch-norm's statistics are a thousandth."""
    p = Parameters("steel", "resnet18", regime, profile="tiny", precision="float32",
                   weights=str(checkpoint) if pretrained else "none").checked()  # fmt: skip
    monkeypatch.setattr(forecast, "rates", rates_of)
    monkeypatch.setattr(memory, "taken", lambda: 0)
    assert forecast.forecast(p, 77, 7)["memory"] == pytest.approx(expected, rel=1e-3)


def test_a_stages_copy_counts_where_it_is_the_largest(monkeypatch):
    """Where a small stage would take most: its copy of the training images is beside the originals. On top of what the
    process holds."""
    p = Parameters("steel", "resnet18", "gradual", profile="tiny", precision="float32").checked()
    each = rates_of(p)
    each["64 all"]["bytes"] = 5e6
    monkeypatch.setattr(forecast, "rates", lambda p: each)
    monkeypatch.setattr(memory, "taken", lambda: 10**9)
    n_train, n_val = 7700, 700
    expected = 10**9 + 3 * (n_train + n_val) * 80**2 + 3 * n_train * 64**2 + 12 * (BODY + HEAD) + 16 * 5e6
    assert forecast.forecast(p, n_train, n_val)["memory"] == pytest.approx(expected, rel=1e-3)
