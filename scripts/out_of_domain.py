"""Prepare the texts from elsewhere that a task is tested on.

python scripts/out_of_domain.py --spec JSON --source DIR --clean DIR --destination DIR
"""

import argparse
from pathlib import Path

import checkout  # noqa: F401


def main() -> None:
    """Parse the command line and prepare."""
    parser = argparse.ArgumentParser(description="Prepare the texts from elsewhere that a task is tested on.")
    parser.add_argument("--spec", required=True, help="the task's block of the configuration as JSON")
    parser.add_argument("--source", required=True, type=Path, help="folder that fetch.py made")
    parser.add_argument("--clean", required=True, type=Path, help="folder that prepare.py made")
    parser.add_argument("--destination", required=True, type=Path, help="folder to make")
    given = parser.parse_args()

    from maskbench.data.out_of_domain import prepare_sets
    from maskbench.data.spec import read_task

    prepare_sets(read_task(given.spec), given.source, given.clean, given.destination)


if __name__ == "__main__":
    from maskbench.io.script import run

    run(main)
