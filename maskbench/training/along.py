"""The weights of a run along the way, at each evaluation on the validation split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

ALONG = "along"
"""Folder, in that of a kept model, of its weights at each evaluation: ``step-126.safetensors``."""


class Along(TrainerCallback):
    """Writes the weights of ordinary models at each evaluation on the validation split.

    Parameters
    ----------
    states
        Returns the state dict of each model.
    folders
        Of each model.
    """

    def __init__(self, states: Callable[[], Sequence[dict[str, Tensor]]], folders: Sequence[Path]) -> None:
        self.states, self.folders = states, folders

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write them."""
        for folder, weights in zip(self.folders, self.states(), strict=True):
            folder.mkdir(parents=True, exist_ok=True)
            plain = {name: weight.detach().contiguous() for name, weight in weights.items()}
            save_file(plain, folder / f"step-{state.global_step}.safetensors")
