"""Many runs at once on one device: which, in which order, and two tiny ones side by side."""

from benchmarks import many
from entr_utils.results import record
from entr_utils.results.studies import GROWING, Study


def test_studies_come_in_their_order_fold_by_fold():
    runs = many.asked({"STUDIES": "compact rates", "DATASETS": "bees ucm", "DATA": "here"})
    assert len(runs) == 2 * 4 * 10 + 2 * 2 * 2  # rates: bees alone, two regimes, folds and rates
    assert [one.seeds[0] for one in runs[:80:8]] == [*range(10)]
    assert [one.lr for one in runs[80:]] == [0.01, 0.01, 0.05, 0.05] * 2
    assert {(one.network, one.data) for one in runs} == {("resnet18", "here")}


def test_runs_side_by_side_are_recorded(tmp_path, monkeypatch):
    tiny = Study("tiny", ("bees",), (0,), GROWING[:1], ("resnet18-narrow",))
    monkeypatch.setitem(many.STUDIES, "t", tiny)
    given = {"STUDIES": "t", "RESULTS": str(tmp_path / "results"), "JOBS": "2"}
    assert many.command([f"{name}={value}" for name, value in given.items()]) == 0
    found = record.load(tmp_path / "results")
    assert {one.spec.regime for one in found} == {"no_increase", "gradual"}
    assert {one.environment.at_once for one in found} == {2}
