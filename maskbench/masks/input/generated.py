"""Input mask that puts plausible tokens in the places that it hits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from maskbench.channels import Channel
from maskbench.config.block import Positive, Rate
from maskbench.masks.base import InputMask, Need
from maskbench.masks.batch import Batch
from maskbench.masks.schedule import Scheduled

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting


class Generated(Scheduled, InputMask):
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

    def stacks(self) -> bool:
        """Tell whether tokens come from frequencies: the masked LM computes as the Trainer has prepared its model."""
        return self.by == "unigram"

    def needs(self) -> frozenset[Need]:
        """Return a masked-LM head, if a model generates."""
        return frozenset({"a masked-LM head"} if self.by == "model" else ())

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Load θ₀ with its head, or count the training split's tokens."""
        super().fit(setting, rng)
        if self.by == "model":
            from maskbench.masks.shared.masked_lm import Sampler

            self._sampler = Sampler(setting, self.temperature)
        else:
            from maskbench.masks.shared.unigram import Unigram

            self._sampler = Unigram(setting, self.temperature)

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Return (B, T) bool: each token is hit with probability `rate`, as `random` hits it."""
        return rng.uniform(batch) < self.rate_at(batch)

    def corrupt(self, batch: Batch, rng: Draws) -> Batch:
        """Return the batch with generated tokens at the hit places; one may be the token that stood there."""
        import torch

        if self.replacement == "noise":
            return super().corrupt(batch, rng)
        holes = batch.corrupted(self.where(batch, rng), batch.mask_id)
        assert holes.hit is not None
        tokens = self._sampler.sample(holes, rng.uniform(batch, channel=Channel.PLACE))
        return replace(holes, input_ids=torch.where(holes.hit, tokens, holes.input_ids))
