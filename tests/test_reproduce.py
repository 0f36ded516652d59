"""A recorded run trained again; what frozen features know."""

import json

import numpy as np
import pytest

from entr_utils import experiment, probe, records, reproduce, summary, training


@pytest.fixture
def kept(narrow, tmp_path):
    """The file of a record."""
    run = experiment.prepare("steel", profile="tiny", regime="gradual", results=str(tmp_path))
    training.train(run)
    records.finish(run.path)
    return run.path


def test_a_record_is_reproduced(kept, place, capsys):
    """On the same machine: every accuracy the same, every prediction, and nothing left behind."""
    assert reproduce.main([f"RECORD={kept}"]) == 0
    out = capsys.readouterr().out
    assert "7 of 7 final predictions are the same" in out
    assert "Everything that makes the numbers was the same" in out
    rows = [line.split() for line in out.splitlines() if line.strip().startswith(("accuracy", "flops"))]
    assert {row[0]: float(row[-1]) for row in rows} == {
        "accuracy_subtotal": 0, "accuracy_rpl": 0, "accuracy_total": 0, "flops_total": 0}  # fmt: skip
    assert [path.name for path in place.iterdir()] == ["entr_utils"]


def test_stopped_it_keeps_what_it_has(kept, monkeypatch, capsys):
    """The next command finds the same run in the same place, and clears it away when it is done."""
    places, trained = [], records.read(kept)

    def train(run):
        places.append(run.path)
        run.path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint = run.path.with_suffix(".checkpoint")
        if checkpoint.exists():
            return trained
        checkpoint.touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", train)
    assert reproduce.main([f"RECORD={kept}"]) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert reproduce.main([f"RECORD={kept}"]) == 0
    assert places[0] == places[1]
    assert not places[0].parent.exists()


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["RECORD=nowhere.json"], ("RECORD='nowhere.json'", "no such file")),
        ([], ("RECORD=", "no such file")),
        (["RECRD=x"], ("RECRD='x'", "unknown name; allowed: RECORD, WEIGHTS, DATA, GROUPS")),
    ],
)
def test_wrong_words_are_refused(words, fragments, capsys):
    assert reproduce.main(words) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert [fragment for fragment in fragments if fragment not in error] == []


def test_what_differs_is_named(kept, capsys, photos, tmp_path):
    """Other images than the record's: said, not hidden."""
    photos(tmp_path / "data" / "steel", classes=tuple("abcdefg"), per_class=12)
    assert reproduce.main([f"RECORD={kept}", f"DATA={tmp_path / 'data'}"]) == 0
    assert "Not the same: data_sha256" in capsys.readouterr().out


def test_a_run_is_repeated_as_it_was(kept, monkeypatch):
    """All that a record knows of its parameters, batch and precision, too; a machine's defaults are not asked."""
    asked, prepare = {}, experiment.prepare

    def watched(dataset, **parameters):
        asked.update(parameters)
        return prepare(dataset, **parameters)

    monkeypatch.setattr(experiment, "prepare", watched)
    monkeypatch.setattr(training, "train", lambda run: records.read(kept))
    reproduce.reproduce(kept)
    record = records.read(kept)
    for name in ("network", "regime", "seed", "profile", "size", "lr", "batch", "precision"):
        assert asked.get(name) == record[name], name


def test_a_probe_of_frozen_features(checkpoint, tmp_path):
    """An accuracy a size, written once beside the records, and shown by the summary."""
    run = experiment.prepare("steel", profile="tiny", weights=str(checkpoint), results=str(tmp_path))
    assert probe.linear_probe(run, (32, 48)).keys() == {32, 48}
    path = probe.path_of(run)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"dataset": "steel", "network": "resnet18", "weights": "small.pt", "n_val": 7,
                                "device": "Tesla T4", "accuracy": {"32": 0.25, "48": 0.5}}))  # fmt: skip
    assert probe.write_probe(run) == path
    assert "0.250 | 0.500" in summary.probes(str(tmp_path), "tiny").data
    assert records.load(tmp_path).empty


def test_a_probe_is_trained_on_training_images_alone(checkpoint, tmp_path, monkeypatch):
    """Wrong labels for validation images make it wrong: they are only tested on."""
    run = experiment.prepare("steel", profile="tiny", weights=str(checkpoint), results=str(tmp_path))
    seen = []

    class Judge:
        def fit(self, features, labels):
            seen.append((len(features), labels.tolist()))

        def score(self, features, labels):
            seen.append((len(features), labels.tolist()))
            return 0.5

    monkeypatch.setattr(probe, "make_pipeline", lambda *steps: Judge())
    assert probe.linear_probe(run, (32,)) == {32: 0.5}
    labels = np.array(run.images.labels)
    assert seen == [(77, labels[run.training].tolist()), (7, labels[run.validation].tolist())]
