"""What both kinds of low-rank adapters share, through PEFT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maskbench.config.block import Count, Rate
from maskbench.errors import InputError
from maskbench.masks.base import ParameterMask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch.nn import Module, Parameter

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting

NAME = "default"
"""What PEFT calls the one adapter of a model."""


class Adapter(ParameterMask):
    """Fields and steps that both adapters share.

    PEFT's layers are put into the model in place, so that it stays a transformers model for the Trainer and its
    checkpoints; the adapters' weights are in its state dict.
    """

    alpha: Count = 16
    """Scale of the adapters: their output is multiplied by alpha over their rank; adalora: over `initial_rank`, also
    when ranks have shrunk."""
    dropout: Rate = 0.0
    """Dropout before the adapters; above 0 it shifts the other dropout of the model against that of `none`."""
    targets: list[str] | None = None
    """Ends of the names of the linear modules that get an adapter; null: all in the stack of layers."""
    _seed: Any = None
    _tuner: Any = None
    """PEFT's handle on the model while it has adapters."""
    _notes: Any = ()

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Take a seed for the adapters' weights."""
        self._seed = rng.generator(0).initial_seed()

    def _tune(self, model: Module, common: dict[str, Any]) -> Any:
        """Put adapters into the model; returns PEFT's handle."""
        raise NotImplementedError

    def select(self, model: Module) -> Iterable[Parameter]:
        """Put adapters into the model; returns all pretrained parameters.

        Raises
        ------
        InputError
            If the layers have no linear modules, none is called as `targets` says, or there are too few updates for
            ranks to shrink.
        """
        import torch
        from transformers.pytorch_utils import Conv1D

        from maskbench.masks.shared.reach import note_on
        from maskbench.models.anatomy import linears_of, pretrained_of

        self._notes = note_on(self.kind, model)
        frozen = [parameter for _, parameter in pretrained_of(model)]
        known = {id(parameter) for parameter in frozen}
        head = [parameter for parameter in model.parameters() if id(parameter) not in known]
        linears = dict(linears_of(model))
        if not linears:
            raise InputError(f"{self.kind}: {type(model).__name__} has no linear modules in its layers")
        wanted = [name for name in linears if self.targets is None or name.endswith(tuple(self.targets))]
        if not wanted:
            ends = sorted({name.rsplit(".", 1)[-1] for name in linears})
            raise InputError(f"{self.kind}: targets: no linear module is called so; there are {', '.join(ends)}")
        common = {
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "target_modules": wanted,
            "fan_in_fan_out": any(isinstance(linears[name], Conv1D) for name in wanted),
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            self._tuner = self._tune(model, common)
        for parameter in head:  # PEFT freezes all but the adapters
            parameter.requires_grad_(True)
        return frozen

    def notes(self) -> list[str]:
        """Say which maps have no adapter although `targets` leaves the choice open."""
        return list(self._notes) if self.targets is None else []

    def finish(self, model: Module) -> None:
        """Add the adapters' products to the weights, and take the adapters out."""
        self._tuner.merge_and_unload()
        self._tuner = None
