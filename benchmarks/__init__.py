"""How fast training is, what binds it, and what it would be done by other means: `make bench`.

Read in this order: `bench` (the command), `pairs` and `ceiling` (the loop against the network's own work), `versus`
with `ways` and `small` (against fastai and torchvision), `growth` with `held` (more and larger images), `precision`,
`phases` (where the time of a run goes), `forecast` (was it right?), `tables` and `charts` (what is shown).
"""

import entr_utils  # noqa: F401  before fastai: it silences a warning that no reader can mend
