"""Attention masks that belong to a model (`at: always`), fitted as its training fitted them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maskbench.experiment.cell import Cell
    from maskbench.slots.device import Device
    from maskbench.training.masking import Masking


def fitted(cell: Cell, device: Device, *, encoded: Path, pretrained: Path, before: Path | None) -> Masking:
    """Return the run's attention mask, fitted on its training split and its first model as before the first update.

    Parameters
    ----------
    cell
        The run.
    device
        What to compute on.
    encoded, pretrained, before
        Folders of the run's encoded task and of θ₀; sequential: of the run on the first task.
    """
    # imported here: the Trainer takes seconds to import, and only these runs need it
    from torch.nn import Module
    from transformers import AutoTokenizer

    from maskbench.models.tokens import add_mask_token
    from maskbench.training.masking import Masking
    from maskbench.training.run import Run
    from maskbench.training.state import Inputs

    run = Run(cell, Inputs(encoded, pretrained, Path("nowhere"), start=before), device)
    tokenizer = AutoTokenizer.from_pretrained(pretrained, local_files_only=True)
    model = run.build(tokenizer, add_mask_token(tokenizer))
    Module.to(model, device.kind)
    # each family draws from a stream of its own, so the attention mask is the same without the other masks
    alone = cell.strategy.model_copy(update={"input": None, "parameter": None, "objective": None})
    masking = Masking(alone, cell.seed)
    masking.fit(run.setting(model, tokenizer))
    return masking
