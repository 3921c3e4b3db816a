"""Means over seeds with their variance over seeds × texts: evidence on resamples of the test examples."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from maskbench.analysis import statistics
from maskbench.analysis.components import components
from maskbench.analysis.few import Few
from maskbench.config.measures import measure, source_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from maskbench.analysis.contrasts import Evidence
    from maskbench.analysis.metrics import Array
    from maskbench.analysis.outcomes import Outcomes
    from maskbench.analysis.values import Values

    Ids = np.ndarray[Any, Any]


class Resampler:
    """Means over seeds with their variance over seeds × texts, or over seeds alone where no text's share is known.

    Parameters
    ----------
    outcomes
        None: all intervals are over seeds alone.
    values
        The numbers of the study.
    """

    def __init__(self, outcomes: Outcomes | None, values: Values) -> None:
        self.outcomes, self.values = outcomes, values

    def of(self, name: str, evidences: Iterable[Evidence]) -> dict[str, Array]:
        """Return, by run of some evidence, a measure on resamples, (resamples,) on its scale; empty without any.

        Of a measure that is read off learning curves, it is that of the curves.
        """
        name = source_of(name)
        recorded = self.values.recorded(name)
        runs = {run for evidence in evidences for run in evidence.terms["run"]} & set(recorded.index)
        if self.outcomes is None or not runs:
            return {}
        table = self.values.runs[self.values.runs.index.isin(runs)]
        points = recorded * (100.0 if measure(name).unit == "fraction" else 1.0)
        sign = -1.0 if measure(name).better == "lower" else 1.0
        found = self.outcomes.resampled(name, table, points, self.values.runs)
        return self.values.spread_out(name, {run: sign * value for run, value in found.items()})

    def spread(self, evidence: Evidence, weights: Array, resampled: Array | None) -> statistics.Spread | None:
        """Return the mean over complete seeds and its variance; None without such a seed.

        Parameters
        ----------
        evidence
            The differences.
        weights
            (blocks,) weight of each of its blocks.
        resampled
            The differences on resamples, (resamples, blocks, pairs), as `on_resamples` gives them.
        """
        found = self._over_texts(evidence, weights, resampled)
        if found is None or not evidence.fine_tuning:
            return found
        parts = components(evidence.table(weights))
        return replace(found, fine_tuning=parts.of_mean, n_fine_tuning=parts.n_fine_tuning)

    def _over_texts(self, evidence: Evidence, weights: Array, resampled: Array | None) -> statistics.Spread | None:
        """Return the mean and its variance from the seeds and, where they are known, the texts."""
        used, pairs = weights != 0, evidence.complete(weights)
        if not pairs.any():
            return None
        differences = evidence.mean(weights)
        whole = statistics.spread(differences)
        if resampled is None or self.outcomes is None:
            return replace(whole, few=_of_runs(differences)) if evidence.measure == "failed" else whole
        # a seed's texts are known if those of all its complete pairs are
        lacking = evidence.seed_of[pairs & ~np.isfinite(resampled[0][used]).all(axis=0)]
        told = pairs & ~np.isin(evidence.seed_of, lacking)
        known = np.isin(np.unique(evidence.seed_of[pairs]), evidence.seed_of[told])
        if (covered := int(known.sum())) < min(2, len(differences)):
            return replace(whole, covered=covered)
        drawn = evidence.by_seed(np.einsum("b,rbs->rs", weights[used], resampled[:, used][:, :, told]), told)
        few = self._few(evidence, weights, told)
        n_examples = self.outcomes.examples[evidence.source]
        part = statistics.spread(differences[known], drawn, n_examples, few)
        if covered == len(differences):
            return part
        return replace(whole, examples=part.examples, n_examples=n_examples, few=few, covered=covered)

    def _few(self, evidence: Evidence, weights: Array, pairs: Ids) -> Few | None:
        """Return how many texts speak for either arm by themselves, block by block; None of what is no share."""
        assert self.outcomes is not None
        if evidence.curves is not None:
            return None
        block, pair = evidence.places
        usable = pairs[pair] & evidence.terms["value"].notna().to_numpy()
        sign = -1.0 if measure(evidence.measure).better == "lower" else 1.0
        runs = evidence.terms["run"].to_numpy()
        of_seed = np.bincount(evidence.seed_of[pairs], minlength=len(evidence.seeds))
        count = (of_seed > 0).sum() * of_seed[evidence.seed_of]  # one over the share of a pair in the mean over seeds
        signed = sign * evidence.terms["weight"].to_numpy() / np.maximum(count, 1)[pair]
        blocks = [
            (float(weights[index]), list(zip(runs[own], signed[own], strict=True)))
            for index in np.flatnonzero(weights)
            for own in [usable & (block == index)]
        ]
        return self.outcomes.few(evidence.measure, blocks)


def _of_runs(differences: Array) -> Few:
    """Return how many seeds speak for either arm, of differences of the rate of failed runs, in points.

    A seed is to this rate what a text is to a score: where all of ten seeds agree, up to 26 % of others may not (the
    rule of three), and the interval is as wide as that.
    """
    ahead, behind = (np.array([float((sign * differences >= 50.0).sum())]) for sign in (1, -1))
    return Few(ahead, behind, np.array([len(differences)]), np.array([100.0 / len(differences)]))
