"""Binary masks on the weights of a module, learned through real scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch.nn import Module, Parameter
from torch.nn.utils import parametrize

from maskbench.masks.shared.fisher import largest

if TYPE_CHECKING:
    from torch import Tensor

Chosen = Literal["score", "top", "random"]
"""How the weights that are used are chosen."""


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


class _Chosen(torch.autograd.Function):
    """The product of weights and a mask that scores decided; its gradient with respect to the mask goes to them."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, _: Tensor, used: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return weight * used

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None]:
        (weight,) = ctx.saved_tensors
        return None, gradients[0] * weight, None


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


class TopMask(Module):
    """A parametrisation: frozen weights times a mask of as many ones as there are scores above 0 in the beginning.

    The ones stand at the highest scores, as they were when `choose` was called last.

    Parameters
    ----------
    scores
        As many as weights, in their shape.
    """

    used: Tensor

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = Parameter(scores)
        self.register_buffer("used", (scores > 0).to(scores.dtype))
        self._share = float((scores > 0).double().mean())

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weights with 0 where the mask has none, in the shape of `weight`."""
        return cast("Tensor", _Chosen.apply(weight, self.scores, self.used))  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def choose(self) -> None:
        """Put the ones where the scores are highest now."""
        if 0 < self._share < 1:
            self.used.copy_(largest({"": self.scores.detach()}, self._share)[""])


class FixedMask(Module):
    """A parametrisation: frozen weights times a mask that never changes.

    Parameters
    ----------
    used
        1 and 0, in the shape of the weights.
    """

    used: Tensor

    def __init__(self, used: Tensor) -> None:
        super().__init__()
        self.register_buffer("used", used)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weights with 0 where the mask has none, in the shape of `weight`."""
        return weight * self.used


def mask(module: Module, sparsity: float, spread: float, generator: torch.Generator, chosen: Chosen = "score") -> None:
    """Mask a module's weight by scores that are uniform on a `spread` wide range, a share `sparsity` of it below 0.

    Parameters
    ----------
    chosen
        ``score``: a weight is used while its score is above 0; ``top``: while it is among the highest, as many as in
        the beginning; ``random``: as in the beginning, and scores are not kept.
    """
    weight: Any = module.weight
    uniform = torch.rand(weight.shape, generator=generator)
    # 1 - u lies in (0, 1], so that a sparsity of 0 masks nothing
    scores = (spread * (1 - uniform - sparsity)).to(weight.device)
    made: Module = FixedMask((scores > 0).to(weight.dtype))
    if chosen != "random":
        made = BinaryMask(scores) if chosen == "score" else TopMask(scores)
    parametrize.register_parametrization(module, "weight", made)


def tops(model: Module) -> list[TopMask]:
    """Return the masks of a model that keep their number of ones."""
    return [part for part in model.modules() if isinstance(part, TopMask)]


def density(model: Module) -> tuple[int, int]:
    """Return how many of the masked maps' weights are used now, and how many there are."""
    used = total = 0
    for part in model.modules():
        if isinstance(part, BinaryMask | TopMask | FixedMask):
            kept = part.scores > 0 if isinstance(part, BinaryMask) else part.used
            used, total = used + int(kept.sum()), total + kept.numel()
    return used, total


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
