"""Train one cell on one GPU slot, score it, and write its record and its predictions."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from maskbench.errors import InputError
from maskbench.experiment.cell import Cell
from maskbench.io.files import atomic
from maskbench.io.script import run


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", required=True, type=Cell.model_validate_json, help="the cell as JSON")
    parser.add_argument("--encoded", required=True, type=Path, help="folder of the encoded task")
    parser.add_argument("--model", required=True, type=Path, help="folder of the pretrained model")
    parser.add_argument("--output", required=True, type=Path, help="folder of the run")
    parser.add_argument("--code", required=True, help="content hash of the code")
    parser.add_argument("--keep-model", action="store_true", help="leave the trained model in <output>/model")
    return parser.parse_args()


def main() -> None:
    """Lease a GPU slot, then import torch and train."""
    options = arguments()
    cell: Cell = options.cell
    from maskbench.training.leases import lease

    with lease(int(os.environ.get("MASKBENCH_SLOTS_PER_GPU", "1")), run=cell.run) as slot:
        os.environ |= slot.environment() | {"OMP_NUM_THREADS": str(cell.training.threads)}
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(options.output / "tensorboard"))
        from maskbench.training.device import choose
        from maskbench.training.run import Inputs, run_cell

        device = choose(cell.training)
        if device.kind == "cuda" and slot.origin == "none":
            raise InputError(
                "MASKBENCH_GPUS: torch sees a GPU that nvidia-smi does not list, so jobs cannot share it safely; "
                "set MASKBENCH_GPUS to the devices to use (docs/gpus.md)"
            )
        print(
            f"run {cell.run}\n"
            f"device {device.kind} ({device.name}), GPU slot {slot.device or 'none'}/{slot.slot} ({slot.origin}), "
            f"{device.precision}, attention {device.attention}, {device.threads} thread(s)",
            flush=True,
        )
        inputs = Inputs(
            encoded=options.encoded,
            model=options.model,
            work=options.output / "checkpoints",
            keep_model=options.output / "model" if options.keep_model else None,
        )
        record, outcome = run_cell(
            cell,
            inputs,
            device,
            code=options.code,
            command=shlex.join(["scripts/train.py", *sys.argv[1:]]),
            gpu_uuid=slot.uuid,
        )
    if outcome is not None:
        with atomic(options.output / "predictions.parquet") as path:
            outcome.table.to_parquet(path, index=False)
    record.write(options.output / "metrics.json")
    print(f"{record.status} in {record.timings.wall_s:.0f} s" + (f": {record.error}" if record.error else ""))


if __name__ == "__main__":
    run(main)
