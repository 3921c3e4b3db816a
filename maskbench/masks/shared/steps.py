"""Rescales steps of the optimiser to the length of a part of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor
    from torch.nn import Module, Parameter


class Steps:
    """Rescales the steps of a model.

    Parameters
    ----------
    model
        The trained model; all its parameters are part of the step.
    frozen
        Parameters that are left out of the part that gives the length.
    """

    def __init__(self, model: Module, frozen: Iterable[Parameter]) -> None:
        left_out = {id(parameter) for parameter in frozen}
        self._weights = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        self._frozen = {name for name, parameter in self._weights.items() if id(parameter) in left_out}
        self._old: list[Tensor] = []
        self._moving: Mapping[str, Tensor] = {}

    @torch.no_grad()
    def before(self, moving: Mapping[str, Tensor]) -> None:
        """Keep the weights before a step, and `moving`: by name, 1 where an entry counts; unnamed parameters count."""
        self._moving = moving
        if not (self._frozen or moving):
            return
        weights = list(self._weights.values())
        if not self._old:
            self._old = [torch.empty_like(weight) for weight in weights]
        torch._foreach_copy_(self._old, [weight.detach() for weight in weights])

    @torch.no_grad()
    def after(self) -> None:
        """Rescale the step since `before`: its direction stays, its length becomes that of what counts in it."""
        if not (self._frozen or self._moving):
            return
        weights = [weight.data for weight in self._weights.values()]
        torch._foreach_sub_(weights, self._old)
        norm = torch.linalg.vector_norm
        lengths = torch._foreach_norm(weights)
        parts = [
            torch.zeros_like(length)
            if name in self._frozen
            else norm(step * self._moving[name])
            if name in self._moving
            else length
            for name, step, length in zip(self._weights, weights, lengths, strict=True)
        ]
        whole = torch.stack(lengths)
        # a step of length 0 (the first one of a warm-up) stays 0
        ratio = norm(torch.stack(parts)) / norm(whole).clamp_min(torch.finfo(whole.dtype).tiny)
        torch._foreach_mul_(weights, ratio)
        torch._foreach_add_(weights, self._old)
