"""Write the report of a study: one self-contained page, report.html."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from maskbench.io.script import run


def main() -> None:
    """Parse the command line and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", required=True, type=Path, help="folder of the study")
    parser.add_argument("--experiment", type=Path, help="experiment.json, which says what the study is made of")
    parser.add_argument("--command", help="with --experiment: the command that makes the study again")
    parser.add_argument("--spec", type=Path, help="without --experiment: JSON file that says the same")
    options = parser.parse_args()
    if (options.spec is None) == (options.experiment is None or options.command is None):
        parser.error("give either --experiment and --command, or --spec")
    from maskbench.report.page import Spec, write_page

    spec = Spec.read(options.spec) if options.spec else Spec.of_experiment(options.experiment, options.command)
    write_page(options.results, spec)


if __name__ == "__main__":
    run(main)
