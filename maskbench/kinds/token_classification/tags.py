"""Tags of entities: how a file writes them, which scheme it uses, and the conversion to IOB2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from maskbench.config.tasks import Scheme

_TO_IOB: dict[str, str] = {"B": "B", "I": "I", "E": "I", "L": "I", "S": "B", "U": "B"}
"""Prefixes of IOB, IOBES and BIOLU: S and U are whole entities, E and L end one."""

_LETTERS: dict[str, str] = {"iob1": "BI", "iob2": "BI", "bioes": "BIESLU", "bmes": "BMES"}
"""Prefixes of each scheme that `scheme` can name; L and U are E and S by other names."""

UNTYPED = "entity"
"""Entity type of tags without one, unless `labels` names it."""


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


@dataclass(frozen=True)
class Writing:
    """How the tags of a task are written.

    Parameters
    ----------
    scheme
        As the configuration has it.
    labels
        As the configuration has them: entity types, or all tags (O among them) in the order of their numbers.
    """

    scheme: Scheme = "auto"
    labels: tuple[str, ...] | None = None

    def read(self, tag: str | int) -> str:
        """Return a tag as `parse` reads it, such as ``B-PER``.

        Raises
        ------
        ValueError
            If it is none; the message says what was expected, and the key of the configuration that would read it.
        """
        if is_number(tag) and str(tag) not in (self.labels or ()):
            tag = self._numbered(int(tag))
        tag = str(tag)
        if tag == "O":
            return tag
        if self.scheme == "auto":
            found = self._plain(tag)
        else:
            found = self._typed(tag) if self.scheme == "io" else self._marked(tag)
        if found.partition("-")[2] == "O":
            raise ValueError(
                f"tag {tag!r}: O stands for words outside of entities, and no entity type can be called so"
            )
        return found

    @property
    def types(self) -> list[str] | None:
        """The entity types that the labels name, in order; None without labels."""
        if self.labels is None or "O" not in self.labels:
            return None if self.labels is None else list(self.labels)
        return list(dict.fromkeys(entity for _, entity in map(parse, map(self.read, self.labels)) if entity))

    @property
    def names(self) -> list[str]:
        """The tags that the numbers 0, 1, ... stand for.

        Raises
        ------
        ValueError
            If the labels do not say it.
        """
        if self.labels is None:
            raise ValueError(
                "say what it stands for with labels, all tags in the order of their numbers "
                "(labels: [O, B-PER, I-PER]), or the entity types, if 1 is B- of the first and 2 its I-"
            )
        if "O" in self.labels:
            return list(self.labels)
        if self.scheme in ("bioes", "bmes"):
            raise ValueError(f"with scheme: {self.scheme}, labels must list all tags in the order of their numbers")
        return ["O", *self.labels] if self.scheme == "io" else label_names(self.labels)

    def _numbered(self, number: int) -> str:
        """Return the tag that a number stands for."""
        try:
            names = self.names
        except ValueError as error:
            raise ValueError(f"tag {number} is a number; {error}") from None
        if not 0 <= number < len(names):
            raise ValueError(f"tag {number}: labels name the numbers 0 ... {len(names) - 1} ({_few(names)})")
        return names[number]

    def _plain(self, tag: str) -> str:
        try:
            parse(tag)
        except ValueError as error:
            raise ValueError(f"{error}; {_advice(tag)}") from None
        return tag

    def _typed(self, tag: str) -> str:
        """Read a tag that is a type alone; in IO, entities of one type that touch are one."""
        if tag.startswith("B-"):
            raise ValueError(f"tag {tag!r} marks a beginning, which scheme: io has not; leave scheme out")
        return f"I-{tag.removeprefix('I-')}"

    def _marked(self, tag: str) -> str:
        """Read a tag that has a letter of the scheme before or behind its type, or no type."""
        letters = _LETTERS[self.scheme]
        if len(tag) == 1 and tag in letters:
            if self.labels is not None and len(self.types or ()) != 1:
                raise ValueError(f"tag {tag!r} has no type, so labels can name one type only, got {_few(self.labels)}")
            letter, entity = tag, (self.types or [UNTYPED])[0]
        else:
            ways = [(way[0], way[2]) for sign in "-_" if all(way := tag.partition(sign))]
            ways += [(way[2], way[0]) for sign in "-_" if all(way := tag.rpartition(sign))]
            letter, entity = next(((one, other) for one, other in ways if len(one) == 1 and one in letters), ("", ""))
            if not letter:
                known = " ".join(f"{item}-" for item in letters)
                raise ValueError(
                    f"tag {tag!r}: expected O, or one of {known} and an entity type (scheme: {self.scheme})"
                )
        return f"{'I' if letter == 'M' else letter}-{entity}"


def is_number(tag: str | int) -> bool:
    """Tell whether a tag is a number that stands for one."""
    return isinstance(tag, int) or (tag.isascii() and tag.isdigit() and len(tag) < 10)


def _few(names: Sequence[str]) -> str:
    """Write the first names of a list."""
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


def _advice(tag: str) -> str:
    """Say which scheme would read a tag that `auto` does not."""
    if tag in ("o", "0", "-", "_", "*", "OUT", "NONE", "None"):
        return "words outside of entities have the tag O in every scheme: write O in its place"
    if tag[1:2] in ("-", "_") and tag[:1].upper() in _TO_IOB and not tag[:1].isupper():
        return f"prefixes are capital letters: write {tag[:1].upper()}-{tag[2:]}"
    if tag in ("B", "I"):
        return "tags without a type are read with scheme: iob2"
    if tag in tuple("MESLU"):
        return "tags without a type are read with scheme: bmes or scheme: bioes"
    if tag.startswith("M-"):
        return "M- is read with scheme: bmes"
    if any(tag.endswith(f"{sign}{letter}") for sign in "-_" for letter in "BIESLUM") or tag[:2] in ("B_", "I_"):
        return "a prefix behind the type, or before a low line, is read with scheme: iob2, bioes or bmes"
    return "types without a prefix are read with scheme: io"


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
