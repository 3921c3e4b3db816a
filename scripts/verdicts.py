"""Put the claims to the test: verdicts.csv, and the evidence in analysis/."""

from __future__ import annotations

import argparse
from pathlib import Path

import checkout  # noqa: F401

from maskbench.errors import InputError
from maskbench.io.script import run


def main() -> None:
    """Parse the command line and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", required=True, type=Path, help="metrics.csv")
    parser.add_argument("--outcomes", type=Path, help="outcomes.parquet; without it, intervals are over seeds alone")
    parser.add_argument("--manifest", type=Path, help="manifest.json, which knows the claims that runs were made under")
    parser.add_argument("--claims", required=True, type=Path, help="file of claims, such as claims.yaml")
    parser.add_argument("--resamples", required=True, type=int, help="resamples of the test examples")
    parser.add_argument("--seed", required=True, type=int, help="seed of the generators")
    parser.add_argument("--train-size", help="judge contrasts that are not over train sizes at this one alone")
    parser.add_argument("--tuned", action="store_true", help="the study tunes: write that half, too, even without runs")
    parser.add_argument("--results", required=True, type=Path, help="folder to write to")
    options = parser.parse_args()
    if options.resamples < 100 or options.seed < 0:
        raise InputError("verdicts: expected --resamples of at least 100 and --seed of at least 0")
    from maskbench.analysis.verdict_files import write_verdicts

    write_verdicts(
        options.metrics,
        options.outcomes,
        options.manifest,
        options.claims,
        options.results,
        resamples=options.resamples,
        seed=options.seed,
        train_size=options.train_size,
        tuned=options.tuned,
    )


if __name__ == "__main__":
    run(main)
