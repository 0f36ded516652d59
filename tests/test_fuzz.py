"""Generated folders, parameters and damaged files: success or one line of a UserError, and what succeeds is right.

The same examples every time. Each property has its own model of what is right, written without the code it checks.
"""

import gzip
import io
import lzma
import os
import tarfile
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from unicodedata import normalize
from unittest import mock

import numpy as np
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from entr_utils import UserError, cached, datasets, decoding, downloads, experiment, images, memory, records
from entr_utils.parameters import Parameters

settings.register_profile("entr", derandomize=True, deadline=None, database=None,
                          suppress_health_check=list(HealthCheck))  # fmt: skip
settings.load_profile("entr")


def tried(call):
    """What a call returns, or None where it refuses in one line; anything else fails the test."""
    try:
        return call()
    except UserError as error:
        line = str(error)
    assert "\n" not in line
    assert len(line) > 10
    return None


def encoded(kind: str, seed: int = 0, mode: str = "RGB", **options) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 31, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


GOOD = [encoded("png"), encoded("png", 1), encoded("jpeg", 2), encoded("gif", 3), encoded("tiff", 4, "CMYK"),
        encoded("png", 5, "P", transparency=3), encoded("webp", 6, "RGBA"), encoded("bmp", 7, "1")]  # fmt: skip
BAD = [b"", b"words", encoded("png", 8)[:300], encoded("jpeg", 9)[:400], b"PK\x05\x06" + bytes(18), b"%!PS-Adobe-3.0\n"]
CONTENTS = GOOD + BAD

a_class = st.sampled_from(["lake", "wood", "Lake", "deep lake", "W\u00e4lder", normalize("NFD", "W\u00e4lder"), "$a$|b",
                           ".git", "__MACOSX", "a\nb", "x" * 255, os.fsdecode(b"b\xff")])  # fmt: skip
a_file = st.one_of(
    st.sampled_from(["0.png", "1.PNG", "2.jpg", "3.tif", "4.gif", "Thumbs.db", ".DS_Store", "._0.png", "notes.pdf", "x",
                     os.fsdecode(b"c\xff.png")]),
    st.integers(0, 5).map(lambda i: f"{i}.webp"),
)  # fmt: skip
a_content = st.one_of(st.integers(0, len(GOOD) - 1), st.integers(0, len(CONTENTS) - 1))  # more good ones than bad
a_folder = st.dictionaries(
    a_class, st.dictionaries(a_file, a_content, max_size=6), min_size=1, max_size=5
) | st.fixed_dictionaries({
    name: st.dictionaries(a_file, a_content, min_size=4, max_size=8) for name in ("lake", "wood")
})  # fmt: skip


def visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in ("thumbs.db", "__macosx")


def is_text(name: str) -> bool:
    return os.fsencode(name).isascii() or "\udcff" not in name


def expected(tree: dict[str, dict[str, int]]) -> tuple[dict[str, int], bool]:
    """The images that can be used, name to content, and whether they can be trained on."""
    suffixes = (".png", ".jpg", ".tif", ".gif", ".webp")
    wanted = {name: {file: content for file, content in files.items()
                     if visible(file) and is_text(file) and Path(file).suffix.lower() in suffixes}
              for name, files in tree.items() if visible(name)}  # fmt: skip
    wanted = {name: files for name, files in wanted.items() if files}
    good = {f"{name}/{file}": content for name, files in wanted.items() for file, content in files.items()
            if content < len(GOOD)}  # fmt: skip
    counts = Counter(name.partition("/")[0] for name in good)
    looks = Counter(normalize("NFC", name) for name in wanted)
    fit = (len(wanted) > 1 and all(counts[name] > 1 and is_text(name) for name in wanted)
           and max(looks.values()) == 1)  # fmt: skip
    return good, fit


@settings(max_examples=120)
@given(tree=a_folder, size=st.sampled_from([32, 40]))
def test_folders(tree, size):
    """Names, labels and pixels are those of the images that can be read; all others are named with a reason."""
    with tempfile.TemporaryDirectory() as place, mock.patch.object(memory, "CACHE", Path(place) / "cache"):
        folder = Path(place) / "mine"
        folder.mkdir()
        for name, files in tree.items():
            (folder / name).mkdir()
            for file, content in files.items():
                (folder / name / file).write_bytes(CONTENTS[content])
        loaded = tried(lambda: images.load(Parameters("own", data=str(folder), size=size).checked()))
        good, fit = expected(tree)
        assert (loaded is not None) == fit
        if loaded is None:
            return
        assert sorted(loaded.names) == sorted(good)
        assert [loaded.classes[label] for label in loaded.labels] == [name.split("/")[0] for name in loaded.names]
        for pixels, name in zip(loaded.pixels, loaded.names, strict=True):
            alone, _ = decoding.decode([folder / name], size)
            assert np.array_equal(pixels, alone[0])
        unused = {f"{name}/{file}" for name, files in tree.items() for file in files if visible(name) and visible(file)}
        named = {name for name in loaded.left_out if "/" in name and "\\" not in name}
        assert named == {name for name in unused - {*good} if is_text(name)}
        same = [{loaded.names[i] for i in indices} for indices in loaded.copies]
        assert all(len({good[name] for name in names}) == 1 for names in same)
        assert len(set(good.values())) == len(good) - sum(len(names) - 1 for names in same)
        sides = tried(lambda: datasets.split(loaded.labels, 0, None, loaded.copies))
        if sides:
            assert sorted([*sides[0], *sides[1]]) == list(range(len(good)))
            assert all(len({i in sides[1] for i in indices}) == 1 for indices in loaded.copies)


anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(exclude_characters="/.~"), max_size=20),
    st.lists(st.integers(), max_size=2), st.sampled_from(["", "0", "none", "paper", "synthetic", "data", "~nobody/x"]),
)  # fmt: skip
KNOWN = {
    "network": ["resnet18", "resnet50"], "regime": ["no_increase", "gradual", "stepwise"], "seed": [0, 3],
    "profile": ["tiny", "quick", "paper"], "size": [0, 96, 250], "weights": ["", "none", "imagenet"],
    "data": ["", "synthetic", "synthetic-fine"], "groups": ["", "none"], "orientations": ["", "two", "eight"],
    "lr": [0.0, 0.01, 1], "switch": ["CMult", "RPL"], "precision": ["", "float32"], "batch": [0, 16], "results": ["r"],
    "checkpoint_dir": ["", "~"],
}  # fmt: skip
some_parameters = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(values) | anything for name, values in KNOWN.items()}
)


@settings(max_examples=300)
@given(dataset=st.sampled_from(["steel", "ucm", "bees", "own"]) | anything, parameters=some_parameters)
def test_parameters(dataset, parameters):
    """Refused in a line that names one of them, or fit to be trained with."""
    full = tried(lambda: Parameters(dataset, **parameters).checked())
    if full is None:
        return
    assert 32 <= full.size <= 10_000
    assert full.batch >= 2
    assert 0 <= full.lr < 10
    assert type(full.lr) is not bool
    assert full.seed >= 0
    assert full.results
    stages = full.make_regime().stages
    assert [stage.name for stage in stages] == ["SGDR", "CLRS", "CMult", "RPL", "TTA"]
    assert all(given == getattr(full, name) for name, given in parameters.items() if given)


@settings(max_examples=60)
@given(given_images=anything.filter(lambda value: not str(value).startswith("synthetic")), seeds=anything)
def test_own_images_that_are_none(given_images, seeds):
    """Whatever is named, there is nothing of that name here."""
    assert tried(lambda: experiment.prepare_own(given_images, seeds)) is None


def damaged(content: bytes, cut: float, flips: list[tuple[float, int]]) -> bytes:
    """The first `cut` of the content, with bits flipped at shares of its length."""
    spoilt = bytearray(content[: round(cut * len(content))])
    for at, bits in flips:
        if spoilt:
            spoilt[min(len(spoilt) - 1, int(at * len(spoilt)))] ^= bits
    return bytes(spoilt)


damage = st.tuples(
    st.just(1.0) | st.floats(0, 1),
    st.lists(st.tuples(st.floats(0, 1) | st.floats(0, 0.05), st.integers(1, 255)), max_size=3),
)


@settings(max_examples=250)
@given(content=st.sampled_from(GOOD), how=damage)
def test_damaged_images(content, how):
    """An image of the right shape, or a reason; never more pixels than are allowed."""
    with tempfile.TemporaryDirectory() as place, mock.patch.object(Image, "MAX_IMAGE_PIXELS", 500_000):
        path = Path(place) / "x.jpg"
        path.write_bytes(damaged(content, *how))
        pixels, reasons = decoding.decode([path], 16)
    assert len(pixels) + len(reasons) == 1
    assert pixels.shape[1:] == (16, 16, 3)
    assert all(reason and "\n" not in reason for reason in reasons.values())


MEMBERS = {f"{name}/{i}.png": encoded("png", i) for name in ("lake", "wood") for i in range(2)}


def a_tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in MEMBERS.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def a_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in MEMBERS.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


ARCHIVES = {"zip": a_zip(), "tar": a_tar(), "tar.gz": gzip.compress(a_tar(), mtime=0), "tar.xz": lzma.compress(a_tar())}


@settings(max_examples=250)
@given(kind=st.sampled_from(list(ARCHIVES)), how=damage)
def test_damaged_archives(kind, how):
    """Nothing is written outside, nothing stays of one that is refused, and contents with a checksum are right."""
    with tempfile.TemporaryDirectory() as place:
        archive, target = Path(place) / f"x.{kind}", Path(place) / "data" / "own"
        archive.write_bytes(damaged(ARCHIVES[kind], *how))
        tried(lambda: downloads.unpack(archive, target))
        left = [path for path in Path(place).rglob("*") if path.is_file() and path != archive]
        assert all(path.is_relative_to(target) for path in left)
        if kind != "tar":
            assert {path.read_bytes() for path in left} <= {*MEMBERS.values()}


@settings(max_examples=60)
@given(how=damage, suffix=st.sampled_from([".npy", ".json"]))
def test_damaged_caches(how, suffix):
    """Whatever became of the files, the array is the one that was made, and so is what was found with it."""
    whole = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)

    def fill(room):
        np.copyto(room, whole)
        return {"lake/0.png": "an empty file"}

    with tempfile.TemporaryDirectory() as place, mock.patch.object(memory, "CACHE", Path(place)):
        cached.images("x", 5, 8, fill)
        path = Path(place) / f"x{suffix}"
        path.write_bytes(damaged(path.read_bytes(), *how))
        for _ in range(2):
            pixels, found = cached.images("x", 5, 8, fill)
            assert np.array_equal(pixels, whole)
            assert found == {"lake/0.png": "an empty file"}


def a_record() -> dict:
    """A committed one, with the checksum that today's code gives it."""
    old = records.read_all(ROOT / "results" / "paper")[0]
    return records.make(old["identity"], old, {}, {}, old["environment"])


RECORD = a_record()


@settings(max_examples=150)
@given(how=damage)
def test_damaged_records(how):
    """Read as it was written, or refused."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "steel-resnet18-gradual-s0-abcdef.json"
        records.write(RECORD, path)
        path.write_bytes(damaged(path.read_bytes(), *how))
        again = tried(lambda: records.read(path))
    assert again is None or again == RECORD


CSV = "file,group\n" + "".join(f"lake/{i}.png,{i // 2}\n" for i in range(8))


@settings(max_examples=80)
@given(how=damage, lines=st.lists(st.text(max_size=12), max_size=3))
def test_damaged_groups(how, lines):
    """A group for each image: one that the file names, or its own."""
    names = [f"lake/{i}.png" for i in range(8)]
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "groups.csv"
        path.write_bytes(damaged((CSV + "\n".join(lines)).encode("utf-8", "surrogatepass"), *how))
        found = tried(lambda: datasets.read_groups(path, names))
        if found:
            groups, unknown = found
            text = path.read_text(encoding="utf-8")
            assert len(groups) == 8
            assert all(group == f"{datasets.ALONE}{name}" or group in text
                       for name, group in zip(names, groups, strict=True))  # fmt: skip
            assert not {*names} & {*unknown}
