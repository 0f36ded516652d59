"""The README's first screen: short, and every number in it follows from committed records."""

import re
import subprocess

import pytest
from conftest import ROOT

from entr_utils.report import tables, words
from entr_utils.results import compare, times

README = (ROOT / "README.md").read_text()
FIRST, REST = README.split("\n## ", 1)
PROSE = re.sub(r"(?s)```.*?```", "", "\n".join(line for line in FIRST.splitlines() if not line.startswith(("|", "!"))))
SAID = re.sub(r"\]\(.*?\)|`[^`]*`", "", PROSE)  # without addresses and code
NUMBER = r"(?<![\w.])[-+]?(?:\d*\.)?\d+"


@pytest.fixture(scope="module")
def shown():
    profile, records, table = tables.read(ROOT / "results")
    return profile, records, table, tables.compared(table)


def test_the_first_screen_is_short():
    assert len(FIRST.splitlines()) <= 45
    assert len(re.findall(r"[^\W\d_][\w'-]*", SAID)) <= 180
    assert len(re.findall(NUMBER, SAID)) <= 15
    assert len(README.splitlines()) <= 160
    assert len(README.split()) <= 1500


def test_the_table_is_that_of_the_records(shown):
    profile, _, table, compared = shown
    wanted = tables.first_screen(compared, table, ROOT / "results" / profile).data
    assert wanted.replace("](", f"](results/{profile}/") in README, wanted
    assert f"results/{profile}/first_screen.png" in FIRST


def test_the_numbers_of_the_answer_are_those_of_the_records():
    answer, known, clocks = re.findall(r"(?s)\*\*(.*?)\*\*", FIRST)[0], [], times.read_clocks(ROOT / "results")
    for profile in ("compact", "paper"):
        _, records, table = tables.read(ROOT / "results", profile)
        compared = tables.compared(table)
        short = compare.primary(compare.compare(table, ["short"]), "short").to_dict("records")
        known += [f"{row[name]:+.1f}" for row in short for name in ("estimate", "low", "high")]
        known += re.findall(NUMBER, words.answer(compared, records).data)
        known += re.findall(NUMBER, tables.machines(tables.in_comparison(table, compared), clocks).data)
    assert re.findall(NUMBER, answer)
    assert {float(one) for one in re.findall(NUMBER, answer)} <= {float(one) for one in known}


@pytest.mark.parametrize("page", ["README.md", "results/README.md", "docs/SCALE.md", "results/LOG.md"])
def test_what_a_page_links_to_is_in_the_repository(page):
    """What git ignores is on the writer's disk alone."""
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    if not kept:
        pytest.skip("no checkout of git's")
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text())
    paths = [str((ROOT / page).parent.joinpath(link).resolve().relative_to(ROOT)) for link in links]
    assert [path for path in paths if not any(one == path or one.startswith(f"{path}/") for one in kept)] == []
