"""Pack corpora for pretraining: duplicates out, documents held out, a vocabulary, sequences of token ids.

python scripts/pack.py --spec JSON --corpora DIR [DIR ...] --tasks DIR [DIR ...] --destination DIR [--model DIR]
"""

import argparse
import sys
from pathlib import Path

import checkout  # noqa: F401


def main() -> None:
    """Parse the command line and pack."""
    parser = argparse.ArgumentParser(description="Pack corpora into sequences of token ids.")
    parser.add_argument("--spec", required=True, help="what decides the pack, as JSON (maskbench/config/corpora.py)")
    parser.add_argument("--corpora", required=True, type=Path, nargs="+", help="folders that corpus.py made, in order")
    parser.add_argument(
        "--tasks", required=True, type=Path, nargs="+", help="folders that prepare.py made, of all tasks"
    )
    parser.add_argument("--model", type=Path, help="transformers folder whose tokenizer is used")
    parser.add_argument("--destination", required=True, type=Path, help="folder to make")
    given = parser.parse_args()

    import datasets

    from maskbench.config.corpora import Packing
    from maskbench.data.corpora.pack import pack
    from maskbench.data.spec import read_block

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()  # in a log, every update would be a line
    pack(
        read_block(Packing.model_validate_json, given.spec, "packing"),
        given.corpora,
        given.tasks,
        given.destination,
        given.model,
    )


if __name__ == "__main__":
    from maskbench.io.script import run

    run(main)
