"""The registry of measures: one entry for everything that is recorded of a run.

An entry says all that is known of a measure: unit, direction, titles, definition, what it is made of, what
under-fitting does to it, and where it is shown. A new measure is an entry in the module of its family, and the code
that computes it.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain

from maskbench.config.measures.cost import COST
from maskbench.config.measures.entry import Exhibit, Home, Measure, MeasureFamily, registered
from maskbench.config.measures.fit import FIT
from maskbench.config.measures.input import INPUT
from maskbench.config.measures.knowledge import KNOWLEDGE
from maskbench.config.measures.names import pair, sides
from maskbench.config.measures.run import RUN
from maskbench.config.measures.score import SCORE
from maskbench.config.measures.task import TASK

__all__ = [
    "MEASURES",
    "Exhibit",
    "Home",
    "Measure",
    "MeasureFamily",
    "measure",
    "pair",
    "registered",
    "shown_in",
    "sides",
    "source_of",
]

_ENTRIES = tuple(registered(chain(SCORE, FIT, INPUT, TASK, KNOWLEDGE, COST, RUN)))

MEASURES: dict[str, Measure] = {entry.name: entry for entry in _ENTRIES}
"""All measures by name; one that is told apart by a class or a layer is written ``f1:PER`` and has `f1`'s entry."""

if len(MEASURES) < len(_ENTRIES):
    raise TypeError(f"two measures are called {Counter(entry.name for entry in _ENTRIES).most_common(1)[0][0]!r}")


def measure(name: str) -> Measure:
    """Return the entry of a measure, ``f1:PER`` included.

    Parameters
    ----------
    name
        Name as in the `measure` column.

    Raises
    ------
    KeyError
        If the registry has no such measure, or the measure has no parts of this kind.
    """
    base, colon, part = name.partition(":")
    entry = MEASURES[base]
    if colon and (not part or entry.by is None):
        raise KeyError(name)
    return entry


def source_of(name: str) -> str:
    """Return the measure of runs that a measure is computed from: that of the learning curve, or itself."""
    return measure(name).curve_of or name


def shown_in(place: Exhibit) -> list[str]:
    """Return the names of the measures that a table or figure shows, in the order of the registry."""
    return [entry.name for entry in MEASURES.values() if place in entry.shown]
