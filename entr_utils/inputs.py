"""What many runs need before they start: images in classes that can be split, weights that fit. Said line by line."""

from pathlib import Path

from entr_utils import UserError, datasets, downloads
from entr_utils.parameters import Parameters

REFUSED, MISSING = 2, 3  # exit codes: what is there cannot be used; nothing is there


def ready(runs: list[Parameters]) -> tuple[list[Parameters], int]:
    """The runs whose images and weights can be used, and the exit code of what stops the others (0 where nothing).

    Images and weights are fetched where they can be. What stops one dataset or network does not stop the others.
    """
    of_dataset = dataset_problems(runs)
    runs = [run for run in runs if run.dataset not in of_dataset]
    of_network = weights_problems(runs)
    problems = {*of_dataset.values(), *of_network.values()}
    return [run for run in runs if run.network not in of_network], min(problems, default=0)


def dataset_problems(runs: list[Parameters]) -> dict[str, int]:
    """REFUSED or MISSING by dataset, for those that have a problem; each is said, and what is found too."""
    problems: dict[str, int] = {}
    for dataset, run in {run.dataset: run for run in runs}.items():
        try:
            state, line = datasets.status(dataset, run.data)
            print(f"  {line}")
            if state == "downloadable":
                downloads.download_ucm(Path(run.data))
            if state == "missing":
                problems[dataset] = MISSING
            else:
                split([other for other in runs if other.dataset == dataset])
        except UserError as error:
            there = datasets.class_folder(dataset, run.data).is_dir() or run.data.startswith("synthetic")
            problems[dataset] = REFUSED if there else MISSING
            print(f"  {dataset}: {error}")
    return problems


def split(runs: list[Parameters]) -> None:
    """Decode and split the images of some runs, once. Raises UserError where they or their groups allow none."""
    from entr_utils import images

    for run in {(run.seed, run.data, run.groups, run.size): run for run in runs}.values():
        found = images.load(run)
        datasets.split(found.labels, run.seed, found.groups, found.copies, found.classes)


def weights_problems(runs: list[Parameters]) -> dict[str, int]:
    """REFUSED or MISSING by network, for those whose weights cannot be had or do not fit; each is said."""
    from entr_utils import networks

    problems = {}
    for network, weights in {run.network: run.weights for run in runs}.items():
        try:
            networks.build(network, weights, classes=2, dropout=0.5, precision="float32")
        except UserError as error:
            problems[network] = MISSING if weights == "imagenet" else REFUSED
            print(f"  {network}: {error}")
    return problems
