"""What the surface of a text tells about its words: which ones look like names, without a gazetteer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SENTENCE_ENDS = frozenset(".!?:;…\"“”'‘’`([-–—")
"""After a word that ends in one of these, a capital says nothing."""


def name_like(words: Sequence[str]) -> list[bool]:
    """Tell for each word whether it looks like (part of) a name: a capital that no sentence start explains.

    A text of which more than half the words begin with a capital is a headline or a title; there nothing does.

    Parameters
    ----------
    words
        Words or marks of one text, in order, as they are written.
    """
    capital = [word[:1].isupper() for word in words]
    lettered = sum(word[:1].isalpha() for word in words)
    if 2 * sum(capital) > lettered:
        return [False] * len(words)
    found, start = [], True
    for word, upper in zip(words, capital, strict=True):
        found.append(upper and not start and word != "I")
        start = word[-1:] in _SENTENCE_ENDS
    return found
