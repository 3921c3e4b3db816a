"""The model that the training of a cell starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.models.loading import build_model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import PreTrainedModel

    from maskbench.experiment.cell import Cell


def fresh_model(cell: Cell, folder: Path, labels: Sequence[str], attention: str) -> PreTrainedModel:
    """Return the pretrained model with the cell's fresh head.

    Parameters
    ----------
    cell
        Its seed, and its dropout, are used.
    folder
        Of the fetched model.
    labels
        Names of the classes.
    attention
        Implementation: ``eager`` or ``sdpa``.
    """
    dropout = cell.training.dropout
    return build_model(folder, cell.kind, labels, seed=cell.seed, dropout=dropout, attention=attention)
