"""Control regimes, matched time, the mechanism's images, and that the paper's own runs keep their names."""

import pytest

from entr_utils import experiment
from entr_utils.keys import key_of

# Of committed records: bees, resnet18, seed 0. What a test machine does not share with them is put in its place.
RECORDED = {
    "protocol": 1, "precision": "bfloat16", "device": "Intel(R) Xeon(R) Processor, 2 threads", "lr": 0.02,
    "weights": "resnet18-standin.pt",
    "weights_sha256": "036bf987bccec4f86b98c989cb57d2e4301f9f91c44ff7c703cb6c4ee0e42076",
    "data_sha256": "799937689b4504f09f8b986e2980c97f793cf19e5dde2ebff43d0af2c3825337",
    "split_sha256": "8a83222b198670882e46b14a5af4ac7d2773349dbbfc295ed9e76ebe79d336aa",
}  # fmt: skip
KEYS = {
    "no_increase": "4f30871cf6fcc24085e4a2f396342ada92d5fca00bad540b378fc039a227edd3",
    "gradual": "18413900d3a4d0df39c5c97fdb6faa3c0318793ad4704611e87a7aec7286e0a0",
    "stepwise": "3e6cc518c4b3451cd57b1d76c08bd4cbfee43f4d012b7ef3ce7bbbf1b1b80491",
}


@pytest.mark.parametrize("regime", KEYS)
def test_a_run_of_the_paper_keeps_its_name(regime, photos, checkpoint, tmp_path):
    """Stages, augmentation, batch, dropout: all that its identity says, and nothing more, gives the recorded key."""
    photos(tmp_path / "bees")
    run = experiment.prepare("bees", regime=regime, profile="paper", data=str(tmp_path), weights=str(checkpoint))
    assert set(RECORDED) < set(run.identity)
    assert key_of(run.identity | RECORDED) == KEYS[regime]
