"""Wrong parameters are refused in one line; defaults come from the profile."""

import pytest

from entr_utils.parameters import Parameters

WRONG = [
    ({"dataset": "cats"}, ("dataset='cats'", "steel, ucm, bees, own")),
    ({"network": "vgg"}, ("network='vgg'", "resnet18, resnet34, resnet50")),
    ({"regime": "fast"}, ("regime='fast'", "no_increase, gradual, stepwise")),
    ({"profile": "huge"}, ("profile='huge'", "quick, paper")),
    ({"size": 31}, ("size=31", "a whole number from 32")),
    ({"size": -250}, ("size=-250", "from 32")),
    ({"size": 99.5}, ("size=99.5", "a whole number from 32")),
    ({"size": "128"}, ("size='128'", "a whole number from 32")),
    ({"size": 64, "regime": "gradual"}, ("size=64", "gradual", "26 px", "at least 32 px", "size from 80")),
    ({"size": 78, "regime": "stepwise"}, ("size=78", "stepwise", "31 px", "size from 80")),
    ({"seed": "x"}, ("seed='x'", "a whole number from 0")),
    ({"seed": 1.5}, ("seed=1.5", "a whole number from 0")),
    ({"seed": True}, ("seed=True", "a whole number from 0")),
    ({"seed": -1}, ("seed=-1", "a whole number from 0")),
    ({"data": "nowhere"}, ("data='nowhere'", "no such folder", "synthetic", "steel/<class>/")),
    ({"data": "synthetic-medium"}, ("data='synthetic-medium'", "synthetic-coarse, synthetic-fine")),
    ({"weights": "nowhere.pt"}, ("weights='nowhere.pt'", "no such file", "imagenet, none, or a checkpoint's path")),
    ({"checkpoint_dir": "nowhere"}, ("checkpoint_dir='nowhere'", "no such folder", "mount the drive")),
    ({"checkpoint_dir": "~nobody/x"}, ("checkpoint_dir='~nobody/x'", "no such folder")),
    ({"groups": "nowhere.csv"}, ("groups='nowhere.csv'", "no such file", "a CSV file, none")),
    ({"lr": -0.1}, ("lr=-0.1", "above 0 and below 10")),
    ({"lr": 10}, ("lr=10", "above 0 and below 10")),
    ({"lr": float("nan")}, ("lr=nan", "above 0 and below 10")),
    ({"lr": float("inf")}, ("lr=inf", "above 0 and below 10")),
    ({"lr": True}, ("lr=True", "above 0 and below 10")),
    ({"size": 10**9}, ("size=1000000000", "from 32 to 10000")),
    ({"seed": 2**31}, ("seed=2147483648", "from 0 to 2147483647")),
    ({"data": 5}, ("data=5", "allowed: text")),
    ({"groups": None}, ("groups=None", "allowed: text")),
    ({"results": None}, ("results=None", "allowed: text")),
    ({"data": "x" * 300}, ("data=", "no such folder")),
    ({"weights": "x\0y"}, ("weights=", "no such file")),
    ({"lr": "fast"}, ("lr='fast'", "above 0 and below 10")),
    ({"precision": "float8"}, ("precision='float8'", "float32, bfloat16, float16")),
    ({"precision": None}, ("precision=None", "float32, bfloat16, float16")),
    ({"batch": 1}, ("batch=1", "a whole number from 2")),
    ({"batch": -16}, ("batch=-16", "a whole number from 2")),
    ({"batch": 16.0}, ("batch=16.0", "a whole number from 2")),
    ({"batch": "16"}, ("batch='16'", "a whole number from 2")),
    ({"orientations": "four"}, ("orientations='four'", "two, eight")),
    ({"regime": "stepwise", "switch": "late"}, ("switch='late'", "CLRS, CMult, RPL, TTA")),
]


@pytest.mark.parametrize(("wrong", "fragments"), WRONG, ids=[str(wrong) for wrong, _ in WRONG])
def test_wrong_parameters(wrong, fragments, refused):
    """The line names the parameter, its value and what is allowed."""
    refused(Parameters(**{"dataset": "steel"} | wrong).checked, *fragments)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("tiny", (80, 16, "none", "synthetic", "")),
        ("quick", (80, 16, "none", "synthetic", "")),
        ("paper", (250, 64, "imagenet", "data", "")),
    ],
)
def test_defaults_come_from_the_profile(profile, expected):
    full = Parameters("steel", profile=profile).checked()
    assert (full.size, full.batch, full.weights, full.data, full.precision) == expected


def test_quick_is_the_default_profile():
    assert Parameters("steel").checked().profile == "quick"


def test_results_never_go_to_the_current_folder():
    assert Parameters("steel", results="").checked().results == "results"


@pytest.mark.parametrize(
    ("dataset", "expected"), [("steel", "eight"), ("ucm", "eight"), ("bees", "two"), ("own", "two")]
)
def test_orientations_are_the_datasets(dataset, expected):
    assert Parameters(dataset).checked().orientations == expected


def test_what_is_given_is_kept(tmp_path):
    (tmp_path / "weights.pt").touch()
    (tmp_path / "groups.csv").touch()
    given = {"network": "resnet50", "regime": "stepwise", "seed": 3, "size": 96, "data": str(tmp_path),
             "weights": str(tmp_path / "weights.pt"), "groups": str(tmp_path / "groups.csv"), "lr": 0.05,
             "orientations": "two", "switch": "RPL", "results": "elsewhere", "precision": "bfloat16",
             "batch": 12}  # fmt: skip
    full = Parameters("steel", **given).checked().as_dict()
    assert {name: full[name] for name in given} == given


@pytest.mark.parametrize("regime", ["no_increase", "gradual", "stepwise"])
def test_the_smallest_sizes_that_are_allowed(regime):
    smallest = 32 if regime == "no_increase" else 80
    assert Parameters("steel", regime=regime, size=smallest).checked().size == smallest


@pytest.mark.parametrize(("weights", "trains"), [("none", "all"), ("imagenet", "head")])
def test_only_pretrained_layers_are_frozen(weights, trains):
    assert Parameters("steel", weights=weights).checked().make_regime().stages[0].trains == trains
