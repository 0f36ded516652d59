"""Folds: who is trained on and who is judged. No torch."""

from unicodedata import normalize

import numpy as np
import pytest
from data_by_hand import refused

from entr_utils.data import split

COUNTS = (100, 40, 9, 3)  # as unbalanced as micrographs are


def images(counts=COUNTS, groups=(), copies=(), labels=None) -> split.Listed:
    labels = np.repeat(np.arange(len(counts)), counts) if labels is None else labels
    names = [f"class {label}/{i:03d}" for i, label in enumerate(labels)]
    hashes = {names[i]: n for n, same in enumerate(copies) for i in same}
    return split.Listed(names, dict(zip(names, groups, strict=False)), {}, hashes)


def folds(found, seeds=range(10)) -> list[split.Split]:
    """The folds of these seeds, checked for what holds of all."""
    parts = [split.assign(found, seed) for seed in seeds]
    for part in parts:
        assert sorted([*part.training, *part.validation]) == list(range(len(found.labels)))
        assert len(part.validation)
        assert {*found.labels[part.training]} == {*found.labels}
        units = [found.groups.get(name, name) for name in found.names]
        assert {units[i] for i in part.training}.isdisjoint({units[i] for i in part.validation})
        for same in found.copies:
            assert len({i in part.validation for i in same}) == 1
    return parts


def test_ten_seeds_judge_every_image_once_and_each_class_evenly():
    found = images()
    parts, later = folds(found), [tuple(part.validation) for part in folds(found, range(10, 20))]
    assert {tuple(part.validation) for part in parts}.isdisjoint(later)
    assert {*later} == {tuple(part.validation) for part in folds(images(), range(10, 20))}
    assert sorted(i for part in parts for i in part.validation) == list(range(len(found.labels)))
    judged = np.array([np.bincount(found.labels[part.validation], minlength=4) for part in parts])
    assert (judged[:, :2] == [10, 4]).all()
    assert np.ptp(judged[:, 2:], 0).tolist() == [1, 1]
    assert [(part.by, part.folds, part.groups, part.kept) for part in parts] == [("fold", 10, 0, ())] * 10


@pytest.mark.parametrize(("counts", "expected"), [((5, 4), 5), ((3, 2), 3), ((30, 2), 10)])
def test_as_many_folds_as_the_largest_class_has_images(counts, expected):
    parts = folds(images(counts), range(expected))
    assert {part.folds for part in parts} == {expected}
    assert sum(len(part.validation) for part in parts) == sum(counts)


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_whole(seed):
    """40 specimens of 1 to 8 images, each of one class; a judged tenth is met as nearly as groups allow."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, 40)
    labels = np.repeat(np.arange(40) % 3, sizes)
    groups = [f"specimen {i}" for i in np.repeat(np.arange(40), sizes)]
    found = images(labels=labels, groups=groups)
    parts = folds(found)
    assert sorted(i for part in parts for i in part.validation) == list(range(len(labels)))
    assert all(0.04 < len(part.validation) / len(labels) < 0.2 for part in parts)
    assert {part.groups for part in parts} == {40}
    refused(lambda: split.assign(found, 10), "seed=10", 9)
    groups[0] = split.ALONE + found.names[0]
    assert images(labels=labels, groups=groups).n_groups == len({*groups}) - 1  # an image of no group is none


def test_the_only_unit_of_a_class_is_never_judged_and_named():
    """Class 0 is one specimen, which shows class 1 too; class 3 is three copies of one image."""
    groups = ["rare"] * 5 + ["rare"] + [f"{i:02d}" for i in range(24)] + ["x", "y", "z"]
    found = images((5, 10, 15, 3), groups, [(30, 31, 32)])
    for part in folds(found):
        assert part.kept == ("rare", "x")
        assert {*range(6), 30, 31, 32} <= {*part.training.tolist()}
    judged = {i for part in folds(found) for i in part.validation}
    assert judged == set(range(6, 30))


@pytest.mark.parametrize("seed", range(20))
def test_every_class_is_trained_on_whatever_the_groups(seed):
    """Few large groups of several classes; what is kept in training is judged in no fold, the rest in one."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(3, 30, 4)
    groups = [f"{i}" for i in rng.integers(0, rng.integers(5, 14), counts.sum())]
    found = images(counts, groups, rng.choice(counts.sum(), (2, 2), replace=False).tolist())
    k = split.assign(found, 0).folds
    parts = folds(found, range(k))
    judged = [i for part in parts for i in part.validation]
    assert len({*judged}) == len(judged)
    kept = {*range(len(found.labels))} - {*judged}
    assert bool(kept) == any(part.kept for part in parts)


def test_a_class_whose_groups_all_fall_in_one_fold_is_trained_on():
    """scikit-learn puts both groups of class 3 into one fold here."""
    parts = folds(images((3, 3, 2, 2), list("1200230130")), range(3))
    assert all({*part.kept} <= {"0", "3"} for part in parts)


def test_copies_are_judged_together_across_classes():
    found = images(copies=[(0, 1, 2), (100, 120, 139), (140, 99)])
    assert [*map(tuple, found.copies)] == [(0, 1, 2), (99, 140), (100, 120, 139)]
    parts = folds(found, range(20))
    assert [part.kept for part in parts] == [()] * 20
    by_image = folds(images(), range(10))
    assert max(len({i in part.validation for i in (0, 1)}) for part in by_image) == 2  # else this shows nothing


@pytest.mark.parametrize(
    ("counts", "groups"),
    [
        ((2, 2), ()),
        ((8, 8), ["a"] * 8 + ["b"] * 8),
        ((8, 8), ["a"] * 8 + [f"{i}" for i in range(8)]),
        ((8, 8), ["a", "b"] * 8),
    ],
)
def test_what_allows_no_three_folds_of_two_classes(counts, groups):
    refused(lambda: split.assign(images(counts, groups), 0), "GROUPS=none")


def test_read_groups(tmp_path):
    """What the file does not name, or names without a group, is a group of its own; "NA" is a name. A Mac encodes
    letters another way, and a spreadsheet begins with a byte-order mark."""
    path, wald = tmp_path / "groups.csv", "W\u00e4lder/1.png"
    rows = f"a/1.png,17\na/2.png,17\na/3.png,\nb/9.png,4\n\n,5\nb/2.png,NA\n{normalize('NFD', wald)},7\n"
    path.write_text(f"\ufefffile,group\n{rows}")
    names = ["a/1.png", "a/2.png", "a/3.png", "b/1.png", "b/2.png", wald, normalize("NFD", wald)]
    groups, unknown = split.read_groups(path, names)
    assert [*groups] == names
    assert [group for group in groups.values() if not group.startswith(split.ALONE)] == ["17", "17", "NA", "7", "7"]
    assert len({*groups.values()}) == 5
    assert unknown == ["b/9.png"]
    refused(lambda: split.read_groups(path, ["b/1.png"]), path)
