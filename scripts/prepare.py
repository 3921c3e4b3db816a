"""Prepare one task: read its raw files and write train, validation and test as parquet.

python scripts/prepare.py --spec JSON --source DIR --destination DIR [--reserve JSON --reserved DIR]
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
    parser.add_argument("--reserve", help="JSON: how many training texts are set apart for tuning; default: none")
    parser.add_argument("--reserved", type=Path, help="with --reserve: folder to make of these texts")
    given = parser.parse_args()

    from maskbench.config.tuning import Reserve
    from maskbench.data.prepare import prepare
    from maskbench.data.spec import read_block, read_task
    from maskbench.errors import InputError

    if (given.reserve is None) != (given.reserved is None):
        raise InputError("prepare: expected --reserve and --reserved together")
    reserve = None
    if given.reserve is not None:
        reserve = read_block(Reserve.model_validate_json, given.reserve, "reserve"), given.reserved
    prepare(read_task(given.spec), given.source, given.destination, reserve)


if __name__ == "__main__":
    from maskbench.io.script import run

    run(main)
