"""Simulated studies: verdicts are wrong as rarely as they claim, intervals cover, and what could be found is found."""

from __future__ import annotations

import numpy as np
import pytest

from maskbench.analysis import detection, statistics
from maskbench.analysis.bootstrap import resampled_scores

EXAMPLES, RESAMPLES, FLIPS = 200, 300, 2000
LONG = pytest.mark.long
SOURCES = {
    # SD of what varies with the seed, with the test example, and with both; points
    "seeds": (1.0, 0.0, 1.0),
    "examples": (0.0, 10.0, 3.0),
    "their interaction": (0.0, 0.0, 14.0),
    "all of them": (0.5, 7.0, 14.0),
}


def simulate(source, seeds, studies, effect, rng):
    """Return the paired differences of many studies, shape (studies, seeds), and the same on resampled examples."""
    of_seed, of_example, of_both = SOURCES[source]
    outcomes = (
        effect
        + of_seed * rng.normal(size=(studies, seeds, 1))
        + of_example * rng.normal(size=(studies, 1, EXAMPLES))
        + of_both * rng.normal(size=(studies, seeds, EXAMPLES))
    )
    flat = outcomes.reshape(-1, EXAMPLES)
    resampled = resampled_scores(flat, np.ones_like(flat), RESAMPLES, rng)
    return outcomes.mean(axis=-1), resampled.reshape(RESAMPLES, studies, seeds)


def judge(differences, resampled, delta, rng, tests=1):
    """Return what verdicts.py makes of each study; `tests` − 1 other contrasts of the claim have larger p-values."""
    spread = statistics.spread(differences, resampled, EXAMPLES)
    p = np.minimum(tests * statistics.sign_flip(differences, rng, FLIPS), 1.0)
    verdict = statistics.decide(p, spread.interval(0.95), spread.interval(0.90), spread.estimate, delta, "superior")
    return spread, verdict


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("seeds", [5, 10, 20])
@pytest.mark.parametrize("hundreds", [3, pytest.param(15, marks=LONG)])
def test_without_an_effect_one_verdict_in_twenty_is_wrong_and_intervals_cover(source, seeds, hundreds):
    """In 300 studies at every change, in 1,500 with --long."""
    rng = np.random.default_rng([seeds, *source.encode()])
    # a few at a time: the draws of the examples are shared within a call
    parts = [judge(*simulate(source, seeds, 100, 0.0, rng), 1e-9, rng) for _ in range(hundreds)]
    wrong = np.concatenate([np.isin(verdict, ["supported", "contradicted"]) for _, verdict in parts])
    covers = np.concatenate([(low <= 0) & (high >= 0) for low, high in (part.interval(0.95) for part, _ in parts)])
    error = np.sqrt(0.05 * 0.95 / len(wrong))  # of a share of 5 % in so many studies
    assert wrong.mean() <= 0.05 + 2.5 * error
    assert 0.93 - error <= covers.mean() <= 0.97 + error  # a band of itself, and one standard error
    if seeds == 5:
        assert not wrong.any()  # an exact test of five signs cannot reject


@pytest.mark.parametrize("source", ["seeds", "all of them"])
@pytest.mark.parametrize("seeds", [10, 20])
@pytest.mark.parametrize(
    ("delta", "tests"), [(0.5, 1), pytest.param(0.5, 3, marks=LONG), pytest.param(4.0, 1, marks=LONG)]
)
def test_half_more_than_the_minimum_detectable_effect_is_found(source, seeds, delta, tests):
    rng = np.random.default_rng([seeds, tests, *source.encode()])
    spread, _ = judge(*simulate(source, seeds, 100, 0.0, rng), delta, rng)
    printed = [
        detection.detectable(statistics.Spread(*numbers, seeds, EXAMPLES), tests, delta)
        for numbers in list(zip(spread.estimate, spread.seeds, spread.examples, strict=True))[:25]
    ]
    effect = 1.5 * float(np.median(printed))
    _, verdict = judge(*simulate(source, seeds, 400, effect, rng), delta, rng, tests)
    assert (verdict == "supported").mean() >= 0.8


@pytest.mark.parametrize("seeds", [8, 10, 20])
def test_the_minimum_detectable_effect_has_the_power_that_it_is_named_for(seeds):
    rng = np.random.default_rng(seeds)
    effect = detection.detectable(
        statistics.Spread(np.array(0.0), np.array(1.0 / seeds), np.array(0.0), seeds, 0), 1, 0.1
    )
    differences = effect + rng.normal(size=(2000, seeds))
    spread = statistics.spread(differences)
    p = statistics.sign_flip(differences, rng, FLIPS)
    verdict = statistics.decide(p, spread.interval(0.95), spread.interval(0.90), spread.estimate, 0.1, "superior")
    assert (verdict == "supported").mean() == pytest.approx(0.8, abs=0.04)
