"""What probing costs beside training: read from the records of a study.

python benchmarks/probe_cost.py results/quickstart

Prints one line for each run, and the largest share. A probe job counts from its start, imports included; a training job
does not count its imports, so the share is rather too large than too small.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from maskbench.errors import InputError
from maskbench.io.script import run
from maskbench.probes.record import ProbeRecord
from maskbench.training.record import Record


def main() -> None:
    """Compare the timings of all runs that were probed."""
    if len(sys.argv) != 2:
        raise InputError("expected one argument: the folder of a study, such as results/quickstart")
    shares = {}
    for path in sorted(Path(sys.argv[1]).glob("probes/*/metrics.json")):
        probed = ProbeRecord.read(path)
        if probed.status == "probed":
            trained = Record.read(Path(sys.argv[1]) / "training" / probed.run / "metrics.json")
            shares[probed.run] = (trained.timings.wall_s, probed.timings.wall_s)
    if not shares:
        raise InputError(f"{sys.argv[1]}: expected a study with probed runs")
    print(f"{'run':70} {'train, s':>9} {'probe, s':>9} {'share':>6}")
    for name, (train, probe) in shares.items():
        print(f"{name:70} {train:9.1f} {probe:9.1f} {probe / train:6.2f}")
    print(f"largest share: {max(probe / train for train, probe in shares.values()):.2f}")


if __name__ == "__main__":
    run(main, log=False)
