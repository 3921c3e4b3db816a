"""What differences between pretraining recipes vary by: pretraining seeds, fine-tuning seeds, and both together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from maskbench.config.science import INTERACTION_TAKEN_OFF

if TYPE_CHECKING:
    from maskbench.analysis.metrics import Array


@dataclass(frozen=True)
class Components:
    """Variances of a table of pretraining seeds × fine-tuning seeds, without bias before they are cut off at 0.

    Every pretraining seed is fine-tuned with the same seeds, so that a number is the sum of a mean, of what the
    pretraining seed adds, of what the fine-tuning seed adds to all pretraining seeds alike, and of the rest, their
    interaction.
    """

    n: int
    """Number of pretraining seeds that have a number."""
    n_fine_tuning: int
    """Number of fine-tuning seeds that have one."""
    pretraining: float
    """Variance between pretraining seeds; NaN of one seed."""
    fine_tuning: float
    """Variance between fine-tuning seeds, of what they do to all pretraining seeds alike; NaN of one seed."""
    rest: float
    """Variance of the interaction, in which the noise of a run is; NaN where nothing tells it."""
    of_mean: float
    """What fine-tuning seeds add to the variance of the mean over pretraining seeds, rather too much than too little
    (`INTERACTION_TAKEN_OFF`); 0 where one fine-tuning seed tells nothing of it."""


def _left(design: Array, values: Array) -> tuple[float, int]:
    """Return the sum of squares that a design leaves of values, and its rank."""
    fit, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    return float(((values - design @ fit) ** 2).sum()), int(rank)


def components(table: Array) -> Components:
    """Estimate the variances of a table, cells of which may be missing.

    By the sums of squares that each factor explains beside the other one, set equal to their expectations (Henderson
    1953, Estimation of variance and covariance components, Biometrics, method 3). Of a table without gaps it is the
    analysis of variance of two crossed random factors.

    Parameters
    ----------
    table
        Shape (pretraining seeds, fine-tuning seeds); NaN where a run is missing.
    """
    table = table[np.isfinite(table).any(axis=1)]
    table = table[:, np.isfinite(table).any(axis=0)]
    known = np.isfinite(table)
    (n, m), (row, column) = table.shape, np.nonzero(known)
    values, total = table[known], int(known.sum())
    if total == 0:
        return Components(0, 0, np.nan, np.nan, np.nan, 0.0)
    of_row, of_column = np.eye(n)[row], np.eye(m)[column]
    both, rank = _left(np.hstack([of_row, of_column]), values)
    rest = both / (total - rank) if total > rank else np.nan
    noise = 0.0 if np.isnan(rest) else rest

    def between(other: Array, levels: int, share: float = 1.0) -> float:
        """Return the variance between the levels of one factor, from the design of the other one and its levels."""
        alone, used = _left(other, values)
        if rank == used:
            return np.nan
        return float(max((alone - both - share * (rank - used) * noise) / (total - levels), 0.0))

    weight = (known / (n * known.sum(axis=1, keepdims=True))).sum(axis=0)
    added = between(of_row, n, INTERACTION_TAKEN_OFF) * float((weight**2).sum())
    return Components(n, m, between(of_column, m), between(of_row, n), rest, of_mean=0.0 if np.isnan(added) else added)
