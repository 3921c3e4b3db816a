"""A WordPiece vocabulary of a corpus, the same in any process and with any number of threads.

`WordPieceTrainer` of tokenizers gives another vocabulary in each process: it numbers the pieces inside of words in the
order of a hash table, and ties between pairs are broken by these numbers. `BpeTrainer` sorts the characters that it
starts from. So each word is spelled such that a character inside of it is another one than at its start, and pairs are
merged as in WordPiece's training; at the end these characters become `##` and themselves again.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from maskbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
"""Special tokens, in the order of their ids from 0."""
INSIDE = "##"
"""What a piece begins with that does not begin a word."""

_FIRST, _LAST = 0xF0000, 0xFFFFD
"""Code points that Unicode keeps free for private use; they stand for characters inside of words."""
_LONGEST = 100
"""Letters of the longest word that WordPiece takes apart; a longer one is unknown (as in BERT)."""


def _bert(model: models.Model) -> Tokenizer:
    """Return a tokenizer that prepares text as BERT's uncased one does."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def count_words(texts: Iterable[str]) -> Counter[str]:
    """Return how often each word stands in some texts, in lower case, as BERT's uncased tokenizer cuts them."""
    tokenizer = _bert(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    normalizer, words = tokenizer.normalizer, tokenizer.pre_tokenizer
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word, _ in words.pre_tokenize_str(normalizer.normalize_str(text)))
    return counts


def train(counts: Counter[str], size: int, where: str) -> list[str]:
    """Return the pieces of a vocabulary, special tokens first; fewer than asked for if the words make no more.

    Parameters
    ----------
    counts
        How often each word stands in the text.
    size
        Number of pieces, special tokens included.
    where
        What messages begin with.

    References
    ----------
    Schuster & Nakajima (2012), Japanese and Korean voice search, ICASSP; the pair to merge is the most frequent one.

    Raises
    ------
    InputError
        If there are no words.
    """
    known = _alphabet(counts, size)
    usable = {word: count for word, count in counts.items() if len(word) <= _LONGEST and known.issuperset(word)}
    if not usable:
        raise InputError(f"{where}: vocabulary: no words to train it on")
    numbers = {letter: chr(_FIRST + number) for number, letter in enumerate(sorted(known))}
    letters = {mark: letter for letter, mark in numbers.items()}
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(vocab_size=size - len(SPECIAL), show_progress=False, limit_alphabet=10**6)
    spelled = ((word[0] + "".join(numbers[letter] for letter in word[1:]), usable[word]) for word in sorted(usable))
    tokenizer.train_from_iterator((f"{word} " * count for word, count in spelled), trainer)
    found = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return [*SPECIAL.values(), *(_piece(piece, letters) for piece, _ in found)]


def _alphabet(counts: Counter[str], size: int) -> set[str]:
    """Return the most frequent characters, few enough to be half of the pieces at most, inside of words, too.

    Words with other characters are left out of the training and read as unknown; ties are broken by code point.
    """
    letters: Counter[str] = Counter()
    for word, count in counts.items():
        for letter in word:
            letters[letter] += count
    common = sorted(letters, key=lambda letter: (-letters[letter], letter))
    return {letter for letter in common[: min(1000, size // 4)] if not _FIRST <= ord(letter) <= _LAST}


def _piece(spelled: str, letters: dict[str, str]) -> str:
    """Return a piece as WordPiece writes it."""
    plain = "".join(letters.get(letter, letter) for letter in spelled)
    return INSIDE + plain if spelled[0] in letters else plain


def make_tokenizer(pieces: list[str], folder: Path) -> None:
    """Write the tokenizer of a vocabulary as a folder that transformers loads; the same pieces give the same bytes."""
    ids = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = _bert(models.WordPiece(ids, unk_token=SPECIAL["unk_token"], max_input_chars_per_word=_LONGEST))
    tokenizer.decoder = decoders.WordPiece(prefix=INSIDE)
    start, end = SPECIAL["cls_token"], SPECIAL["sep_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} $B:1 {end}:1",
        special_tokens=[(start, ids[start]), (end, ids[end])],
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL).save_pretrained(folder)
