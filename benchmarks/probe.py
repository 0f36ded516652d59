"""What pretrained weights see at each size of a profile: a logistic regression on the frozen body's features.

    python -m benchmarks.probe PROFILE=compact DATA=folder WEIGHTS=path

Features are the pooled maps that the head gets. Each fold trains and judges at one size. Weights whose accuracy hardly
falls at small sizes favour regimes that train there. The result is kept in results/<profile>/probe.json.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from entr_utils import cli, machine, networks
from entr_utils.data import split, store
from entr_utils.data.augment import normalise
from entr_utils.settings import Cell
from entr_utils.util import track, write_json

SHARES = (0.4, 0.6, 0.8, 1.0)  # of the full size: those of gradual
FOLDS, BATCH = range(10), 64


@torch.inference_mode()
def probe(cell: Cell) -> dict:
    """Accuracy of each fold by size, and what it was measured on. Raises UserError as `store.load` does."""
    images, pool = store.load(cell), networks.ConcatPool()
    body = networks.build(cell.network, cell.weights, len(images.classes), "float32").to(machine.device()).eval().body
    whole = store.place(images.pixels, np.arange(len(images.names)))
    folds = [split.assign(images, seed) for seed in FOLDS]
    by_size: dict[int, list[float]] = {}
    for size in (round(share * cell.size) for share in SHARES):
        parts = store.resize(whole, size).split(BATCH)
        seen = torch.cat([pool(body(normalise(store.on_device(part)))) for part in parts]).float().cpu().numpy()
        by_size[size] = []
        for fold in track(folds, f"{cell.dataset}, {size} px"):
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
            model.fit(seen[fold.training], images.labels[fold.training])
            by_size[size].append(model.score(seen[fold.validation], images.labels[fold.validation]))
    print(cell.dataset, *(f"{size} px {np.mean(values):.3f}" for size, values in by_size.items()), sep="  ")
    return {"images": images.source.title, "contents": images.source.contents, "accuracy": by_size}


def command(words: Sequence[str]) -> int:
    """Probe the datasets asked for, print mean accuracies and keep all."""
    given = {"REGIMES": "no_increase", "NETWORKS": "resnet18", **cli.read(words, cli.MATRIX)}
    cells = [cell.checked() for cell in cli.matrix(given, "compact")]
    first, path = cells[0], cells[0].folder / "probe.json"
    weights = {"weights": Path(first.weights).name}
    weights["sha256"] = networks.weights_sha256(first.network, first.weights)
    found = {cell.dataset: probe(cell) for cell in cells}
    write_json({"environment": machine.environment(), **weights, "datasets": found}, path)
    print(f"read {path}")
    return 0


if __name__ == "__main__":
    cli.start("benchmarks.probe", command)
