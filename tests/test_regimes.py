"""What the network sees when: sizes, learning rates, images and work of a plan, all worked out by hand. No torch."""

import math
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property, partial

import pytest
from conftest import ROOT
from data_by_hand import refused

from entr_utils.regimes import REGIMES, Regime, parse, register
from entr_utils.regimes.base import BatchSpec, Step
from entr_utils.regimes.plan import Work, by_epoch, cost, first_steps, make_plan, steps_of_epoch, work_of
from entr_utils.settings import PROFILES, Phase

PAPER = PROFILES["paper"].phases(pretrained=True)
NAMES, EPOCHS, CYCLES = ("SGDR", "CLRS", "CMult", "RPL"), (3, 4, 7, 7), (1, 1, 1, 2, 2, 1, 2, 4, 1, 2, 4)


def plan(regime: str | Regime, images: int = 160, full: int = 250, batch: int = 16, share: float = 1.0,
         phases: tuple[Phase, ...] = PAPER, seed: int = 0):  # fmt: skip
    """The paper's 21 epochs of ten batches, where nothing else is asked for."""
    regime = parse(regime) if isinstance(regime, str) else regime
    return make_plan(regime, first_steps(phases, images, full, batch, seed, share))


def steps(blocks) -> list[tuple[Step, BatchSpec]]:
    """Every step of a plan."""
    return [
        (replace(one.step, batch=one.step.batch + i, seen=one.step.seen + i * one.spec.batch), one.spec)
        for one in blocks
        for i in range(one.steps)
    ]


def images_of(blocks) -> list[int]:
    """Images of each epoch."""
    return [sum(block.steps * block.spec.batch for block in epoch) for epoch in by_epoch(blocks)]


FULL, GROWING = ([250] * 4, [128] * 4), ([100, 150, 200, 250], [51, 77, 102, 128])
FIGURE_3 = {  # regime -> pixels of detail in SGDR, CLRS, CMult, RPL at 250 px and at 128 px
    **dict.fromkeys(("no_increase", "short"), FULL),
    **dict.fromkeys(("gradual", "blurred", "cropped"), GROWING),
    "stepwise": ([100, 100, 250, 250], [51, 51, 128, 128]),
    "stepwise:switch=CLRS": ([100, 250, 250, 250], [51, 128, 128, 128]),
    "stepwise:switch=RPL": ([100, 100, 100, 250], [51, 51, 51, 128]),
    "small": ([100] * 4, [51] * 4),
    "reversed": (GROWING[0][::-1], GROWING[1][::-1]),
}


@pytest.mark.parametrize("regime", FIGURE_3)
def test_sizes_and_views_of_the_phases(regime):
    """Blurred images are fed at full size; windows and blur end with RPL, which is at full size."""
    of_sizes = {name for name, kind in REGIMES.items() if kind.__module__.endswith(".sizes")}
    assert {text.partition(":")[0] for text in FIGURE_3} == of_sizes
    for full, expected in zip((250, 128), FIGURE_3[regime], strict=True):
        blocks, view = plan(regime, full=full), regime if regime in ("blurred", "cropped") else "resized"
        assert Counter(block.step.phase.name for block in blocks) == dict(zip(NAMES, EPOCHS, strict=True))
        specs = list(dict.fromkeys((block.step.phase.name, block.spec) for block in blocks))
        assert [spec.detail or spec.size for _, spec in specs] == expected
        assert [spec.size for _, spec in specs] == (expected if view != "blurred" else [full] * 4)
        assert [spec.view for _, spec in specs] == [view] * 3 + ["resized"]
        assert {(spec.batch, spec.strength, spec.mode) for _, spec in specs} == {(16, 1.0, "")}


# 1/2 (1 + cos(pi x share of the cycle that is done)) at the beginning and in the middle of epochs, by a cycle's length
BEGINNINGS: dict[int, list[float]] = {1: [1], 2: [1, 0.5], 4: [1, 0.853553, 0.5, 0.146447]}
MIDDLES: dict[int, list[float]] = {1: [0.5], 2: [0.853553, 0.146447], 4: [0.961940, 0.691342, 0.308658, 0.038060]}


@pytest.mark.parametrize("regime", ["gradual", "no_increase"])
def test_learning_rates_follow_the_cosine_of_each_cycle(regime):
    found = {(step.epoch, step.batch): step for step, _ in steps(plan(regime))}
    assert len(found) == 210
    for batch, factors in ((0, BEGINNINGS), (5, MIDDLES)):
        expected = [factor for length in CYCLES for factor in factors[length]]
        assert [found[epoch, batch].lr_factor for epoch in range(21)] == pytest.approx(expected, abs=1e-6)
    assert found[0, 9].lr_factor == pytest.approx(0.0244717, abs=1e-6)  # 9/10
    assert found[20, 9].lr_factor == pytest.approx(0.0015413, abs=1e-6)  # 39/40
    assert [found[epoch, 0].cycle for epoch in (0, 1, 2, 3, 5, 7, 8, 10, 14, 20)] == [0, 1, 2, 0, 1, 0, 1, 2, 0, 2]
    assert [found[at].progress for at in ((0, 0), (10, 5), (20, 9))] == pytest.approx([0, 0.5, 209 / 210])


def test_from_scratch_the_rate_falls_once():
    """One cosine over 40 epochs, whatever the phases; without it each phase has its own."""
    found = [step.lr_factor for step, _ in steps(plan("gradual", phases=PROFILES["scratch"].phases(False)))]
    assert (len(found), found[0], found == sorted(found, reverse=True)) == (400, 1, True)
    assert found[200] == pytest.approx(0.5)
    assert found[100] == pytest.approx(0.853553, abs=1e-6)


@pytest.mark.parametrize(("images", "each"), [(160, 160), (175, 160), (33, 32), (10, 10), (16, 16)])
def test_an_epoch_takes_as_many_images_as_fill_batches(images, each):
    """Fewer images than a batch are one smaller batch."""
    scratch = PROFILES["paper"].phases(pretrained=False)
    assert all(images_of(plan(regime, images, phases=scratch)) == [each] * 21 for regime in REGIMES)


def test_a_share_of_the_batches():
    """.8 of 8 batches: after 1, 2, ... epochs there were round(6.4), round(12.8), ..., 134 of 168 in all."""
    batches = [images // 16 for images in images_of(plan("short", 130, share=0.8))]
    assert (batches[:5], sum(batches)) == ([6, 7, 6, 7, 6], 134)
    assert images_of(plan("short", share=0.8)) == [128] * 21


def test_every_cycle_of_a_shortened_run_completes():
    """The rate at the last batch of each cycle is what it is with so many batches, never cut off on its way."""
    found = {(step.epoch, step.batch): step.lr_factor for step, _ in steps(plan("short", 640, share=0.8))}
    begins = 0
    for lasts in CYCLES:
        assert found[begins, 0] == 1
        assert found[begins + lasts - 1, 31] == pytest.approx((math.pi / (lasts * 32)) ** 2 / 4, rel=0.01)
        begins += lasts
    assert len(found) == 32 * 21


@dataclass(frozen=True)
class Odd(Regime):
    """Batches of a given number of images."""

    each: int = 2
    fast: bool = False

    @cached_property
    def kept(self) -> int:
        return 2 * self.each

    def spec(self, step: Step) -> BatchSpec:
        return BatchSpec(step.full, self.each)


ROOM = [(64, 32, [32, 32]), (80, 32, [32, 32, 16]), (64, 21, [21, 21, 21]), (64, 62, [62, 2]), (64, 100, [64])]


@pytest.mark.parametrize(("images", "each", "batches"), ROOM)
def test_a_last_batch_may_be_smaller_and_a_single_image_is_left_out(images, each, batches):
    for epoch in by_epoch(plan(Odd(each), images)):
        assert [spec.batch for _, spec in steps(epoch)] == batches
        assert [step.seen for step, _ in steps(epoch)] == [sum(batches[:i]) for i in range(len(batches))]


OTHERS = ["decrement", "ramp", "progressive", "random_size", "pooled", "pooled:order=every", "pooled:order=blocks"]


@pytest.mark.parametrize("regime", [*FIGURE_3, *OTHERS, "slope", "packed", "averaged"])
def test_a_run_may_begin_anywhere(regime, own_regime):
    """What is shown follows from the step alone: an epoch that is begun in its middle goes on with the same specs."""
    for epoch in by_epoch(plan(regime, 176)):
        whole = steps(epoch)
        for i in (0, len(whole) // 2, len(whole) - 1):
            assert list(steps_of_epoch(parse(regime), replace(whole[i][0]))) == whole[i:]


class TestOwnRegime:
    """A regime that a test registers is planned as those of the package are."""

    def test_sizes_by_hand(self, own_regime):
        """From .5 at the first batch, in a straight line over the images of the run; a block for each step."""
        blocks = plan("slope:least=0.5")
        found = {(step.epoch, step.batch): spec.size for step, spec in steps(blocks)}
        assert [found[moment] for moment in ((0, 0), (7, 0), (10, 5), (20, 9))] == [125, 167, 188, 249]
        assert list(found.values()) == sorted(found.values())
        assert [block.steps for block in plan("slope", full=2000)] == [1] * 210

    def test_batches_change_with_the_size(self, own_regime):
        """Each epoch shows as many images; the rate follows images, not batches."""
        blocks = plan("packed")
        assert [(b.spec.size, b.spec.batch, b.steps) for b in (blocks[0], blocks[-1])] == [(125, 32, 5), (250, 16, 10)]
        assert images_of(blocks) == [160] * 21
        found = {(step.epoch, step.batch): step.lr_factor for step, _ in steps(blocks)}
        assert [found[4, 0], found[0, 1]] == pytest.approx([0.5, (1 + math.cos(math.pi / 5)) / 2])
        assert [(block.steps, block.spec.batch) for block in plan("packed", 176)[:2]] == [(5, 32), (1, 16)]

    def test_it_is_known_by_its_name_and_options(self, own_regime):
        assert parse("slope:least=0.25") == own_regime(0.25)
        assert (own_regime(0.25).text, own_regime().text) == ("slope:least=0.25", "slope")
        refused(lambda: parse("slope:most=1"), "slope:most=1", "most", "least")
        assert REGIMES["slope"] is own_regime


WRITTEN = {text: text for text in (*REGIMES, "stepwise:switch=RPL", "short:share=0.861", "short:of=stepwise,share=0.5")}
WRITTEN |= {"stepwise:switch=CMult": "stepwise", "short:share=0.50,of=gradual": "short:share=0.5"}  # no defaults


@pytest.mark.parametrize("text", WRITTEN)
def test_a_regime_is_written_and_read(text):
    assert parse(text).text == WRITTEN[text]
    assert parse(WRITTEN[text]) == parse(text)
    assert isinstance(parse(text), REGIMES[text.partition(":")[0]])


WRONG = [
    ("fast", ("no_increase", "gradual", "stepwise")),
    ("", ("gradual",)),
    ("gradual:switch=RPL", ("switch", "none")),
]
WRONG += [("stepwise:switch=SGDR", ("'CLRS', 'CMult' or 'RPL'",)), ("stepwise:switch", ("switch=''", "'CLRS'"))]
WRONG += [("stepwise:share=1", ("share", "switch")), ("short:share=-0.1", ("-0.1", "equal to 0"))]
WRONG += [("short:share=1.1", ("1.1", "equal to 1")), ("short:share=nan", ("nan", "finite"))]
WRONG += [("short:share=half", ("share='half'", "number")), ("decrement:share=0", ("share='0'", "greater than 0"))]
WRONG += [("decrement:scale=1.5", ("scale='1.5'", "equal to 1")), ("decrement:last=-1", ("last='-1'", "equal to 0"))]
WRONG += [("ramp:delay=0.9", ("delay=0.9", "finetune=0.2", "below 1")), ("ramp:increment=0", ("'0'", "greater than 0"))]
WRONG += [("progressive:stages=1", ("stages='1'", "equal to 2")), ("random_size:multiple=0", ("'0'", "greater than 0"))]
WRONG += [("pooled:order=odd", ("order='odd'", "'random', 'every' or 'blocks'")), ("pooled:n=0", ("n='0'", "than 0"))]
WRONG += [("bounded_depth:nats=6", ("nats='6'", "5.54")), ("bounded_depth:equal=time", ("'time'", "'parameters'"))]
WRONG += [("odd:each=1.5", ("each='1.5'", "integer")), ("odd:fast=3", ("fast='3'", "boolean"))]


@pytest.mark.parametrize(("text", "named"), WRONG)
def test_wrong_regimes(text, named, monkeypatch):
    monkeypatch.setattr(Odd, "name", "odd", raising=False)
    monkeypatch.setitem(REGIMES, "odd", Odd)
    refused(partial(parse, text), f"regime={text!r}", *named)
    odd = Odd(3, True)
    assert (odd.kept, parse(odd.text)) == (6, odd)  # what it keeps for itself is no option
    assert odd.text == "odd:each=3,fast=True"


def test_work_of_gradual_by_hand():
    """All 175 images are resized once a phase, though 160 of them are trained on in an epoch."""
    assert work_of(plan("gradual", 175), 175, 18) == (
        Work("resize", "SGDR", 175, 100, stored=250),
        Work("step", "SGDR", 30, 100, "head", 16, stored=100),
        Work("resize", "CLRS", 175, 150, stored=250),
        Work("step", "CLRS", 40, 150, "head", 16, stored=150),
        Work("resize", "CMult", 175, 200, stored=250),
        Work("step", "CMult", 70, 200, "head", 16, stored=200),
        Work("step", "RPL", 70, 250, "all", 16, stored=250),
        Work("tta", "TTA", 18, 250),
    )


RESIZED = [("no_increase", 0, 0, 0, 0), ("short", 0, 0, 0, 0), ("small", 1, 0, 0, 0), ("stepwise", 1, 0, 0, 0)]
RESIZED += [("reversed", 0, 1, 1, 1), ("blurred", 1, 1, 1, 0), ("cropped", 3, 4, 7, 0), ("packed", 1, 0, 0, 0)]
RESIZED += [("ramp", 1, 0, 0, 0), ("progressive", 1, 1, 1, 0), ("random_size", 0, 0, 0, 0), ("pooled", 0, 0, 0, 0)]


@pytest.mark.parametrize(("regime", "expected"), [(name, n) for name, *n in [*RESIZED, ("slope", 0, 0, 0, 0)]])
def test_the_set_is_resized_only_where_what_is_shown_changes(regime, expected, own_regime):
    """Windows are new in every epoch; where sizes change within an epoch each batch is made small by itself."""
    found = Counter({work.phase: work.n for work in work_of(plan(regime, 175), 175, 18) if work.kind == "resize"})
    assert [found[name] for name in NAMES] == [175 * times for times in expected]


def test_steps_of_a_ramp_take_their_images_from_the_largest(own_regime):
    works = [work for work in work_of(plan("slope", 175), 175, 18) if work.kind == "step"]
    assert (sum(work.n for work in works), {work.stored for work in works}) == (210, {250})
    assert works[0].key == "step head 100 b16 stored=250"


def test_hooks_are_work_too():
    """One after every epoch; before the last evaluation as many as that is given batches."""
    works = [w for w in work_of(plan("gradual"), 160, 18, ("after_epoch", "finish")) if w.kind == "hook"]
    assert [(work.phase, work.n) for work in works if work.mode == "after_epoch"] == [*zip(NAMES, EPOCHS, strict=True)]
    assert [(work.phase, work.n) for work in works if work.mode == "finish"] == [("RPL", 10)]


@pytest.mark.parametrize(
    ("work", "key"),
    [
        (Work("step", "SGDR", 3, 100, "head", 64, stored=100), "step head 100 b64"),
        (Work("step", "RPL", 9, 250, "all", 16, stored=250), "step all 250 b16"),
        (Work("resize", "CLRS", 5, 150, stored=250), "resize 150 stored=250"),
        (Work("resize", "CLRS", 5, 250, view="blurred", detail=100, stored=250), "resize 250 blurred=100"),
        (Work("resize", "CLRS", 5, 100, view="cropped", stored=250), "resize 100 stored=250 cropped"),
        (Work("step", "RPL", 1, 90, "all", 8, strength=0.5, mode="pale"), "step all 90 b8 strength=0.5 pale"),
        (Work("tta", "TTA", 18, 250), "tta 250"),
        (Work("hook", "RPL", 1, 250, mode="finish"), "hook 250 finish"),
    ],
)
def test_what_clocks_call_it(work, key):
    """Clocks that were taken before are read by these: they never change."""
    assert work.key == key


def test_cost_by_hand():
    """14 epochs of the head at 1 an image, 7 of all layers at 3, each of 160 images."""
    each = {"head": 1.0, "all": 3.0}
    assert cost(plan("no_increase"), lambda size, mode, trains: each[trains]) == 160 * (14 + 21)


def test_the_readme_shows_a_regime_that_works(own_regime):
    code = "@register" + (ROOT / "README.md").read_text().partition("```python\n@register")[2].partition("```")[0]
    exec(code, {"register": register, "dataclass": dataclass, "Regime": Regime, "Step": Step, "BatchSpec": BatchSpec})
    sizes = [spec.size for _, spec in steps(plan("late_growth:share=0.8"))]
    assert sizes == [200] * 140 + [250] * 70
