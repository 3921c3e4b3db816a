"""Attention masks: which keys a query may see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from maskbench.config.block import Rate
from maskbench.masks.base import AttentionMask, Batch, Form, Need
from maskbench.masks.slots import InnerAttention

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from torch.nn import Module

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting


def _distance(batch: Batch) -> Tensor:
    """Return (T, T) how far each query (row) is behind each key (column); padding on either side cancels out."""
    import torch

    place = torch.arange(batch.input_ids.shape[1], device=batch.input_ids.device)
    return place[:, None] - place


class Causal(AttentionMask):
    """Every token sees itself and what is before it.

    A classifier that reads the first token (BERT's [CLS]) then sees that token alone.

    References
    ----------
    Vaswani et al. (2017), Attention is all you need, section 3.2.3.
    """

    kind: Literal["causal"] = "causal"

    def attend(self, batch: Batch, rng: Draws) -> Tensor:
        """Return the lower triangle."""
        return (_distance(batch) >= 0)[None, None]


class Window(AttentionMask):
    """Every token sees the tokens at most `width` away; special tokens see all and are seen by all.

    References
    ----------
    Beltagy, Peters & Cohan (2020), Longformer, section 3.1 (sliding window, and global attention, there with
    projections of its own; here with those that the model has).
    """

    kind: Literal["window"] = "window"
    width: Annotated[int, Field(ge=0)] = 8
    """Largest distance in tokens to either side (half of Longformer's w)."""
    special: bool = True
    """Special tokens see all and are seen by all; false: the window holds for them, too."""

    def attend(self, batch: Batch, rng: Draws) -> Tensor:
        """Return the band around the diagonal, and the special tokens' rows and columns."""
        near = (_distance(batch).abs() <= self.width)[None, None]
        if not self.special:
            return near
        everywhere = batch.padding & ~batch.maskable
        return near | everywhere[:, None, :, None] | everywhere[:, None, None, :]


class RandomAttention(AttentionMask):
    """Every pair of a query and another key is hidden with probability `rate`, drawn anew in every pass.

    References
    ----------
    Lin et al. (2019), DropAttention, arXiv:1907.11065.
    """

    kind: Literal["random-attention"] = "random-attention"
    rate: Rate = 0.15
    """Probability that a pair is hidden."""

    def attend(self, batch: Batch, rng: Draws) -> Tensor | None:
        """Draw for each pair."""
        if self.rate == 0:
            return None
        places = batch.positions
        return (rng.uniform(batch, places[:, :, None], places[:, None, :]) >= self.rate)[:, None]


class BlockKeyword(AttentionMask):
    """The words that tell most are hidden from all other tokens, as many tokens of each text as `random` would hit.

    They see the text and themselves, so their own outputs still know them; a text in which an input mask hit such
    a word has the next one hidden.

    References
    ----------
    The statistics: Monroe, Colaresi & Quinn (2008), Fightin' Words, section 3.5.1 (log-odds); TF-IDF.
    """

    kind: Literal["block-keyword"] = "block-keyword"
    rate: Rate = 0.15
    """Share of the maskable tokens whose columns are hidden."""
    statistic: Literal["log-odds", "tf-idf"] = "log-odds"
    """What a word's score is, fitted on the training split."""
    _scores: Any = None

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Score the words of the training split."""
        from maskbench.masks.words import WordScores

        self._scores = WordScores.fit(setting, self.statistic)

    def attend(self, batch: Batch, rng: Draws) -> Tensor | None:
        """Return which columns are left."""
        from maskbench.masks.budget import budget, first

        if self.rate == 0:
            return None
        blocked = first(batch, -self._scores.of(batch), budget(batch, rng, self.rate))
        width = blocked.shape[1]
        return ~blocked[:, None, None, :].expand(-1, 1, width, -1)


class Multiplicative(AttentionMask):
    """Scores of hidden pairs become 0 before the softmax, as in softmax(QKᵀ/√d ⊙ M)V: an exhibit, which leaks.

    A score of 0 is no small one: what it hides keeps exp(0) of the mass. Padding is left out properly.

    References
    ----------
    The introductory article's formula; the right one adds -inf: Vaswani et al. (2017), Attention is all you need,
    section 3.2.3.
    """

    form: ClassVar[Form] = "multiplicative"
    kind: Literal["multiplicative"] = "multiplicative"
    of: InnerAttention
    """The attention mask that gives M."""

    @model_validator(mode="after")
    def _inner_is_plain(self) -> Self:
        if self.of.at != "train" or not self.of.apply or self.of.form != "additive":
            raise ValueError("of: expected an additive mask without at and apply, which belong to the outer one")
        return self

    def attend(self, batch: Batch, rng: Draws) -> Tensor | None:
        """Return M."""
        return self.of.attend(batch, rng)

    def needs(self) -> frozenset[Need]:
        """Return what the inner mask needs."""
        return self.of.needs()

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Fit the inner mask."""
        self.of.fit(setting, rng)

    def modules(self) -> Mapping[str, Module]:
        """Return the inner mask's modules."""
        return self.of.modules()

    def state(self) -> dict[str, Any]:
        """Return the inner mask's state."""
        return self.of.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the inner mask."""
        self.of.restore(state)
