"""Keeps the weights that a run has at each of its evaluations on the validation split."""

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
    """Writes the weights of the trained models after each evaluation on the validation split.

    Parameters
    ----------
    states
        Returns the state dict of each model, as that of an ordinary model of its class.
    folders
        The folder that each model's files are written to, in the order of `states`.
    """

    def __init__(self, states: Callable[[], Sequence[dict[str, Tensor]]], folders: Sequence[Path]) -> None:
        self.states, self.folders = states, folders

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write the state dict of each model into its folder, after an evaluation; the file's name has the update."""
        for folder, weights in zip(self.folders, self.states(), strict=True):
            folder.mkdir(parents=True, exist_ok=True)
            plain = {name: weight.detach().contiguous() for name, weight in weights.items()}
            save_file(plain, folder / f"step-{state.global_step}.safetensors")
