"""From subword predictions to word tags and entities, as the CoNLL scorer reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def as_iob2(tags: Sequence[str]) -> list[str]:
    """Return the tags in valid IOB2, read as the conlleval script reads them.

    An ``I-X`` that continues no entity of type X starts one.

    References
    ----------
    Tjong Kim Sang & Buchholz (2000), Introduction to the CoNLL-2000 shared task (its scorer conlleval, startOfChunk).
    """
    valid, previous = [], "O"
    for tag in tags:
        if tag.startswith("I-") and previous[2:] != tag[2:]:
            tag = f"B-{tag[2:]}"
        valid.append(tag)
        previous = tag
    return valid


def agreement(predicted: Sequence[str], gold: Sequence[str]) -> tuple[int, int, int]:
    """Return the numbers of right, predicted and gold entities of one sentence (valid IOB2 tags)."""
    # imported here: the import takes a second, which readers of results need not spend
    from seqeval.metrics.sequence_labeling import get_entities

    found, wanted = set(get_entities(list(predicted))), set(get_entities(list(gold)))
    return len(found & wanted), len(found), len(wanted)
