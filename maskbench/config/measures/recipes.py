"""Recipes: of which sums over test examples a measure is made, so that texts can be resampled.

outcomes.parquet keeps streams: for each run and set, what each example adds to some sums. A stream is named by its set
(``test``, ``swap-10``), or by its set and what is counted (``test:loss``). A set alone has every example, and the sums
of the task's own score (kinds/score.py). What is counted besides is a sum of hits and a sum of weights, and may leave
out examples that add nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

TEST = "test"
"""The run's own test split; the other sets are named by what was done to it, as in ``swap-10``."""

ALONE = "alone>"
"""Prefix of a stream that belongs to the run on the same task alone, on clean data."""


ELSEWHERE = "ood>"
"""Prefix of the stream of a set of texts from elsewhere, which has examples of its own."""

DOCUMENT = "document"
"""What is counted in the stream whose hit is the document of each example of a set: documents are resampled."""


class Summand(NamedTuple):
    """Streams over the same examples, and the function that makes a number of their sums.

    ratio: Σ factor · (Σ hit / Σ weight); of a set alone the score that the task's kind makes of its sums stands in the
    place of the ratio. gaps: Σ |Σ hit| / Σ weight over all streams together, as in a calibration error. least: the
    smallest Σ hit / Σ weight. A measure is the sum of its parts.
    """

    how: Literal["ratio", "gaps", "least"]
    streams: tuple[tuple[str, float], ...]
    """Name and factor; fractions have 100 in it, so that they come out in points."""


@dataclass(frozen=True)
class Recipe:
    """How a measure is made."""

    make: Callable[[str, list[str]], list[Summand]]
    """Takes the text after the measure's colon and a run's streams, and gives the parts; none if one is missing."""
    on_sets: bool = False
    """Whether scores on test-time sets are in it: a run that has a number of it has outcomes of such sets, too."""
    offset: bool = False
    """Whether something is added that does not vary with the test examples: a number of the training texts or of θ₀."""
    other_task: bool = False
    """Whether it is of the examples of the regime's other task."""


def ratio(*streams: tuple[str, float], offset: bool = False, other_task: bool = False) -> Recipe:
    """Return the recipe of a weighted sum of scores or rates.

    Parameters
    ----------
    streams
        Name and factor of each.
    offset, other_task
        As in `Recipe`.
    """
    on_sets = any(":" not in name and name.removeprefix(ALONE) != TEST for name, _ in streams)
    return Recipe(lambda part, _: [] if part else [Summand("ratio", streams)], on_sets, offset, other_task)


def drops(*kinds: str) -> Recipe:
    """Return the recipe of a drop of the score over the sets of some kinds: of one set, or the mean over all."""

    def make(wanted: str, known: list[str]) -> list[Summand]:
        found = [one for one in known if ":" not in one and one.partition("-")[0] in kinds and wanted in ("", one)]
        share = 100.0 / max(len(found), 1)
        return [Summand("ratio", ((TEST, share), (one, -share))) for one in found]

    return Recipe(make, on_sets=True)


def flips(*kinds: str) -> Recipe:
    """Return the recipe of a flip rate over the sets of some kinds: of one set, or the mean over all."""

    def make(wanted: str, known: list[str]) -> list[Summand]:
        sets = [name.removesuffix(":flips") for name in known if name.endswith(":flips")]
        found = [one for one in sets if one.partition("-")[0] in kinds and wanted in ("", one)]
        return [Summand("ratio", ((f"{one}:flips", 100.0 / len(found)),)) for one in found]

    return Recipe(make)


def elsewhere(factor: float, *, less: bool = False) -> Recipe:
    """Return the recipe of the score on texts from elsewhere: of one set, or the mean over all.

    Parameters
    ----------
    factor
        What the score is multiplied with.
    less
        The score on the test split less that.
    """

    def make(wanted: str, known: list[str]) -> list[Summand]:
        sets = [one for one in known if one.startswith(ELSEWHERE) and ":" not in one]
        found = [one for one in sets if wanted in ("", one.removeprefix(ELSEWHERE))]
        test = [Summand("ratio", ((TEST, factor),))] if less and found else []
        share = (-factor if less else factor) / max(len(found), 1)
        # sets have examples of their own, so each is a part of its own
        return [*test, *(Summand("ratio", ((one, share),)) for one in found)]

    return Recipe(make, on_sets=True)


def all_of(how: Literal["gaps", "least"], beginning: str) -> Recipe:
    """Return a recipe of all streams whose names begin alike."""

    def make(part: str, known: list[str]) -> list[Summand]:
        found = tuple((name, 100.0) for name in known if name.startswith(beginning))
        return [Summand(how, found)] if found and not part else []

    return Recipe(make)


def probes(factor: float, *, offset: bool = False) -> Recipe:
    """Return the recipe of the accuracy of linear probes: of one property, or the mean over all.

    Parameters
    ----------
    factor
        What a share of right answers is multiplied with.
    offset
        As in `Recipe`.
    """
    beginning = f"{TEST}:probing-"

    def make(part: str, known: list[str]) -> list[Summand]:
        found = [name for name in known if name.startswith(beginning) and part in ("", name[len(beginning) :])]
        return [Summand("ratio", ((name, factor / len(found)),)) for name in found]

    return Recipe(make, offset=offset)
