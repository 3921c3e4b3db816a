"""Prepare one task: read its raw files and write train, validation and test as parquet.

python scripts/prepare.py --spec JSON --source DIR --destination DIR
"""

import argparse
from pathlib import Path

import checkout  # noqa: F401


def main() -> None:
    """Parse the command line and prepare."""
    parser = argparse.ArgumentParser(description="Read a task's raw files and write its three splits as parquet.")
    parser.add_argument("--spec", required=True, help="the task's block of the configuration as JSON")
    parser.add_argument("--source", required=True, type=Path, help="folder with source.json and the raw files")
    parser.add_argument("--destination", required=True, type=Path, help="folder to make")
    given = parser.parse_args()

    from maskbench.data.prepare import prepare
    from maskbench.data.spec import read_task

    prepare(read_task(given.spec), given.source, given.destination)


if __name__ == "__main__":
    from maskbench.io.script import run

    run(main)
