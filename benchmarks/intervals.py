"""How often intervals over few seeds cover, how often verdicts are wrong, and how wide it makes them: by simulation.

    python benchmarks/intervals.py [--studies 20000] [--seeds 6 7 8 10 20] [--texts] [--others]

Draws studies without an effect whose paired differences have many shapes, and judges them with the functions that make
the verdicts. With --texts half of a mean's variance comes from 200 test texts. With --others the same studies are given
intervals that are made in other ways. Prints Markdown; widths are multiples of Student's interval.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy import stats

from maskbench.analysis import statistics
from maskbench.config.science import CONFIDENCE, EQUIVALENCE_CONFIDENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    Ends = tuple[Array, Array]

TEXTS, FLIPS, RESAMPLES, AT_ONCE = 200, 2048, 999, 200
SHAPES: dict[str, Callable[[np.random.Generator, tuple[int, int]], Array]] = {
    # each has the mean 0; one run in ten of the last one learns nothing, and verdicts are about the others
    "normal": lambda rng, size: rng.normal(size=size),
    "uniform": lambda rng, size: rng.uniform(-1, 1, size=size),
    "two values": lambda rng, size: rng.choice([-1.0, 1.0], size=size),
    "t of 3": lambda rng, size: rng.standard_t(3, size=size),
    "exponential": lambda rng, size: rng.exponential(size=size) - 1,
    "lognormal": lambda rng, size: rng.lognormal(size=size) - np.exp(0.5),
    "collapse": lambda rng, size: np.where(rng.random(size) < 0.1, -30.0, rng.normal(size=size)),
}


def main() -> None:
    """Print one table for each question that was asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[6, 7, 8, 10, 20])
    parser.add_argument("--texts", action="store_true", help="half of the variance comes from the test texts")
    parser.add_argument("--others", action="store_true", help="compare with intervals that are made in other ways")
    options = parser.parse_args()
    if options.texts and options.others:
        parser.error("--others: made of the seeds' differences alone, so not with --texts")
    heads = ["seeds", "differences", "interval", "refused", "wrong", "covers", "90 %: one side misses"]
    heads += ["width, median", "95th percentile", "one side, 95th percentile"]
    print(f"| {' | '.join(heads)} |\n|--:|---|---|{'--:|' * (len(heads) - 3)}")
    for seeds in options.seeds:
        for shape, draw in SHAPES.items():
            rng = np.random.default_rng([seeds, *shape.encode()])
            drawn = draw(rng, (options.studies, seeds))
            for name, cells in _rows(drawn, shape, options, rng):
                print(f"| {seeds} | {shape} | {name} | {' | '.join(cells)} |", flush=True)


def _rows(
    drawn: Array, shape: str, options: argparse.Namespace, rng: np.random.Generator
) -> list[tuple[str, list[str]]]:
    """Return the cells of each rule for differences (studies, seeds)."""
    judged = ~((drawn == -30.0).any(axis=1) if shape == "collapse" else np.ptp(drawn, axis=1) == 0)
    kept = drawn[judged]
    ours = statistics.spread(kept)
    if options.texts:
        ours = with_texts(ours, float(kept.var()), rng)
    student = replace(ours, skewness=0.0).interval
    found = [("verdicts'", cells(judged, wrong(kept, ours, rng), ours.estimate, ours.interval, student))]
    if options.others:
        for name, rule in OTHERS.items():
            made = {level: rule(kept, level) for level in (CONFIDENCE, EQUIVALENCE_CONFIDENCE)}
            found.append((name, cells(judged, None, ours.estimate, made.__getitem__, student)))
    return found


def with_texts(spread: statistics.Spread, variance: float, rng: np.random.Generator) -> statistics.Spread:
    """Return the spread of studies whose texts add as much to the variance of a mean as its seeds."""
    of_texts, size = variance / spread.n, np.shape(spread.estimate)
    estimated = of_texts * rng.chisquare(TEXTS - 1, size=size) / (TEXTS - 1)
    estimate = spread.estimate + np.sqrt(of_texts) * rng.normal(size=size)
    return replace(spread, estimate=estimate, examples=estimated, n_examples=TEXTS)


def wrong(drawn: Array, spread: statistics.Spread, rng: np.random.Generator) -> Array:
    """Return (studies,) bool: which are called supported or contradicted at a margin next to nothing."""
    # the flips are of the differences on these texts, around which their mean was moved
    moved = drawn + (spread.estimate - drawn.mean(axis=1))[:, None]
    p = np.maximum(statistics.sign_flip(moved, rng, FLIPS), spread.p())
    verdicts = statistics.decide(p, spread.interval(CONFIDENCE), spread.inner(), spread.estimate, 1e-9, "superior")
    return np.isin(verdicts, ["supported", "contradicted"])


def cells(
    judged: Array,
    wrong: Array | None,
    estimate: Array,
    interval: Callable[[float], Ends],
    plain: Callable[[float], Ends],
) -> list[str]:
    """Return the cells of one row."""
    (low, high), inner, (left, right) = interval(CONFIDENCE), interval(EQUIVALENCE_CONFIDENCE), plain(CONFIDENCE)
    width = (high - low) / (right - left)
    reach = np.maximum(estimate - low, high - estimate) / ((right - left) / 2)
    misses = max((inner[0] > 0).mean(), (inner[1] < 0).mean())
    shares = [1 - judged.mean(), np.nan if wrong is None else wrong.sum() / len(judged)]
    shares += [((low <= 0) & (high >= 0)).mean(), misses]
    told = [f"{100 * share:.1f} %" if np.isfinite(share) else "–" for share in shares]
    return told + [f"{value:.2f}" for value in (np.median(width), np.quantile(width, 0.95), np.quantile(reach, 0.95))]


def _t_interval(drawn: Array, confidence: float) -> tuple[Array, Array, float, int]:
    """Return means, standard errors, Student's quantile and the number of seeds."""
    n = drawn.shape[1]
    return drawn.mean(axis=1), drawn.std(axis=1, ddof=1) / np.sqrt(n), stats.t.ppf((1 + confidence) / 2, n - 1), n


def student_interval(drawn: Array, confidence: float) -> Ends:
    """Return Student's intervals of the studies."""
    mean, error, quantile, _ = _t_interval(drawn, confidence)
    return mean - quantile * error, mean + quantile * error


def johnson(drawn: Array, confidence: float) -> Ends:
    """Return those of the modified t statistic (Johnson 1978): moved by the skewness, as wide as Student's."""
    mean, error, quantile, n = _t_interval(drawn, confidence)
    middle = mean + statistics.skewness_of(drawn) * error / (6 * np.sqrt(n))
    return middle - quantile * error, middle + quantile * error


def hall(drawn: Array, confidence: float) -> Ends:
    """Return those that verdicts had before: Hall's (1992) transformation inverted, without a bound."""
    mean, error, quantile, n = _t_interval(drawn, confidence)
    skew = (2.0 if n < 10 else 1.5) * statistics.skewness_of(drawn)
    skew = np.where(np.abs(skew) < 1e-6, 1e-6, skew)

    def end(at: float) -> Array:
        return 3 * np.sqrt(n) * (np.cbrt(1 + skew * (at / np.sqrt(n) - skew / (6 * n))) - 1) / skew

    least = 1.15 if n == 6 else 1.0
    down, up = (least * np.maximum(reach, quantile) for reach in (end(quantile), -end(-quantile)))
    return mean - error * down, mean + error * up


def resampled(drawn: Array, confidence: float, way: Callable[[Array, Array, float], Ends]) -> Ends:
    """Return bootstrap intervals; `way` makes them of differences (studies, seeds) and (studies, resamples, seeds)."""
    rng, found = np.random.default_rng(0), []
    for first in range(0, len(drawn), AT_ONCE):
        part = drawn[first : first + AT_ONCE]
        picked = rng.integers(0, part.shape[1], size=(len(part), RESAMPLES, part.shape[1]))
        found.append(way(part, np.take_along_axis(part[:, None], picked, axis=2), confidence))
    low, high = (np.concatenate(side) for side in zip(*found, strict=True))
    return low, high


def bca(part: Array, again: Array, confidence: float) -> Ends:
    """Return bias-corrected and accelerated intervals (Efron 1987)."""
    means, centred = np.sort(again.mean(axis=2), axis=1), part - part.mean(axis=1, keepdims=True)
    below = (means < part.mean(axis=1)[:, None]).mean(axis=1).clip(1 / RESAMPLES, 1 - 1 / RESAMPLES)
    bias, speed = stats.norm.ppf(below), (centred**3).sum(axis=1) / (6 * (centred**2).sum(axis=1) ** 1.5)

    def end(z: float) -> Array:
        place = stats.norm.cdf(bias + (bias + z) / (1 - speed * (bias + z)))
        rank = np.clip(np.round(place * (RESAMPLES + 1)).astype(int) - 1, 0, RESAMPLES - 1)
        return np.take_along_axis(means, rank[:, None], axis=1)[:, 0]

    z = float(stats.norm.ppf((1 + confidence) / 2))
    return end(-z), end(z)


def bootstrap_t(part: Array, again: Array, confidence: float) -> Ends:
    """Return the intervals of the resampled t statistic; resamples of one value, which have none, are left out."""
    mean, error = part.mean(axis=1), part.std(axis=1, ddof=1) / np.sqrt(part.shape[1])
    errors = again.std(axis=2, ddof=1) / np.sqrt(part.shape[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.where(errors > 1e-9 * error[:, None], (again.mean(axis=2) - mean[:, None]) / errors, np.nan)
    low, high = np.nanquantile(values, [(1 - confidence) / 2, (1 + confidence) / 2], axis=1)
    return mean - high * error, mean - low * error


OTHERS: dict[str, Callable[[Array, float], Ends]] = {
    "Student's": student_interval,
    "Johnson's": johnson,
    "Hall's, before": hall,
    "BCa": lambda drawn, confidence: resampled(drawn, confidence, bca),
    "bootstrap t": lambda drawn, confidence: resampled(drawn, confidence, bootstrap_t),
}


if __name__ == "__main__":
    main()
