"""Every number that keeps two kinds of random draws apart, in one list: none may be given twice in its group.

What is drawn depends on these values, so they never change. A new kind of draw takes a number that its group lacks.
"""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class Channel(IntEnum):
    """Independent draws of one mask at one address (seed, stream, pass, example, place): masks/draws.py."""

    BUDGET = 0
    """How many tokens of a text are hit; the places of `random` and of all masks that draw as it does."""
    PLACE = 1
    """The places of a mask that spends that budget, or that has none."""
    LENGTH = 2
    """Lengths of the spans that are masked."""
    WHICH = 101
    """Whether a hit token becomes [MASK], a random token, or stays."""
    TOKEN = 102
    """Which random token it becomes."""
    TWIN_PLACE = 201
    """The places of a rate twin, beside those of the mask in it."""


@unique
class Stream(IntEnum):
    """Independent draws of one seed: one stream for the mask of each family, and one for each other use."""

    INPUT = 0
    ATTENTION = 1
    PARAMETER = 2
    OBJECTIVE = 3
    HOLES = 7
    """Places that the masked-LM probe masks."""


@unique
class Purpose(IntEnum):
    """What a generator or a seed is for that is derived from the seed of a run or of a task."""

    ORDER = 1
    """Order of the training examples in each epoch."""
    NOISE = 2
    """Dropout, drawn anew in each micro-batch."""
    COPY = 3
    """Dropout of a copy's own pass in an objective."""
    SUBSET = 11
    """Which examples a run is trained on, of a larger training split."""
    CONFLICT = 12
    """On which examples the gradients of two tasks are compared."""
    CUT = 23
    """Which rows of the training file become a missing split."""


@unique
class Fixed(IntEnum):
    """Seeds of what is the same in every run."""

    VARIANTS = 0
    """Conditions and test-time sets of a task."""
    FINE_TUNING = 1
    """Simulated fine-tuning seeds, from which detectable differences between recipes are computed."""
    DRIFT_PLACES = 12
    """Tokens that the drift of representations is measured on."""
    HOLES = 20250
    """Places that the masked-LM probe masks."""


@unique
class Shift(IntEnum):
    """Independent draws for one text of a test-time set: data/shifted.py. There is room for four."""

    AMOUNT = 0
    """How many letters or words change."""
    ORDER = 1
    """Which words of a text change."""
    OFFSET = 2
    """How letters are paired for swaps."""
