"""Objective that trains the masked-LM head beside the task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from maskbench.config.block import NonNegative
from maskbench.masks.base import Need
from maskbench.masks.batch import Batch
from maskbench.masks.input.random import Random
from maskbench.masks.shared.copies import MaskedCopy
from maskbench.masks.slots import InnerInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from torch.nn import Module

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting


class MaskedLMAuxiliary(MaskedCopy):
    """Adds λ · the masked-LM cross-entropy of the pretrained head on the encoder in training.

    In nats, a mean over the hit positions. The head is trained along; a decoder tied to the embeddings stays so.

    References
    ----------
    Devlin et al. (2019), BERT, section 3.1 (the loss); Sun et al. (2019), How to fine-tune BERT for text
    classification? (further masked-LM training on the task's text, there before fine-tuning).
    """

    kind: Literal["mlm-auxiliary"] = "mlm-auxiliary"
    mask: InnerInput | None = Random(replacement="bert")
    """What is to be predicted in an extra pass; null: what the strategy's own input mask hits, in the task's pass."""
    weight: NonNegative = 1.0
    """λ, the weight of the masked-LM loss beside the task loss."""
    _shared: Any = None

    def needs(self) -> frozenset[Need]:
        """Return a masked-LM head, and what the inner mask needs."""
        return super().needs() | {"a masked-LM head"}

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Load the head, and fit the inner mask."""
        from maskbench.masks.shared.masked_lm import Shared

        super().fit(setting, rng)
        self._shared = Shared(setting)

    def modules(self) -> Mapping[str, Module]:
        """Return the head and the inner mask's modules."""
        return {**super().modules(), **({} if self._shared is None else {"head": self._shared.head})}

    def penalty(self, model: Module, clean: Batch, masked: Batch) -> Tensor:
        """Return λ times the masked-LM cross-entropy at the tokens that were hit, a scalar in nats."""
        import torch

        from maskbench.masks import passes

        copy, hidden = masked, masked.hidden
        if self.mask is not None:
            copy = self._copy(clean)
            hidden = passes.forward(model, copy, hidden=True).hidden_states[-1]
        hit = torch.zeros_like(clean.padding) if copy.hit is None else copy.hit
        loss: Tensor = self._shared.loss(model, hidden, hit, clean.input_ids)
        return self.weight * loss
