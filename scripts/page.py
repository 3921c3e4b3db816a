"""Write the report of a study: one self-contained page, report.html."""

from __future__ import annotations

import argparse
from pathlib import Path

import checkout  # noqa: F401

from maskbench.io.script import run


def main() -> None:
    """Parse the command line and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", required=True, type=Path, help="folder of the study")
    parser.add_argument("--experiment", required=True, type=Path, help="experiment.json: what the study is made of")
    parser.add_argument("--command", required=True, help="the command that makes the study again")
    parser.add_argument(
        "--reference", type=Path, help="folder with the record of the reference study, to show beside it"
    )
    options = parser.parse_args()
    from maskbench.experiment.resolved import read_experiment
    from maskbench.report.page import write_page

    write_page(options.results, read_experiment(options.experiment), options.command, options.reference)


if __name__ == "__main__":
    run(main)
