"""Pretrain one model by masked-language modelling on packed text, on one GPU slot.

python scripts/pretrain.py --name NAME --recipe JSON --pack DIR [--start DIR] --work DIR --destination DIR --code HASH
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

import checkout  # noqa: F401

from maskbench.config.training import Training
from maskbench.experiment.pretraining import Pretrain
from maskbench.io.script import run
from maskbench.slots.job import on_slot


def arguments() -> argparse.Namespace:
    """Return the arguments of the command line, parsed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="of the model")
    parser.add_argument(
        "--recipe", required=True, type=Pretrain.model_validate_json, help="the model's block `pretrain` as JSON"
    )
    parser.add_argument("--pack", required=True, type=Path, help="folder that pack.py made")
    parser.add_argument("--start", type=Path, help="transformers folder of the model that is continued")
    parser.add_argument("--work", required=True, type=Path, help="folder for checkpoints")
    parser.add_argument("--destination", required=True, type=Path, help="folder of the model")
    parser.add_argument("--code", required=True, help="content hash of the code")
    parser.add_argument("--terminal", type=int, help="file descriptor that is given a line at the end; default: none")
    return parser.parse_args()


def main() -> None:
    """Lease a GPU slot, then import torch and pretrain."""
    options = arguments()
    recipe: Pretrain = options.recipe
    training = Training(precision=recipe.precision, threads=recipe.threads)
    with on_slot(f"pretrain {options.name}", training, options.start) as place:
        from maskbench.training.pretraining.run import Inputs, PretrainingError, pretrain

        def say(line: str) -> None:
            if options.terminal is not None:
                os.write(options.terminal, f"{line}\n".encode())

        try:
            record = pretrain(
                options.name,
                recipe,
                Inputs(options.pack, options.start, options.work, options.destination),
                place.device,
                code=options.code,
                command=shlex.join(["scripts/pretrain.py", *sys.argv[1:]]),
                gpu_uuid=place.slot.name,
            )
        except PretrainingError as error:
            say(str(error))
            raise
        last, speed = record.held_out[-1], record.speed.tokens_per_s
        say(
            f"{options.name}: held-out loss {last.loss:.2f} nats (unigram entropy {record.unigram_entropy:.2f})"
            + (f", {speed:,.0f} tokens/s" if speed else "")
        )


if __name__ == "__main__":
    run(main)
