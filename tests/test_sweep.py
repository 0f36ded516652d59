"""Many notebooks and the commands: what is asked for, refused, made, stopped, done; no kernel is started."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import Mock

import by_hand
import pytest
from data_by_hand import photos

from entr_utils import cli, networks, sweep, util
from entr_utils.notebook import Refused, keys_shown
from entr_utils.results import record, studies
from entr_utils.settings import Cell, seeds_of
from entr_utils.training import clock, resume, run
from entr_utils.util import Missing, lock

TINY = ("PROFILE=tiny", "DATASETS=steel")
TWO = (*TINY, "REGIMES=no_increase gradual")


def make(*words: str, command: str = "all") -> int:
    """The exit code of a command line."""
    return cli.guarded(cli.command, [command, *(words or TWO)])


def asked_for(*words: str) -> list[tuple]:
    cells = cli.matrix(cli.read(words, cli.MATRIX))
    return [(cell.dataset, cell.network, cell.regime, cell.seeds) for cell in cells]


def record_of(one: run.Run) -> record.Record:
    """A record by hand that counts for a run."""
    made = by_hand.record(**one.spec.model_dump())
    kept = {name: getattr(made, name) for name in record.Record.model_fields if name not in ("key", "checksum")}
    return record.make(**kept | {"source": one.images.source})


@dataclass
class Kernel:
    """In place of `notebook.execute`: leaves the records and the notebook that a kernel would leave."""

    asked: list[tuple[str, ...]] = field(default_factory=list)  # notebook, regime, seeds
    broken: dict[str, Exception] = field(default_factory=dict)  # by notebook
    before: Callable[[], object] = bool
    variables: list[dict] = field(default_factory=list)
    shares: tuple[float, ...] = ()  # of the run at work

    def __call__(self, notebook, parameters, output, keys, environment=None, progress=lambda share: None):
        given = dict(parameters)
        self.asked.append((notebook.stem, *(given[name] for name in ("regime", "seeds") if name in given)))
        self.variables.append(environment or {})
        self.before()
        for share in self.shares:
            progress(share)
        if notebook.stem in self.broken:
            raise self.broken[notebook.stem]
        if notebook.stem != "summary":
            for one in run.prepare(Cell(notebook.stem, **given | {"seeds": seeds_of(given["seeds"])})):
                if not one.path.exists():
                    record.write(record_of(one), one.path)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps({"cells": [{}], "metadata": {"entr": {"keys": sorted(keys)}}}))


@pytest.fixture
def kernel(narrow, own_regime, monkeypatch) -> Kernel:
    monkeypatch.setattr(sweep, "execute", kernel := Kernel())
    monkeypatch.setenv("ENTR_CLOCK", "off")
    return kernel


@pytest.fixture
def done(kernel, capsys) -> Path:
    """All of TWO; the folder of it."""
    assert make() == 0
    del kernel.asked[:]
    capsys.readouterr()
    return Path("results/tiny")


def test_what_is_asked_for():
    """Where nothing is named, quick; lists narrow and widen. Images drawn in several ways have a notebook each."""
    named = ("resnet18-narrow", "no_increase"), ("resnet18-narrow", "gradual"), ("resnet18-narrow", "stepwise")
    regimes = [(name, *one, (0, 1, 2)) for name in ("steel", "ucm", "bees") for one in named]
    assert asked_for() == asked_for("DATASETS=", "SEEDS= ", "PROFILE=") == regimes
    assert len(asked_for("PROFILE=paper")) == 27
    words = ("DATASETS=bees", "NETWORKS=resnet18 resnet34", "REGIMES=stepwise:switch=RPL", "SEEDS=0 1,2")
    expected = [("bees", network, "stepwise:switch=RPL", (0, 1, 2)) for network in ("resnet18", "resnet34")]
    assert asked_for(*words) == expected
    assert len({Cell("steel", data=data).name for data in ("synthetic", "synthetic-coarse", "synthetic-fine")}) == 3


# Words -> what the line has to name; of `all` and `plan`, and of the other commands.
WRONG = """NETWORK=resnet18 -> NETWORKS; profile=paper -> PROFILE; PROFILE=papr -> compact; NETWORKS=vgg -> resnet50
DATASETS=steel cats -> 'cats'; REGIMES=fast -> gradual; REGIMES=stepwise:switch=SGDR -> RPL; SEEDS=0 x -> '0 x'
SEEDS=-1 -> '-1'; SIZE=large -> SIZE='large'; SIZE=31 -> 32; SIZE=64 -> 26 px; PRECISION=float8 -> bfloat16
BATCH=1 -> from 2; LR=many -> LR='many'; LR=-1 -> lr=-1; DATA=nowhere -> data='nowhere'
WEIGHTS=nowhere.pt -> demo; GROUPS=nowhere.csv -> 'nowhere.csv'; CHECKPOINT_DIR=nowhere -> 'nowhere'"""
OTHERS = """al -> plan; study STUDY=x -> compact; summary PROFILE=papr -> compact; again RECORD=x -> RECORD='x'
badges REPO=x -> owner/name; help REGIME=x -> gradual; summary SEEDS=0 -> RESULTS"""
MATRIX = [f"{command} {word}" for command in ("all", "plan") for word in WRONG.replace("\n", "; ").split("; ")]


@pytest.mark.parametrize("wrong", [*MATRIX, *OTHERS.replace("\n", "; ").split("; ")])
def test_wrong_values_are_refused_before_anything_is_done(wrong, kernel, place, capsys):
    words, named = wrong.split(" -> ")
    assert cli.guarded(cli.command, words.split(" ", 1)) == 2
    out, error = capsys.readouterr()
    assert (out, len(error.splitlines())) == ("", 1)
    assert named in error
    assert kernel.asked == []
    assert [path.name for path in place.iterdir()] == ["entr_utils"]


def test_what_is_wrong_in_the_words_needs_no_torch():
    """The command starts itself once more, with the kernels' memory allocation; line and exit code stay."""
    environment = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    environment["PYTHONPROFILEIMPORTTIME"] = "1"
    words = [sys.executable, "-m", "entr_utils.cli", "all", "PROFILE=paper", "DATA=.", "WEIGHTS=none", "SIZE=64"]
    answer = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    imported = [line.split("|")[-1].strip() for line in answer.stderr.splitlines() if line.startswith("import time:")]
    assert (answer.returncode, answer.stdout, "torch" in imported) == (2, "", False)
    assert len(answer.stderr.splitlines()) == len(imported) + 1
    assert imported.count("entr_utils.sweep") == 2


def test_all_makes_records_notebooks_and_the_summary_once(kernel, capsys):
    assert make(*TWO, "SEEDS=0 1", "PRECISION=float32", "BATCH=12", "LR=0.5") == 0
    assert kernel.asked == [("steel", "no_increase", "0 1"), ("steel", "gradual", "0 1"), ("summary",)]
    loaded = record.load("results")
    assert [one.spec.regime for one in loaded] == ["gradual", "gradual", "no_increase", "no_increase"]
    assert {(one.spec.batch, one.spec.lr, one.spec.precision) for one in loaded} == {(12, 0.5, "float32")}
    shown = keys_shown(Path("results/tiny/steel-resnet18-gradual-lr0.5.ipynb"))
    assert shown == sorted(one.key for one in loaded if one.spec.regime == "gradual")
    assert make(*TWO, "SEEDS=0 1", "PRECISION=float32", "BATCH=12", "LR=0.5") == 0
    assert make("PROFILE=tiny", command="summary") == 0
    assert kernel.asked[3:] == [("summary",)]
    assert "make paper" in capsys.readouterr().out.splitlines()[0]


def test_a_notebook_shows_what_was_asked_for_last(done, kernel):
    """Or more of it: more seeds are added, fewer change nothing; another size takes its place."""
    both = [("steel", "no_increase"), ("steel", "gradual")]
    for words in ("SEEDS=0 1", "SEEDS=1", "SIZE=44", "SIZE=40"):
        assert make(*TWO, words) == 0
    assert [one[:2] for one in kernel.asked] == [*both, ("summary",), *both, ("summary",), *both]
    assert len(list(done.glob("*.json"))) == 6
    assert len(list(done.glob("steel-*.ipynb"))) == 2


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def change(path: Path) -> None:
    """A single digit of a number."""
    path.write_text(path.read_text().replace('"n_train": ', '"n_train": 1', 1))


@pytest.mark.parametrize("spoil", [Path.unlink, cut, change])
def test_a_record_that_is_lost_or_damaged_is_made_again(spoil, done, kernel):
    (path,) = done.glob("*-gradual-s0-*.json")
    whole = path.read_bytes()
    spoil(path)
    assert make() == 0
    assert kernel.asked[0] == ("steel", "gradual", "0")
    assert path.read_bytes() == whole
    assert len(list(done.glob("*.aside"))) == (spoil is not Path.unlink)


@pytest.mark.parametrize("spoil", [Path.unlink, cut])
@pytest.mark.parametrize("name", ["steel-resnet18-gradual", "summary"])
def test_a_notebook_that_is_lost_or_damaged_is_drawn_again(name, spoil, done, kernel):
    spoil(done / f"{name}.ipynb")
    assert make() == 0
    assert kernel.asked == [("summary",) if name == "summary" else ("steel", "gradual", "0")]
    assert keys_shown(done / f"{name}.ipynb")


def test_a_record_that_cannot_be_read_is_left_where_it_is(done, kernel, capsys):
    """It may be whole: nothing is trained again, and one line names it."""
    (path,) = done.glob("*-gradual-s0-*.json")
    path.unlink()
    path.mkdir()  # reading it is an error of the system
    assert make() == 2
    assert str(path) in capsys.readouterr().err
    assert kernel.asked == []


def test_render_draws_what_is_finished_and_trains_nothing(done, kernel):
    assert make(*TWO, "SEEDS=0 1", "REGIMES=gradual stepwise", command="render") == 0
    assert kernel.asked == [("steel", "gradual", "0")]
    (path,) = done.glob("*-gradual-s0-*.json")
    cut(path)
    assert make(command="render") == 2
    assert kernel.asked[1:] == [("steel", "no_increase", "0")]
    assert path.exists()


@pytest.mark.parametrize(("error", "code"), [(RuntimeError("it died"), 1), (Refused("UserError: too high"), 2)])
def test_a_run_that_fails_is_named_and_the_rest_goes_on(error, code, kernel, capsys):
    kernel.broken = {"steel": error}
    assert make("PROFILE=tiny", "DATASETS=steel bees", "REGIMES=gradual") == code
    assert [one[0] for one in kernel.asked] == ["steel", "bees", "summary"]
    assert str(error) in capsys.readouterr().out
    assert [one.spec.dataset for one in record.load("results")] == ["bees"]


def test_a_notebook_without_a_record_and_a_failed_summary_are_failures(kernel, monkeypatch):
    kernel.broken = {"summary": RuntimeError("it died")}
    assert make() == 1
    monkeypatch.setattr(sweep, "execute", lambda *_, **__: None)
    assert make(*TINY, "REGIMES=small") == 1


def test_images_that_are_missing_or_unusable_do_not_stop_the_others(kernel, tmp_path, capsys):
    photos(tmp_path / "data" / "ucm")
    words = ("PROFILE=tiny", "REGIMES=gradual", f"DATA={tmp_path / 'data'}")
    assert make(*words) == 3
    assert [one[0] for one in kernel.asked] == ["ucm", "summary"]
    lines = capsys.readouterr().out.splitlines()
    assert [sum(f"{tmp_path}/data/{name}" in line for line in lines) for name in ("steel", "ucm", "bees")] == [1, 1, 1]
    (tmp_path / "data" / "bees" / "empty").mkdir(parents=True)
    assert make(*words) == 2


def test_weights_that_are_missing_or_do_not_fit_are_named_once(kernel, tmp_path, monkeypatch, capsys):
    (tmp_path / "words.pt").write_text("words")
    assert make(*TWO, f"WEIGHTS={tmp_path / 'words.pt'}") == 2
    assert kernel.asked == [("summary",)]
    assert capsys.readouterr().out.count("words.pt") == 1
    monkeypatch.setattr(networks, "weights_file", Mock(side_effect=Missing("cannot be downloaded")))
    assert make(*TWO, "WEIGHTS=imagenet", "NETWORKS=resnet18 resnet34") == 3
    out = capsys.readouterr().out
    assert [out.count(f"{name}: cannot be downloaded") for name in ("resnet18", "resnet34")] == [1, 1]


def test_stopping_names_where_it_goes_on(kernel, capsys):
    """The epoch of the newest checkpoint of the run at work."""
    kernel.broken = {"steel": KeyboardInterrupt()}
    (one,) = run.prepare(Cell("steel", profile="tiny"))
    kernel.before = lambda: util.write_whole(resume.Store(one).path, b'checksum\n{"epoch": 3}\n')
    assert make() == 130
    out, error = capsys.readouterr()
    assert f"{one.path.stem} will go on after epoch 3 of 4" in out
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("made_meanwhile", [False, True])
def test_what_another_command_makes_comes_last(made_meanwhile, kernel):
    with ExitStack() as other:
        cell = Cell("steel", profile="tiny").checked()
        other.enter_context(lock(cell.folder / ".locks" / cell.name))

        def ends():
            if made_meanwhile and len(kernel.asked) == 1:
                keys, output = [one.spec.key for one in run.prepare(cell)], cell.folder / f"{cell.name}.ipynb"
                Kernel()(Path("steel.ipynb"), {"profile": "tiny", "seeds": "0"}, output, keys)
            other.close()

        kernel.before = ends
        assert make() == 0
    regimes = ["gradual"] if made_meanwhile else ["gradual", "no_increase"]
    assert [one[1] for one in kernel.asked if one[0] == "steel"] == regimes
    assert len(record.load("results")) == 2


def test_what_dead_processes_left_goes(kernel, monkeypatch):
    monkeypatch.setattr(sweep, "remove_leftovers", (removed := []).append)
    assert make() == 0
    assert removed == [Path("results/tiny")]


def test_the_progress_line_counts_forecast_seconds(kernel, monkeypatch):
    """A run counts by its forecast; in a notebook of two the second begins where the first ended."""
    shown: list[float] = []
    monkeypatch.setattr(util.Progress, "update", lambda line, share, note="": shown.append(share))
    monkeypatch.setattr(run.Run, "forecast", lambda one: 30.0 if one.spec.regime == "gradual" else 10.0)
    kernel.shares = (0.5, 1.0)
    assert make(*TWO) == 0
    assert shown == pytest.approx([5 / 40, 10 / 40, 25 / 40, 1])


def test_a_study_is_made_fold_by_fold(kernel, monkeypatch):
    """So that any stop leaves whole folds; a notebook shows all folds so far, and is drawn once more for each."""
    study = studies.Study("tiny", ("steel",), (0, 1), studies.GROWING[:1])
    monkeypatch.setitem(studies.STUDIES, "small", study)
    assert make("STUDY=small", "RESULTS=here", command="study") == 0
    first, second = [("no_increase", "0"), ("gradual", "0")], [("gradual", "0 1"), ("no_increase", "0 1")]
    assert [one[1:] for one in kernel.asked] == [*first, *second, ()]
    assert len(list(Path("here/tiny").glob("steel-*.ipynb"))) == 2
    assert make("STUDY=small", "RESULTS=here", command="study") == 0
    assert len(kernel.asked) == 5


def test_a_plan_needs_no_images_and_no_weights(kernel, place, tmp_path, capsys):
    assert make("PROFILE=paper", f"DATA={tmp_path}", "NETWORKS=resnet18", command="plan") == 0
    lines = capsys.readouterr().out.splitlines()[1:-1]
    assert [line.split()[1] for line in lines] == ["1460"] * 3 + ["2100"] * 3 + ["3128"] * 3
    assert [path.name for path in place.iterdir()] == ["entr_utils"]


def test_a_plan_is_plan_times_clock(kernel, monkeypatch, capsys):
    """Within an image or two that of the runs, whose folds are not all of one size."""
    monkeypatch.setattr(run, "device_model", lambda: by_hand.DEVICE)
    monkeypatch.setattr(sweep, "minutes", lambda seconds: f"{seconds:.9f}")
    prepared = run.prepare(Cell("steel", regime="gradual", profile="tiny", seeds=(0, 1, 2)))
    by_hand.clocks(Path("results"), [record_of(one).model_copy(update={"work": one.work}) for one in prepared])
    assert make(*TINY, "REGIMES=gradual", "SEEDS=0 1 2", command="plan") == 0
    total = float(capsys.readouterr().out.split()[-3])
    assert total == pytest.approx(sum(one.forecast() for one in prepared), rel=0.01)


def test_help_lists_the_options_of_a_regime_that_a_user_has_just_written(own_regime, capsys):
    assert make("REGIME=slope", command="help") == 0
    assert "slope:least=0.4" in capsys.readouterr().out


def test_the_clock_is_taken_for_a_profile_or_for_the_records(monkeypatch):
    asked = []
    monkeypatch.setattr(clock, "take_for", lambda *given, again: asked.append((len(given[0]), given[1], again)))
    for words in ((), TINY, ("AGAIN=1",)):
        assert make("RESULTS=here", *words, command="clock") == 0
    assert asked == [(0, "here", False), (3, "here", False), (0, "here", True)]


def test_a_record_is_made_again_and_compared(trained, place, capsys):
    watched = trained("gradual")
    n_val = watched.record.split.n_val
    assert make(f"RECORD={watched.run.path}", command="again") == 0
    assert capsys.readouterr().out.split()[-9:] == f"{n_val} of {n_val} final predictions are the same".split()
    assert not list((Path(os.environ["ENTR_CACHE"]) / "again").iterdir())
    assert [one.name for one in place.iterdir()] == ["entr_utils"]
