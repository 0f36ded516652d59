"""How fast training is (`make bench`), and what happens when something goes wrong (`make faults`).

Bench: `bench` is the command and what it shows; `loops`, `ways`, `scale` and `clock` measure. Faults: `faults` is the
command and the table of what is done, `place` where commands run and are stopped; `cases`, `bad_images` and `bad_files`
are what is fed. `many` and `learner` make runs without notebooks; `probe` and `manifest` made files in results.
"""

import entr_utils  # noqa: F401  before fastai: it silences a warning that no reader can mend
