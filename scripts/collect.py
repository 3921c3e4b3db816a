"""Gather the records of all runs of a study: metrics.csv, metrics.parquet, outcomes.parquet, manifest.json."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from maskbench.io.script import run


def main() -> None:
    """Parse the command line and collect."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", required=True, type=Path, help="folder of the study, which holds training/<run>/")
    parser.add_argument("--experiment", type=Path, help="experiment.json, which names the study and its runs")
    parser.add_argument("--study", help="without --experiment: name of the study")
    parser.add_argument("--runs", type=Path, help="without --experiment: file with run ids, one a line")
    parser.add_argument("--output-dir", type=Path, help="folder to write to; the folder of the study if not given")
    options = parser.parse_args()
    if (options.experiment is None) == (options.study is None or options.runs is None):
        parser.error("give either --experiment, or --study and --runs")
    from maskbench.analysis.collect import collect, read_runs, runs_of_experiment

    if options.experiment is None:
        study, runs = options.study, read_runs(options.runs)
    else:
        study, runs = runs_of_experiment(options.experiment)
    collect(study, options.results, runs, options.output_dir or options.results)


if __name__ == "__main__":
    run(main)
