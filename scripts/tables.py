"""Write the tables of a study: CSV, Markdown, LaTeX."""

from __future__ import annotations

import argparse
from pathlib import Path

import checkout  # noqa: F401

from maskbench.io.script import run


def main() -> None:
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", required=True, type=Path, help="folder of the study")
    parser.add_argument("--output-dir", required=True, type=Path, help="folder to write to")
    options = parser.parse_args()
    from maskbench.report.study import Study
    from maskbench.report.tables import write_tables

    write_tables(Study.read(options.results), options.output_dir)


if __name__ == "__main__":
    run(main)
