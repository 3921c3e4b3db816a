"""Train and probe the cells of one job that are not finished, on one GPU slot, and write the job's index."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

import checkout  # noqa: F401

from maskbench.errors import InputError
from maskbench.io.script import run


def arguments() -> argparse.Namespace:
    """Return the arguments of the command line, parsed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", required=True, type=Path, help="the resolved experiment as JSON")
    parser.add_argument("--results", required=True, type=Path, help="folder of the study")
    parser.add_argument("--tuning", action="store_true", help="the job is one of the study's tuning")
    parser.add_argument("--job", required=True, help="id of the job")
    parser.add_argument(
        "--terminal", type=int, help="file descriptor that is given a line whenever a cell ends; default: none"
    )
    return parser.parse_args()


def main() -> None:
    """Read the experiment, and work on the job."""
    options = arguments()
    from maskbench.experiment.jobs import Jobs, only_runs
    from maskbench.experiment.layout import Layout
    from maskbench.experiment.resolved import read_experiment
    from maskbench.experiment.tuning import tuning
    from maskbench.records.choices import Choices
    from maskbench.runner.job import Runner

    experiment, layout, choices = read_experiment(options.experiment), Layout(options.results), None
    if options.tuning:
        experiment, layout = tuning(experiment), layout.tuning
    elif experiment.tune is not None and layout.choices.exists():
        choices = Choices.read(layout.choices)
    jobs = Jobs(experiment, choices, None if options.tuning else only_runs())
    if options.job not in jobs.by_id:
        raise InputError(f"{options.experiment}: expected an experiment with the job {options.job}")

    def say(line: str) -> None:
        if options.terminal is not None:
            os.write(options.terminal, f"{line}\n".encode())

    command = shlex.join(["scripts/train.py", *sys.argv[1:]])
    Runner(jobs.by_id[options.job], jobs, layout, command, say).run()


if __name__ == "__main__":
    run(main)
