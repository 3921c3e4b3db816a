"""How far an interval reaches at the least where few texts differ, of measures that are shares of texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from maskbench.config.science import FEW_TEXTS

if TYPE_CHECKING:
    from maskbench.analysis.metrics import Array


@dataclass(frozen=True)
class Few:
    """How many texts speak for either arm by themselves, by block: where they are few, no normal bound holds.

    A text speaks for an arm if it moves the mean over seeds by at least half of what a text can. Their numbers are
    binomial, also where they are 0: of E texts, all alike, up to 3/E of all texts may still differ (the rule of three;
    Hanley & Lippman-Hand 1983, If nothing goes wrong, is everything all right?, JAMA).
    """

    ahead: Array
    """Texts that speak for the first arm, shape (..., blocks)."""
    behind: Array
    """Texts that speak against it."""
    texts: Array
    """Number of texts, shape (blocks,); of texts that are drawn in groups, that of as many independent ones as tell as
    much (`stream_sums.design_effect`), and the counts above are in proportion."""
    unit: Array
    """What one text moves the estimate by, shape (blocks,)."""

    def reach(self, confidence: float | Array) -> tuple[Array, Array]:
        """Return how far below and above the estimate an interval reaches at the least, shape (...).

        The rule of three: with this confidence no kind of text occurs more than −log(1 − confidence) times among E that
        is not among them; over blocks, by the squares. Where fewer than ten texts speak for an arm, Jeffreys' limits of
        both shares besides (Brown, Cai & DasGupta 2001, Interval estimation for a binomial proportion, Statistical
        Science), put together as in `exactly`.
        """
        confidence = np.asarray(confidence, dtype=float)
        unseen = -np.log1p(-confidence) * np.sqrt((self.unit**2).sum())
        few = (self.ahead + self.behind).sum(axis=-1) < FEW_TEXTS
        down, up = self._sides((1 - confidence)[..., None] / 2, 0.5)
        return np.maximum(unseen, np.where(few, down, 0.0)), np.maximum(unseen, np.where(few, up, 0.0))

    def exactly(self, confidence: float) -> tuple[Array, Array]:
        """Return how far below and above the estimate the truth may lie by Clopper & Pearson's (1934) exact limits.

        Both are of shape (...,). The limits of both shares are put together for their difference, and over blocks, by
        the squares of the distances (Zou & Donner 2008, Construction of confidence limits about effect measures,
        Statistics in Medicine).
        """
        return self._sides(np.array((1 - confidence) / 2), 0.0)

    def _sides(self, tail: Array, prior: float) -> tuple[Array, Array]:
        (low, high), (below, above) = (self._limits(count, tail, prior) for count in (self.ahead, self.behind))
        down = (self.ahead - low) ** 2 + (above - self.behind) ** 2
        up = (high - self.ahead) ** 2 + (self.behind - below) ** 2
        return np.sqrt((self.unit**2 * down).sum(axis=-1)), np.sqrt((self.unit**2 * up).sum(axis=-1))

    def _limits(self, count: Array, tail: Array, prior: float) -> tuple[Array, Array]:
        """Return limits of an expected number of texts: Jeffreys' with a prior of 1/2, the exact ones with 0."""
        more = 1.0 if prior == 0 else prior
        low = stats.beta.ppf(tail, np.maximum(count, 1 - prior) + prior, self.texts - count + more)
        high = stats.beta.ppf(1 - tail, count + more, np.maximum(self.texts - count, 1 - prior) + prior)
        return (
            self.texts * np.where(count > 0, low, 0.0),
            self.texts * np.where(count < self.texts, high, 1.0),
        )
