"""Train one cell, or two at once, on one GPU slot, score them, and write records, predictions and models."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from pathlib import Path

import checkout  # noqa: F401

from maskbench.experiment.cell import Cell
from maskbench.io import environment
from maskbench.io.files import atomic
from maskbench.io.script import run
from maskbench.slots.job import on_slot


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--cell", required=True, nargs="+", type=Cell.model_validate_json, help="the cell as JSON; joint: both cells"
    )
    parser.add_argument("--encoded", required=True, nargs="+", type=Path, help="folder of each cell's encoded task")
    parser.add_argument("--model", required=True, type=Path, help="folder of the pretrained model")
    parser.add_argument("--start", type=Path, help="sequential: folder of the run whose encoder this one starts from")
    parser.add_argument(
        "--output", required=True, nargs="+", type=Path, help="folder of each run; its model is left in <output>/model"
    )
    parser.add_argument("--along", action="store_true", help="leave the weights at each evaluation in model/along")
    parser.add_argument("--conflict-points", type=int, default=8, help="joint: updates at which gradients are compared")
    parser.add_argument("--code", required=True, help="content hash of the code")
    options = parser.parse_args()
    if len({len(options.cell), len(options.encoded), len(options.output)}) > 1 or len(options.cell) > 2:
        parser.error("expected one cell or two, and as many folders for --encoded and --output")
    return options


def main() -> None:
    """Lease a GPU slot, then import torch and train."""
    options = arguments()
    cell: Cell = options.cell[0]
    print(*(f"run {cell.run}" for cell in options.cell), sep="\n", flush=True)
    with on_slot(cell.run, cell.training, options.model, tensorboard=options.output[0] / "tensorboard") as place:
        from maskbench.training.run import Inputs, run_cell

        inputs = [
            Inputs(
                encoded=encoded,
                model=options.model,
                work=output / "checkpoints",
                keep_model=output / "model",
                along=options.along,
                start=options.start,
            )
            for encoded, output in zip(options.encoded, options.output, strict=True)
        ]
        command = shlex.join(["scripts/train.py", *sys.argv[1:]])
        about = {"code": options.code, "command": command, "gpu_uuid": place.slot.name}
        if len(inputs) == 1:
            results = [run_cell(cell, inputs[0], place.device, **about)]
        else:
            from maskbench.training.joint import run_joint

            results = run_joint(options.cell, inputs, place.device, points=options.conflict_points, **about)
    for (record, outcome), output in zip(results, options.output, strict=True):
        predictions = output / "predictions.parquet"
        predictions.unlink(missing_ok=True)  # of a run before, if this one did not complete
        if outcome is not None:
            with atomic(predictions) as path:
                outcome.table.to_parquet(path, index=False)
        timings = record.timings.model_copy(update={"cpu_s": time.process_time()})
        # no argument: claims that change train nothing again
        known = {"timings": timings, "claims": os.environ.get(environment.CLAIMS)}
        record.model_copy(update=known).write(output / "metrics.json")
        print(f"{record.status} in {record.timings.wall_s:.0f} s" + (f": {record.error}" if record.error else ""))


if __name__ == "__main__":
    run(main)
