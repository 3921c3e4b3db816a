"""Arithmetic on what examples contribute to sums: shares, influence, sums by document and of several streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from maskbench.kinds.score import ratio

if TYPE_CHECKING:
    from collections.abc import Callable

    from maskbench.analysis.metrics import Array

    Ids = np.ndarray[Any, Any]


def share_of(sums: Array) -> Array:
    """Return Σ hit / Σ weight of the two sums (2, ...), shape (...,)."""
    return ratio(sums[0], sums[1])


def by_unit(values: Array, unit: Ids, size: int) -> Array:
    """Return what the examples of each unit add together, shape (runs, units).

    Parameters
    ----------
    values
        Shape (runs, examples).
    unit
        (examples,) number of the unit of each.
    size
        Number of units.
    """
    if size == values.shape[1]:
        return values
    result = np.zeros((len(values), size))
    np.add.at(result.T, unit, values.T)
    return result


def influence_of(hit: Array, weight: Array) -> Array:
    """Return what each example moves Σ hit / Σ weight by (its influence), in the shape of both: (runs, examples)."""
    total = weight.sum(axis=1, keepdims=True)
    whole = ratio(hit.sum(axis=1, keepdims=True), total)
    return ratio(hit - whole * weight, np.broadcast_to(total, hit.shape))


def design_effect(moved: Array, unit: Ids) -> float:
    """Return how many times as much a mean varies since texts of a unit are alike (Kish 1965, Survey sampling).

    A number of texts divided by it is the number of independent texts that would tell as much, which limits of small
    shares are taken from (Korn & Graubard 1998, Confidence intervals for proportions with small expected number of
    positive counts estimated from survey data, Survey Methodology). It is 1 at the least; where no text moves anything,
    nothing is known of it, and it is what it would be if all texts of a unit were the same.

    Parameters
    ----------
    moved
        What each text moves the estimate by, shape (texts,).
    unit
        (texts,) number of the unit that each is drawn with.
    """
    together, size = np.bincount(unit, weights=moved), np.bincount(unit)
    single = float((moved**2).sum())
    if single == 0.0:
        return float((size**2).sum() / size.sum())
    return max(1.0, float((together**2).sum()) / single)


class StreamSums:
    """Puts the sums of the streams of a part together, one stream after another."""

    def __init__(self, how: str) -> None:
        self.how = how
        self._first: Array = np.array(0.0)
        self._second: Array = np.array(0.0)

    def add(self, factor: float, sums: Array, value: Callable[[Array], Array]) -> None:
        """Add the sums (k, ...) of a stream, of which `value` makes its number."""
        if self.how == "ratio":
            self._first = self._first + factor * value(sums)
        elif self.how == "gaps":
            self._first, self._second = self._first + factor * np.abs(sums[0]), self._second + sums[1]
        else:
            # a group that a resample has none of is not its worst
            here = np.where(sums[1] > 0, factor * value(sums), np.inf)
            self._first = np.minimum(self._first, here) if self._first.ndim else here

    @property
    def value(self) -> Array:
        """The number of the part, in the shape of the sums without their first axis."""
        if self.how == "gaps":
            return ratio(self._first, self._second)
        return np.where(np.isfinite(self._first), self._first, 0.0)
