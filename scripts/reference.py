"""Measure θ₀ on the fixed texts of a task: what the probes of all its runs are compared with."""

from __future__ import annotations

import argparse
from pathlib import Path

import checkout  # noqa: F401

from maskbench.config.training import Training
from maskbench.io.script import run
from maskbench.slots.job import on_slot


def arguments() -> argparse.Namespace:
    """Return the arguments of the command line, parsed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoded", required=True, type=Path, help="folder of the encoded clean task")
    parser.add_argument("--model", required=True, type=Path, help="folder of the pretrained model")
    parser.add_argument("--destination", required=True, type=Path, help="folder to make")
    parser.add_argument("--training", required=True, type=Training.model_validate_json, help="hyperparameters as JSON")
    parser.add_argument("--max-test", type=int, help="how many test texts runs are scored on; default: all")
    parser.add_argument("--examples", type=int, help="how many of them are probed; default: all")
    parser.add_argument("--drift-texts", required=True, type=int, help="on how many of these drift is measured")
    parser.add_argument("--drift-tokens", required=True, type=int, help="on how many of their tokens, at most")
    parser.add_argument(
        "--no-masked-lm", action="store_true", help="the configuration says that it has no masked-LM head worth using"
    )
    parser.add_argument("--code", required=True, help="content hash of the code")
    return parser.parse_args()


def main() -> None:
    """Lease a GPU slot, then import torch and measure."""
    options = arguments()
    with on_slot(f"reference {options.destination.name}", options.training, options.model) as place:
        from maskbench.probes.reference import make

        make(
            options.encoded,
            options.model,
            options.destination,
            max_test=options.max_test,
            examples=options.examples,
            drift_texts=options.drift_texts,
            drift_tokens=options.drift_tokens,
            batch_size=options.training.eval_batch_size,
            device=place.device,
            masked_lm=not options.no_masked_lm,
            code=options.code,
            gpu_uuid=place.slot.name,
        )


if __name__ == "__main__":
    run(main)
