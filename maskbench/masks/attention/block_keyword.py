"""Attention mask that hides the words that tell most from all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from maskbench.config.block import Rate
from maskbench.masks.base import AttentionMask, Need
from maskbench.masks.batch import Batch

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting


class BlockKeyword(AttentionMask):
    """The words that tell most are hidden from all other tokens, as many tokens of each text as `random` would hit.

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
    statistic: Literal["log-odds", "tf-idf"] = "log-odds"
    """What a word's score is, fitted on the training split."""
    _scores: Any = None

    def needs(self) -> frozenset[Need]:
        """Return labels, which words are compared by for the log-odds."""
        return frozenset({"labels of a set"}) if self.statistic == "log-odds" else frozenset()

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Score the words of the training split."""
        from maskbench.masks.shared.words import WordScores

        self._scores = WordScores.fit(setting, self.statistic)

    def attend(self, batch: Batch, rng: Draws) -> Tensor | None:
        """Return (B, 1, T, T) bool: the chosen columns are hidden from every query."""
        from maskbench.masks.shared.budget import budget, first

        if self.rate == 0:
            return None
        blocked = first(batch, -self._scores.of(batch), budget(batch, rng, self.rate))
        width = blocked.shape[1]
        return ~blocked[:, None, None, :].expand(-1, 1, width, -1)
