"""Pack the large files of a study for its record, or make them from their packed forms."""

from __future__ import annotations

import argparse
from pathlib import Path

import checkout  # noqa: F401

from maskbench.io.script import run


def main() -> None:
    """Parse the command line, and pack or unpack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("pack", "unpack"))
    parser.add_argument("files", nargs="+", type=Path, help="the files as they are when they are not packed")
    options = parser.parse_args()
    from maskbench.records.packed import METRICS, pack, unpack

    for path in options.files:
        if options.what == "pack":
            pack(path)
        elif path.name == METRICS:
            from maskbench.analysis.metrics import unpack_metrics

            unpack_metrics(path)
        else:
            unpack(path)


if __name__ == "__main__":
    run(main)
