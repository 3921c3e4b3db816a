"""Other ways to look at the same differences: mixed model, interquartile mean, ROPE, failed runs imputed."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM

from maskbench.analysis import statistics
from maskbench.analysis.bootstrap import generator
from maskbench.analysis.contrasts import with_values
from maskbench.analysis.findings import POOLED
from maskbench.analysis.values import Scale, Values
from maskbench.config.science import CONFIDENCE, LEVEL, TRIMMED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maskbench.analysis.metrics import Array
    from maskbench.analysis.rows import Row

_RESAMPLES = 2000


def sensitivity(rows: list[Row], values: Values, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of sensitivity.csv: each method for each pooled verdict of at least two seeds."""
    for row in rows:
        if row.spread is None or row.spread.n < 2 or row.scope != POOLED:
            continue
        rng = generator(seed, "sensitivity", row.claim.id, row.evidence.contrast.name, row.evidence.measure)
        yield _entry(row, "mixed model", *_mixed(row))
        yield _entry(row, "IQM", *_iqm(row.evidence.mean(row.weights), rng), note="")
        yield _entry(row, "sign flips", np.nan, *_flips(row), note="")
        yield _improvement(row)
        yield _rope(row)
        yield from _imputed(row, values)


def _entry(row: Row, method: str, estimate: float, low: float, high: float, note: str) -> dict[str, Any]:
    """Return a row; the numbers are on the measure's scale, NaN for none."""
    show = row.evidence.scale.show
    numbers = {"estimate": estimate, "ci_low": low, "ci_high": high}
    return {
        "claim": row.claim.id,
        "contrast": row.evidence.contrast.name,
        "measure": row.evidence.measure,
        "scope": row.scope,
        "method": method,
        **{key: show(value) if np.isfinite(value) else None for key, value in numbers.items()},
        "agrees": _agrees(row, low, high) if np.isfinite([low, high]).all() else "",
        "note": note,
    }


def _agrees(row: Row, low: float, high: float) -> str:
    """Tell whether an interval points where the main one does: above 0, below, or neither."""
    assert row.spread is not None
    one, other = row.spread.interval(CONFIDENCE)
    return "yes" if _side(float(one), float(other)) == _side(low, high) else "no"


def _side(low: float, high: float) -> int:
    return int(low > 0) - int(high < 0)


def _mixed(row: Row) -> tuple[float, float, float, str]:
    """Fit difference = mean + seed + task + error, seed and task random and crossed; error is within a block.

    Between models the seed is that of pretraining, and that of fine-tuning is a third random and crossed effect.

    References
    ----------
    Baayen, Davidson & Bates (2008), Mixed-effects modeling with crossed random effects, Journal of Memory and Language.
    """
    nothing = (np.nan, np.nan, np.nan)
    matrix = row.evidence.differences
    block, pair = np.nonzero(np.isfinite(matrix))
    tasks, seed = np.array(row.evidence.tasks)[block], row.evidence.seed_of[pair]
    again = max(len(row.evidence.fine_tuning), 1)
    if len(matrix) * again < 2 or len(set(seed)) < 2:
        return *nothing, "It takes two blocks."
    table = pd.DataFrame({"y": matrix[block, pair], "seed": seed, "again": pair % again, "task": tasks, "all": 1})
    if table["y"].nunique() < 3:
        return *nothing, "The differences do not vary."
    parts = {"seed": "0 + C(seed)", **({"task": "0 + C(task)"} if len(set(tasks)) > 1 else {})}
    parts |= {"again": "0 + C(again)"} if again > 1 else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fit = MixedLM.from_formula("y ~ 1", table, groups="all", vc_formula=parts).fit()
            (low, high), mean = fit.conf_int().to_numpy()[0], float(fit.params.iloc[0])
        except (np.linalg.LinAlgError, ValueError):
            return *nothing, "The model could not be fitted."
    if not np.isfinite([low, high]).all():
        return *nothing, "The model could not be fitted."
    return mean, float(low), float(high), "" if fit.converged else "The fit did not converge."


def _iqm(differences: Array, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return the interquartile mean over seeds and its percentile interval.

    References
    ----------
    After Agarwal et al. (2021), Deep Reinforcement Learning at the Edge of the Statistical Precipice, NeurIPS, section
    4, who resample the runs of each task apart and warn of few runs; here each seed's mean over the tasks is resampled.
    """
    drawn = rng.choice(differences, size=(_RESAMPLES, len(differences)))
    low, high = np.quantile(stats.trim_mean(drawn, TRIMMED, axis=1), [LEVEL / 2, 1 - LEVEL / 2])
    return float(stats.trim_mean(differences, TRIMMED)), float(low), float(high)


def _flips(row: Row) -> tuple[float, float]:
    """Return the interval of the means that the sign-flip test does not reject: outliers count as often as others."""
    differences = row.evidence.mean(row.weights)
    low, high = statistics.typical_interval(differences, CONFIDENCE)
    return (low, high) if np.isfinite([low, high]).all() else (np.nan, np.nan)


def _improvement(row: Row) -> dict[str, Any]:
    """Return how probable it is that a seed is better under the first arm, with an interval; in the note, no unit.

    References
    ----------
    Agarwal et al. (2021), Deep Reinforcement Learning at the Edge of the Statistical Precipice, NeurIPS (probability of
    improvement, there over all pairs of runs).
    """
    share, low, high = statistics.improvement(row.evidence.mean(row.weights), CONFIDENCE)
    words = f"P(difference above 0) = {share:.2f} [{low:.2f}, {high:.2f}]"
    entry = _entry(row, "probability of improvement", np.nan, np.nan, np.nan, words)
    return entry | {"agrees": _agrees(row, low - 0.5, high - 0.5)}


def _rope(row: Row) -> dict[str, Any]:
    """Return how probable it is that the mean is within ±δ, by its posterior under a flat prior, a t distribution.

    References
    ----------
    After Kruschke (2018), Rejecting or Accepting Parameter Values in Bayesian Estimation, AMPPS, whose rule asks
    whether the 95 % highest-density interval is inside the ROPE or outside of it; here a verdict agrees if its region
    has more than half of the posterior.
    """
    spread = row.spread
    assert spread is not None
    low, high = (float(end) for end in spread.interval(CONFIDENCE))
    estimate, error = float(spread.estimate), float(spread.error)
    below, above = (
        (end - estimate) / error if error > 0 else np.sign(end - estimate) * np.inf for end in (-row.margin, row.margin)
    )
    df = min(float(spread.df), spread.n_fine_tuning - 1) if spread.fine_tuning else float(spread.df)
    chances = [stats.t.cdf(below, df), stats.t.cdf(above, df) - stats.t.cdf(below, df), stats.t.sf(above, df)]
    words = "P(below −δ) = {:.3f}, P(within ±δ) = {:.3f}, P(above δ) = {:.3f}".format(*chances)
    entry = _entry(row, "ROPE", estimate, low, high, words)
    likely = {"contradicted": chances[0] + chances[1], "equivalent": chances[1], "supported": chances[2]}
    if row.test == "non-inferior":
        likely["supported"] = chances[1] + chances[2]
    if row.test == "either":
        likely["supported"] = chances[0] + chances[2]
    if row.verdict in likely:
        return entry | {"agrees": "yes" if likely[row.verdict] > 0.5 else "no"}
    return entry | {"agrees": "yes" if max(chances) < CONFIDENCE else "no"}


def _imputed(row: Row, values: Values) -> Iterator[dict[str, Any]]:
    """Yield the result with the score of the majority class in the place of failed runs' scores."""
    table = row.evidence.terms
    failed = table[table["status"] != "completed"]
    if row.evidence.measure != "score" or failed.empty:
        return
    majority = values.of("majority_score")
    of_task = majority.groupby(values.runs["task"].reindex(majority.index)).mean()
    scores = values.of("score").reindex(table.index)
    scores = scores.fillna(table["task"].map(of_task))
    evidence = with_values(row.evidence, Scale("score").of(scores))
    complete = evidence.complete(row.weights)
    if complete.sum() < 2:
        return
    spread = statistics.spread(evidence.mean(row.weights))
    low, high = spread.interval(CONFIDENCE)
    note = (
        f"{len(failed)} failed runs count with the score of the majority class; {spread.n} seeds, interval over seeds."
    )
    yield _entry(row, "failed runs imputed", float(spread.estimate), float(low), float(high), note)
