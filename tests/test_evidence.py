"""The queue of evidence: what it asks for, that it resumes, counts and goes on; and the leakage arms."""

import contextlib
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from by_hand import record, remade

from entr_utils import UserError, conditions, datasets, evidence, experiment, records, runs, training
from entr_utils.evidence import PARTS, Part
from entr_utils.regimes import CONTROLS, PROTOCOL, REGIMES

TINY = Part("tiny", {"steel": (0, 1)}, ("no_increase", "gradual"),
            ({"data": "synthetic"}, {"data": "synthetic-fine"}), "tiny", notebooks=False)  # fmt: skip


@pytest.mark.parametrize(("name", "count"), [("1", 27), ("2", 12), ("3", 18), ("4", 105), ("5", 12)])
def test_what_each_part_asks_for(name, count):
    """So many runs, each once."""
    cells = list(evidence.cells(PARTS[name]))
    assert len(cells) == count
    assert len({evidence.name_of(*cell) for cell in cells}) == count
    assert {given["regime"] for _, given in cells} <= {*REGIMES, *CONTROLS}


def device_folder(results):
    """The one folder of records that the tiny part has."""
    (here,) = (path for path in (results / "tiny").iterdir() if path.is_dir())
    return here


@pytest.mark.parametrize("other", [record(weights="none"), record(largest=128), remade(record(), batch=32)],
                         ids=["weights", "size", "batch"])  # fmt: skip
def test_runs_that_were_asked_for_otherwise_are_not_of_the_queue(other, tmp_path):
    """Weights, size and batch are those of the profile: another's record is no part of what was planned."""
    for device, run in (("as planned", record()), ("otherwise", other)):
        records.write(run, tmp_path / device / "steel-resnet18-no_increase-s0-0.json")
    planned = evidence.name_of("steel", {"regime": "no_increase", "seed": 0, "profile": "paper"})
    machines = [pair for found in evidence.recorded(tmp_path).values() for pair in found.items()]
    assert [device for device, names in machines if planned in names] == ["as planned"]


def test_the_order_is_seed_by_seed_and_rotates():
    found = [(dataset, given["regime"], given["seed"]) for dataset, given in evidence.cells(PARTS["2"])]
    assert found == [
        (dataset, regime, seed) for seed in (3, 4) for dataset in ("steel", "bees")
        for regime in (REGIMES if seed == 3 else ("gradual", "stepwise", "no_increase"))]  # fmt: skip


def test_datasets_may_have_seeds_of_their_own():
    found = [(dataset, given["seed"]) for dataset, given in evidence.cells(PARTS["3"])][::3]
    assert found == [("bees", 0), ("ucm", 0), ("ucm", 1), ("ucm", 2), ("bees", 3), ("bees", 4)]


@pytest.mark.parametrize(
    ("word", "fragments"),
    [("PART=1", ("PART='1'", "PARTS, DATA, WEIGHTS, RESULTS")), ("PARTS=1 6", ("PARTS='6'", "1, 2, 3, 4, 5"))],
)
def test_wrong_words(word, fragments, capsys):
    assert evidence.main([word]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert [fragment for fragment in fragments if fragment not in error] == []


@pytest.fixture
def queue(monkeypatch, trained):
    """A queue of a tiny part whose training takes nothing; which runs were trained, and what goes wrong at which."""
    done, wrong, tiny = [], {}, json.dumps(trained("gradual").record)

    def train(run):
        p = run.parameters
        name = (p.regime, p.seed, p.data)
        if name in wrong:
            raise wrong[name]
        record = json.loads(tiny)
        truth = record["predictions"] | {"image": [run.images.names[i] for i in run.validation]}
        record |= {"identity": run.identity, "key": run.key, **run.about, "predictions": truth}
        record |= {name: run.identity[name] for name in records.KEPT}
        n = len(run.validation)
        for kept in ("truth", "subtotal", "rpl", "total"):
            truth[kept] = (truth[kept] * 2)[:n]
        records.write(records.make(run.identity, record, {}, {}, record["environment"]), records.unfinished(run.path))
        done.append(name)

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(evidence, "PARTS", {"1": TINY})
    return done, wrong


ORDER = [("no_increase", 0, "synthetic"), ("gradual", 0, "synthetic"), ("no_increase", 0, "synthetic-fine"),
         ("gradual", 0, "synthetic-fine"), ("gradual", 1, "synthetic"), ("no_increase", 1, "synthetic"),
         ("gradual", 1, "synthetic-fine"), ("no_increase", 1, "synthetic-fine")]  # fmt: skip


def test_the_queue_does_what_is_missing_and_counts(queue, tmp_path, capsys):
    done, _ = queue
    words = ["PARTS=1", f"RESULTS={tmp_path}"]
    assert evidence.main(words) == 0
    assert done == ORDER
    assert "(1) tiny: 8 of 8 done\n" in capsys.readouterr().out
    assert evidence.main(words) == 0
    assert done == ORDER
    assert "8 of 8 done, 0 to do" in capsys.readouterr().out
    next(tmp_path.rglob("*-gradual-s1-*.json")).unlink()
    assert evidence.main(words) == 0
    assert len(done) == 9


def test_stopped_it_goes_on(queue, tmp_path, capsys):
    done, wrong = queue
    wrong[ORDER[3]] = KeyboardInterrupt()
    assert evidence.main([f"RESULTS={tmp_path}"]) == 130
    assert done == ORDER[:3]
    assert evidence.main(["status", f"RESULTS={tmp_path}"]) == 0
    assert "(1) tiny: 3 of 8 done on" in capsys.readouterr().out
    wrong.clear()
    assert evidence.main([f"RESULTS={tmp_path}"]) == 0
    assert done == ORDER


def test_a_run_that_is_refused_exits_with_2(queue, tmp_path):
    """As those with notebooks do."""
    _, wrong = queue
    wrong[ORDER[1]] = UserError("loss is not a number")
    assert evidence.main([f"RESULTS={tmp_path}"]) == 2


def test_a_damaged_record_is_named_and_its_run_trained_again(queue, tmp_path, capsys):
    done, _ = queue
    evidence.main([f"RESULTS={tmp_path}"])
    path = next(tmp_path.rglob("*gradual-s0*.json"))
    path.write_text(path.read_text()[:50])
    del done[:]
    assert evidence.main([f"RESULTS={tmp_path}"]) == 0
    assert len(done) == 1
    assert f"it is kept as {path.name}.damaged" in capsys.readouterr().out
    assert records.read(path)


def test_another_command_in_the_same_results_is_waited_for(queue, tmp_path, monkeypatch):
    held = []
    monkeypatch.setattr(evidence.locks, "results", lambda folder: held.append(folder) or contextlib.nullcontext())
    evidence.main([f"RESULTS={tmp_path}"])
    assert held == [tmp_path / "tiny"]


def test_a_run_that_fails_stops_nothing(queue, tmp_path, capsys):
    done, wrong = queue
    wrong[ORDER[1]] = RuntimeError("broken")
    assert evidence.main([f"RESULTS={tmp_path}"]) == 1
    assert done == [name for name in ORDER if name != ORDER[1]]
    out = capsys.readouterr().out
    assert "steel synthetic gradual s0: FAILED, broken" in out
    assert "(1) tiny: 7 of 8 done" in out


def test_a_part_that_misses_something_stops_no_other(queue, tmp_path, capsys, monkeypatch):
    """Images, weights, or the runs it is matched to."""
    done, _ = queue
    alone = replace(TINY, regimes=("no_increase",), seeds={"steel": (0,)}, arms=({},))
    parts = {"1": replace(alone, title="images", arms=({"data": str(tmp_path)},)),
             "2": replace(alone, title="weights", arms=({"weights": "nowhere.pt"},)),
             "3": replace(alone, title="matched", regimes=("short",)), "4": alone}  # fmt: skip
    monkeypatch.setattr(evidence, "PARTS", parts)
    assert evidence.main(["PARTS=1 4", f"RESULTS={tmp_path / 'results'}"]) == 3
    assert evidence.main(["PARTS=2 3 4", f"RESULTS={tmp_path / 'results'}"]) == 1
    assert done == ORDER[:1]
    out = capsys.readouterr().out
    assert "(1) images: 0 of 1 done; steel cannot be run" in out
    assert "(2) weights: not finished: weights='nowhere.pt'" in out
    assert "(3) matched: 0 of 1 done; regime='short': needs the records of no_increase and gradual" in out
    assert "(4) tiny: 1 of 1 done" in out


def test_parts_with_notebooks_go_the_usual_way(queue, tmp_path, monkeypatch):
    """Through `runs.train_all`; a record without its notebook is not done."""
    part, asked = replace(TINY, notebooks=True, arms=({},)), []
    monkeypatch.setattr(evidence, "PARTS", {"1": part})
    monkeypatch.setattr(runs, "train_all", lambda todo: asked.append(len(todo)) or 0)
    evidence.main([f"RESULTS={tmp_path}"])
    evidence.train_here([runs.prepare(runs.Parameters("steel", profile="tiny", results=str(tmp_path)).checked())])
    evidence.main([f"RESULTS={tmp_path}"])
    next(tmp_path.rglob("*.json")).with_suffix(".ipynb").write_text('{"cells": [0]}')
    evidence.main([f"RESULTS={tmp_path}"])
    assert asked == [4, 4, 3]


def test_only_records_of_today_count(queue, tmp_path, capsys):
    """Of the protocol and the part's arms; of each unit on the machine that has most of it."""
    evidence.main([f"RESULTS={tmp_path}"])
    here = device_folder(tmp_path)
    files = sorted(here.glob("*.json"))
    records.write(remade(records.read(files[0]), protocol=PROTOCOL - 1), files[0])
    other = here.with_name("another")
    other.mkdir()
    for path in files[1:4]:
        path.rename(other / path.name)
    assert evidence.states(str(tmp_path), [TINY]) == [(4, 8, {here.name: 4})]
    assert evidence.states(str(tmp_path / "nowhere"), [TINY]) == [(0, 8, {})]


def moved(paths, device: str):
    """Records as if made on this device, in its folder."""
    for path in paths:
        folder = path.parents[1] / "another"
        folder.mkdir(exist_ok=True)
        records.write(remade(records.read(path), device=device), folder / path.name)
        path.unlink()


def test_what_another_machine_has_whole_is_not_made_again(queue, tmp_path, capsys):
    """Seed 0 whole on another processor with as many threads; of seed 1 gradual alone, which has no control there: made
    here. A damaged one there is named and does not count."""
    done, _ = queue
    evidence.main([f"RESULTS={tmp_path}"])
    here = device_folder(tmp_path)
    threads = records.read(next(here.glob("*.json")))["environment"]["threads"]
    moved([*here.glob("*-s0-*.json"), *here.glob("*-gradual-s1-*.json")], f"Abacus, {threads} threads")
    del done[:]
    assert evidence.main([f"RESULTS={tmp_path}"]) == 0
    assert done == [name for name in ORDER if name[:2] == ("gradual", 1)]
    out = capsys.readouterr().out
    assert "tiny: 4 runs are there of another machine\n" in out
    assert "  2 of 4 done, 2 to do" in out
    assert "(1) tiny: 8 of 8 done\n" in out
    assert evidence.states(str(tmp_path), [TINY]) == [(8, 8, {"another": 4, here.name: 4})]
    spoilt = next((here.parent / "another").glob("*-gradual-s0-*.json"))
    spoilt.write_text("{")
    del done[:]
    assert evidence.main([f"RESULTS={tmp_path}"]) == 0
    assert len(done) == 2
    assert f"it does not count: {spoilt}" in capsys.readouterr().out


def test_the_state_in_words():
    assert evidence.told(0, 3, {}) == "0 of 3 done"
    assert evidence.told(2, 3, {"abacus": 2}) == "2 of 3 done on abacus"
    assert evidence.told(3, 3, {"slate": 1, "abacus": 2}) == "3 of 3 done: 2 on abacus and 1 on slate"


def test_a_machine_of_another_kind_is_no_other_half(queue, tmp_path):
    """What cannot be pooled with this one's is made here, too, and not added up."""
    done, _ = queue
    evidence.main([f"RESULTS={tmp_path}"])
    here = device_folder(tmp_path)
    moved([*here.glob("*-s0-*.json")], "Tesla T4")
    assert len([*(tmp_path / "tiny" / "another").glob("*.json")]) == 4
    del done[:]
    assert evidence.states(str(tmp_path), [TINY])[0][:2] == (4, 8)
    evidence.main([f"RESULTS={tmp_path}"])
    assert done == ORDER[:4]


def test_what_runs_are_compared_with_is_made_first(queue, tmp_path, monkeypatch, capsys):
    """On the same machine; without it they do not count."""
    done, _ = queue
    part = replace(TINY, regimes=("small",), beside=("no_increase", "gradual"), seeds={"steel": (0,)},
                   arms=TINY.arms[:1])  # fmt: skip
    monkeypatch.setattr(evidence, "PARTS", {"1": part})
    evidence.main([f"RESULTS={tmp_path}"])
    assert [regime for regime, *_ in done] == ["no_increase", "gradual", "small"]
    assert "(1) tiny: 1 of 1 done" in capsys.readouterr().out
    assert evidence.states(str(tmp_path), [part])[0][:2] == (1, 1)
    next(tmp_path.rglob("*-gradual-*.json")).unlink()
    assert evidence.states(str(tmp_path), [part]) == [(0, 1, {})]


def test_the_state_is_told_without_torch(tmp_path):
    code = ("import sys; from entr_utils import evidence; evidence.main(['status']); "
            "print(sorted({'torch', 'fastai', 'torchvision'} & set(sys.modules)))")  # fmt: skip
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = answer.stdout.splitlines()
    assert lines[-1] == "[]"
    assert [line.rpartition(": ")[2] for line in lines[:-1]] == [
        "0 of 27 done", "0 of 12 done", "0 of 18 done", "0 of 105 done", "0 of 12 done"]  # fmt: skip


def test_images_of_known_group_by_hand():
    """Image 2 has none; c's images are of one group."""
    labels, groups = list("aabbcc"), ["1", "2", f"{datasets.ALONE}b/0", "2", "1", "1"]
    assert datasets.of_known_group(labels, groups) == ([0, 1], ["b", "c"])
    assert datasets.of_known_group(labels, ["1", "2", "1", "2", "1", "3"]) == ([0, 1, 2, 3, 4, 5], [])


@pytest.fixture
def samples(photos, tmp_path):
    """Three classes of 30 images in ten samples each, of a fourth ten images in one; six images of no sample."""
    folder = photos(tmp_path / "steel", ("a", "b", "c"), 30)
    photos(tmp_path / "more", ("d",), 10)
    (tmp_path / "more" / "d").rename(folder / "d")
    lines = [f"{name}/{i:02d}.png,{name}{i // 3}" for name in "abc" for i in range(30)]
    lines = [line if line[-2:] not in ("a9", "b9") else line[:-2] for line in lines]
    lines += [f"d/{i:02d}.png,d" for i in range(10)]
    (tmp_path / "steel_groups.csv").write_text("\n".join(["file,group", *lines]))
    return tmp_path


def test_leakage_arms_share_their_images(samples, tmp_path):
    known, by_image, usual = (
        experiment.prepare("steel", profile="tiny", data=str(samples), groups=groups, results=str(tmp_path / "results"))
        for groups in ("known", "known-by-image", "none")
    )
    assert known.images.names == by_image.images.names
    assert len(known.images.names) == 84
    assert known.images.classes == ["a", "b", "c"]
    assert known.identity["data_sha256"] == by_image.identity["data_sha256"] != usual.identity["data_sha256"]
    assert known.images.source.endswith("of these the 84 of known group, d dropped")
    assert len(usual.images.names) == 100
    groups = np.array(known.images.groups)
    assert not {*groups[known.training]} & {*groups[known.validation]}
    assert {*groups[by_image.training]} & {*groups[by_image.validation]}
    assert 0.08 <= len(known.validation) / 84 <= 0.15
    assert by_image.about["split"].endswith("by image")
    assert len({conditions.comparable(run.identity) for run in (known, by_image, usual)}) == 3
    assert "groups" not in usual.identity


def test_known_groups_need_a_file(photos, tmp_path, refused):
    photos(tmp_path / "steel")
    refused(lambda: experiment.prepare("steel", profile="tiny", data=str(tmp_path), groups="known"),
            "groups='known'", "steel_groups.csv is missing")  # fmt: skip


@pytest.mark.parametrize(("share", "fine"), [(0.079, False), (0.08, True), (0.15, True), (0.151, False)])
def test_how_much_may_be_held_out(share, fine, refused):
    if fine:
        datasets.check_share(share, 3)
    else:
        refused(lambda: datasets.check_share(share, 3), "seed 3", "8% to 15%")
