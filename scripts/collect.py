"""Gather the records of all runs: metrics.csv, metrics.parquet, along.csv, outcomes.parquet, manifest.json."""

from __future__ import annotations

import argparse
from pathlib import Path

import checkout  # noqa: F401

from maskbench.io.script import run


def main() -> None:
    """Parse the command line and collect."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--results", required=True, type=Path, help="folder of the study, which holds training/ and probes/"
    )
    parser.add_argument("--experiment", required=True, type=Path, help="experiment.json, which names study and runs")
    options = parser.parse_args()
    from maskbench.analysis.collect import collect
    from maskbench.experiment.cell import cells
    from maskbench.experiment.resolved import read_experiment

    experiment = read_experiment(options.experiment)
    collect(
        experiment.study,
        options.results,
        [cell.run for cell in cells(experiment)],
        options.results,
        baseline=experiment.baseline,
        probed=bool(experiment.probes.wanted),
        share=experiment.analysis.matched_score,
        pretrained={model.name: (model.recipe, model.pretraining_seed) for model in experiment.models},
    )


if __name__ == "__main__":
    run(main)
