"""What it takes to decide: seeds for an effect, for no difference, and for an arm that is not worse."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from maskbench.analysis import detection, statistics
from maskbench.config.science import POWER

if TYPE_CHECKING:
    from maskbench.config.contrast import Test


class Varying(NamedTuple):
    """What the variance of a mean of paired differences is made of, on the measure's scale."""

    seeds: float
    """Variance of a single seed's difference, S²."""
    examples: float = 0.0
    """Variance of the mean from the test examples, which more seeds do not lower."""
    n_examples: int = 0
    """Number of test examples; 0 if they are not resampled."""
    fine_tuning: detection.FineTuning = detection.NOT_SHARED
    """Between pretraining recipes, where a seed is one of pretraining: what the fine-tuning seeds add to the mean."""

    @classmethod
    def of(cls, spread: statistics.Spread) -> Varying:
        """Return what a spread that was measured tells."""
        added = detection.FineTuning(float(spread.fine_tuning), spread.n_fine_tuning)
        return cls(float(spread.seeds) * spread.n, float(spread.examples), spread.n_examples, added)

    def spread(self, n: int) -> statistics.Spread:
        """Return the spread of n seeds."""
        whole = statistics.Spread(np.array(0.0), np.array(self.seeds / n), np.array(self.examples), n, self.n_examples)
        return replace(whole, fine_tuning=self.fine_tuning.variance, n_fine_tuning=self.fine_tuning.seeds)


@cache
def seeds_to_find(varying: Varying, effect: float, tests: int, margin: float, test: Test) -> int | None:
    """Return how many seeds find a true effect with 80 % power by the rule of the verdicts; None: no number does.

    Parameters
    ----------
    varying
        What varies.
    effect
        True difference; of a test of non-inferiority it may be 0 or below, down to −δ.
    tests
        Size of the family.
    margin
        δ: what the estimate must reach, or of a test of non-inferiority where the null is.
    test
        What is asked.
    """
    away, least = (effect + margin, 0.0) if test == "non-inferior" else (abs(effect), margin)
    if away <= 0:
        return None
    return detection.seeds_needed(
        away, varying.seeds, varying.examples, varying.n_examples, tests, least, varying.fine_tuning
    )


@cache
def chance_of_equivalence(varying: Varying, n: int, margin: float) -> float:
    """Return the probability that two arms that are equal are called so: that the 90 % interval is inside ±δ."""
    parts = (varying.seeds / n, varying.examples, n, varying.n_examples)
    return detection.equivalence(*parts, margin, varying.fine_tuning)


@cache
def seeds_for_equivalence(varying: Varying, margin: float) -> int | None:
    """Return how many seeds call equal arms equivalent with a chance of 80 %; None if no number up to 10,000 does."""
    return detection.fewest_seeds(lambda n: chance_of_equivalence(varying, n, margin) >= POWER)
