"""Write the resolved experiment, with every default and preset spelled out."""

from __future__ import annotations

import argparse
from pathlib import Path

import checkout  # noqa: F401

from maskbench.io.files import read_json, write_json
from maskbench.io.script import run


def main() -> None:
    """Parse the command line and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", required=True, type=Path, help="file with the experiment as JSON")
    parser.add_argument("--output", required=True, type=Path, help="file to write")
    options = parser.parse_args()
    write_json(options.output, read_json(options.experiment))


if __name__ == "__main__":
    run(main)
