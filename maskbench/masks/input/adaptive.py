"""Input mask that follows the model in training: how much is hit, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator

from maskbench.channels import Channel
from maskbench.config.block import NonNegative, Rate, Share
from maskbench.kinds import traits
from maskbench.masks.base import InputMask
from maskbench.masks.batch import Batch
from maskbench.masks.schedule import Scheduled

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.config.kinds import TaskKind
    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting


class Adaptive(Scheduled, InputMask):
    """The rate follows the running task loss, and the places follow what the model in training finds important.

    References
    ----------
    After Yang, Zhang & Zhao (2023), Learning better masking for better language model pre-training, where the rate
    falls on a fixed schedule, whatever the loss, and tokens are weighted by the cumulative loss of their part of
    speech; places are drawn without replacement as in Efraimidis & Spirakis (2006), Weighted random sampling with a
    reservoir. The formulas are this project's: masks/shared/pace.py (rate) and masks/shared/importance.py (weights).
    """

    kind: Literal["adaptive"] = "adaptive"
    rate: Rate = 0.15
    """Share of tokens that are hit over the whole training."""
    rate_by: Literal["constant", "loss"] = "loss"
    """constant: the rate of the schedule; loss: higher where the running loss is below its slow mean, lower above."""
    place: Literal["random", "loss", "attention"] = "random"
    """random; loss: tokens of words with a high loss (tagging), or whose masking would change it (classification,
    questions); attention: tokens that receive much. The last two cost an extra pass in eval mode."""
    sharpness: NonNegative = 1.0
    """Exponent of a token's weight in the draw of places; 0 draws uniformly."""
    swing: Rate = 0.5
    """Largest deviation of the rate from its mean, as a share of the distance from the mean to 0 or 1."""
    gain: NonNegative = 4.0
    """How strongly the rate answers to the relative distance of the fast and the slow mean loss."""
    fast: Share = 0.9
    """Weight of the past in the fast running mean of the loss, per micro-batch."""
    slow: Share = 0.99
    """Weight of the past in the slow running mean, the reference."""
    horizon: Share = 0.1
    """Share of the training over which a surplus or a deficit of hit tokens is made up for."""
    _pace: Any = None
    _setting: Any = None
    _configs: Any = None

    @model_validator(mode="after")
    def _keys_go_together(self) -> Self:
        if self.fast >= self.slow:
            raise ValueError(f"expected fast below slow, got {self.fast} and {self.slow}")
        if self.rate_by == "loss" and self.schedule.kind != "constant":
            raise ValueError("schedule: a rate that follows the loss has none; expected rate_by: constant")
        return self

    def stacks(self) -> bool:
        """Tell whether places are drawn without a pass of the model."""
        return self.place == "random"

    def mixes(self, kind: TaskKind) -> bool:
        """Tell whether places are drawn by saliency, which is the slope of the loss along such a blend."""
        return self.place == "loss" and not traits.of(kind).words_labelled

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Keep the model, whose losses and attention decide."""
        from maskbench.masks.shared.importance import configs_of
        from maskbench.masks.shared.pace import Pace

        super().fit(setting, rng)
        self._setting, self._configs = setting, configs_of(setting.model)
        self._pace = Pace(
            self.rate, self.swing, self.gain, self.fast, self.slow, self.horizon, device=setting.model.device
        )

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Return (B, T) bool: as many tokens as `random` would hit at the current rate, drawn by their weights."""
        from maskbench.masks.shared import budget
        from maskbench.masks.shared.importance import preferring

        rate = self.rate_at(batch) if self.rate_by == "constant" else self._pace.rate(batch.progress)
        if self.place == "random":
            hit = rng.uniform(batch) < rate
        else:
            order = preferring(batch, self._weights(batch), self.sharpness, rng.uniform(batch, channel=Channel.PLACE))
            hit = budget.first(batch, order, budget.budget(batch, rng, rate))
        self._pace.spend(hit, batch.maskable)
        return hit

    def _weights(self, batch: Batch) -> Tensor:
        """Return (B, T) weights, at least 0: how important each token is."""
        from maskbench.masks.shared.importance import attention_received, saliency, word_losses

        if self.place == "attention":
            return attention_received(self._setting.model, batch, self._configs)
        if traits.of(self._setting.kind).words_labelled:
            return word_losses(self._setting.model, batch)
        return saliency(self._setting.model, batch, self._setting.loss)

    def observe(self, loss: Tensor) -> None:
        """Let the loss enter the running means."""
        self._pace.observe(loss)

    def state(self) -> dict[str, Any]:
        """Return the running means and what was spent."""
        state: dict[str, Any] = self._pace.state()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self._pace.restore(state)
