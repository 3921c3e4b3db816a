"""What is said of the shape of a row's differences, and of what that makes of its interval."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from maskbench.analysis import statistics
from maskbench.config.measures import measure
from maskbench.config.science import CONFIDENCE, NOTED_REACH, SEEDS_FOR_SKEWNESS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maskbench.analysis.rows import Row


def of_shape(row: Row) -> Iterator[str]:
    """Say what the differences look like, where that weakens what is said of their mean, and what the interval lacks.

    Skewness, with what it adds to the interval, and differences far from all others.
    """
    spread, name = row.spread, row.evidence.measure
    if spread is None or spread.n < 2:
        return
    if not spread.n_examples and spread.covered is None and measure(name).of_texts:
        yield "Over seeds alone: that other texts would give another number is not in the interval."
    if spread.n < SEEDS_FOR_SKEWNESS:
        return
    yield from _skewed(row, spread)
    far = statistics.outlying(row.evidence.mean(row.weights))
    if far.any():
        names = [str(seed) for seed, one in zip(_seeds(row), far, strict=True) if one]
        yield (
            f"{len(names)} of {spread.n} {row.evidence.unit} lie far from the others ({', '.join(names)}); "
            "analysis/sensitivity.csv has intervals that bear it."
        )


def _skewed(row: Row, spread: statistics.Spread) -> Iterator[str]:
    """Say how skewed the differences are, and how much further than Student's the interval reaches for it.

    Where normal samples are as skewed less than one time in twenty, or the interval reaches `NOTED_REACH` times as far.
    """
    skewness, estimate = float(spread.skewness), float(spread.estimate)
    ours, student = (one.interval(CONFIDENCE) for one in (spread, replace(spread, skewness=0.0)))
    side, way = (1, "up") if skewness > 0 else (0, "down")
    plain = float(student[side])
    times = (float(ours[side]) - estimate) / (plain - estimate) if plain != estimate else 1.0
    if abs(skewness) <= statistics.usual_skewness(spread.n) and times < NOTED_REACH:
        return
    differences = row.evidence.mean(row.weights)
    farthest = _seeds(row)[int(np.argmax(differences if skewness > 0 else -differences))]
    yield (
        f"The differences are skewed ({skewness:.1f}; seed {farthest} is farthest out): the interval reaches "
        f"{times:.1f} times as far {way} as Student's, which ends at {row.evidence.scale.show(plain):.3g}."
    )


def _seeds(row: Row) -> list[int]:
    """Return the seeds whose differences a row has; between models those of pretraining."""
    known = np.unique(row.evidence.seed_of[row.evidence.complete(row.weights)])
    return list(np.array(row.evidence.seeds)[known])
