"""The training of one cell, of two on two tasks, or of a stack, up to the records and the predictions on disk."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from maskbench.io import environment
from maskbench.io.files import atomic
from maskbench.runner.ending import write_record
from maskbench.training.run import run_cell
from maskbench.training.stack.together import Together, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from maskbench.experiment.cell import Cell
    from maskbench.kinds.score import Outcome
    from maskbench.records.run import Record
    from maskbench.slots.device import Device
    from maskbench.training.stack.together import Ended
    from maskbench.training.state import Inputs


def train(
    cells: Sequence[Cell],
    inputs: Sequence[Inputs],
    outputs: Sequence[Path],
    device: Device,
    *,
    keys: Sequence[str | None],
    points: int,
    code: str,
    command: str,
    gpu_uuid: str | None = None,
) -> list[Record]:
    """Train a cell, or the two sides of a joint training, score them, and write what they leave.

    Parameters
    ----------
    cells
        One, or two.
    inputs
        Where the inputs of each are, and where it works.
    outputs
        Folder of each: ``metrics.json``, and ``predictions.parquet`` if the training came to its end.
    device
        What to compute on.
    keys
        Of each: the hash that its record is found by (`maskbench.experiment.finished`).
    points
        Joint: at how many updates the gradients of the two tasks are compared.
    code
        Content hash of the code.
    command
        What the record says of how the training was started.
    gpu_uuid
        Of the card; None: there is none, or torch knows it.

    Returns
    -------
    list
        The record of each.

    Raises
    ------
    InputError
        If the data or the model cannot serve the cell.
    OSError
        If a file cannot be read or written.
    """
    cpu = time.process_time()
    device.memory.begin()
    about = {"code": code, "command": command, "gpu_uuid": gpu_uuid}
    if len(cells) == 1:
        results = [run_cell(cells[0], inputs[0], device, **about)]  # type: ignore[arg-type]
    else:
        from maskbench.training.joint import run_joint  # what compares gradients takes a while to import

        results = run_joint(cells, inputs, device, points=points, **about)  # type: ignore[arg-type]
    return [_write(*result, output, cpu, key) for result, output, key in zip(results, outputs, keys, strict=True)]


def train_stack(
    cells: Sequence[Cell],
    inputs: Sequence[Inputs],
    outputs: Sequence[Path],
    device: Device,
    *,
    keys: Sequence[str | None],
    codes: Sequence[str],
    command: str,
    gpu_uuid: str | None = None,
) -> Iterator[tuple[int, Callable[[], Record]]]:
    """Train cells that may share a stack; yield each, by its number, when its training ends.

    What is yielded with it scores the cell, writes what it leaves as `train` does, and returns its record; it raises
    what `train` raises. The parameters are those of `train`, one for each cell.
    """
    cpu = time.process_time()
    device.memory.begin()
    every = zip(cells, inputs, codes, strict=True)
    wanted = [Wanted(*one, place=place) for place, one in enumerate(every)]
    alone = 0.0
    for place, ended in Together(device, command=command, gpu_uuid=gpu_uuid).train(wanted):
        share, began = (time.process_time() - cpu - alone) / len(cells), time.process_time()

        def finish(place: int = place, ended: Ended = ended, since: float = began - share) -> Record:
            return _write(*ended(), outputs[place], since, keys[place])

        yield place, finish
        alone += time.process_time() - began


def _write(record: Record, outcome: Outcome | None, output: Path, cpu: float, key: str | None) -> Record:
    """Write what was predicted on test, if the training came to its end, and the record."""
    predictions = output / "predictions.parquet"
    predictions.unlink(missing_ok=True)  # of a run before, if this one did not complete
    if outcome is not None:
        with atomic(predictions) as path:
            outcome.table.to_parquet(path, index=False)
    # no part of the key: claims that change train nothing again
    return write_record(record, output, cpu, claims=os.environ.get(environment.CLAIMS), key=key)
