"""Tags of entities: which scheme a file uses, and its conversion to IOB2."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_TO_IOB: dict[str, str] = {"B": "B", "I": "I", "E": "I", "L": "I", "S": "B", "U": "B"}
"""Prefixes of IOB, IOBES and BIOLU: S and U are whole entities, E and L end one."""


def parse(tag: str) -> tuple[str, str]:
    """Return a tag's prefix and entity type; ``O`` has an empty type.

    Raises
    ------
    ValueError
        If it is neither O nor a prefix with a type; the message says what was expected.
    """
    if tag == "O":
        return "O", ""
    prefix, hyphen, entity = tag.partition("-")
    if prefix not in _TO_IOB or not hyphen or not entity:
        raise ValueError(f"tag {tag!r}: expected O, or one of B- I- E- S- L- U- and an entity type, such as B-PER")
    return prefix, entity


def scheme(sentences: Iterable[Sequence[str]]) -> str:
    """Return the scheme of valid tags: IOB1, IOB2, IOBES, BIOLU or mixed.

    In IOB2 every entity starts with B-; in IOB1 only one that directly follows another of its type, the others with
    I-. Mixed: neither holds, or endings of both IOBES and BIOLU occur.
    """
    prefixes: set[str] = set()
    starts_with_i = needless_b = False
    for tags in sentences:
        previous = ""
        for prefix, entity in map(parse, tags):
            prefixes.add(prefix)
            starts_with_i |= prefix == "I" and entity != previous
            needless_b |= prefix == "B" and entity != previous
            previous = entity
    if prefixes & set("ES") and not prefixes & set("LU"):
        return "IOBES"
    if prefixes & set("LU") and not prefixes & set("ES"):
        return "BIOLU"
    if prefixes & set("ESLU") or (starts_with_i and needless_b):
        return "mixed"
    return "IOB1" if starts_with_i else "IOB2"


def to_iob2(tags: Sequence[str]) -> list[str]:
    """Return valid tags of any scheme in IOB2, read as the CoNLL scorer reads them.

    An entity starts at B-, S- or U-, and at any other prefix that does not continue the type of the word before, or
    follows the end of an entity. What is IOB2 already stays as it is.
    """
    converted = []
    open_type = ""
    for prefix, entity in map(parse, tags):
        starts = _TO_IOB.get(prefix) == "B" or entity != open_type
        converted.append("O" if prefix == "O" else f"{'B' if starts else 'I'}-{entity}")
        open_type = "" if prefix in "ESLU" else entity
    return converted


def label_names(types: Sequence[str]) -> list[str]:
    """Return all IOB2 tags of the entity types: O, B-x, I-x, ..."""
    return ["O", *(f"{prefix}-{entity}" for entity in types for prefix in "BI")]
