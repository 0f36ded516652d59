"""How fast training is and what binds it (`make bench`), and what happens when something goes wrong (`make faults`).

Bench: `bench` is the command; `turns` and `loops` are what the parts share; the parts are `ceiling` (the loop against
its bare arithmetic), `versus` with `ways` and `small` (against fastai and torchvision), `growth` (more images, and
images on disk), `precision` and `clock` (plan x clock against whole runs); `tables` is what is shown.
Faults: `faults` is the command and the table of what is done, `place` where commands run and are stopped; `cases` with
`bad_images`, `bad_folders` and `bad_files` is what is fed.
"""

import entr_utils  # noqa: F401  before fastai: it silences a warning that no reader can mend
