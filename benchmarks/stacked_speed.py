"""Training speed of stacks of several sizes: examples a second of all cells of a stack together.

Plain fine-tuning is trained as many times as the stack has cells, in the precision that the device has. The text and
the model are those of a study that has encoded them. Other benchmarks call `stacked`:

    python benchmarks/stacked_speed.py --results results/minilm --task rt-snippets --model minilm-l6 --sizes 1 8 32
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def stacked(
    encoded: Path,
    model: Path,
    cells: int,
    updates: int,
    *,
    batch: int = 32,
    warm: int = 5,
    batched: bool | None = None,
    **training: Any,
) -> float:
    """Return the examples a second that a stack trains on, all of its cells counted.

    Parameters
    ----------
    encoded, model
        Folders of an encoded task, and of the pretrained model that it was encoded for.
    cells
        Number of cells in the stack.
    updates
        Number of updates that are timed; before them `warm` are made. The training split must have
        (updates + warm) · batch examples.
    batch
        Examples in an update of one cell.
    batched
        Whether one pass serves all cells; None: it does, but not on a CPU.
    training
        Other hyperparameters, such as precision.
    """
    import torch

    from maskbench.training.stack.loop import Loop

    plan = {"train_size": (updates + warm) * batch, "training": {"batch_size": batch, **training}}
    with tempfile.TemporaryDirectory() as work:
        members = [_member(encoded, model, Path(work) / str(place), place, **plan) for place in range(cells)]
        loop = Loop(members, batched=batched)
        began = 0.0
        for update in range(warm + updates):
            if update == warm:
                _wait(torch)
                began = time.perf_counter()
            loop.update()
        _wait(torch)
        return cells * updates * batch / (time.perf_counter() - began)


def _member(encoded: Path, model: Path, work: Path, place: int, *, train_size: int, training: dict[str, Any]) -> Any:
    """Return a cell of a stack, ready for its first update."""
    from transformers import AutoTokenizer

    from maskbench.config.training import Training
    from maskbench.data.manifests import EncodedManifest
    from maskbench.experiment.cell import Cell
    from maskbench.masks import Strategy
    from maskbench.slots.device import choose
    from maskbench.training.run import Run
    from maskbench.training.stack.loop import stacked_cell
    from maskbench.training.state import Inputs

    manifest = EncodedManifest.read(encoded)
    cell = Cell(
        task=manifest.task,
        kind=manifest.kind,
        model="benchmark",
        strategy=Strategy(name=f"none-{place}"),
        regime="single",
        train_size=train_size,
        seed=1,
        training=Training(epochs=1, selection="last", **training),
        max_validation=32,
        max_test=32,
    )
    run = Run(cell, Inputs(encoded, model, work), choose(cell.training, model))
    return stacked_cell(run, run.prepare(AutoTokenizer.from_pretrained(model, local_files_only=True)))


def _wait(torch: Any) -> None:
    """Wait until a card has done its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> None:
    """Print one line for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="folder of a study with the encoded text")
    parser.add_argument("--task", default="rt-snippets")
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32], help="cells in a stack")
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    encoded = options.results / f"data/encoded/{options.task}.{options.model}.clean"
    model = options.results / f"data/models/{options.model}"
    first = None
    print(f"{'cells':>6} {'examples/s':>12} {'× one':>7}")
    for size in options.sizes:
        speed = stacked(encoded, model, size, options.updates, threads=options.threads)
        first = first or speed
        print(f"{size:6} {speed:12.0f} {speed / first:7.2f}", flush=True)


if __name__ == "__main__":
    main()
