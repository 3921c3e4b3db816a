"""Make the sets that a prepared task is tested on but never trained on.

python scripts/shift.py --sets distractor swap-5 ... --clean DIR --destination DIR
"""

import argparse
from pathlib import Path

import checkout  # noqa: F401


def main() -> None:
    """Parse the command line and shift."""
    parser = argparse.ArgumentParser(description="Make a prepared task's test-time sets from its test split.")
    parser.add_argument("--sets", nargs="+", required=True, help="distractor, or swap, delete, drop or mask and -5")
    parser.add_argument("--clean", required=True, type=Path, help="folder that prepare.py made")
    parser.add_argument("--destination", required=True, type=Path, help="folder to make")
    given = parser.parse_args()

    from maskbench.data.shifted import shift

    shift(given.sets, given.clean, given.destination)


if __name__ == "__main__":
    from maskbench.io.script import run

    run(main)
