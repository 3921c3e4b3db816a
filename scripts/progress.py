"""Say how many cells of this call are done, how many are left, and about how long they will take."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import checkout  # noqa: F401

from maskbench.io import environment


def main() -> None:
    """Count the run records that are newer than the start of the call."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", required=True, type=Path, help="record of the run that has just ended")
    folder = parser.parse_args().record.parents[1]
    if environment.CELLS not in os.environ:  # a job on a cluster does not know about the whole call
        return
    cells, started = int(os.environ[environment.CELLS]), float(os.environ[environment.STARTED])
    done = sum(record.stat().st_mtime >= started for record in folder.glob("*/metrics.json"))
    left = max(0, cells - done)
    minutes = (time.time() - started) / max(1, done) * left / 60
    print(f"cells: {done} of {cells} done, {left} left" + (f", about {minutes:.0f} min" if left else ""), flush=True)


if __name__ == "__main__":
    main()
