"""What acts around each update: the count of memory, and the strategy's own steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor
    from torch.nn import Module

    from maskbench.slots.memory import Memory
    from maskbench.training.masking import Masking


class Watch(TrainerCallback):
    """Tells what counts the memory when an update begins and ends.

    Parameters
    ----------
    memory
        Counts the memory of the run.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def on_step_begin(self, *_: Any, **kwargs: Any) -> None:
        """Note that an update begins."""
        self.memory.enter(kwargs["optimizer"])

    def on_step_end(self, *_: Any, **kwargs: Any) -> None:
        """Note that an update is over."""
        self.memory.leave(kwargs["optimizer"])


class Hooks(TrainerCallback):
    """Lets the strategy act around each update: gradients before it, weights after it, its own modules with it.

    Parameters
    ----------
    moving
        What decides which parameters move.
    modules
        Returns what is trained beside the model.
    """

    def __init__(self, moving: Masking, modules: Callable[[], Iterable[Module]]) -> None:
        self.moving, self.modules = moving, modules
        self._held: dict[str, tuple[Tensor, Tensor]] = {}

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Forget the gradients of the masks' modules, as the Trainer does with the model's."""
        for module in self.modules():
            module.zero_grad()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Clip the modules' gradients and let the parameter mask change the model's."""
        for module in self.modules():
            if args.max_grad_norm:
                torch.nn.utils.clip_grad_norm_(module.parameters(), args.max_grad_norm)
        self._held = self.moving.gate(kwargs["model"], state.global_step)

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """After the update, give the weights that may not move their old values back."""
        self.moving.hold(kwargs["model"], self._held, state.global_step)
        self._held = {}
