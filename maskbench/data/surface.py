"""Finds the words of a text that look like names, from capitals alone, without a list of names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SENTENCE_ENDS = frozenset(".!?:;…\"“”'‘’`")
"""After a word that ends in one of these, a capital does not mark a name."""
_PRONOUN = frozenset({"I", "I'", "I’"})
"""Beginnings of the word that always has a capital, wherever it stands: I, I'm."""


def name_like(words: Sequence[str]) -> list[bool]:
    """Tell for each word whether it looks like (part of) a name: a capital that no sentence start explains.

    A text of which more than half the words are all capitals is a headline; there nothing does.

    Parameters
    ----------
    words
        Words or marks of one text, in order, as they are written.
    """
    lettered = sum(word[:1].isalpha() for word in words)
    if 2 * sum(len(word) > 1 and word.isupper() for word in words) > lettered:
        return [False] * len(words)
    found, start = [], True
    for word in words:
        found.append(word[:1].isupper() and not start and word[:2] not in _PRONOUN)
        start = word[-1:] in _SENTENCE_ENDS
    return found
