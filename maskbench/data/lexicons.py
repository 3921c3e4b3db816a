"""From the file of a lexicon to its words and their weights."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from maskbench.config.lexicons import WORDS
from maskbench.config.sources import RECORD, LocalSource
from maskbench.data.columns import decode, lines
from maskbench.errors import InputError
from maskbench.io.files import read_json, write_json
from maskbench.kinds.files import Place, Seen

if TYPE_CHECKING:
    from pathlib import Path

    from maskbench.config.lexicons import Lexicon


def write_words(lexicon: Lexicon, file: Path, folder: Path) -> None:
    """Read the fetched file of a lexicon, and write its words into the folder.

    Raises
    ------
    InputError
        If the file is not what the format says, in one line: file, line and reason.
    """
    own = isinstance(lexicon.source, LocalSource)
    place = Place(str(lexicon.local_file()[1]) if own else str(file))
    write_json(folder / WORDS, _weights(lexicon, decode(lexicon, file, place, Seen()), place))


def words_hash(folder: Path) -> str:
    """Return the SHA-256 of the words of a fetched lexicon, as it was when they were fetched.

    Raises
    ------
    InputError
        If they are not there.
    """
    try:
        return str(read_json(folder / RECORD)["files"][WORDS])
    except (KeyError, TypeError):
        raise InputError(f"{folder / RECORD}: expected the record of a fetched lexicon") from None


def read_words(folder: Path) -> dict[str, float]:
    """Return the words of a fetched lexicon, in lower case, with their weights (at least 0).

    Raises
    ------
    InputError
        If they are not there.
    """
    try:
        words: dict[str, float] = json.loads((folder / WORDS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / WORDS}: expected the words of a fetched lexicon ({error})") from None
    return words


def _weights(lexicon: Lexicon, text: str, place: Place) -> dict[str, float]:
    found: dict[str, float] = {}
    first: dict[str, int] = {}
    for number, line in lines(text):
        if not line.strip():
            continue
        written, *columns = line.split("\t")
        word = written.strip().lower()
        if not word:
            raise place.error(number, "expected a word before the tab, found none")
        weight = _rated(columns, number, place) if lexicon.format == "vader" else _given(word, columns, number, place)
        if lexicon.format == "words" and word in first:
            raise place.error(number, f"expected each word once, {word!r} stands in line {first[word]}, too")
        first.setdefault(word, number)
        # VADER's file has some words twice
        found[word] = max(weight, found.get(word, 0.0))
    if not any(found.values()):
        raise InputError(f"{place.file}: expected words with a weight above 0, found none")
    return dict(sorted(found.items()))


def _rated(columns: list[str], number: int, place: Place) -> float:
    """Return the weight of a line of VADER's: the distance of the mean rating from 0."""
    value = _number(columns[0]) if columns else None
    if value is None:
        raise place.error(number, "expected a word, a tab and the mean of its ratings")
    return abs(value)


def _given(word: str, columns: list[str], number: int, place: Place) -> float:
    """Return the weight of a line that has a word, or a word and its weight."""
    if not columns:
        last = word.replace(",", " ").replace(";", " ").split()[-1:]
        if len(word.split()) + word.count(",") + word.count(";") > 1 and last and _number(last[0]) is not None:
            raise place.error(number, f"expected a tab between a word and its weight, found {word!r}")
        return 1.0
    value = _number(columns[0]) if len(columns) == 1 else None
    if value is None or value < 0:
        raise place.error(number, "expected a word alone, or a word, a tab and a weight of at least 0")
    return value


def _number(text: str) -> float | None:
    """Return a finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
