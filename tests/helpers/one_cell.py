"""One training in a process of its own, with folders anywhere: what a job does with each of its cells."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from maskbench.experiment.cell import Cell
from maskbench.io.script import run
from maskbench.slots.job import on_slot


def main() -> None:
    """Train one cell, or two at once."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cell", required=True, nargs="+", type=Cell.model_validate_json)
    for name in ("--encoded", "--output"):
        parser.add_argument(name, required=True, nargs="+", type=Path)
    for name in ("--model", "--start"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--along", action="store_true")
    parser.add_argument("--conflict-points", type=int, default=8)
    parser.add_argument("--code", required=True)
    options = parser.parse_args()
    cell = options.cell[0]
    with on_slot(cell.run, cell.training, options.model) as place:
        from maskbench.runner.train import train
        from maskbench.training.run import Inputs

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
        train(
            options.cell,
            inputs,
            options.output,
            place.device,
            keys=[None] * len(inputs),
            points=options.conflict_points,
            code=options.code,
            command=shlex.join(sys.argv),
            gpu_uuid=place.slot.name,
        )


if __name__ == "__main__":
    run(main)
