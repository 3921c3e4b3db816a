"""Measure the interference in one trained model, and write its probe record and the outcomes of its test-time sets."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from maskbench.config.probes import Probes
from maskbench.experiment.cell import Cell
from maskbench.io.files import atomic
from maskbench.io.script import run

_BEGAN = time.perf_counter()  # before torch and transformers, which are most of what is imported


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", required=True, type=Cell.model_validate_json, help="the run's cell as JSON")
    parser.add_argument("--probes", required=True, type=Probes.model_validate_json, help="what is measured, as JSON")
    parser.add_argument("--sources", required=True, type=json.loads, help="folders by name as JSON (probes/base.py)")
    parser.add_argument("--output", required=True, type=Path, help="folder of the probe record")
    parser.add_argument("--code", required=True, help="content hash of the code")
    return parser.parse_args()


def main() -> None:
    """Lease a GPU slot, then import torch and measure."""
    options = arguments()
    cell: Cell = options.cell
    from maskbench.slots.leases import lease

    asked = time.perf_counter()
    with lease(int(os.environ.get("MASKBENCH_SLOTS_PER_GPU", "1")), run=f"probe {cell.run}") as slot:
        waited = time.perf_counter() - asked
        os.environ |= slot.environment() | {"OMP_NUM_THREADS": str(cell.training.threads)}
        from maskbench.probes.base import Sources
        from maskbench.probes.run import probe_run
        from maskbench.slots.device import choose

        record, outcomes = probe_run(
            cell,
            Sources(**{name: Path(folder) for name, folder in options.sources.items()}),
            options.probes,
            choose(cell.training, Path(options.sources["pretrained"])),
            code=options.code,
            began=_BEGAN + waited,
            gpu_uuid=slot.name,
        )
    with atomic(options.output / "outcomes.parquet") as path:
        outcomes.to_parquet(path, index=False)
    timings = record.timings.model_copy(update={"cpu_s": time.process_time()})
    record.model_copy(update={"timings": timings}).write(options.output / "metrics.json")
    print(f"{record.status} in {record.timings.wall_s:.0f} s" + (f": {record.error}" if record.error else ""))
    print(*record.notes, sep="\n")


if __name__ == "__main__":
    run(main)
