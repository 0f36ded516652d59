"""The ENTR hypothesis, tested: does growing the training images save time, and what does it cost?

Read in this order: `regimes` (the schedule as data), `parameters` (what one run is made of), `datasets` and
`synthetic` (which images), `downloads`, `folders` and `decoding` (what is used of a folder), `images` (decode once,
place, resize, batch), `cached`, `views` (what a stage shows of them), `augmentation`, `memory` (where images stay),
`networks`, `experiment` (one run, named and split), `learning` (its pieces), `forecast` (what it will take),
`training`, `checkpoints` (stop anywhere), `matching` (a control of the same T), `probe`, `range_test`, `timing`,
`records` (what a run leaves behind), `execution` (one notebook), `locks`, `runs` (many runs), `evidence` (which of them
are evidence), `reproduce`.

What is said of records needs no torch: `conditions` (what may be compared), `statistics`, `verdicts`, `claims`,
`controls`, `scrutiny`, `pace`, `mechanism` and `why`, shown by `reports`, `figures`, `overview`, `summary`, `readme`.
"""

import warnings

__version__ = "0.1.0"

# fastai 2.8 uses torch.jit.script, which torch 2.14 calls deprecated: nothing a reader of a notebook can mend.
warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")


class UserError(ValueError):
    """Something the user can put right. The message is one line: what, where, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))

    def _render_traceback_(self) -> list[str]:
        """Let IPython show the one line instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]
