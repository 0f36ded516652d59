"""The ENTR hypothesis, tested: does growing the training images save time, and what does it cost?

Arrows between the rooms point down this list, never up:

    cli        the commands
    slurm      the missing notebooks as jobs of a cluster
    sweep      which notebooks are missing; runs them
    fan        side by side on the GPUs of this host
    notebook   papermill: a notebook is there whole or not at all
    grow       growing images in a Learner or a loop of one's own
    report     figures, tables, words
    training   prepare, loop, step, resume; clock
    results    records, times, comparisons, claims, studies (no torch)
    data       which images, from where, how split, where they stay
    regimes    what the network sees: the extension point
    networks   bodies, head, weights
    machine    what this machine is
    settings   phases, profiles, what a run is made of
    util       whole files, locks, cache, progress
"""

import warnings

__version__ = "0.2.0"

# fastai 2.8 uses torch.jit.script, which torch 2.14 calls deprecated: nothing a reader of a notebook can mend.
warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")
