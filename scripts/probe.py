"""Measure the interference in one trained model, and write its probe record and the outcomes of its test-time sets."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import checkout  # noqa: F401

from maskbench.config.probes import Probes
from maskbench.experiment.cell import Cell
from maskbench.io.files import atomic
from maskbench.io.script import run
from maskbench.slots.job import on_slot

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
    with on_slot(f"probe {cell.run}", cell.training, Path(options.sources["pretrained"])) as place:
        from maskbench.probes.base import Sources
        from maskbench.probes.run import probe_run

        record, outcomes = probe_run(
            cell,
            Sources(**{name: Path(folder) for name, folder in options.sources.items()}),
            options.probes,
            place.device,
            code=options.code,
            began=_BEGAN + place.waited_s,
            gpu_uuid=place.slot.name,
        )
    with atomic(options.output / "outcomes.parquet") as path:
        outcomes.to_parquet(path, index=False)
    timings = record.timings.model_copy(update={"cpu_s": time.process_time()})
    record.model_copy(update={"timings": timings}).write(options.output / "metrics.json")
    print(f"{record.status} in {record.timings.wall_s:.0f} s" + (f": {record.error}" if record.error else ""))
    print(*record.notes, sep="\n")


if __name__ == "__main__":
    run(main)
