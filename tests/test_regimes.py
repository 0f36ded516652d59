"""The schedule: Figure 3, epochs, learning rates, all worked out by hand."""

import subprocess
import sys

import pytest

from entr_utils.regimes import PROFILES, REGIMES, make_regime, pixels, rotated, sizes

PAPER, QUICK = PROFILES["paper"], PROFILES["quick"]


@pytest.mark.parametrize(
    ("regime", "largest", "expected"),
    [
        ("no_increase", 250, [250, 250, 250, 250, 250]),
        ("gradual", 250, [100, 150, 200, 250, 250]),
        ("stepwise", 250, [100, 100, 250, 250, 250]),
        ("no_increase", 128, [128, 128, 128, 128, 128]),
        ("gradual", 128, [51, 77, 102, 128, 128]),
        ("stepwise", 128, [51, 51, 128, 128, 128]),
    ],
)
def test_figure_3(regime, largest, expected):
    assert list(sizes(regime)) == ["SGDR", "CLRS", "CMult", "RPL", "TTA"]
    assert [pixels(share, largest) for share in sizes(regime).values()] == expected


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize(("profile", "stages"), [(PAPER, [3, 4, 7, 7, 0]), (QUICK, [1, 1, 1, 3, 0])])
def test_epochs_are_the_same_in_every_regime(regime, profile, stages):
    schedule = make_regime(regime, profile)
    assert [stage.epochs for stage in schedule.stages] == stages
    assert schedule.epochs == sum(stages)


def test_cycles_of_the_paper():
    cycles = {stage.name: stage.cycle_epochs for stage in make_regime("gradual", PAPER).stages}
    assert cycles == {"SGDR": (1, 1, 1), "CLRS": (2, 2), "CMult": (1, 2, 4), "RPL": (1, 2, 4), "TTA": ()}


# (epoch, batch of 10) -> stage, cycle, cosine factor 1/2 (1 + cos(pi x share of the cycle that is done))
MOMENTS = [
    ((0, 0), ("SGDR", 0, 1.0)),
    ((0, 5), ("SGDR", 0, 0.5)),
    ((0, 9), ("SGDR", 0, 0.0244717)),  # 9/10
    ((1, 0), ("SGDR", 1, 1.0)),  # a restart
    ((2, 5), ("SGDR", 2, 0.5)),
    ((3, 0), ("CLRS", 0, 1.0)),
    ((4, 0), ("CLRS", 0, 0.5)),  # the middle of two epochs
    ((4, 5), ("CLRS", 0, 0.1464466)),  # 3/4
    ((5, 0), ("CLRS", 1, 1.0)),
    ((7, 0), ("CMult", 0, 1.0)),
    ((8, 0), ("CMult", 1, 1.0)),
    ((9, 0), ("CMult", 1, 0.5)),
    ((10, 0), ("CMult", 2, 1.0)),
    ((12, 0), ("CMult", 2, 0.5)),  # the middle of four
    ((13, 5), ("CMult", 2, 0.0380602)),  # 7/8
    ((14, 0), ("RPL", 0, 1.0)),
    ((15, 0), ("RPL", 1, 1.0)),
    ((17, 0), ("RPL", 2, 1.0)),
    ((20, 9), ("RPL", 2, 0.0015413)),  # 39/40
]


@pytest.mark.parametrize(("step", "expected"), MOMENTS)
def test_lookup(step, expected):
    moment = make_regime("gradual", PAPER).lookup(*step, batches_per_epoch=10)
    assert (moment.stage.name, moment.cycle, moment.lr_factor) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("profile", "beyond"), [(PAPER, 21), (QUICK, 6)])
def test_lookup_beyond_the_end(profile, beyond):
    schedule = make_regime("stepwise", profile)
    assert schedule.lookup(beyond - 1).stage.name == "RPL"
    with pytest.raises(IndexError, match=f"epoch {beyond} is beyond the {beyond} epochs of stepwise"):
        schedule.lookup(beyond)


def test_work_is_counted_by_what_an_image_costs():
    """By hand: 14 epochs of the head at 1, 7 of all layers at 3 make 35; short leaves out the same share of each."""
    for name, share in (("no_increase", 1.0), ("short", 0.5)):
        done = make_regime(name, PAPER, share=share).done(lambda stage: {"head": 1, "all": 3}[stage.trains], whole=10)
        assert len(done) == 22
        assert [done[i] for i in (0, 1, 14, 15, 21)] == pytest.approx([0, 1 / 35, 14 / 35, 17 / 35, 1])


def test_what_an_epoch_costs_beside_counts_as_well():
    """By hand: the 35 of before in batches of 10, and 2 beside each of 21 epochs, make 392."""
    each = {"head": 1, "all": 3}
    done = make_regime("gradual", PAPER).done(lambda stage: each[stage.trains], whole=10, beside=2)
    assert [done[i] for i in (1, 14, 15)] == pytest.approx([12 / 392, 168 / 392, 200 / 392])


def test_the_head_learns_alone_until_rpl():
    stages = make_regime("no_increase", PAPER, pretrained=True).stages
    assert [stage.trains for stage in stages[:4]] == ["head", "head", "head", "all"]
    assert [stage.lr for stage in stages[:4]] == [(0, 0, 1), (0, 0, 1), (0, 0, 1), (0.01, 0.1, 1)]


def test_nothing_is_frozen_without_pretrained_weights():
    stages = make_regime("no_increase", QUICK, pretrained=False).stages
    assert {stage.trains for stage in stages} == {"all"}
    assert {stage.lr for stage in stages} == {(1, 1, 1)}


@pytest.mark.parametrize(
    ("switch", "expected"),
    [("CLRS", [0.4, 1, 1, 1, 1]), ("CMult", [0.4, 0.4, 1, 1, 1]), ("RPL", [0.4, 0.4, 0.4, 1, 1])],
)
def test_where_stepwise_switches_is_an_argument(switch, expected):
    assert list(sizes("stepwise", switch).values()) == expected
    assert [stage.size for stage in make_regime("stepwise", PAPER, switch=switch).stages] == expected


def test_the_switch_changes_no_other_regime():
    assert [sizes(name, "RPL") for name in ("no_increase", "gradual")] == [sizes("no_increase"), sizes("gradual")]


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (("fast",), ("regime='fast'", "no_increase, gradual, stepwise")),
        (("stepwise", "SGDR"), ("switch='SGDR'", "CLRS, CMult, RPL, TTA")),
        (("gradual", "later"), ("switch='later'", "CLRS, CMult, RPL, TTA")),
    ],
)
def test_unknown_names(arguments, fragments, refused):
    refused(lambda: sizes(*arguments), *fragments)


def test_the_order_rotates_with_the_seed():
    assert [rotated(list("abc"), seed) for seed in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]


def test_a_laptop_without_torch_can_read_results_and_draw():
    code = (
        "import sys; from entr_utils import figures, mechanism, overview, readme, reports, scrutiny, summary, why; "
        "figures.schedule(250); summary.read_all('results', 'paper'); "
        "print(sorted({'torch', 'fastai', 'torchvision'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
