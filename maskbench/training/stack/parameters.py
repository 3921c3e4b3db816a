"""The stacked parameters of several models, and AdamW on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.func import stack_module_state
from torch.optim.adamw import adamw

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor
    from torch.nn import Module


class Stacked:
    """The parameters of K models of one architecture as tensors (K, ...), of which the models' own are slices.

    So whatever looks at a single model (a mask, an evaluation, a checkpoint) sees its state in the stack, and changes
    it, without a copy.

    Parameters
    ----------
    models
        The models; all their parameters are trained.
    """

    def __init__(self, models: Sequence[Module]) -> None:
        self.models = list(models)
        self.weights: dict[str, Tensor]
        self.weights, _ = stack_module_state(self.models)
        self._bind()

    def _bind(self) -> None:
        """Make the parameters of the models slices of the stack."""
        for place, model in enumerate(self.models):
            for name, parameter in model.named_parameters():
                parameter.data, parameter.grad = self.weights[name].detach()[place], None

    def give_gradients(self, place: int) -> None:
        """Let the parameters of a model have their gradients, as slices of the stack's."""
        for name, parameter in self.models[place].named_parameters():
            gradient = self.weights[name].grad
            parameter.grad = None if gradient is None else gradient[place]

    def forget_gradients(self) -> None:
        """Forget all gradients, after an update."""
        for weight in self.weights.values():
            weight.grad = None

    def gradients(self) -> list[Tensor]:
        """Return the gradients (K, ...) of the parameters that the pass has used."""
        return [weight.grad for weight in self.weights.values() if weight.grad is not None]

    def keep(self, places: Sequence[int]) -> None:
        """Go on with the models at these places alone; the others get parameters of their own, as they are now."""
        for place, model in enumerate(self.models):
            if place not in places:
                for parameter in model.parameters():
                    parameter.data, parameter.grad = parameter.data.clone(), None
        self.models = [self.models[place] for place in places]
        for name in list(self.weights):
            self.weights[name] = self.weights[name].detach()[list(places)].requires_grad_()
        self._bind()


@torch.no_grad()
def clip(gradients: Sequence[Tensor], limits: Tensor) -> None:
    """Scale the gradients of each model, in place, so that their norm is at most its limit.

    Parameters
    ----------
    gradients
        Tensors (K, ...).
    limits
        (K,) largest norms; infinite: no limit. What exceeds it is divided as `torch.nn.utils.clip_grad_norm_` does it.
    """
    parts = torch.stack([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients])
    scale = (limits / (torch.linalg.vector_norm(parts, dim=0) + 1e-6)).clamp(max=1.0)
    scale = torch.where(limits.isinf(), 1.0, scale)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.dim() - 1)))


class StackedAdamW:
    """AdamW as the Trainer sets it up, on stacked parameters, with a learning rate and a weight decay for each model.

    Models in a row with equal rate and decay are updated together; on CPUs each by itself, since there the last bits of
    an element depend on its place in a tensor, and equal cells of a stack must stay equal bit for bit.

    Parameters
    ----------
    stacked
        The parameters.
    decaying
        Names of those that weight decay is applied to.
    decays
        (K,) weight decay of each model.
    settings
        `betas`, `eps`, and `fused` where the Trainer asks for the fused kernel.
    """

    def __init__(
        self, stacked: Stacked, decaying: Sequence[str], decays: Sequence[float], settings: Mapping[str, Any]
    ) -> None:
        self.stacked, self._decaying, self._decays = stacked, frozenset(decaying), list(decays)
        self._betas, self._eps, self._fused = settings["betas"], settings["eps"], settings.get("fused")
        self.moments: dict[str, tuple[Tensor, Tensor]] = {}
        """By name of the parameters that were updated before, the running means (K, ...) of gradient and square."""
        self.steps = 0
        """Number of updates that were made so far."""
        self._counts: Tensor | None = None

    def keep(self, places: Sequence[int]) -> None:
        """Go on with the models at these places alone."""
        self._decays = [self._decays[place] for place in places]
        kept = list(places)
        self.moments = {name: (mean[kept], square[kept]) for name, (mean, square) in self.moments.items()}

    @torch.no_grad()
    def step(self, rates: Sequence[float]) -> None:
        """Make an update; `rates` (K,) are the learning rates."""
        moving = {name: weight for name, weight in self.stacked.weights.items() if weight.grad is not None}
        for name, weight in moving.items():
            if name not in self.moments:
                self.moments[name] = torch.zeros_like(weight), torch.zeros_like(weight)
        for first, after in self._alike(rates):
            for decays in (True, False):
                names = [name for name in moving if (name in self._decaying) == decays]
                self._update(names, first, after, rates[first], self._decays[first] if decays else 0.0)
        self.steps += 1

    def _alike(self, rates: Sequence[float]) -> list[tuple[int, int]]:
        """Return the ranges of models that are updated together."""
        count = len(rates)
        if next(iter(self.stacked.weights.values())).device.type == "cpu":
            return [(place, place + 1) for place in range(count)]
        settings = list(zip(rates, self._decays, strict=True))
        firsts = [place for place in range(count) if place == 0 or settings[place] != settings[place - 1]]
        return list(zip(firsts, [*firsts[1:], count], strict=True))

    def _update(self, names: Sequence[str], first: int, after: int, rate: float, decay: float) -> None:
        """Update some parameters of some models."""
        if not names:
            return
        weights = [self.stacked.weights[name] for name in names]
        if self._counts is None:
            device = weights[0].device if self._fused else torch.device("cpu")
            self._counts = torch.zeros(len(self.stacked.weights), device=device)
        self._counts.fill_(self.steps)  # the update adds 1 to those that it is given
        adamw(
            [weight.detach()[first:after] for weight in weights],
            [weight.grad[first:after] for weight in weights],  # type: ignore[index]
            [self.moments[name][0][first:after] for name in names],
            [self.moments[name][1][first:after] for name in names],
            [],
            list(self._counts[: len(names)].unbind()),
            fused=self._fused,
            amsgrad=False,
            beta1=self._betas[0],
            beta2=self._betas[1],
            lr=rate,
            weight_decay=decay,
            eps=self._eps,
            maximize=False,
        )
