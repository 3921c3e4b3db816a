"""Masks that a model decides: how much, where, what stands there instead, or all of it by a gate that learns."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator

from maskbench.config.block import Count, NonNegative, Positive, Rate, Share
from maskbench.masks.base import Batch, InputMask, Need

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from torch.nn import Module

    from maskbench.config.tasks import Kind
    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting

_PLACE = 1  # channel of draws beside the budget's, which is 0


class Adaptive(InputMask):
    """The rate follows the running task loss, and the places follow what the model in training finds important.

    References
    ----------
    After Yang, Zhang & Zhao (2023), Learning better masking for better language model pre-training, where the rate
    falls on a fixed schedule, whatever the loss, and tokens are weighted by the cumulative loss of their part of
    speech; places are drawn without replacement as in Efraimidis & Spirakis (2006), Weighted random sampling with a
    reservoir. The formulas are this project's: masks/input/pace.py (rate) and masks/input/importance.py (weights).
    """

    kind: Literal["adaptive"] = "adaptive"
    rate: Rate = 0.15
    """Share of tokens that are hit over the whole training."""
    rate_by: Literal["constant", "loss"] = "loss"
    """constant: the same rate throughout; loss: higher where the running loss is below its slow mean, lower above."""
    place: Literal["random", "loss", "attention"] = "random"
    """random; loss: tokens of words with a high loss (tagging), or whose masking would change it (classification);
    attention: tokens that receive much. The last two cost an extra pass in eval mode."""
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

    @model_validator(mode="after")
    def _means_differ(self) -> Self:
        if self.fast >= self.slow:
            raise ValueError(f"expected fast below slow, got {self.fast} and {self.slow}")
        return self

    def mixes(self, kind: Kind) -> bool:
        """Tell whether saliency is needed, which is the slope of such a change."""
        return self.place == "loss" and kind == "sequence-classification"

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Keep the model, whose losses and attention decide."""
        from maskbench.masks.input.pace import Pace

        super().fit(setting, rng)
        self._setting = setting
        self._pace = Pace(
            self.rate, self.swing, self.gain, self.fast, self.slow, self.horizon, device=setting.model.device
        )

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Draw as many tokens as `random` would at the rate of the moment."""
        from maskbench.masks import budget
        from maskbench.masks.input.importance import preferring

        rate = self.rate if self.rate_by == "constant" else self._pace.rate(batch.progress)
        if self.place == "random":
            hit = rng.uniform(batch) < rate
        else:
            order = preferring(batch, self._weights(batch), self.sharpness, rng.uniform(batch, channel=_PLACE))
            hit = budget.first(batch, order, budget.budget(batch, rng, rate))
        self._pace.spend(hit, batch.maskable)
        return hit

    def _weights(self, batch: Batch) -> Tensor:
        """Return (B, T) how important each token is."""
        from maskbench.masks.input.importance import attention_received, saliency, word_losses

        if self.place == "attention":
            return attention_received(self._setting.model, batch)
        if self._setting.kind == "token-classification":
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


class Generated(InputMask):
    """The tokens that `random` would hit are replaced by plausible ones: a masked LM's samples, or frequent tokens.

    References
    ----------
    Clark et al. (2020), ELECTRA (samples of a masked LM, there a small one that is trained along; here θ₀ itself,
    frozen); Xie et al. (2017), Data noising as smoothing in neural network language models (unigram noising).
    """

    kind: Literal["generated"] = "generated"
    replacement: Literal["generated", "noise"] = "generated"  # type: ignore[assignment]
    """What hit tokens become: generated ones, or (noise-twin) uniformly random ones."""
    rate: Rate = 0.15
    """Probability that a token is hit."""
    by: Literal["model", "unigram"] = "model"
    """model: the pretrained masked LM fills all holes at once; unigram: the training split's own distribution."""
    temperature: Positive = 1.0
    """Below 1 likelier tokens are preferred, above 1 unlikelier ones."""
    _sampler: Any = None

    def needs(self) -> frozenset[Need]:
        """Return a masked-LM head, if a model generates."""
        return frozenset({"a masked-LM head"} if self.by == "model" else ())

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Load θ₀ with its head, or count the training split's tokens."""
        super().fit(setting, rng)
        if self.by == "model":
            from maskbench.masks.masked_lm import Sampler

            self._sampler = Sampler(setting, self.temperature)
        else:
            from maskbench.masks.input.unigram import Unigram

            self._sampler = Unigram(setting, self.temperature)

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Draw for each token."""
        return rng.uniform(batch) < self.rate

    def corrupt(self, batch: Batch, rng: Draws) -> Batch:
        """Return the batch with generated tokens at the hit places; one may be the token that stood there."""
        if self.replacement == "noise":
            return super().corrupt(batch, rng)
        holes = batch.corrupted(self.where(batch, rng), batch.mask_id)
        assert holes.hit is not None
        tokens = self._sampler.sample(holes, rng.uniform(batch, channel=_PLACE)[holes.hit])
        return replace(holes, input_ids=holes.input_ids.masked_scatter(holes.hit, tokens))


class Learned(InputMask):
    """A small gate on token embeddings, trained with the task to lower its loss, chooses which tokens are hit.

    The embedding of a token goes over to that of [MASK] by the gate's value, so the task loss has a gradient to the
    gate. The budget is fixed, so that the gate cannot just stay shut.

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

    def mixes(self, kind: Kind) -> bool:
        """Return true: that is how the gate acts."""
        return True

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Make the gate."""
        from maskbench.masks.input.gates import Gate

        super().fit(setting, rng)
        self._table = setting.model.get_input_embeddings()
        self._gate = Gate(self._table.weight.shape[1], self.width, rng.generator()).to(setting.model.device)
        self._gate.learning_rate = self.learning_rate

    def modules(self) -> Mapping[str, Module]:
        """Return the gate."""
        return {} if self._gate is None else {"gate": self._gate}

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Return what the gate hits."""
        return self._mix(batch, rng).detach() >= 0.5

    def corrupt(self, batch: Batch, rng: Draws) -> Batch:
        """Return the batch with its token ids as they are, and the weights with which embeddings go over."""
        mix = self._mix(batch, rng)
        return replace(batch, mix=mix, hit=mix.detach() >= 0.5)

    def _mix(self, batch: Batch, rng: Draws) -> Tensor:
        """Return (B, T) weights of [MASK], with their gradient to the gate."""
        from maskbench.masks import budget
        from maskbench.masks.input import gates

        odds = self._gate(self._table.weight[batch.input_ids], batch.maskable)
        noise = gates.logistic(rng.uniform(batch, channel=_PLACE))
        if self.sampling == "straight-through":
            counts = budget.budget(batch, rng, self.rate)
            return gates.straight_through(batch, odds, noise, counts, self.temperature)
        return gates.hard_concrete(batch, odds, noise, self.rate, self.temperature)
