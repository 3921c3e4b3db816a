"""The model that the training of a cell starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import PreTrainedModel

    from maskbench.experiment.cell import Cell
    from maskbench.models.pretrained import Pretrained


def untrained_model(
    models: Pretrained, cell: Cell, folder: Path, labels: Sequence[str], attention: str
) -> PreTrainedModel:
    """Return the pretrained model under the cell's fresh head, as all cells of a job share it: never to be changed.

    Parameters
    ----------
    models
        What opens pretrained models.
    cell
        Its seed, and its dropout, are used.
    folder
        Of the fetched model.
    labels
        Names of the classes.
    attention
        Implementation: ``eager`` or ``sdpa``.
    """
    return models.untrained(folder, cell.kind, labels, **_asked(cell, attention))


def fresh_model(models: Pretrained, cell: Cell, folder: Path, labels: Sequence[str], attention: str) -> PreTrainedModel:
    """Return the pretrained model under the cell's fresh head, which is the caller's own.

    The parameters are those of `untrained_model`.
    """
    return models.fresh(folder, cell.kind, labels, **_asked(cell, attention))


def _asked(cell: Cell, attention: str) -> dict[str, Any]:
    """Return what the model of a cell depends on beside its files and its classes."""
    return {"seed": cell.seed, "dropout": cell.training.dropout, "attention": attention}
