"""Write docs/findings.md and the answer in README.md from the record of the reference study, results/reference."""

from __future__ import annotations

import argparse
from pathlib import Path

import checkout

from maskbench.errors import InputError
from maskbench.io.script import run


def main() -> None:
    """Parse the command line and write the page, the answer and its figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, help="folder of the record (results/reference of this checkout)")
    options = parser.parse_args()
    from maskbench.experiment.recorded import RECORD
    from maskbench.report.findings.write import write

    if options.record and not options.record.is_dir():
        raise InputError(f"--record: {options.record}: expected the folder of a record, found none")
    for name in write(checkout.ROOT, options.record or RECORD):
        print(name)


if __name__ == "__main__":
    run(main, log=False)
