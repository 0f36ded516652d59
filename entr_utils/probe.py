"""What frozen features know at each image size: a linear classifier on the body, beside results with other weights."""

from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from entr_utils import files, images, locks, timing
from entr_utils.augmentation import normalise
from entr_utils.experiment import Experiment
from entr_utils.learning import make_network

SIZES = (64, 100, 150, 200, 250)


def linear_probe(experiment: Experiment, sizes: tuple[int, ...] = SIZES) -> dict[int, float]:
    """Validation accuracy of logistic regression on frozen, concat-pooled features, by image size in pixels.

    Trained on the run's training images and tested on its validation images, both at that size, without augmentation.
    """
    network = make_network(experiment).eval()
    photos = images.place(experiment.images.pixels, np.arange(len(experiment.images.labels)))
    labels = experiment.images.labels
    accuracy = {}
    for size in sizes:
        with torch.no_grad(), torch.autocast(timing.device().type, network.dtype, network.dtype != torch.float32):
            small = images.resize(photos, size).split(64)
            bodies = (network.body(normalise(images.on_device(part))) for part in small)
            features = torch.cat([network.head[:2](body).float() for body in bodies]).cpu().numpy()
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
        classifier.fit(features[experiment.training], labels[experiment.training])
        accuracy[size] = float(classifier.score(features[experiment.validation], labels[experiment.validation]))
    return accuracy


def path_of(experiment: Experiment) -> Path:
    """results/<profile>/<device>/probes/<dataset>-<network>-<6 of the weights' checksum>.json"""
    identity = experiment.identity
    name = f"{identity['dataset']}-{identity['network']}-{identity['weights_sha256'][:6]}.json"
    return experiment.path.parent / "probes" / name


def write_probe(experiment: Experiment) -> Path:
    """The probe of an experiment's dataset, network and weights as JSON beside its records, made once."""
    identity, path = experiment.identity, path_of(experiment)
    if not path.exists():
        with locks.device():
            accuracy = linear_probe(experiment)
        kept = ("dataset", "network", "seed", "weights", "weights_sha256", "data_sha256", "split_sha256", "device")
        probe = {**{name: identity[name] for name in kept}, "n_val": len(experiment.validation), "accuracy": accuracy}
        files.write_json(probe, path)
    return path
