"""What probing costs beside training: read from the records of a study.

python benchmarks/probe_cost.py results/quickstart

Prints one line for each run, then the median share of wall time and of CPU time by task. A probe job's wall time counts
from its start, imports included, a training job's does not, so that share is rather too large than too small. CPU times
are of whole processes; on a machine that does other things as well they are the ones to read.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from maskbench.errors import InputError
from maskbench.io.script import run
from maskbench.records.probe import ProbeRecord
from maskbench.records.run import Record


def main() -> None:
    """Compare the timings of all runs that were probed."""
    if len(sys.argv) != 2:
        raise InputError("expected one argument: the folder of a study, such as results/quickstart")
    shares: dict[str, list[tuple[float, float]]] = {}
    print(f"{'run':70} {'train, s':>9} {'probe, s':>9} {'wall':>6} {'CPU':>6}")
    for path in sorted(Path(sys.argv[1]).glob("probes/*/metrics.json")):
        probed = ProbeRecord.read(path)
        if probed.status != "probed":
            continue
        trained = Record.read(Path(sys.argv[1]) / "training" / probed.run / "metrics.json")
        train, probe = trained.timings, probed.timings
        if train.cpu_s is None or probe.cpu_s is None:
            raise InputError(f"{path}: timings.cpu_s: expected a number; run the study again")
        share = (probe.wall_s / train.wall_s, probe.cpu_s / train.cpu_s)
        shares.setdefault(trained.task, []).append(share)
        print(f"{probed.run:70} {train.wall_s:9.1f} {probe.wall_s:9.1f} {share[0]:6.2f} {share[1]:6.2f}")
    if not shares:
        raise InputError(f"{sys.argv[1]}: expected a study with probed runs")
    for task, found in shares.items():
        wall, cpu = (statistics.median(values) for values in zip(*found, strict=True))
        print(f"{task}, {len(found)} runs: median share {wall:.2f} of wall time, {cpu:.2f} of CPU time")


if __name__ == "__main__":
    run(main, log=False)
