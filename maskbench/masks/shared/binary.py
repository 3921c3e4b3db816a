"""Binary masks on the weights of a module, learned through real scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn import Module, Parameter
from torch.nn.utils import parametrize

if TYPE_CHECKING:
    from torch import Tensor


class _Masked(torch.autograd.Function):
    """The product of weights and mask; its gradient with respect to the mask goes to the scores."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scores: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return weight * (scores > 0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        (weight,) = ctx.saved_tensors
        return None, gradients[0] * weight


class BinaryMask(Module):
    """A parametrisation: frozen weights times (scores > 0), elementwise.

    Parameters
    ----------
    scores
        As many as weights, in their shape.
    """

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = Parameter(scores)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weights with 0 where the score is not above 0, in the shape of `weight`."""
        return cast("Tensor", _Masked.apply(weight, self.scores))  # type: ignore[no-untyped-call]


def mask(module: Module, sparsity: float, spread: float, generator: torch.Generator) -> None:
    """Mask a module's weight by scores that are uniform on a `spread` wide range, a share `sparsity` of it below 0."""
    weight: Any = module.weight
    uniform = torch.rand(weight.shape, generator=generator)
    # 1 - u lies in (0, 1], so that a sparsity of 0 masks nothing
    scores = spread * (1 - uniform - sparsity)
    parametrize.register_parametrization(module, "weight", BinaryMask(scores.to(weight.device)))


def bake(model: Module) -> None:
    """Turn masked weights into plain parameters of the same values, in place."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def baked(model: Module) -> dict[str, Tensor]:
    """Return the state dict that `bake` would leave.

    Copies of a parametrised module share its class, so baking a copy would damage the original.
    """
    state = dict(model.state_dict())
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            weight: Any = module.weight
            state[f"{name}.weight"] = weight.detach()
            for key in [key for key in state if key.startswith(f"{name}.parametrizations.weight.")]:
                del state[key]
    return state
