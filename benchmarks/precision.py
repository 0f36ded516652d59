"""The reduced precision against float32: speed, and what it costs in accuracy.

The reduced precision is the one a run takes by itself (`machine.precision`). Where that is float32 the processor has
no other; then bfloat16 is measured all the same, emulated, to show what runs are spared there.
"""

from functools import partial

from benchmarks import loops, small
from benchmarks.turns import figures, in_turns
from benchmarks.ways import Ours
from entr_utils import machine

ROUNDS = 3
SIZES = {"cpu": 100, "cuda": 250}  # pixels at which speed is measured


def measure(asked: dict[str, str]) -> dict:
    """Rows of speed, and of accuracy."""
    usual = machine.precision()
    other = "bfloat16" if usual == "float32" else usual
    first, second = ((Ours, {"precision": name}) for name in (other, "float32"))
    return {"speed": speed(other), "accuracy": [small.compare(f"{other}, float32", first, second)]}


def speed(other: str, size: int = 0, rounds: int = ROUNDS, seconds: float = 1.0) -> list[dict]:
    """A row for each precision: milliseconds of an image, all layers of a ResNet18 training."""
    size, batch = size or SIZES[machine.device().type], loops.batch_size()
    batches = loops.batches(loops.random_images(2 * batch, size), batch)
    networks = {name: loops.build(precision=name) for name in ("float32", other)}
    actions = {name: partial(loops.ms_per_image, network, batches, seconds, 2) for name, network in networks.items()}
    found = in_turns(actions, rounds)
    rows = {name: figures(values, found["float32"]) for name, values in found.items()}
    real, about = ("float32", machine.precision()), {"size": size, "batch": batch}
    return [about | {"precision": name, "emulated": name not in real} | row for name, row in rows.items()]
