"""The bad-input table, row by row, and what is counted as not being as it should."""

import pytest

from benchmarks import cases
from benchmarks.bad_files import FILES
from benchmarks.bad_images import IMAGES
from entr_utils.util import UserError

TABLE = [*IMAGES, *FILES]


def test_all_kinds_are_kept():
    assert len({case.name for case in TABLE}) == len(TABLE) == 80


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name)
def test_bad_input(case):
    fine, line = cases.run(case)
    assert fine, line


def outside(folder):
    (folder.parent / "elsewhere").touch()
    return cases.READ, "all"


def refused(folder):
    raise UserError("another line")


@pytest.mark.parametrize(
    ("attempt", "happens", "names"),
    [
        (lambda folder: (cases.READ, "some of it"), cases.READ, "all"),
        (lambda folder: (cases.READ, "all\nof it"), cases.READ, "all"),
        (lambda folder: (cases.LEFT_OUT, "all"), cases.READ, "all"),
        (refused, cases.FATAL, "one line"),
        (refused, cases.READ, "another line"),
        ({}.__getitem__, cases.FATAL, "KeyError"),
        (outside, cases.READ, "all"),
    ],
)
def test_what_is_not_as_it_should_be_is_counted(attempt, happens, names):
    assert not cases.run(cases.Case("x", happens, names, attempt))[0]
    assert cases.run(cases.Case("x", cases.FATAL, "another", refused)) == (True, "fatal: another line")
