"""Which images there are, and how they are split."""

from unicodedata import normalize

import numpy as np
import pytest

from entr_utils import datasets

LABELS = np.repeat([0, 1, 2, 3], [100, 40, 9, 2])  # as unbalanced as micrographs are


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_split_is_stratified_90_to_10(seed):
    """A tenth of each class, at least one, and one left to train on."""
    training, validation = datasets.split(LABELS, seed)
    assert np.bincount(LABELS[validation]).tolist() == [10, 4, 1, 1]
    assert np.bincount(LABELS[training]).tolist() == [90, 36, 8, 1]


def test_split_is_disjoint_and_complete():
    training, validation = datasets.split(LABELS, 0)
    assert sorted([*training, *validation]) == list(range(len(LABELS)))


def test_one_seed_is_one_split():
    first, again, other = (datasets.split(LABELS, seed)[1].tolist() for seed in (4, 4, 5))
    assert first == again
    assert first != other


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_whole(seed):
    """40 specimens of 1 to 8 images, each of one class."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, 40)
    labels = np.repeat(np.arange(40) % 3, sizes)
    groups = [f"specimen {i}" for i in np.repeat(np.arange(40), sizes)]
    training, validation = datasets.split(labels, seed, groups)
    assert {groups[i] for i in training}.isdisjoint({groups[i] for i in validation})
    assert set(labels[training]) == set(labels[validation]) == {0, 1, 2}
    assert sorted([*training, *validation]) == list(range(len(labels)))
    assert 0.05 < len(validation) / len(labels) < 0.2  # groups rarely add up to a tenth


def test_a_group_of_many_classes_does_not_stop_a_split():
    """As in UHCSDB: one sample shows every class."""
    labels = np.array([0, 1, 2] * 10 + [0] * 10 + [1] * 10 + [2] * 10)
    groups = ["all"] * 30 + [f"alone {i}" for i in range(30)]
    training, validation = datasets.split(labels, 0, groups)
    assert set(labels[training]) == set(labels[validation]) == {0, 1, 2}
    assert set(range(30)) <= set(training.tolist())


def test_groups_that_allow_no_split(refused):
    """All of class 0 is one specimen: it cannot stand on both sides."""
    labels, groups = np.array([0] * 5 + [1] * 10), ["one"] * 5 + [str(i) for i in range(10)]
    refused(lambda: datasets.split(labels, 0, groups), "groups: class 0: ", "both sides", "groups=none")
    refused(lambda: datasets.split(labels, 0, groups, (), ("lake", "wood", "heath")), "groups: lake: ")


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_list_images_is_sorted_and_leaves_out_what_is_hidden(tmp_path):
    touch(tmp_path, "b/2.png", "b/1.JPG", "a/x.tif", "a/y.webp", "a/.DS_Store", "a/._x.png", ".git/x.png", ".git/y.png",
          "a/notes.txt", "top.png", "a/deeper/z.png")  # fmt: skip
    assert [str(path.relative_to(tmp_path)) for path in datasets.list_images(tmp_path)] == [
        "a/x.tif", "a/y.webp", "b/1.JPG", "b/2.png"]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "fragments"),
    [
        ((), ("0 class folders", "one sub-folder a class", "at least two", ".png")),
        (("1.png", "2.png"), ("0 class folders",)),
        (("a/1.png", "a/2.png"), ("1 class folders",)),
        (("a/1.png", "a/2.png", "b/1.txt"), ("1 class folders",)),
        (("a/1.png", "a/2.png", "b/1.png"), ("a single image in b", "one to train and one to test")),
    ],
)
def test_folders_that_cannot_be_used(names, fragments, tmp_path, refused):
    touch(tmp_path, *names)
    refused(lambda: datasets.list_images(tmp_path), str(tmp_path), *fragments)


def test_read_groups(tmp_path):
    """What the file does not name, or names without a group, is a group of its own."""
    csv = tmp_path / "groups.csv"
    csv.write_text("file,group\na/1.png,17\na/2.png,17\na/3.png,\nb/9.png,4\n")
    groups, unknown = datasets.read_groups(csv, ["a/1.png", "a/2.png", "a/3.png", "b/1.png"])
    assert groups[0] == groups[1] == "17"
    assert len(set(groups)) == 3
    assert all(group.startswith(datasets.ALONE) for group in groups[2:])
    assert unknown == ["b/9.png"]


def test_a_groups_file_may_encode_letters_another_way(tmp_path):
    """A Mac writes NFD, with a byte-order mark where a spreadsheet did it."""
    (tmp_path / "groups.csv").write_text("\ufefffile,group\n" + normalize("NFD", "W\u00e4lder/1.png,NA\n"))
    groups, unknown = datasets.read_groups(tmp_path / "groups.csv", ["W\u00e4lder/1.png", "W\u00e4lder/2.png"])
    assert groups[0] == "NA"
    assert unknown == []


COPIES = [[0, 1], [100, 120, 139], [140, 99]]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("grouped", [False, True])
def test_copies_stand_on_one_side(seed, grouped):
    groups = [f"specimen {i // 2}" for i in range(len(LABELS) - 2)] + ["x", "y"] if grouped else None
    training, validation = datasets.split(LABELS, seed, groups, COPIES)
    assert sorted([*training, *validation]) == list(range(len(LABELS)))
    assert set(LABELS[training]) == set(LABELS[validation]) == {0, 1, 2, 3}
    for same in COPIES:
        assert len({i in validation for i in same}) == 1
    if grouped:
        assert {groups[i] for i in training}.isdisjoint({groups[i] for i in validation})


def test_a_split_that_keeps_copies_together_stands():
    """Records are named by their split: UC Merced has one pair of copies, and they never stood apart."""
    training, validation = datasets.split(LABELS, 3)
    together = [training[:3].tolist(), validation[:2].tolist()]
    assert datasets.split(LABELS, 3, None, together)[1].tolist() == validation.tolist()
    apart = [[int(training[0]), int(validation[0])]]
    assert datasets.split(LABELS, 3, None, apart)[1].tolist() != validation.tolist()


def test_copies_join_groups():
    """By chains, too: a shares with b, b with c."""
    joined = datasets.joined(6, list("aabbcd"), [[0, 2], [3, 4]])
    assert len(set(joined[:5])) == 1
    assert joined[5] == "d"
    assert len(set(datasets.joined(4, None, [[1, 3]]))) == 3


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("image,sample\na/1.png,3\n", ("columns image, sample", "needs the columns file and group")),
        ("file,group\n1.png,3\n", ("names none of the images", "should read like a/1.png")),
    ],
)
def test_groups_files_that_cannot_be_used(text, fragments, tmp_path, refused):
    (tmp_path / "groups.csv").write_text(text)
    refused(lambda: datasets.read_groups(tmp_path / "groups.csv", ["a/1.png"]), "groups.csv", *fragments)


def test_status_found(tmp_path):
    touch(tmp_path, "steel/a/1.png", "steel/a/2.png", "steel/b/1.png", "steel/b/2.png")
    state, line = datasets.status("steel", str(tmp_path))
    assert (state, line) == ("found", f"steel: found, 4 images in 2 classes in {tmp_path}/steel/")


@pytest.mark.parametrize(
    ("dataset", "data", "state", "fragments"),
    [
        ("ucm", "data", "downloadable", ("ucm: not in data/ucm/", "downloaded", "318 MB")),
        ("steel", "data", "missing", ("steel: missing", "one sub-folder of micrographs a class into data/steel/",
                                      "import_uhcsdb", "DATA=folder")),
        ("bees", "photos", "missing", ("bees: missing", "one sub-folder of photographs a species into photos/bees/",
                                       "DATA=folder")),
        ("bees", "synthetic", "synthetic", ("synthetic images", "insects")),
        ("ucm", "synthetic-fine", "synthetic", ("synthetic images", "aerial")),
    ],
)  # fmt: skip
def test_status_says_what_is_there_and_what_to_do(dataset, data, state, fragments):
    found, line = datasets.status(dataset, data)
    assert found == state
    assert "\n" not in line
    assert [fragment for fragment in fragments if fragment not in line] == []


def test_table_1_of_the_paper():
    assert {name: (one.images, one.classes) for name, one in datasets.DATASETS.items()} == {
        "steel": (1460, 7), "ucm": (2100, 21), "bees": (3128, 22)}  # fmt: skip
    assert all(0.4 <= one.dropout <= 0.6 for one in datasets.DATASETS.values())
