"""What a training left, read back: the model, its predictions, and their score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pyarrow.parquet as pq
import torch

from maskbench.errors import InputError
from maskbench.kinds import head
from maskbench.kinds import score as scores
from maskbench.kinds.score import Outcome
from maskbench.probes.errors import UnmeasuredError, require_finite
from maskbench.training.forward import outcome

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from maskbench.config.kinds import TaskKind
    from maskbench.slots.device import Device
    from maskbench.training.forward import Forward, Rows


def load_model(folder: Path, kind: str, device: Device) -> PreTrainedModel:
    """Load a trained model with its head.

    Raises
    ------
    InputError
        If it is not there.
    """
    if not (folder / "config.json").exists():
        raise InputError(f"{folder}: expected a trained model, found none; train the run again")
    return cast(
        "PreTrainedModel",
        head.of(kind).auto.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation=device.attention,
        ),
    )


def read_predictions(folder: Path, kind: Any, labels: Sequence[str]) -> Outcome:
    """Return what a completed run predicted on its test split."""
    path = folder / "predictions.parquet"
    try:
        table = pq.read_table(path).to_pandas()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected the predictions of a completed run ({error})") from None
    return Outcome(kind, tuple(labels), table)


def predicted(forward: Forward, kind: TaskKind, labels: Sequence[str], rows: Rows) -> Outcome:
    """Return what a model does with texts.

    Raises
    ------
    UnmeasuredError
        If a number that it computes is not finite.
    """
    return outcome(kind, labels, rows, require_finite(forward.read(rows, head=head.of(kind))))


def score(outcome: Outcome) -> float:
    """Return the score of an outcome.

    Raises
    ------
    UnmeasuredError
        If the kind has none for these examples: nothing was there to be found, and nothing was found.
    """
    kind = scores.of(outcome.kind)
    if not kind.defined(kind.totals(outcome.table)):
        raise UnmeasuredError(kind.nothing)
    return outcome.score


def only(outcome: Outcome, examples: Sequence[int] | NDArray[np.int64]) -> Outcome:
    """Return the outcome of some of the examples, ids (n,), in their order and each once; each must be there."""
    table = outcome.table.set_index("example").loc[list(dict.fromkeys(examples))].reset_index()
    return Outcome(outcome.kind, outcome.labels, table)
