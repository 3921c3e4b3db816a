"""Input mask that hits the words that tell most about the label or the text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from maskbench.channels import Channel
from maskbench.config.block import Rate
from maskbench.masks.base import InputMask, Need
from maskbench.masks.batch import Batch

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting


class Keyword(InputMask):
    """The words of each text that tell most about the label (or the text) are hit.

    References
    ----------
    Log-odds with a prior: Monroe, Colaresi & Quinn (2008), Fightin' Words, section 3.5.1 (there of two groups; here of
    each class against the rest).
    """

    kind: Literal["keyword"] = "keyword"
    stackable: ClassVar[bool] = True
    rate: Rate = 0.15
    """Share of tokens that are hit."""
    statistic: Literal["log-odds", "tf-idf"] = "log-odds"
    """What a word tells, fitted on the training split: about the label (log-odds), or about its text (tf-idf)."""
    _scores: Any = None

    def needs(self) -> frozenset[Need]:
        """Return labels, which words are compared by for the log-odds."""
        return frozenset({"labels of a set"}) if self.statistic == "log-odds" else frozenset()

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Score the words of the training split."""
        from maskbench.masks.shared.words import WordScores

        super().fit(setting, rng)
        self._scores = WordScores.fit(setting, self.statistic)

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Return (B, T) bool: as many tokens as `random` hits, of the words with the highest scores.

        Words of equal score come in random order.
        """
        import torch

        from maskbench.masks.shared.budget import budget, first

        scores = self._scores.of(batch)
        above = scores.shape[1] - torch.searchsorted(scores.sort(1).values, scores, right=True)
        order = above + rng.uniform(batch, batch.words, channel=Channel.PLACE)
        return first(batch, order, budget(batch, rng, self.rate))
