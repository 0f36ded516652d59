"""Many runs: planned, refused, executed, died, done."""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import nbformat
import pytest
import torch

from benchmarks import faults
from entr_utils import (
    downloads,
    execution,
    experiment,
    forecast,
    images,
    memory,
    networks,
    records,
    runs,
    timing,
    training,
)
from entr_utils.progress import minutes

TWO_RUNS = ("PROFILE=tiny", "DATASETS=steel", "REGIMES=no_increase gradual")


def planned(*words: str) -> list[tuple]:
    return [(run.dataset, run.network, run.regime, run.seed) for run in runs.plan(runs.read_settings(list(words)))]


def test_the_default_is_nine_quick_runs():
    plan = runs.plan(runs.read_settings([]))
    regimes = ("no_increase", "gradual", "stepwise")
    assert planned() == [(name, "resnet18", regime, 0) for name in ("steel", "ucm", "bees") for regime in regimes]
    assert {(run.profile, run.size, run.weights, run.data) for run in plan} == {("quick", 80, "none", "synthetic")}


def test_empty_values_are_the_defaults():
    """As make passes a variable that was set to nothing."""
    assert planned("DATASETS=", "SEEDS= ", "PROFILE=") == planned()


def test_the_paper_is_27_runs_on_real_images():
    plan = runs.plan(runs.read_settings(["PROFILE=paper"]))
    assert len(plan) == 27
    assert {run.network for run in plan} == {"resnet18", "resnet34", "resnet50"}
    assert {(run.size, run.weights, run.data) for run in plan} == {(250, "imagenet", "data")}


def test_lists_narrow_and_widen():
    assert planned("DATASETS=bees", "NETWORKS=resnet18 resnet34", "REGIMES=gradual") == [
        ("bees", "resnet18", "gradual", 0), ("bees", "resnet34", "gradual", 0)]  # fmt: skip


def test_the_order_of_the_regimes_rotates_with_the_seed():
    assert [(regime, seed) for _, _, regime, seed in planned("DATASETS=ucm", "SEEDS=0 1 2")] == [
        ("no_increase", 0), ("gradual", 0), ("stepwise", 0),
        ("gradual", 1), ("stepwise", 1), ("no_increase", 1),
        ("stepwise", 2), ("no_increase", 2), ("gradual", 2)]  # fmt: skip


WRONG = [
    ("NETWORK=resnet18", ("NETWORK='resnet18'", "unknown name", "NETWORKS", "RESULTS")),
    ("profile=paper", ("profile='paper'", "unknown name", "PROFILE")),
    ("PROFILE=papr", ("profile='papr'", "quick, paper")),
    ("DATASETS=steel cats", ("DATASETS='cats'", "unknown; allowed: steel, ucm, bees")),
    ("DATASETS=own", ("DATASETS='own'", "unknown; allowed: steel, ucm, bees")),
    ("NETWORKS=vgg", ("network='vgg'", "resnet18, resnet34, resnet50")),
    ("REGIMES=fast", ("regime='fast'", "no_increase, gradual, stepwise")),
    ("SEEDS=0 x", ("SEEDS='x'", "a whole number")),
    ("SEEDS=1.5", ("SEEDS='1.5'", "a whole number")),
    ("SEEDS=-1", ("seed=-1", "a whole number from 0")),
    ("SIZE=large", ("SIZE='large'", "a whole number")),
    ("SIZE=31", ("size=31", "from 32")),
    ("SIZE=64", ("size=64", "gradual would train at 26 px", "from 80")),
    ("PRECISION=float8", ("precision='float8'", "float32, bfloat16, float16")),
    ("BATCH=1", ("batch=1", "a whole number from 2")),
    ("BATCH=many", ("BATCH='many'", "a whole number")),
    ("DATA=nowhere", ("data='nowhere'", "no such folder")),
    ("WEIGHTS=nowhere.pt", ("weights='nowhere.pt'", "no such file", "imagenet, none")),
    ("GROUPS=nowhere.csv", ("groups='nowhere.csv'", "no such file")),
    ("CHECKPOINT_DIR=nowhere", ("checkpoint_dir='nowhere'", "no such folder")),
]


@pytest.mark.parametrize(("word", "fragments"), WRONG, ids=[word for word, _ in WRONG])
def test_wrong_values_are_refused_before_anything_is_done(word, fragments, place, capsys, monkeypatch):
    """Exit code 2, one line, nothing printed, nothing written; nor is anything foretold."""
    monkeypatch.setattr(runs, "execute", lambda *arguments: pytest.fail("executed"))
    monkeypatch.setattr(forecast, "rates", lambda *arguments: pytest.fail("measured"))
    for command in ("all", "plan"):
        assert runs.main([command, "RESULTS=here/results", word]) == 2
        out, error = capsys.readouterr()
        assert out == ""
        assert len(error.splitlines()) == 1
        assert [fragment for fragment in fragments if fragment not in error] == []
        assert [path.name for path in place.iterdir()] == ["entr_utils"]


@pytest.mark.skipif(timing.device().type != "cpu", reason="a GPU scales the loss")
@pytest.mark.parametrize("command", ["all", "plan"])
def test_float16_on_a_cpu_is_refused(command, place, capsys, monkeypatch, by_hand):
    """It depends on the machine, so it comes after the datasets; nothing is executed or written."""
    monkeypatch.setattr(runs, "execute", lambda *arguments: pytest.fail("executed"))
    assert runs.main([command, *TWO_RUNS, "RESULTS=here/results", "PRECISION=float16"]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "precision='float16': needs a CUDA device; allowed here: float32, bfloat16" in error
    assert [path.name for path in place.iterdir()] == ["entr_utils"]


def test_unknown_commands_are_refused(capsys):
    assert runs.main(["al", "PROFILE=tiny"]) == 2
    assert "command='al': unknown; allowed: all, render, summary, plan" in capsys.readouterr().err


def test_the_command_line_keeps_words_and_exit_code():
    """It starts itself once more, with the kernels' memory allocation, so that what is foretold holds for them."""
    environment = {name: value for name, value in os.environ.items() if name not in execution.KERNEL_ENVIRONMENT}
    answer = subprocess.run([sys.executable, "-m", "entr_utils.runs", "plan", "SEEDS=0 x"], env=environment,
                            capture_output=True, text=True)  # fmt: skip
    assert answer.returncode == 2
    assert answer.stderr.splitlines() == ["error: SEEDS='x': allowed: a whole number"]


class Kernel:
    """In place of `runs.execute`: does what the notebooks do, here, and keeps what it was asked."""

    def __init__(self):
        self.asked: list[tuple[str, str]] = []  # notebook, regime
        self.given: list[dict] = []  # parameters of each
        self.broken = ()  # notebooks that fail
        self.reason = RuntimeError("the kernel died")

    def __call__(self, notebook, parameters, output, done=None):
        self.asked.append((notebook.stem, parameters.get("regime", "")))
        self.given.append(parameters)
        if notebook.stem in self.broken:
            raise self.reason
        if notebook.stem != "summary":
            run = experiment.prepare(notebook.stem, **parameters)
            training.train(run)
            records.finish(run.path)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text('{"cells": [1]}')


@pytest.fixture
def kernel(narrow, monkeypatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(runs, "execute", kernel)
    return kernel


def make(*words: str) -> int:
    return runs.main(["all", *TWO_RUNS, "RESULTS=results", *words])


def test_make_all_leaves_records_notebooks_and_a_summary(made):
    assert made.code == 0
    names = sorted(path.stem.rpartition("-")[0] for path in made.results.rglob("steel-*.json"))
    assert names == ["steel-resnet18-gradual-s0", "steel-resnet18-no_increase-s0"]
    assert {path.stem for path in made.results.rglob("steel-*.ipynb")} == {
        path.stem for path in made.results.rglob("*.json")}  # fmt: skip
    assert (made.results / "tiny" / "summary.ipynb").exists()
    unfinished = (".partial", ".trained", ".log", ".forecast")
    assert [path for path in made.results.rglob("*") if path.suffix in unfinished] == []


def test_make_all_says_what_it_does(made):
    """First the profile, why, and the way to the full matrix; then each dataset; then the runs and what they will take;
    then what to read."""
    lines = made.printed.splitlines()
    assert lines[0].startswith("Profile tiny (as asked for)")
    assert "2 runs of 4 epochs at up to 80 px" in lines[0]
    assert "make paper" in lines[0]
    assert "steel: synthetic images" in lines[1]
    assert "2 runs: 0 done, 2 to do, 0 cannot run" in made.printed
    assert re.search(r"forecast: \d+ (s|min) for 2 runs on this machine\n", made.printed)
    for regime in ("no_increase", "gradual"):
        said = rf"steel resnet18 {regime} s0: \d+ (s|min) of T, \d+ (s|min) in all, .+ FLOPs, .+ GiB of memory\.\n"
        assert re.search(said, made.printed)
    assert made.printed.count("done in") == 2
    assert lines[-1].strip() == f"read {made.results}/tiny/summary.ipynb"


def test_the_records_of_make_all_are_of_the_runs_asked_for(made):
    table = records.load(made.results)
    assert table["regime"].tolist() == ["gradual", "no_increase"]
    assert set(table["profile"]) == {"tiny"}
    assert (table["seconds_total"] > 0).all()


def test_a_notebooks_run_is_the_same_as_one_made_here(made, trained):
    """In a process of its own, with another memory allocation."""
    record = records.read(made.one("*no_increase*.json"))
    here = trained("no_increase").record
    assert record["key"] == here["key"]
    assert record["predictions"] == here["predictions"]
    assert record["environment"]["malloc"] == execution.KERNEL_ENVIRONMENT
    assert record["forecast_seconds"] > 0


@pytest.fixture
def copied(made, place) -> Path:
    """The results of `made`, free to be spoilt, at `results`."""
    shutil.copytree(made.results, place / "results")
    return place / "results"


def test_what_is_done_is_not_done_again(copied, kernel, capsys):
    assert make() == 0
    assert kernel.asked == []
    assert "2 runs: 2 done, 0 to do" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".json", ".ipynb"])
def test_a_run_that_lost_its_record_or_notebook_is_done_again(suffix, copied, kernel):
    (lost,) = copied.rglob(f"steel-*-gradual-*{suffix}")
    lost.unlink()
    assert make() == 0
    assert kernel.asked == [("steel", "gradual"), ("summary", "")]
    assert lost.exists()


def test_another_regime_is_added(copied, kernel):
    assert make("REGIMES=no_increase gradual stepwise") == 0
    assert kernel.asked == [("steel", "stepwise"), ("summary", "")]
    assert len(list(copied.rglob("steel-*.json"))) == 3


def test_render_draws_finished_runs_again(copied, kernel, capsys):
    """Only those; it never trains."""
    assert runs.main(["render", *TWO_RUNS, "RESULTS=results", "REGIMES=gradual stepwise"]) == 0
    assert kernel.asked == [("steel", "gradual"), ("summary", "")]
    assert "2 runs: 1 not finished, 1 to draw again, 0 cannot run" in capsys.readouterr().out


def test_a_failed_run_is_said_and_the_rest_goes_on(kernel, capsys):
    kernel.broken = ("steel",)
    assert make("DATASETS=steel bees", "REGIMES=gradual") == 1
    assert kernel.asked == [("steel", "gradual"), ("bees", "gradual"), ("summary", "")]
    out = capsys.readouterr().out
    assert "steel resnet18 gradual s0: FAILED, the kernel died" in out
    assert "bees resnet18 gradual s0: done in" in out
    assert [path.name.partition("-")[0] for path in Path("results").rglob("*.json")] == ["bees"]


def test_what_cannot_be_planned_yet_does_not_stop_the_rest(kernel, capsys):
    """Short is planned from the records of its partners, which this command trains first."""
    assert make("DATASETS=steel", "REGIMES=short no_increase gradual") == 2
    assert kernel.asked == [("steel", "no_increase"), ("steel", "gradual"), ("summary", "")]
    out = capsys.readouterr().out
    assert "regime='short': needs the records of no_increase and gradual" in out
    assert "3 runs: 0 done, 2 to do, 1 cannot run" in out


def test_a_run_that_is_refused_exits_with_2(kernel, capsys):
    """What a kernel alone can find out: a loss that becomes NaN, a checkpoint of another run."""
    kernel.broken, kernel.reason = ("steel",), execution.Refused("UserError: loss is not a number")
    assert make("DATASETS=steel bees", "REGIMES=gradual") == 2
    assert "steel resnet18 gradual s0: FAILED, UserError: loss" in capsys.readouterr().out


def test_a_notebook_without_a_record_is_a_failure(monkeypatch, capsys):
    """A kernel that dies may look like success to its caller."""
    monkeypatch.setattr(runs, "execute", lambda *arguments: None)
    assert make("REGIMES=gradual") == 1
    assert "FAILED, the notebook ended without a record" in capsys.readouterr().out


def test_a_failed_summary_is_a_failure(copied, kernel, capsys):
    kernel.broken = ("summary",)
    (copied / "tiny" / "summary.ipynb").unlink()
    assert make() == 1
    assert "summary: FAILED" in capsys.readouterr().out


def test_a_missing_dataset_is_said_and_the_others_go_on(kernel, photos, tmp_path, capsys):
    """Exit code 3; each dataset is listed first."""
    photos(tmp_path / "data" / "ucm")
    code = runs.main(["all", "PROFILE=tiny", "WEIGHTS=none", "REGIMES=gradual", f"DATA={tmp_path / 'data'}"])
    assert code == 3
    assert kernel.asked == [("ucm", "gradual"), ("summary", "")]
    lines = capsys.readouterr().out.splitlines()
    assert (
        f"steel: missing; never published: put one sub-folder of micrographs a class into {tmp_path}/data/steel/"
        in lines[1]
    )
    assert f"ucm: found, 24 images in 3 classes in {tmp_path}/data/ucm/" in lines[2]
    assert (
        f"bees: missing; never published: put one sub-folder of photographs a species into {tmp_path}/data/bees/"
        in lines[3]
    )
    assert "3 runs: 0 done, 1 to do, 2 cannot run" in lines[4]


def test_a_folder_that_holds_no_classes_is_refused(kernel, tmp_path, capsys):
    (tmp_path / "data" / "steel").mkdir(parents=True)
    code = runs.main(["all", "PROFILE=tiny", "WEIGHTS=none", "DATASETS=steel", f"DATA={tmp_path / 'data'}"])
    assert code == 2
    assert f"steel: {tmp_path}/data/steel: 0 class folders with images" in capsys.readouterr().out


def test_ucm_that_cannot_be_downloaded_is_a_missing_dataset(kernel, tmp_path, monkeypatch, capsys):
    def fails(data):
        raise runs.UserError("UCMerced_LandUse.zip cannot be downloaded")

    monkeypatch.setattr("entr_utils.downloads.download_ucm", fails)
    (tmp_path / "data").mkdir()
    code = runs.main(["all", "PROFILE=tiny", "WEIGHTS=none", "DATASETS=ucm", f"DATA={tmp_path / 'data'}"])
    assert code == 3
    out = capsys.readouterr().out
    assert "ucm: not in" in out
    assert "ucm: UCMerced_LandUse.zip cannot be downloaded" in out


def test_weights_that_cannot_be_downloaded(kernel, monkeypatch, capsys):
    """Asked for once a network, said in one line, exit code 1."""
    asked = []

    def fails(network, weights):
        asked.append(network)
        raise runs.UserError(f"weights=imagenet: {network} cannot be downloaded; name it with WEIGHTS=path")

    monkeypatch.setattr("entr_utils.networks.weights_file", fails)
    assert make("WEIGHTS=imagenet", "NETWORKS=resnet18 resnet34") == 3
    assert asked == ["resnet18", "resnet34"]
    assert [notebook for notebook, _ in kernel.asked] == ["summary"]
    assert (
        "resnet34: weights=imagenet: resnet34 cannot be downloaded; name it with WEIGHTS=path"
        in capsys.readouterr().out
    )


def test_weights_that_do_not_fit_are_said_once(kernel, tmp_path, capsys):
    """Before any kernel starts."""
    (tmp_path / "words.pt").write_text("words")
    assert make(f"WEIGHTS={tmp_path / 'words.pt'}") == 2
    assert [notebook for notebook, _ in kernel.asked] == ["summary"]
    assert capsys.readouterr().out.count("words.pt: cannot be loaded") == 1


def test_stopping_is_no_crash(kernel, monkeypatch, capsys):
    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "execute", stopped)
    assert make() == 130
    assert "the same command goes on" in capsys.readouterr().err


@pytest.fixture
def finished(kernel, capsys) -> Path:
    """One small run and its summary; the folder of the run."""
    assert small() == 0
    capsys.readouterr()
    return next(Path("results").rglob("*-s0-*.json")).parent


def small() -> int:
    return runs.main(["all", "PROFILE=tiny", "DATASETS=steel", "REGIMES=no_increase", "SIZE=32"])


@pytest.mark.parametrize("spoil", [faults.truncate, faults.flip])
def test_a_damaged_record_is_named_kept_and_made_again(spoil, finished, capsys):
    (path,) = finished.glob("*.json")
    whole = records.repeatable(records.read(path))
    spoil(path)
    spoilt = path.read_bytes()
    assert small() == 0
    said = capsys.readouterr().out
    assert f"{path}: " in said
    assert f"it is kept as {path.name}.damaged and the run trained again" in said
    assert path.with_name(f"{path.name}.damaged").read_bytes() == spoilt
    assert records.repeatable(records.read(path)) == whole


def test_a_record_that_cannot_be_read_is_left_where_it_is(finished, capsys):
    """It may be whole: nothing is trained again, and one line says which."""
    (path,) = finished.glob("*.json")
    path.unlink()
    path.mkdir()  # reading it is an error of the system
    assert small() == 2
    assert f"error: {path}: cannot be read" in capsys.readouterr().err
    assert path.is_dir()


def test_to_draw_again_names_a_damaged_record_and_draws_the_others(finished, kernel, capsys):
    """It trains nothing, so it moves nothing away."""
    words = ("PROFILE=tiny", "DATASETS=steel", "REGIMES=no_increase gradual", "SIZE=80")
    assert runs.main(["all", *words]) == 0
    path = next(finished.glob("*-gradual-*.json"))
    faults.flip(path)
    del kernel.asked[:]
    assert runs.main(["render", *words]) == 2
    assert kernel.asked == [("steel", "no_increase"), ("summary", "")]
    assert f"{path}: " in capsys.readouterr().out
    assert path.exists()


def test_the_summary_alone_trains_nothing(kernel, capsys):
    assert runs.main(["summary", "PROFILE=paper", "RESULTS=results"]) == 0
    assert kernel.asked == [("summary", "")]
    assert kernel.given == [{"results": "results", "profile": "paper"}]
    assert "read results/paper/summary.ipynb" in capsys.readouterr().out


def test_a_summary_of_an_unknown_profile_is_refused(kernel, capsys):
    assert runs.main(["summary", "PROFILE=papr", "RESULTS=results"]) == 2
    assert kernel.asked == []
    assert "profile='papr': unknown; allowed: " in capsys.readouterr().err


def test_a_damaged_notebook_is_named_and_drawn_again(finished, capsys):
    (path,) = finished.glob("*.ipynb")
    path.write_text(path.read_text()[:5])
    assert small() == 0
    assert f"{path}: not a whole notebook; it is drawn again" in capsys.readouterr().out
    assert execution.whole(path)


def test_a_damaged_or_outdated_summary_is_drawn_again(finished, capsys):
    """Half of it is there; or a command was killed between a run's end and the summary."""
    path = Path("results/tiny/summary.ipynb")
    path.write_text("{")
    assert small() == 0
    assert "drawing the summary" in capsys.readouterr().out
    os.utime(path, (0, 0))
    assert small() == 0
    assert "drawing the summary" in capsys.readouterr().out
    assert small() == 0
    assert "nothing new" in capsys.readouterr().out


def test_the_mechanism_has_no_summary_of_its_own(place, capsys):
    """Coarse, fine and both under one name would be one dot: the paper's summary shows them apart."""
    assert runs.main(["summary", "PROFILE=mechanism"]) == 0
    assert "make summary" in capsys.readouterr().out
    assert not Path("results").exists()


def test_what_killed_commands_left_is_swept(finished):
    """Not what a process that lives is writing into the cache."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = [finished / "summary.partial", finished / "run.checkpoint.12.partial", memory.CACHE / f"a.{gone.pid}.tmp"]
    for path in [*left, memory.CACHE / f"a.{os.getpid()}.tmp"]:
        path.write_text("half")
    assert small() == 0
    assert [path for path in left if path.exists()] == []
    (memory.CACHE / f"a.{os.getpid()}.tmp").unlink()


def notebook(path: Path, *cells: str, parameters: str = "number = 1") -> Path:
    """A notebook of these code cells."""
    first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    made = nbformat.v4.new_notebook(cells=[first, *map(nbformat.v4.new_code_cell, cells)])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(made, path)
    return path


def test_execute(tmp_path):
    """Parameters arrive, outputs stay, and what is done of the training is told."""
    told = []
    code = "import os, time; open(os.environ['ENTR_PROGRESS'], 'w').write('0.5'); time.sleep(1); print(number * 2)"
    runs.execute(notebook(tmp_path / "x.ipynb", code), {"number": 21}, tmp_path / "out" / "x.ipynb", told.append)
    rendered = json.loads((tmp_path / "out" / "x.ipynb").read_text())
    assert "".join(rendered["cells"][-1]["outputs"][0]["text"]) == "42\n"
    assert 0.5 in told
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x.ipynb"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os._exit(0)", ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", ""),
        ("raise ValueError('the reason')", "ValueError: the reason"),
        ("from entr_utils import UserError\nraise UserError('size=31: too small')", "UserError: size=31: too small"),
    ],
    ids=["kernel exits", "kernel killed", "failing cell", "user error"],
)
def test_a_notebook_that_does_not_reach_its_end(code, reason, tmp_path):
    """No output notebook; the log that says why stays."""
    output = tmp_path / "out" / "x.ipynb"
    with pytest.raises(RuntimeError) as caught:
        runs.execute(notebook(tmp_path / "x.ipynb", code, "print('reached the end')"), {}, output)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, execution.Refused) == ("UserError" in reason)
    assert str(output.with_suffix(".log")) in str(caught.value)
    assert [path.name for path in output.parent.iterdir()] == ["x.log"]


def test_a_dead_kernel_keeps_what_was_there(tmp_path):
    """An older rendered notebook is not replaced by half a new one."""
    output = tmp_path / "x.ipynb"
    output.write_text("whole")
    with pytest.raises(RuntimeError):
        runs.execute(notebook(tmp_path / "source.ipynb", "import os; os._exit(1)"), {}, output)
    assert output.read_text() == "whole"


def test_unknown_parameters_are_refused_before_a_kernel_starts(tmp_path, refused, monkeypatch):
    source = notebook(tmp_path / "x.ipynb")
    monkeypatch.setattr(execution.subprocess, "Popen", lambda *arguments, **named: pytest.fail("a kernel was started"))
    refused(lambda: runs.execute(source, {"numbr": 2}, tmp_path / "out.ipynb"),
            "numbr=2", "x.ipynb has no such parameter", "allowed: number")  # fmt: skip
    refused(lambda: runs.execute(tmp_path / "none.ipynb", {}, tmp_path / "out.ipynb"), "none.ipynb", "no such file")
    assert not (tmp_path / "out.ipynb").exists()


def test_a_run_that_dies_while_it_trains_leaves_no_record(tmp_path, monkeypatch, capsys):
    """The whole way down: make all, a notebook whose kernel is killed after training began, exit code 1."""
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    (run,) = runs.plan(runs.read_settings([*TWO_RUNS, "REGIMES=gradual"]))
    parameters = "\n".join(f"{name} = 0" for name in runs.notebook_parameters(run))
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    notebook(notebooks / "steel.ipynb", killed, parameters=parameters)
    notebook(notebooks / "summary.ipynb", parameters="results = 0\nprofile = 0")
    monkeypatch.setattr(runs, "NOTEBOOKS", notebooks)
    assert make("REGIMES=gradual") == 1
    assert "steel resnet18 gradual s0: FAILED" in capsys.readouterr().out
    assert list(Path("results").rglob("*.json")) == []
    assert [path.name for path in Path("results").rglob("steel-*")] == [
        path.name for path in Path("results").rglob("steel-*.log")]  # fmt: skip


def test_precision_and_batch_reach_the_notebooks(kernel, by_hand, capsys):
    """Named by nobody, each run has its profile's batch and this machine's precision."""
    kernel.broken = ("steel",)
    assert make("REGIMES=gradual", "PRECISION=bfloat16", "BATCH=12") == 1
    assert make("REGIMES=gradual") == 1
    runs_given = [given for given in kernel.given if "regime" in given]
    assert [(given["precision"], given["batch"]) for given in runs_given] == [("bfloat16", 12), ("", 16)]


def test_the_bar_follows_the_forecast(by_hand, tmp_path, capsys):
    """Each run to be trained has as much of it as it is said to take; one that is only drawn again, its start."""
    settings = runs.read_settings([*TWO_RUNS, "REGIMES=no_increase gradual stepwise", f"RESULTS={tmp_path}"])
    todo = [runs.prepare(run) for run in runs.plan(settings)]
    todo[2].path.parent.mkdir(parents=True)
    todo[2].path.touch()
    seconds = runs.expect(todo)
    assert seconds[:2] == [forecast.of(run)["wall_seconds"] for run in todo[:2]]
    assert seconds[0] > seconds[1] > runs.START_SECONDS == seconds[2]
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == f"forecast: {minutes(sum(seconds[:2]))} for 2 runs on this machine"
    assert [line.partition(":")[0] for line in lines[1:]] == [
        "steel resnet18 no_increase s0", "steel resnet18 gradual s0"]  # fmt: skip
    assert [path.name for path in tmp_path.rglob("*.forecast")] == []  # a run writes its own


def test_nothing_is_foretold_where_nothing_is_to_be_trained(copied, kernel, capsys, monkeypatch):
    monkeypatch.setattr(forecast, "of", lambda *arguments: pytest.fail("foretold"))
    assert make() == 0
    assert runs.main(["render", *TWO_RUNS, "RESULTS=results"]) == 0
    assert "forecast" not in capsys.readouterr().out


class Rates(dict):
    """Of any size: a millisecond for each 80 x 80 pixels."""

    def __missing__(self, name: str) -> dict:
        return {"seconds": int(name.split()[0]) ** 2 / 6.4e6, "resize": 1e-4, "flops": 1e9, "bytes": 2.0**25}


class TestPlan:
    """`make plan` says what the runs would take, and does nothing."""

    @pytest.fixture(autouse=True)
    def nothing_else(self, monkeypatch):
        """No images, no weights, no downloads, no training. A network's parameters are counted once: that is slow."""
        monkeypatch.setattr(networks, "count", cache(networks.count))
        monkeypatch.setattr(forecast, "rates", lambda p: Rates())
        for module, name in ((runs, "execute"), (runs, "prepare"), (downloads, "download_ucm"),
                             (experiment, "prepare"), (images, "load"), (training, "train"),
                             (torch.hub, "download_url_to_file")):  # fmt: skip
            monkeypatch.setattr(module, name, lambda *arguments, name=name, **named: pytest.fail(name))

    def test_the_whole_matrix(self, place, tmp_path, capsys):
        """Without a single image or weight: 27 runs of as many images as the paper had, and their sum."""
        (tmp_path / "data").mkdir()
        words = ["PROFILE=paper", f"DATA={tmp_path / 'data'}"]
        assert runs.main(["plan", *words]) == 0
        first, total, *lines = capsys.readouterr().out.splitlines()
        assert first.startswith("Profile paper (as asked for)")
        assert "27 runs of 21 epochs at up to 250 px" in first
        assert [tuple(line.split(":")[0].split()) for line in lines] == [
            (dataset, network, regime, f"s{seed}")
            for dataset, network, regime, seed in planned(*words)]  # fmt: skip
        foretold = [forecast.forecast(run, *PAPERS[run.dataset]) for run in runs.plan(runs.read_settings(words))]
        seconds = sum(one["wall_seconds"] for one in foretold)
        assert total.strip() == f"forecast: {minutes(seconds)} for 27 runs on this machine"
        for line, one in zip(lines, foretold, strict=True):
            assert f" {minutes(one['seconds'])} of T, {minutes(one['wall_seconds'])} in all, " in line
        assert [path.name for path in place.iterdir()] == ["entr_utils"]
        assert list((tmp_path / "data").iterdir()) == []

    def test_images_that_are_found_are_counted(self, photos, tmp_path, capsys):
        photos(tmp_path / "steel")
        assert runs.main(["plan", "PROFILE=tiny", "DATASETS=steel", "REGIMES=gradual", f"DATA={tmp_path}"]) == 0
        (run,) = runs.plan(runs.read_settings(["PROFILE=tiny", "DATASETS=steel", "REGIMES=gradual"]))
        assert f"{forecast.forecast(run, 22, 2)['flops']:.1e} FLOPs" in capsys.readouterr().out

    def test_nothing_is_left_in_the_results(self, place, capsys):
        assert runs.main(["plan", *TWO_RUNS, "RESULTS=results", "PRECISION=bfloat16", "BATCH=8"]) == 0
        assert "for 2 runs" in capsys.readouterr().out
        assert [path.name for path in place.iterdir()] == ["entr_utils"]

    def test_a_run_that_would_not_fit_is_said_in_its_line(self, monkeypatch, capsys):
        """And is no failure: nothing was asked of this machine yet."""
        monkeypatch.setattr(memory, "free", lambda place: 2**28)
        monkeypatch.setattr(memory, "taken", lambda: 0)
        assert runs.main(["plan", *TWO_RUNS]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.partition("; ")[2] for line in lines[2:]] == [
            "does not fit: 0.6 GiB needed, 0.2 GiB free; batch 3 would."] * 2  # fmt: skip


PAPERS = {"steel": (1314, 146), "ucm": (1890, 210), "bees": (2815, 313)}
