"""The statistics of verdicts against brute force, textbooks and simulation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from maskbench.analysis import detection, statistics
from maskbench.analysis.bootstrap import resampled_scores
from maskbench.analysis.statistics import Spread


def test_over_seeds_alone_the_interval_is_that_of_a_t_test():
    differences = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])  # symmetric
    spread = statistics.spread(differences)
    expected = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
    np.testing.assert_allclose(spread.interval(0.95), [expected.low, expected.high])


def test_the_variance_is_that_of_owens_pigeonhole_bootstrap_with_what_is_counted_thrice_taken_off():
    """Resample seeds, examples and both by brute force, with the factor n/(n − 1) that the seeds' bootstrap lacks."""
    rng = np.random.default_rng(1)
    seeds, examples, draws = 6, 40, 20_000
    outcomes = rng.normal(size=(seeds, 1)) + 4 * rng.normal(size=(1, examples)) + 5 * rng.normal(size=(seeds, examples))
    resampled = resampled_scores(outcomes, np.ones_like(outcomes), draws, rng)
    spread = statistics.spread(outcomes.mean(axis=1), resampled, examples)
    chosen = rng.integers(seeds, size=(draws, seeds))
    inflated = seeds / (seeds - 1)
    of_seeds = inflated * outcomes.mean(axis=1)[chosen].mean(axis=1).var()
    of_examples = resampled.mean(axis=1).var()
    # given the examples, the variance from drawing seeds is a (n − 1)/n of what it should be
    given = resampled[np.arange(draws)[:, None], chosen]
    of_both = of_examples + inflated * (given.mean(axis=1) - resampled.mean(axis=1)).var()
    assert spread.seeds == pytest.approx(of_seeds, rel=0.05)
    assert spread.seeds + spread.examples == pytest.approx(2 * (of_seeds + of_examples) - of_both, rel=0.05)
    assert spread.examples > 0


def test_examples_that_move_no_seed_alike_add_nothing():
    """Seeds and their interaction with the examples are in the variance over seeds already."""
    rng = np.random.default_rng(2)
    ratios = []
    for _ in range(40):
        outcomes = 5 * rng.normal(size=(8, 100))
        resampled = resampled_scores(outcomes, np.ones_like(outcomes), 400, rng)
        spread = statistics.spread(outcomes.mean(axis=1), resampled, 100)
        ratios.append((spread.seeds + spread.examples) / (25 / 800))
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.25)


def test_degrees_of_freedom_are_those_of_the_larger_part():
    def df(seeds, examples):
        return float(Spread(np.array(0.0), np.array(seeds), np.array(examples), 10, 1000).df)

    assert df(1.0, 0.0) == 9
    assert df(0.0, 1.0) == 999
    assert df(1.0, 1.0) == pytest.approx(4 / (1 / 9 + 1 / 999))
    assert df(0.0, 0.0) == 9


def test_sign_flips_are_all_of_them_where_they_fit():
    differences = np.random.default_rng(3).normal(0.5, size=8)
    means = [np.mean(differences * signs) for signs in product([1, -1], repeat=8)]
    expected = np.mean(np.abs(means) >= abs(differences.mean()) - 1e-12)
    for seed in range(2):
        assert statistics.sign_flip(differences, np.random.default_rng(seed)) == pytest.approx(expected)
    assert statistics.sign_flip(np.full(5, 2.0), np.random.default_rng(0)) == statistics.smallest_p(5) == 0.0625
    assert statistics.sign_flip(np.zeros(12), np.random.default_rng(0)) == 1.0


def test_random_sign_flips_are_near_the_exact_ones():
    differences = np.random.default_rng(4).normal(0.4, size=(5, 14))
    exact = statistics.sign_flip(differences, np.random.default_rng(0))
    drawn = statistics.sign_flip(differences, np.random.default_rng(0), flips=8000)
    assert not np.array_equal(drawn, exact)
    np.testing.assert_allclose(drawn, exact, atol=0.02)


def test_holm_adjusts_for_what_was_tested():
    np.testing.assert_allclose(statistics.holm([0.01, np.nan, 0.04, 0.03]), [0.03, np.nan, 0.06, 0.06])
    assert np.isnan(statistics.holm([np.nan])).all()


@pytest.mark.parametrize(
    ("p", "interval", "inner", "estimate", "test", "verdict"),
    [
        (0.01, (0.2, 1.8), (0.3, 1.7), 1.0, "superior", "supported"),
        (0.06, (0.2, 1.8), (0.3, 1.7), 1.0, "superior", "inconclusive"),
        (0.01, (-0.1, 2.1), (0.1, 1.9), 1.0, "superior", "inconclusive"),
        (0.01, (0.1, 0.7), (0.15, 0.6), 0.4, "superior", "inconclusive"),
        (0.01, (0.1, 0.5), (0.15, 0.45), 0.3, "superior", "equivalent"),
        (0.01, (-0.5, -0.1), (-0.45, -0.15), -0.3, "superior", "contradicted"),
        (0.50, (-0.6, 0.6), (-0.45, 0.45), 0.0, "superior", "equivalent"),
        (0.50, (-0.7, 0.7), (-0.55, 0.45), 0.0, "superior", "inconclusive"),
        (0.01, (-0.4, 0.2), (-0.3, 0.1), -0.1, "non-inferior", "supported"),
        (0.01, (-1.4, -0.7), (-1.3, -0.8), -1.0, "non-inferior", "contradicted"),
        (0.01, (-1.4, -0.2), (-1.3, -0.3), -0.8, "non-inferior", "inconclusive"),
        (0.01, (-1.4, -0.2), (-1.3, -0.3), -0.8, "either", "supported"),
        (0.01, (-0.4, -0.2), (-0.38, -0.22), -0.3, "either", "equivalent"),
    ],
)
def test_verdicts_are_those_of_the_rules(p, interval, inner, estimate, test, verdict):
    found = statistics.decide(np.array(p), interval, inner, np.array(estimate), 0.5, test)
    assert found == verdict


def test_five_seeds_can_find_nothing_and_more_tests_take_more_seeds():
    def spread(n):
        return Spread(np.array(0.0), np.array(1.0 / n), np.array(0.0), n, 0)

    assert np.isnan(detection.detectable(spread(5), 1, 0.5))
    assert np.isnan(detection.detectable(spread(6), 2, 0.5))
    assert detection.detectable(spread(6), 1, 0.5) > detection.detectable(spread(10), 1, 0.5)
    assert detection.detectable(spread(10), 3, 0.5) > detection.detectable(spread(10), 1, 0.5)
    # an estimate of at least δ: a true effect of exactly δ is found only half of the time
    assert detection.detectable(spread(10_000), 1, 0.5) == pytest.approx(0.5 + 0.8416 / 100, abs=1e-3)


def test_seeds_needed_are_those_of_a_paired_t_test():
    """With d = 0.5 it takes 34 pairs (Cohen 1988, two-sided 5 %, power 80 %)."""
    assert detection.seeds_needed(0.5, 1.0, 0.0, 0, 1) == pytest.approx(34, abs=1)
    assert detection.seeds_needed(0.5, 1.0, 0.0, 0, 3) > 34
    assert detection.seeds_needed(0.5, 1.0, 0.25, 100, 1) is None  # the test examples alone are too few
    assert detection.seeds_needed(50.0, 1.0, 0.0, 0, 1) == 6  # no fewer can reject
