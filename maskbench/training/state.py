"""A run as all of its steps see it: what it is given, and what it has found so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from maskbench.data.encode import load_encoded
from maskbench.io.files import read_json
from maskbench.records.run import TRACEBACK

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from datasets import Dataset

    from maskbench.experiment.cell import Cell
    from maskbench.records.run import Cosine, Metric, Progress
    from maskbench.slots.device import Device


@dataclass(frozen=True)
class Inputs:
    """Where a cell's inputs are, and where it works."""

    encoded: Path
    """Folder of the encoded task (data/encode.py)."""
    model: Path
    """Folder of the pretrained model."""
    work: Path
    """Folder for checkpoints, removed when there is a result; what a killed run left there is gone on from."""
    keep_model: Path | None = None
    """Where to leave the trained model, if anywhere; an empty folder if the run does not complete."""
    along: bool = False
    """Leave the weights at each evaluation in the kept model's folder, too."""
    start: Path | None = None
    """sequential: folder of the run whose encoder this one starts from."""
    load: Callable[[Path], dict[str, Dataset]] = load_encoded
    """What opens the encoded task."""

    @property
    def traceback(self) -> Path:
        """File for where an error came from, in the folder of the run's record."""
        return (self.work if self.keep_model is None else self.keep_model).parent / TRACEBACK


class State:
    """What a run is given and what it has found so far.

    Parameters
    ----------
    cell
        What to train.
    inputs
        Where things are.
    device
        What to compute on.
    """

    def __init__(self, cell: Cell, inputs: Inputs, device: Device) -> None:
        self.cell, self.inputs, self.device = cell, inputs, device
        self.manifest: dict[str, Any] = read_json(inputs.encoded / "manifest.json")
        """Of the encoded task."""
        self.metrics: list[Metric] = []
        self.history: list[Progress] = []
        self.conflict: list[Cosine] = []
        self.notes: list[str] = list(device.notes)
        self.micro_batches = cell.training.gradient_accumulation
        """In an update."""

    @property
    def left(self) -> Path:
        """Where the kept model grows until it is complete."""
        return self.inputs.work / f".{self.cell.run}"
