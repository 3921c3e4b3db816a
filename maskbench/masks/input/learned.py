"""Input mask that learns with the task which tokens it hits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from maskbench.channels import Channel
from maskbench.config.block import Count, Positive, Rate
from maskbench.masks.base import InputMask
from maskbench.masks.batch import Batch
from maskbench.masks.schedule import Scheduled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from torch.nn import Module

    from maskbench.config.kinds import TaskKind
    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting


class Learned(Scheduled, InputMask):
    """A small gate on token embeddings, trained with the task to lower its loss, chooses which tokens are hit.

    The embedding of a token is blended with that of [MASK], with the gate's value as the weight of [MASK], so the task
    loss has a gradient to the gate. The budget is fixed; otherwise the gate would learn to hit nothing.

    References
    ----------
    Louizos, Welling & Kingma (2018), Learning sparse neural networks through L0 regularization (hard-concrete, there
    on weights and with a penalty in the place of a budget); Bengio, Léonard & Courville (2013), Estimating or
    propagating gradients through stochastic neurons (straight-through).
    """

    kind: Literal["learned"] = "learned"
    replacement: Literal["mask"] = "mask"
    """What hit tokens become: only [MASK] has a gradient to the gate."""
    rate: Rate = 0.15
    """straight-through: as many tokens of each text as `random` would hit; hard-concrete: the expected share."""
    learning_rate: Positive = 1e-3
    """Peak learning rate of the gate, on the schedule of the model's."""
    sampling: Literal["straight-through", "hard-concrete"] = "straight-through"
    """straight-through: each token is hit or not; hard-concrete: in part, too, and counted as hit from a half on."""
    temperature: Positive = 0.67
    """Softness of the gate's gradient (straight-through), or of its values (hard-concrete)."""
    width: Count = 64
    """Size of the gate's hidden layer."""
    _gate: Any = None
    _table: Any = None

    def mixes(self, kind: TaskKind) -> bool:
        """Return True: the gate acts by blending embeddings."""
        return True

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Make the gate, with weights drawn from the run's seed, and keep the model's table of embeddings."""
        from maskbench.masks.shared.gates import Gate

        super().fit(setting, rng)
        self._table = setting.model.get_input_embeddings()
        self._gate = Gate(self._table.weight.shape[1], self.width, rng.generator()).to(setting.model.device)
        self._gate.learning_rate = self.learning_rate

    def modules(self) -> Mapping[str, Module]:
        """Return the gate, so that it is trained with the task."""
        return {} if self._gate is None else {"gate": self._gate}

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Return (B, T) bool: the tokens whose weight of [MASK] is a half or more."""
        return self._mix(batch, rng).detach() >= 0.5

    def corrupt(self, batch: Batch, rng: Draws) -> Batch:
        """Return the batch with unchanged token ids, and with the weights of [MASK] in `mix`."""
        mix = self._mix(batch, rng)
        return replace(batch, mix=mix, hit=mix.detach() >= 0.5)

    def _mix(self, batch: Batch, rng: Draws) -> Tensor:
        """Return (B, T) weights of [MASK], with their gradient to the gate."""
        from maskbench.masks.shared import budget, gates

        odds = self._gate(self._table.weight[batch.input_ids], batch.maskable)
        noise = gates.logistic(rng.uniform(batch, channel=Channel.PLACE))
        if self.sampling == "straight-through":
            counts = budget.budget(batch, rng, self.rate_at(batch))
            return gates.straight_through(batch, odds, noise, counts, self.temperature)
        return gates.hard_concrete(batch, odds, noise, self.rate_at(batch), self.temperature)
