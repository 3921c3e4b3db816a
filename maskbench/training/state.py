"""The state of a run, which all of its steps share: what it is given, and what it has found so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from maskbench.data.encode import load_encoded
from maskbench.data.lexicons import words_hash
from maskbench.io.files import read_json
from maskbench.models.pretrained import Pretrained
from maskbench.records.run import TRACEBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
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
    """Folder for checkpoints: a run that was killed resumes from those it left; removed when there is a result."""
    keep_model: Path | None = None
    """Folder for the trained model, left empty if the run does not complete; None: the model is not kept."""
    along: bool = False
    """Also write the weights at each evaluation into the kept model's folder."""
    start: Path | None = None
    """Regime sequential: folder of the run whose encoder this one starts from; otherwise None."""
    load: Callable[[Path], dict[str, Dataset]] = load_encoded
    """Function that opens the encoded task, given its folder."""
    lexicons: Mapping[str, Path] = field(default_factory=dict)
    """Folders of the lexicons that the strategy's masks name."""
    models: Pretrained = field(default_factory=Pretrained)
    """What opens the pretrained model."""

    @property
    def words(self) -> dict[str, str]:
        """Hashes of the words of each lexicon."""
        return {name: words_hash(folder) for name, folder in sorted(self.lexicons.items())}

    @property
    def traceback(self) -> Path:
        """File for the traceback of an error, in the folder of the run's record."""
        return (self.work if self.keep_model is None else self.keep_model).parent / TRACEBACK


class State:
    """What a run is given and what it has found so far.

    Parameters
    ----------
    cell
        The cell to train.
    inputs
        Where its inputs are, and where it works.
    device
        The device to compute on.
    """

    def __init__(self, cell: Cell, inputs: Inputs, device: Device) -> None:
        self.cell, self.inputs, self.device = cell, inputs, device
        self.manifest: dict[str, Any] = read_json(inputs.encoded / "manifest.json")
        """The manifest of the encoded task."""
        self.metrics: list[Metric] = []
        self.history: list[Progress] = []
        self.conflict: list[Cosine] = []
        self.notes: list[str] = list(device.notes)
        self.stack: list[str] = []
        """The runs that were trained in one stack, this one included; empty if it was trained alone."""
        self.micro_batches = cell.training.gradient_accumulation
        """Number of micro-batches in an update."""

    @property
    def left(self) -> Path:
        """Folder in which the kept model is written until it is complete; then it is renamed."""
        return self.inputs.work / f".{self.cell.run}"
