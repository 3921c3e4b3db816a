"""Objectives: what masking adds to the task loss, beside or instead of masking the task's own input."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from maskbench.config.block import NonNegative, Positive
from maskbench.masks.base import Batch, Need, Objective
from maskbench.masks.input.chance import Random
from maskbench.masks.slots import InnerInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from torch.nn import Module

    from maskbench.config.tasks import Kind
    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting


class MaskedCopy(Objective):
    """An objective with an input mask of its own, which draws from the objective's stream."""

    mask: InnerInput | None = None
    """What the extra pass masks; null: what the strategy's own input mask hits."""
    _rng: Any = None
    _counts: Any = None
    """(2,) numbers of hit and of maskable positions so far."""

    def needs(self) -> frozenset[Need]:
        """Return what the inner mask needs."""
        return self.mask.needs() if self.mask is not None else frozenset()

    def mixes(self, kind: Kind) -> bool:
        """Tell what the inner mask does."""
        return self.mask is not None and self.mask.mixes(kind)

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Fit the inner mask."""
        import torch

        self._rng = rng
        self._counts = torch.zeros(2, dtype=torch.int64, device=setting.model.device)
        if self.mask is not None:
            self.mask.fit(setting, rng)

    def modules(self) -> Mapping[str, Module]:
        """Return the inner mask's modules."""
        return self.mask.modules() if self.mask is not None else {}

    def state(self) -> dict[str, Any]:
        """Return the inner mask's state."""
        return {"mask": self.mask.state() if self.mask is not None else {}, "counts": self._counts}

    def restore(self, state: dict[str, Any]) -> None:
        """Give the inner mask its state back."""
        self._counts.copy_(state["counts"])
        if self.mask is not None:
            self.mask.restore(state["mask"])

    @property
    def realised_rate(self) -> float | None:
        """Share of the maskable positions that the inner mask hit, over the whole training; None without one."""
        hits, positions = self._counts.tolist()
        return hits / positions if positions else None

    def observe(self, loss: Tensor) -> None:
        """Let the inner mask see the task loss."""
        if self.mask is not None:
            self.mask.observe(loss)

    def _copy(self, clean: Batch) -> Batch:
        """Return the batch as the inner mask gives it."""
        import torch

        assert self.mask is not None
        copy = self.mask.corrupt(clean, self._rng)
        if not self.mask.apply:
            return replace(clean, hit=None)
        if copy.hit is not None:
            self._counts += torch.stack([copy.hit.sum(), clean.maskable.sum()])
        return copy


class Consistency(MaskedCopy):
    """Adds λ · MSE between the hidden states of the clean text (no gradient to them) and of the masked one.

    The last hidden states H and H′ of two passes with the same dropout; a mean over real tokens, special ones
    included, and hidden units. With `mask` null, H′ is of the task's own pass, and H of an extra one without gradient;
    with a mask of its own, H is of the task's pass, and H′ of an extra one that is trained.

    References
    ----------
    After Liang et al. (2021), R-Drop, section 2.1 (there two passes over the same text that differ in dropout, and a
    symmetric divergence of their predictions, with gradients to both); Chen & He (2021), Exploring simple Siamese
    representation learning, sections 4.1 and 5 (why H is held still).
    """

    kind: Literal["consistency"] = "consistency"
    weight: NonNegative = 1.0
    """λ."""

    def penalty(self, model: Module, clean: Batch, masked: Batch) -> Tensor:
        """Return λ times the mean squared distance."""
        import torch

        from maskbench.masks import passes

        assert masked.hidden is not None
        if self.mask is not None:
            still = masked.hidden.detach()
            moving = passes.forward(model, self._copy(clean), hidden=True).hidden_states[-1]
        else:
            moving = masked.hidden
            with torch.no_grad():
                still = passes.forward(model, clean, hidden=True).hidden_states[-1]
        squares = (moving.float() - still.float()).square().mean(-1)
        return self.weight * torch.where(clean.padding, squares, 0.0).sum() / clean.padding.sum()


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
    """λ."""
    _shared: Any = None

    def needs(self) -> frozenset[Need]:
        """Return a masked-LM head, and what the inner mask needs."""
        return super().needs() | {"a masked-LM head"}

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Load the head, and fit the inner mask."""
        from maskbench.masks.masked_lm import Shared

        super().fit(setting, rng)
        self._shared = Shared(setting)

    def modules(self) -> Mapping[str, Module]:
        """Return the head and the inner mask's modules."""
        return {**super().modules(), **({} if self._shared is None else {"head": self._shared.head})}

    def penalty(self, model: Module, clean: Batch, masked: Batch) -> Tensor:
        """Return λ times the cross-entropy of the tokens that were hit."""
        import torch

        from maskbench.masks import passes

        copy, hidden = masked, masked.hidden
        if self.mask is not None:
            copy = self._copy(clean)
            hidden = passes.forward(model, copy, hidden=True).hidden_states[-1]
        hit = torch.zeros_like(clean.padding) if copy.hit is None else copy.hit
        loss: Tensor = self._shared.loss(model, hidden, hit, clean.input_ids)
        return self.weight * loss


class Augment(MaskedCopy):
    """The batch has each text twice, as it is and masked: the loss is the mean of both.

    References
    ----------
    Wei & Zou (2019), EDA (copies beside the originals, there with words changed in other ways); Longpre, Wang & DuBois
    (2020), How effective is task-agnostic data augmentation for pretrained transformers? (whether they help).
    """

    kind: Literal["augment"] = "augment"
    mask: InnerInput | None = Random()
    """What the copy masks; null: the strategy's own input mask made it, and the extra pass is on the text as it is."""
    weight: Positive = 1.0
    """Weight of the extra pass's loss, relative to that of the task's pass."""
    _loss: Any = None

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Keep the task's loss, and fit the inner mask."""
        super().fit(setting, rng)
        self._loss = setting.loss

    def penalty(self, model: Module, clean: Batch, masked: Batch) -> Tensor:
        """Return the weighted task loss of the extra pass, as its share of the update."""
        from maskbench.masks import passes

        copy = clean if self.mask is None else self._copy(clean)
        loss: Tensor = self._loss(passes.forward(model, copy), clean.labels, clean.items)
        return self.weight * loss

    def combine(self, task: Tensor, penalty: Tensor, parts: int) -> Tensor:
        """Return the weighted mean of both."""
        return (task + penalty) / (1 + self.weight)
