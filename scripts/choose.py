"""Choose a learning rate for each task, model and strategy from the cells of a tuning: tuning/choices.json."""

from __future__ import annotations

import argparse
from pathlib import Path

import checkout  # noqa: F401

from maskbench.io.script import run


def main() -> None:
    """Parse the command line and choose."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", required=True, type=Path, help="the resolved experiment as JSON")
    parser.add_argument("--results", required=True, type=Path, help="folder of the study")
    options = parser.parse_args()
    from maskbench.analysis.tuning import choose
    from maskbench.experiment.layout import Layout
    from maskbench.experiment.resolved import read_experiment

    layout = Layout(options.results)
    choose(read_experiment(options.experiment), layout.tuning).write(layout.choices)


if __name__ == "__main__":
    run(main)
