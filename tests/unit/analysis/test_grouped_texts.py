"""Intervals of shares of texts that come in groups: as wide as the groups make them, and no wider."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from maskbench.analysis.few import Few
from maskbench.analysis.stream_sums import design_effect


def test_independent_texts_count_one_by_one_and_equal_ones_as_their_group():
    rng, unit = np.random.default_rng(0), np.repeat(np.arange(2000), 5)
    alone = rng.normal(size=10_000)
    assert design_effect(alone - alone.mean(), unit) == pytest.approx(1.0, abs=0.1)
    together = np.repeat(rng.normal(size=2000), 5)
    assert design_effect(together - together.mean(), unit) == pytest.approx(5.0, rel=0.02)
    assert design_effect(alone - alone.mean(), np.arange(10_000)) == pytest.approx(1.0)


def test_where_no_text_differs_a_group_counts_as_one_text():
    unit = np.repeat(np.arange(50), [20] * 25 + [10] * 25)
    # Σ m² / Σ m: 25 · 400 + 25 · 100 over 750
    assert design_effect(np.zeros(750), unit) == pytest.approx(12_500 / 750)


def interval(differs, unit):
    """Return the ends of the 95 % interval of a mean over texts, as a verdict's is made."""
    texts, mean = len(differs), differs.mean()
    alike = design_effect((differs - mean) / texts, unit)
    ahead, behind = (np.array([(sign * differs >= 0.5).sum() / alike]) for sign in (1, -1))
    least = Few(ahead, behind, np.array([texts / alike]), np.array([alike / texts])).reach(0.95)
    groups = np.bincount(unit, weights=differs) / np.bincount(unit)
    normal = stats.t.ppf(0.975, len(groups) - 1) * groups.std(ddof=1) / np.sqrt(len(groups))
    return mean - max(least[0], normal), mean + max(least[1], normal)


@pytest.mark.parametrize(
    ("groups", "size", "within", "widest"),
    [(60, 17, 1.0, 0.14), (60, 17, 0.3, 0.06), (60, 17, 0.1, 0.03), (200, 5, 0.3, 0.03), (1000, 1, 1.0, 0.02)],
)
def test_intervals_cover_whether_texts_of_a_group_differ_together_or_not(groups, size, within, widest):
    """Of all texts .25 % speak for one arm and .75 % for the other; `within` of the texts of a group do so together."""
    rng, unit = np.random.default_rng(1), np.repeat(np.arange(groups), size)
    chances = [0.0025 / within, 0.0075 / within, 1 - 0.01 / within]
    held, widths = 0, []
    for _ in range(400):
        side = rng.choice([1.0, -1.0, 0.0], size=groups, p=chances)
        low, high = interval(((rng.random((groups, size)) < within) * side[:, None]).ravel(), unit)
        held += bool(low <= -0.005 <= high)
        widths.append(high - low)
    assert held >= 0.93 * 400
    assert np.median(widths) < widest
