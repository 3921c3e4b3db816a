"""Input mask that hits the words that tell most about the label or the text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from maskbench.config.block import Name, Rate
from maskbench.masks.base import InputMask, Need
from maskbench.masks.batch import Batch
from maskbench.masks.schedule import Scheduled

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting


class Keyword(Scheduled, InputMask):
    """The words of each text that tell most about the label (or the text), or those of a lexicon, are hit.

    `draw: chance`, with a lexicon of sentiment words and a list of rates as `schedule`, is the mask of Jarca et al. for
    sentiment (preset `tiacbm`). What differs in their code: the weight is that of the word's sense in SentiWordNet,
    found by its context; and a text's hits end at three times `rate` of its tokens, most relevant words first, which
    probabilities of at most twice `rate` seldom reach. For topics their code hits content words alone (by part of
    speech), and relevance is attention in the model before training; `statistic: tf-idf` stands for it here (preset
    `tiacbm-topic`), and words of all parts of speech are hit.

    References
    ----------
    Log-odds with a prior: Monroe, Colaresi & Quinn (2008), Fightin' Words, section 3.5.1 (there of two groups; here of
    each class against the rest). Chance by relevance: after Jarca, Croitoru & Ionescu (2025), Task-informed
    anti-curriculum by masking improves downstream performance on text.
    """

    kind: Literal["keyword"] = "keyword"
    stackable: ClassVar[bool] = True
    rate: Rate = 0.15
    """Share of tokens that are hit; `draw: chance`: the probability that a token of relevance 0 is hit."""
    words: Name | None = None
    """A lexicon whose weights say what a word tells, in the place of `statistic`: a name of `lexicons`, or a preset."""
    statistic: Literal["log-odds", "tf-idf"] = "log-odds"
    """What a word tells, fitted on the training split: about the label (log-odds), or about its text (tf-idf)."""
    draw: Literal["first", "chance"] = "first"
    """first: as many tokens as `random` hits, of the words that tell most, equal ones in random order; chance: each
    token with probability rate · (1 + relevance), at most 1. The relevance goes from 0 to 1: a word's weight in the
    lexicon over the largest there; of a statistic, from the lowest to the highest score in the text."""
    _scores: Any = None

    @model_validator(mode="after")
    def _one_thing_tells(self) -> Self:
        if self.words is not None and self.statistic != "log-odds":
            raise ValueError(f"expected either words or statistic, got {self.words} and {self.statistic}")
        return self

    def lexicon(self) -> str | None:
        """Return the name of the lexicon whose words are hit, if one is named."""
        return self.words

    def needs(self) -> frozenset[Need]:
        """Return labels, which words are compared by for the log-odds."""
        by_labels = self.words is None and self.statistic == "log-odds"
        return frozenset({"labels of a set"}) if by_labels else frozenset()

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Score the words of the training split, or spell those of the lexicon."""
        from maskbench.masks.shared.lexicon import scores

        super().fit(setting, rng)
        self._scores = scores(setting, self.words, self.statistic)

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Return (B, T) bool: the tokens of words with high scores, as `draw` says."""
        from maskbench.masks.shared.budget import budget, first
        from maskbench.masks.shared.words import ranked

        scores, rate = self._scores.of(batch), self.rate_at(batch)
        if self.draw == "chance":
            relevance = scores if self.words is not None else _stretched(scores, batch)
            return rng.uniform(batch) < rate * (1 + relevance)
        return first(batch, ranked(scores, batch, rng), budget(batch, rng, rate))


def _stretched(scores: Tensor, batch: Batch) -> Tensor:
    """Return (B, T) scores from 0 at the lowest of a text to 1 at the highest; 0 where all are equal."""
    import torch

    low = torch.where(batch.maskable, scores, torch.inf).amin(1, keepdim=True)
    high = torch.where(batch.maskable, scores, -torch.inf).amax(1, keepdim=True)
    apart = (scores - low) / (high - low).clamp(min=torch.finfo(scores.dtype).tiny)
    return torch.where(batch.maskable, apart, 0.0)
