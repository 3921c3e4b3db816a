"""Attention mask that hides the words that tell most from all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from maskbench.config.block import Name, Rate
from maskbench.masks.base import AttentionMask, Need
from maskbench.masks.batch import Batch
from maskbench.masks.schedule import Scheduled

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting


class BlockKeyword(Scheduled, AttentionMask):
    """The words that tell most, or those of a lexicon, are hidden from all other tokens.

    As many tokens of each text are hidden as `random` would hit.

    They see the text and themselves, so their own outputs still know them; a text in which an input mask hit such
    a word has the next one hidden.

    References
    ----------
    The statistics: Monroe, Colaresi & Quinn (2008), Fightin' Words, section 3.5.1 (log-odds); TF-IDF.
    """

    kind: Literal["block-keyword"] = "block-keyword"
    stackable: ClassVar[bool] = True
    rate: Rate = 0.15
    """Share of the maskable tokens whose columns are hidden."""
    words: Name | None = None
    """A lexicon whose weights are the words' scores, in the place of `statistic`: a name of `lexicons`, or a preset.
    Words of equal weight come in random order."""
    statistic: Literal["log-odds", "tf-idf"] = "log-odds"
    """What a word's score is, fitted on the training split; equal ones come in the order of the text."""
    _scores: Any = None

    @model_validator(mode="after")
    def _words_go_with_the_rest(self) -> Self:
        if self.words is not None and self.statistic != "log-odds":
            raise ValueError(f"expected either words or statistic, got {self.words} and {self.statistic}")
        if self.words is not None and self.at == "always":
            raise ValueError("words: a mask that is part of the model (at: always) knows no lexicon; expected null")
        return self

    def needs(self) -> frozenset[Need]:
        """Return labels, which words are compared by for the log-odds."""
        by_labels = self.words is None and self.statistic == "log-odds"
        return frozenset({"labels of a set"}) if by_labels else frozenset()

    def lexicon(self) -> str | None:
        """Return the name of the lexicon whose words are hidden, if one is named."""
        return self.words

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Score the words of the training split, or spell those of the lexicon."""
        from maskbench.masks.shared.lexicon import scores

        self._scores = scores(setting, self.words, self.statistic)

    def attend(self, batch: Batch, rng: Draws) -> Tensor | None:
        """Return (B, 1, T, T) bool: the chosen columns are hidden from every query."""
        from maskbench.masks.shared.budget import budget, first
        from maskbench.masks.shared.words import ranked

        rate = self.rate_at(batch)
        if rate == 0:
            return None
        scores = self._scores.of(batch)
        order = -scores if self.words is None else ranked(scores, batch, rng)
        blocked = first(batch, order, budget(batch, rng, rate))
        width = blocked.shape[1]
        return ~blocked[:, None, None, :].expand(-1, 1, width, -1)
