"""The words of a lexicon as a model's tokenizer spells them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from maskbench.data.lexicons import read_words
from maskbench.data.segments import words_of_pieces
from maskbench.errors import InputError
from maskbench.masks.shared.words import Corpus, Statistic, WordScores, word_keys
from maskbench.models.tokens import encode_as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from transformers import PreTrainedTokenizerBase

    from maskbench.masks.setting import Setting

_TRIED = 200
"""Words that are tried to see whether capitals, and a space before a word, matter to a tokenizer."""


def scores(setting: Setting, words: str | None, statistic: Statistic) -> WordScores:
    """Return how much each word tells: by a lexicon if one is named, else by a statistic of the training split."""
    return WordScores.fit(setting, statistic) if words is None else lexicon_scores(setting, words)


def lexicon_scores(setting: Setting, name: str) -> WordScores:
    """Return how much each word of a lexicon matters: its weight over the largest, from 0 to 1; 0 for other words.

    A word is found in lower case, with a capital and in capitals. Entries of several words, and those that the
    tokenizer cannot spell, match nothing; where a tokenizer makes no words (Llama's), punctuation is part of a word.

    Raises
    ------
    InputError
        If the run was given no such lexicon, or no word of the training split is in it.
    """
    if name not in setting.lexicons:
        raise InputError(f"words: {name}: expected the folder of this lexicon among the inputs of the run")
    weights = read_words(setting.lexicons[name])
    keys: dict[int, float] = {}
    for word, key in _spelled(weights, setting.tokenizer):
        keys[key] = max(weights[word], keys.get(key, 0.0))
    if not torch.isin(torch.tensor([key for key, weight in keys.items() if weight > 0]), Corpus.of(setting).keys).any():
        raise InputError(f"words: {name}: expected words of the training texts, found none in the lexicon")
    ascending = sorted(keys)
    values = torch.tensor([keys[key] for key in ascending], dtype=torch.float32)
    device = setting.model.device
    return WordScores(
        keys=torch.tensor(ascending).to(device),
        values=torch.nn.functional.pad(values / values.max(), (0, 1)).to(device),
        by_text=False,
    )


def _forms(words: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """Return how words may be written in texts, each with its word, as far as it matters to the tokenizer."""
    tried = ([word for word in words if word.isalpha()] or words)[:_TRIED]
    ways: list[Callable[[str], str]] = [str]
    ways += [change for change in (str.capitalize, str.upper) if _differs(change, tried, tokenizer)]
    spaced = _differs(" {}".format, tried, tokenizer)
    return {prefix + way(word): word for word in words for way in ways for prefix in ("", " ")[: 1 + spaced]}


def _differs(change: Callable[[str], str], words: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> bool:
    """Tell whether any of these words has other pieces if it is changed."""
    ids = [
        [encoding.ids for encoding in encode_as_text(tokenizer, texts)[1]] for texts in (words, [*map(change, words)])
    ]
    return ids[0] != ids[1]


def _spelled(words: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> list[tuple[str, int]]:
    """Return each way in which a text may have a word of the lexicon: the word, and its key (masks/shared/words.py)."""
    forms = _forms(list(words), tokenizer)
    found = []
    texts, encodings = encode_as_text(tokenizer, list(forms))
    for word, text, encoding in zip(forms.values(), texts, encodings, strict=True):
        of = words_of_pieces(text, [(encoding.word_ids, encoding.offsets)])[0]
        ids = [token for token, number in zip(encoding.ids, of, strict=True) if number >= 0]
        if ids and len(set(of) - {-1}) == 1 and tokenizer.unk_token_id not in ids:
            found.append((word, ids))
    width = max((len(ids) for _, ids in found), default=1)
    padded = torch.tensor([ids + [0] * (width - len(ids)) for _, ids in found]).view(-1, width)
    inside = torch.tensor([[0] * len(ids) + [-1] * (width - len(ids)) for _, ids in found]).view(-1, width)
    keys = word_keys(padded, inside)[:, 0].tolist() if found else []
    return [(word, key) for (word, _), key in zip(found, keys, strict=True)]
