"""Exact match and F1 of an answer as the evaluation script of SQuAD 1.1 computes them.

References
----------
Rajpurkar et al. (2016), SQuAD: 100,000+ questions for machine comprehension of text (the measures; case, which the
paper does not mention, is ignored by the script evaluate-v1.1.py).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def words(text: str) -> list[str]:
    """Return the words of an answer: in small letters, without punctuation, then without articles."""
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def exact(given: str, answer: str) -> float:
    """Return 1 if two answers have the same words in the same order, else 0."""
    return float(words(given) == words(answer))


def f1(given: str, answer: str) -> float:
    """Return the F1 of the words of two answers as bags; 0 without a common word, also if neither has any."""
    found, wanted = words(given), words(answer)
    common = (Counter(found) & Counter(wanted)).total()
    return 2 * common / (len(found) + len(wanted)) if common else 0.0


def best(measure: Callable[[str, str], float], given: str, answers: Iterable[str]) -> float:
    """Return the highest value of a measure over all answers that count as right."""
    return max(measure(given, answer) for answer in answers)
