"""Words as runs of subwords: a key for each type, and how much each type tells about the label or the text.

data/segments.py says what a word is. A word type is its run of subword ids, so case, a leading space and, for
tokenizers that cut at white space alone, punctuation count where the tokenizer keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from maskbench.channels import Channel
from maskbench.errors import InputError
from maskbench.kinds import traits
from maskbench.masks.draws import fold

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa
    from torch import Tensor

    from maskbench.masks.batch import Batch
    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting

Statistic = Literal["log-odds", "tf-idf"]

PRIOR = 500.0
"""Weight of the prior of the log-odds ratio, in words: few enough to leave frequent words as they are counted."""


def starts(words: Tensor) -> Tensor:
    """Return (B, T) bool: the first subword of each word, from the words (B, T) of the subwords, -1 outside words."""
    before = torch.nn.functional.pad(words, (1, 0), value=-1)[:, :-1]
    return (words != before) & (words >= 0)


def ordinals(words: Tensor) -> Tensor:
    """Return (B, T) the number of each subword's word in its text, from 0 and without gaps; -1 outside words.

    It is below T, so all words of a text fit into word space (B, T): its size does not depend on the words' indices.
    """
    return torch.where(words >= 0, starts(words).cumsum(1) - 1, -1)


def per_word(values: Tensor, words: Tensor) -> Tensor:
    """Return (B, T) in word space: the sum of the values (B, T) of each word's subwords; 0 past the last word."""
    inside = torch.where(words >= 0, values, 0)
    return torch.zeros_like(inside).scatter_add(1, ordinals(words).clamp(min=0), inside)


def per_subword(values: Tensor, words: Tensor) -> Tensor:
    """Return (B, T): the value of each subword's word, from word space (B, T); outside words that of word 0."""
    return values.gather(1, ordinals(words).clamp(min=0))


def word_keys(input_ids: Tensor, words: Tensor) -> Tensor:
    """Return (B, T) in word space: a 64-bit key of each word's subword ids and their order; 0 past the last word.

    Parameters
    ----------
    input_ids, words
        (B, T) token ids, and the word of each; -1 outside words.
    """
    place = torch.arange(words.shape[1], device=words.device).expand_as(words)
    first = torch.where(starts(words), place, 0).cummax(1).values
    return per_word(fold(fold(0, input_ids), place - first), words)


def key_of(subwords: Sequence[int]) -> int:
    """Return the key of the word with these subword ids."""
    ids = torch.tensor([list(subwords)])
    return int(word_keys(ids, torch.zeros_like(ids))[0, 0])


def ranked(scores: Tensor, batch: Batch, rng: Draws) -> Tensor:
    """Return (B, T) numbers, smallest first: the order of words by their scores (B, T), equal ones in random order."""
    above = scores.shape[1] - torch.searchsorted(scores.sort(1).values, scores, right=True)
    return above + rng.uniform(batch, batch.words, channel=Channel.PLACE)


def runs(input_ids: Tensor, words: Tensor, spelled: Iterable[Sequence[int]]) -> Tensor:
    """Return (B, T) bool: the subwords of whole words, one or several in a row, that are spelled in one of these ways.

    Parameters
    ----------
    input_ids, words
        (B, T) token ids, and the word of each; -1 outside words.
    spelled
        Token ids of each way; none is empty.
    """
    begins, width = starts(words), words.shape[1]
    ends = (words != torch.nn.functional.pad(words, (0, 1), value=-1)[:, 1:]) & (words >= 0)
    found = torch.zeros_like(begins)
    for ids in spelled:
        count = width - len(ids) + 1
        if count < 1:
            continue
        here = begins[:, :count] & ends[:, len(ids) - 1 :]
        for shift, token in enumerate(ids):
            here = here & (input_ids[:, shift : shift + count] == token) & (words[:, shift : shift + count] >= 0)
        for shift in range(len(ids)):
            found[:, shift : shift + count] |= here
    return found


@dataclass(frozen=True)
class Corpus:
    """The N words of the training split, of V types, on the CPU."""

    keys: Tensor
    """(V,) key of each type, ascending."""
    types: Tensor
    """(N,) type of each word."""
    texts: Tensor
    """(N,) number of its text."""
    labels: Tensor
    """(N,) its tag, or the class of its text."""

    @classmethod
    def of(cls, setting: Setting) -> Corpus:
        """Read the training split, column by column."""
        table = setting.train.select_columns(["input_ids", "words", "labels"]).with_format("arrow")[:]
        lengths = _lengths(table["words"])
        texts = torch.arange(len(lengths)).repeat_interleave(lengths)
        words, input_ids = _flat(table["words"]), _flat(table["input_ids"])
        labels = table["labels"]
        labels = _flat(labels) if traits.of(setting.kind).per_token else _tensor(labels)[texts]
        # one long row, in which no two texts share a word
        row = torch.where(words >= 0, words + texts * (int(words.max()) + 1 if len(words) else 0), -1)[None]
        first = starts(row)[0]
        keys, types = word_keys(input_ids[None], row)[0, : int(first.sum())].unique(return_inverse=True)
        return cls(keys, types, texts[first], labels[first])


def _tensor(column: pa.ChunkedArray) -> Tensor:
    return torch.tensor(column.to_numpy(), dtype=torch.int64)


def _flat(column: pa.ChunkedArray) -> Tensor:
    import pyarrow.compute as pc

    return _tensor(pc.list_flatten(column))


def _lengths(column: pa.ChunkedArray) -> Tensor:
    import pyarrow.compute as pc

    return _tensor(pc.list_value_length(column))


@dataclass(frozen=True)
class WordScores:
    """How much each word type tells; `fit` makes it, `of` looks words up in any batch.

    Attributes
    ----------
    keys
        (V,) keys of the types of the training split, ascending.
    values
        (V + 1,) score of each type; the last one, the lowest, is that of types that the training split lacks.
    by_text
        Scores are multiplied by how often the type occurs in the text.
    """

    keys: Tensor
    values: Tensor
    by_text: bool

    @classmethod
    def fit(cls, setting: Setting, statistic: Statistic) -> WordScores:
        """Score the word types of the training split.

        Parameters
        ----------
        setting
            Its training split is all that is looked at; scores are kept on the device of its model.
        statistic
            `log-odds`: z-score of the log-odds ratio between the words of a class and all others, with a Dirichlet
            prior in proportion to the type's frequency; the largest over the classes. In tagging the classes are the
            entity types; words outside entities are only among the others.
            `tf-idf`: frequency of the type in the text times its inverse document frequency (scikit-learn's, smooth);
            in tagging a text is a sentence. No label is used.

        References
        ----------
        Monroe, Colaresi & Quinn (2008), Fightin' Words, Political Analysis 16(4), section 3.5.1.

        Raises
        ------
        InputError
            If the log-odds are wanted and the labels have no class to compare.
        """
        corpus = Corpus.of(setting)
        values = _idf(corpus) if statistic == "tf-idf" else _log_odds(corpus, _classes(setting))
        floor = 0.0 if statistic == "tf-idf" else float(values.min()) - 1.0 if len(values) else 0.0
        values = torch.cat([values, torch.tensor([floor])])
        device = setting.model.device
        return cls(corpus.keys.to(device), values.to(device), statistic == "tf-idf")

    def of(self, batch: Batch) -> Tensor:
        """Return (B, T) float32: the score of the word that each subword belongs to; the lowest of all outside words.

        All scores are finite; subwords of a word, and words of a type in one text, have the same.
        """
        keys = word_keys(batch.input_ids, batch.words)
        place = torch.searchsorted(self.keys, keys)
        known = torch.nn.functional.pad(self.keys, (0, 1)).take(place) == keys
        scores = self.values[torch.where(known & (place < len(self.keys)), place, len(self.keys))]
        if self.by_text:
            ascending = keys.sort(1).values
            scores = scores * (torch.searchsorted(ascending, keys, right=True) - torch.searchsorted(ascending, keys))
        return torch.where(batch.maskable, per_subword(scores, batch.words), self.values[-1])


def _classes(setting: Setting) -> Tensor:
    """Return (L,) the class that each label counts for; -1 for none."""
    kind = traits.of(setting.kind)
    classes = kind.classes(setting.labels)
    if max(classes, default=-1) < 0:
        raise InputError(
            f"log-odds: expected {kind.classes_called} to compare words by, found {', '.join(setting.labels)}"
        )
    return torch.tensor(classes)


def _log_odds(corpus: Corpus, classes: Tensor) -> Tensor:
    """Return (V,) the largest z-score over the classes."""
    size = len(corpus.keys)
    total = corpus.types.bincount(minlength=size).double()
    prior = PRIOR * total / total.sum()
    counted = classes[corpus.labels]
    found = []
    for index in range(int(classes.max()) + 1):
        inside = corpus.types[counted == index].bincount(minlength=size) + prior
        outside = corpus.types[counted != index].bincount(minlength=size) + prior
        ratio = (inside / (inside.sum() - inside)).log() - (outside / (outside.sum() - outside)).log()
        found.append(ratio / (1 / inside + 1 / outside).sqrt())
    return torch.stack(found).amax(0).float()


def _idf(corpus: Corpus) -> Tensor:
    """Return (V,) the inverse document frequency of each type."""
    from scipy.sparse import coo_array
    from sklearn.feature_extraction.text import TfidfTransformer

    ones = torch.ones(len(corpus.types)).numpy()
    counts = coo_array((ones, (corpus.texts.numpy(), corpus.types.numpy()))).tocsr()
    return torch.as_tensor(TfidfTransformer(norm=None).fit(counts).idf_, dtype=torch.float32)
