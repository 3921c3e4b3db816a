"""Compare every strategy with the baseline, seed by seed: comparisons.csv."""

from __future__ import annotations

import argparse
from pathlib import Path

import checkout  # noqa: F401

from maskbench.errors import InputError
from maskbench.io.script import run


def main() -> None:
    """Parse the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", required=True, type=Path, help="metrics.csv")
    parser.add_argument("--outcomes", type=Path, help="outcomes.parquet; without it, intervals are over seeds alone")
    parser.add_argument("--baseline", required=True, help="strategy to compare with")
    parser.add_argument("--resamples", required=True, type=int, help="resamples of the bootstrap")
    parser.add_argument("--confidence", required=True, type=float, help="coverage of the intervals, such as 0.95")
    parser.add_argument("--seed", required=True, type=int, help="seed of the bootstrap's generator")
    parser.add_argument("--tuned", action="store_true", help="the study tunes: write that half, too, even without runs")
    parser.add_argument("--output", required=True, type=Path, help="comparisons.csv")
    options = parser.parse_args()
    if options.resamples < 100 or not 0.0 < options.confidence < 1.0 or options.seed < 0:
        raise InputError(
            "compare: expected --resamples of at least 100, --confidence between 0 and 1, --seed of at least 0"
        )
    from maskbench.analysis.compare import Settings, compare_files

    settings = Settings(options.baseline, options.resamples, options.confidence, options.seed)
    compare_files(options.metrics, options.outcomes, options.output, settings, tuned=options.tuned)


if __name__ == "__main__":
    run(main)
