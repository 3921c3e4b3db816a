"""Labels of texts are values: 1 and 1.0 are one label, numbers sort as numbers, and a word is a word."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NUMBER = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,2})?")
"""A decimal number. What begins with a zero that no number needs, such as 007, is a code and stays a word."""

_ZEROS = re.compile(r"^([-+]?)0+(?=[0-9])")
_TRUTH = {"true": "1", "false": "0"}


def is_number(label: str) -> bool:
    """Tell whether a label is a number."""
    return len(label) <= 60 and _NUMBER.fullmatch(label) is not None


def value(label: str) -> str:
    """Return a label as its value: a number in its shortest form (1.0, +1 and 1e0 are 1), any other word as it is."""
    if not is_number(label):
        return label
    plain = format(Decimal(label), "f")
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return "0" if plain in ("-0", "") else plain.removeprefix("+")


def in_order(labels: Iterable[str]) -> list[str]:
    """Return the distinct labels in order: by size if all are numbers, by their letters if not."""
    distinct = set(labels)
    if all(map(is_number, distinct)):
        return sorted(distinct, key=lambda label: (Decimal(label), label))
    return sorted(distinct)


def indices(labels: Sequence[str], *, configured: bool) -> dict[str, int]:
    """Return the index of each label by its value.

    Parameters
    ----------
    labels
        The labels in order.
    configured
        Whether the configuration lists them. Only then, and only if none of them is a number, a number in a file counts
        them from 0, as in GLUE.
    """
    index = {value(label): position for position, label in enumerate(labels)}
    if configured and not any(map(is_number, labels)):
        index |= {str(position): position for position in range(len(labels))}
    return index


def folded(label: str) -> str:
    """Return what is left of a label without case, white space and the ways in which Unicode writes one letter."""
    return "".join(unicodedata.normalize("NFKC", label).casefold().split())


def bare(label: str) -> str:
    """Return what is left of a label without anything that hides: `folded`, characters that cannot be seen, zeros.

    Leading zeros go (01 is 1), and true and false are 1 and 0.
    """
    plain = "".join(letter for letter in folded(label) if unicodedata.category(letter) != "Cf")
    return _TRUTH.get(plain, value(_ZEROS.sub(r"\1", plain)))


def unlike(labels: Sequence[str]) -> str:
    """Say in what labels differ that are one and the same when they are `bare`."""
    if len(set(map(folded, labels))) == 1:
        return "in case, white space or accents alone"
    if any(unicodedata.category(letter) == "Cf" for label in labels for letter in label):
        return "in characters that cannot be seen"
    return "as true and 1 do" if any(folded(label) in _TRUTH for label in labels) else "in leading zeros alone"


def few(labels: Iterable[str], most: int = 10) -> str:
    """Write the first of some labels."""
    names = list(labels)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
