"""Words of written text, and the words of a tokenizer's pieces, whether or not the tokenizer makes words itself.

BERT's and GPT-2's tokenizers cut a text into words before they cut words into pieces. Llama's and Gemma's do not: for
them a text is one word. XLNet's and GPT-2's cut at white space, of which Chinese, Japanese, Thai and others have none.
So a word ends where the tokenizer says so, at white space, and at every character of a script without spaces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import regex

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Yi}\p{Tibetan}\p{Line_Break=Complex_Context}"
"""Scripts that write words without spaces between them: those of East Asia but Hangul, and of South East Asia."""
_SIGNS = r"\u3001-\u303f\u30fb\u30fc\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\uff70"
"""Their punctuation, and what lengthens a Japanese vowel: a character of its own, too."""
IN_WORD = rf"[\w--[{_UNSPACED}{_SIGNS}]]"
"""Pattern (of regex, version 1) of a character beside which a word does not end."""
_SEGMENT = regex.compile(
    # what combines with a character (marks, variation selectors, joiners) stays with it
    rf"[[{_UNSPACED}{_SIGNS}]--\s][\p{{M}}\p{{Cf}}]*|[^\s{_UNSPACED}{_SIGNS}]+",
    regex.VERSION1,
)


def segments(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the words of a text begin and end, in characters; white space is in none of them.

    A word is what stands between white space, or a character of a script that has no spaces between words.
    """
    return (match.span() for match in _SEGMENT.finditer(text))


def words_of_pieces(
    text: str, parts: Iterable[tuple[Sequence[int | None], Sequence[tuple[int, int]]]]
) -> list[list[int]]:
    """Return the word of each piece of a text, numbered from 0 through all its parts; -1 for pieces without one.

    Where the tokenizer's own words are no longer than `segments`, they are returned as they are, also where they are
    shorter (GPT-2's cut at punctuation and cut Thai vowel signs off their consonants). White space that is a
    piece belongs to the word behind it. A piece that reaches over a border belongs where it begins, and pieces of one
    character belong together.

    Parameters
    ----------
    text
        The text as the tokenizer was given it.
    parts
        For each part (what fits the model, and what was cut off behind it) the tokenizer's word of each piece (None for
        special tokens), and the piece's first character and the one behind its last.
    """
    segment = [-1] * len(text)
    for number, (start, end) in enumerate(segments(text)):
        segment[start:end] = [number] * (end - start)
    found: list[list[int]] = []
    more = 0  # number of word borders so far that the tokenizer does not have
    word: int | None = None
    last, behind = -1, 0  # segment of the last character so far, and the place behind it
    for word_ids, offsets in parts:
        found.append([])
        for own, (start, end) in zip(word_ids, offsets, strict=True):
            if own is None:
                found[-1].append(-1)
                continue
            inside = [number for number in segment[start:end] if number >= 0]
            # a piece of white space alone belongs to the word after it
            first = inside[0] if inside else next((number for number in segment[end:] if number >= 0), last)
            more += own == word and start >= behind and first != last
            found[-1].append(own + more)
            word, last, behind = own, inside[-1] if inside else first, max(behind, end)
    return found
