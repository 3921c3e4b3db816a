"""Encode one prepared task for one model: token ids as memory-mapped Arrow.

python scripts/encode.py --spec JSON --prepared DIR --model DIR --destination DIR
"""

import argparse
import sys
from pathlib import Path

import checkout  # noqa: F401


def main() -> None:
    """Parse the command line and encode."""
    parser = argparse.ArgumentParser(description="Tokenize a prepared task for one model.")
    parser.add_argument("--spec", required=True, help="the task's block of the configuration as JSON")
    parser.add_argument("--prepared", required=True, type=Path, help="folder that prepare.py made")
    parser.add_argument("--model", required=True, type=Path, help="transformers folder with a fast tokenizer")
    parser.add_argument("--destination", required=True, type=Path, help="folder to make")
    given = parser.parse_args()

    import datasets

    from maskbench.data.encode import encode
    from maskbench.data.spec import read_task

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()  # in a log, every update would be a line
    encode(read_task(given.spec), given.prepared, given.model, given.destination)


if __name__ == "__main__":
    from maskbench.io.script import run

    run(main)
