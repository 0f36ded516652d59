"""What a notebook says beside its numbers: nothing that was not as in the paper is left out."""

import copy

from by_hand import compare, run

from entr_utils import conditions, experiment, overview, progress, records, reports, statistics, summary, verdicts


def test_caveats_stand_beside_every_number(trained):
    loaded = [trained(regime).record for regime in ("no_increase", "gradual")]
    compared = statistics.compare(records.table(loaded))
    for shown in (reports.outcome(loaded[0]), reports.stages(loaded[0]), summary.comparisons(compared, loaded),
                  summary.matrix(loaded, "tiny"), summary.verdict(compared, loaded, "tiny"),
                  reports.own_verdict(compared, loaded)):  # fmt: skip
        assert records.caption(loaded) in shown.data
    assert "a demonstration, not evidence" in records.caption(loaded)


def test_the_verdict_counts_what_it_leaves_out(trained):
    loaded = [trained(regime).record for regime in ("no_increase", "gradual")] + [trained("gradual", seed=1).record]
    text = summary.verdict(statistics.compare(records.table(loaded)), loaded, "tiny").data
    assert "3 runs" in text
    assert "; 2 stand behind the verdict, 1 have no partner, or another machine's seed. Images" in text


def on_another_machine(record: dict) -> dict:
    """The same numbers from elsewhere: same in everything but the device."""
    moved = copy.deepcopy(record)
    moved["environment"]["device"] = moved["identity"]["device"] = "Abacus, 9 beads"
    return moved


def test_kinds_of_machine_are_never_mixed(trained):
    """A processor and what is none: each on its own, told apart by a letter that every caption explains; nothing of it
    with one machine."""
    here = [trained(regime).record for regime in ("no_increase", "gradual")]
    both = [*here, *map(on_another_machine, here)]
    compared = statistics.compare(records.table(both))
    assert list(compared["n"]) == [1, 1]
    assert set(statistics.machines(compared)) == {conditions.setting(here[0]), conditions.setting(both[-1])}
    letter = conditions.letters(both)
    assert conditions.letters(here) == {}
    caption = records.caption(both)
    for where in statistics.machines(compared):
        assert f"{letter[where]}: {where}." in caption
        assert f"{letter[where]}: {where}" in summary.verdict(compared, both, "tiny").data
        assert f"| {letter[where]} | steel | resnet18 | gradual | 1 |" in summary.matrix(both, "tiny").data
        assert f"| {letter[where]} | steel | resnet18 | gradual | 1 |" in summary.comparisons(compared, both).data
    assert set(overview.panels(both)) == {"steel (A)", "steel (B)"}
    assert set(overview.panels(here)) == {"steel"}


def test_what_was_not_counted_is_not_said(trained):
    """The time that a host took away is a number on some systems alone."""
    record = trained("gradual").record
    assert "wall time, 0% of it stolen by the host." in reports.environment(record | {"stolen_seconds": 0.0}).data
    assert "wall time.\n" in reports.environment(record | {"stolen_seconds": None}).data


def test_an_older_protocol_is_said(trained):
    record = trained("gradual").record
    assert "protocol" not in records.caption([record])
    both = records.caption([record, record | {"protocol": 1}])
    assert "T under protocol 1 cannot be compared with T under protocol 2, today's." in both


def test_a_forecast_stands_beside_what_the_run_took(trained):
    one = trained("gradual")
    record = one.record
    said = reports.forecast_of(one.experiment)
    assert said.startswith("Forecast: ")
    assert progress.minutes(record["forecast_seconds"]) in said
    assert progress.minutes(record["seconds_total"]) in said


def test_the_regime_shown_is_the_one_that_the_verdict_names():
    """Gradual paid by intervals; stepwise is faster by the mean alone."""
    rows = [run("no_increase", seed, n_val=2000) for seed in range(3)]
    rows += [run("gradual", seed, seconds, n_val=2000) for seed, seconds in enumerate((47, 48, 49))]
    rows += [run("stepwise", seed, seconds, n_val=2000) for seed, seconds in enumerate((30, 42, 62))]
    compared, loaded = compare(*rows), [{"regime": regime} for regime in ("no_increase", "gradual", "stepwise")]
    assert "**Use gradual**" in verdicts.own_verdict(compared)
    assert reports.recommended(compared, loaded) == {"regime": "gradual"}


def test_a_profile_without_records_says_so():
    table, loaded = summary.read_all("nowhere", "paper")
    assert "make all PROFILE=paper" in summary.verdict(statistics.compare(table), loaded, "paper").data


def test_the_papers_matrix_shows_empty_cells_as_empty(trained):
    """27 rows; the runs that are there fill theirs."""
    loaded = [trained(regime).record for regime in ("no_increase", "gradual")]
    lines = summary.matrix(loaded, "paper").data.split("\n\n")[0].splitlines()[2:]
    assert len(lines) == 27
    filled = [line for line in lines if "| 0 |" not in line]
    assert [line.split(" | ")[:3] for line in filled] == [
        ["| steel", "resnet18", "no increase"], ["| steel", "resnet18", "gradual"]]  # fmt: skip
    assert f"{loaded[0]['accuracy_total']:.3f}" in filled[0]
    empty = next(line for line in lines if "| 0 |" in line)
    assert set(empty.partition("| 0 |")[2]) <= {" ", "|"}


def test_worst_pairs_by_hand():
    record = {"class_names": ["ant", "bee", "fly"], "n_val": 6}
    record["predictions"] = {"truth": [0, 0, 1, 1, 2, 2], "total": [1, 1, 1, 2, 2, 2]}
    text = reports.worst_pairs(record).data
    assert text == "3 of 6 validation images were wrong. Most often: ant taken for bee (2); bee taken for fly (1)."
    record["predictions"]["total"] = record["predictions"]["truth"]
    assert reports.worst_pairs(record).data == "No validation image was taken for another class."


def test_stages_are_a_table(trained):
    lines = reports.stages(trained("gradual").record).data.splitlines()
    assert [line.split(" | ")[:3] for line in lines[2:7]] == [
        ["| SGDR", "32 px", "1"], ["| CLRS", "48 px", "1"], ["| CMult", "64 px", "1"], ["| RPL", "80 px", "1"],
        ["| TTA", "80 px", "0"]]  # fmt: skip


def test_the_environment_names_commit_key_and_checksums(trained):
    record = trained("gradual").record
    text = reports.environment(record).data
    environment = record["environment"]
    for part in (environment["cpu"], environment["torch"], record["key"][:12], record["data_sha256"][:12],
                 record["split"]):  # fmt: skip
        assert part in text


def test_what_runs_says_whether_it_is_done(trained, tmp_path, by_hand):
    """One that has trained is not trained again, whether its notebook is whole or not."""
    assert "done before, read from its record" in reports.what_runs(trained("gradual").experiment).data
    new = experiment.prepare("steel", profile="tiny", regime="gradual", results=str(tmp_path))
    text = reports.what_runs(new).data
    assert "steel, resnet18, gradual, seed 0" in text
    assert "to be trained now" in text
    assert "4 epochs, batch 16" in text
