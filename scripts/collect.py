"""Gather the records of all runs: metrics.csv, metrics.parquet, along.csv, outcomes.parquet, manifest.json."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import checkout  # noqa: F401

from maskbench.errors import InputError
from maskbench.io.script import run

if TYPE_CHECKING:
    from maskbench.experiment.experiment import Experiment


def main() -> None:
    """Parse the command line and collect."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--results", required=True, type=Path, help="folder of the study, which holds training/ and probes/"
    )
    parser.add_argument("--experiment", required=True, type=Path, help="experiment.json, which names study and runs")
    parser.add_argument("--finished", action="store_true", help="of the cells that are finished; default: of all")
    options = parser.parse_args()
    from maskbench.analysis.collect import collect
    from maskbench.experiment.cell import cells
    from maskbench.experiment.resolved import read_experiment

    experiment = read_experiment(options.experiment)
    planned = [cell.run for cell in cells(experiment)]
    collect(
        experiment.study,
        options.results,
        _finished(experiment, options.results) if options.finished else planned,
        options.results,
        planned=planned,
        baseline=experiment.baseline,
        probed=bool(experiment.probes.wanted),
        share=experiment.analysis.matched_score,
        pretrained={model.name: (model.recipe, model.pretraining_seed) for model in experiment.models},
    )


def _finished(experiment: Experiment, results: Path) -> list[str]:
    """Return the runs that are finished, of which there must be one."""
    from maskbench.experiment.finished import finished
    from maskbench.experiment.jobs import Jobs
    from maskbench.experiment.layout import Layout
    from maskbench.records.choices import Choices

    layout = Layout(results)
    tuned = experiment.tune is not None and layout.choices.exists()
    found = finished(Jobs(experiment, Choices.read(layout.choices) if tuned else None), layout)
    if not found:
        raise InputError(f"{results}: expected at least one finished cell to make a record of, found none")
    return found


if __name__ == "__main__":
    run(main)
