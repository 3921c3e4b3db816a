"""Sets that a task is tested on but never trained on: test text with a distractor, typing errors, gaps or masks.

Nothing here looks at a label, and a row's draws depend on its text and its id alone: not on other rows, splits or
seeds. What a perturbation changes at 5 % it changes at 10 % and 20 %, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from maskbench.channels import Shift
from maskbench.config.conditions import DISTRACTOR, SHIFTED
from maskbench.data.manifests import NAME, Change, Changed
from maskbench.data.prepare import load_prepared, write_prepared
from maskbench.data.segments import segments
from maskbench.errors import InputError
from maskbench.kinds import changing, draws, traits
from maskbench.models.tokens import MASKED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from maskbench.kinds.changing import Changing

    Whole = NDArray[np.int64]
    Hits = NDArray[np.bool_]
    Keys = NDArray[np.uint64]
    Made = tuple[pa.Table, Changed]

DISTRACTORS = (
    "The shop on the corner opens at nine.",
    "It rained for an hour in the morning.",
    "There are two chairs and a table in the room.",
    "The bus stops next to the library.",
    "Water boils sooner in a closed pot.",
    "The box was left beside the door.",
    "Someone had put a coat over the chair.",
    "The journey takes an hour and a half.",
    "A bicycle was leaning on the wall.",
    "The road turns left after the bridge.",
    "The letter came in a plain envelope.",
    "Lunch is served from noon to two.",
)
"""Plain sentences without names, praise or blame, one of which is put behind each text.

After Jia & Liang (2017), Adversarial examples for evaluating reading comprehension systems, who put a sentence that
answers nothing behind a paragraph; these are chosen at random, not against a model.
"""


def shift(sets: Sequence[str], clean: Path, destination: Path) -> None:
    """Write the test-time sets of a prepared task.

    Parameters
    ----------
    sets
        Their names: ``distractor``, or a perturbation and a percentage such as ``swap-5``. swap: neighbouring letters
        of a word change places; delete: letters go (one letter of each word stays); drop: words go (one word of each
        text stays; in tagging the tags go with them); mask: words become `MASKED`, which `encode` turns into the
        tokenizer's mask token. Words are what white space separates and, where words are dropped or masked, the single
        characters of scripts that have none (data/segments.py); in tagging, the tokens.
    clean
        Folder made by `prepare`.
    destination
        Folder to make, in the same format, with one split for each set. Rows keep their `example`, so that they pair
        with the test split; the manifest has the realised shares. The same input gives the same bytes.

    Raises
    ------
    InputError
        If the text holds `MASKED` already.
    """
    manifest, tables = load_prepared(clean)
    if manifest.change is not None or "test" not in tables:
        raise InputError(f"{clean / NAME}: expected the clean task with its test split")
    text = Text.of(tables["test"], manifest.kind, manifest.labels)
    for example, row in zip(text.examples, text.joined, strict=True):
        if MASKED in row:
            raise InputError(f"task {manifest.task}: test, example {example}: text has the noncharacter {MASKED!a}")
    made = make_sets(sets, text)
    change = Change(what=SHIFTED, splits={name: changed for name, (_, changed) in made.items()}, clean=manifest.hash)
    about = manifest.model_copy(
        update={"change": change, "converted": {}, "shared_with_test": {}, "shared_with_validation": {}}
    )
    write_prepared(about, {name: table for name, (table, _) in made.items()}, destination)


@dataclass(frozen=True)
class Text:
    """The test split, as characters and words of all rows at once."""

    table: pa.Table
    kind: Changing
    """The part of the task's kind that changes labelled rows."""
    given: bool
    """Whether words are given: a piece is a word, else a text."""
    labels: list[str]
    pieces: list[str]
    """Texts, or the given words of all rows."""
    row_of_piece: Whole

    @classmethod
    def of(cls, table: pa.Table, kind: str, labels: list[str]) -> Text:
        """Read a table of a prepared task of some kind."""
        return cls(table, changing.of(kind), traits.of(kind).words_given, labels, *changing.of(kind).pieces(table))

    @property
    def examples(self) -> list[int]:
        """(rows,) the id of each row's example."""
        return self.table["example"].to_pylist()  # type: ignore[no-any-return]

    @cached_property
    def joined(self) -> list[str]:
        """Text of each row; tokens are joined by spaces."""
        if not self.given:
            return self.pieces
        return [" ".join(tokens) for tokens in self.table["tokens"].to_pylist()]

    def keys(self, purpose: str) -> Keys:
        """Return the key of each row's draws."""
        return draws.keys(purpose, zip(self.examples, self.joined, strict=True))

    # --- characters

    @cached_property
    def codes(self) -> NDArray[np.uint32]:
        """(N,) code points of all pieces."""
        return np.frombuffer("".join(self.pieces).encode("utf-32-le"), dtype="<u4").astype(np.uint32)

    @cached_property
    def piece(self) -> Whole:
        """(N,) piece of each character."""
        return np.repeat(np.arange(len(self.pieces)), [len(piece) for piece in self.pieces])

    def _are(self, test: Callable[[str], bool]) -> Hits:
        """(N,) bool: characters of which something is true."""
        distinct, index = np.unique(self.codes, return_inverse=True)
        found: Hits = np.array([test(chr(code)) for code in distinct], dtype=bool)[index]
        return found

    @cached_property
    def letter(self) -> Hits:
        """(N,) bool: the characters that are letters."""
        return self._are(str.isalpha)

    @cached_property
    def space(self) -> Hits:
        """(N,) bool: white space between words; a token is one word, whatever is in it."""
        return self._are(str.isspace) if not self.given else np.zeros(len(self.codes), dtype=bool)

    # --- words

    @cached_property
    def word_begins(self) -> Hits:
        """(N,) bool: the first character of each word."""
        new = np.diff(self.piece, prepend=-1) > 0
        after_space = np.concatenate([[False], self.space[:-1]])
        begins: Hits = ~self.space & (new | after_space)
        return begins

    @cached_property
    def word(self) -> Whole:
        """(N,) word of each character; white space belongs to the word before it."""
        return np.cumsum(self.word_begins) - 1

    @cached_property
    def unit_begins(self) -> Hits:
        """(N,) bool: the first character of what is dropped or masked: a word, or a character of an unspaced script."""
        if self.given:
            return self.word_begins
        begins = np.zeros(len(self.codes), dtype=bool)
        offset = 0
        for piece in self.pieces:
            begins[[offset + start for start, _ in segments(piece)]] = True
            offset += len(piece)
        return begins

    @cached_property
    def unit(self) -> Whole:
        """(N,) unit of each character; white space belongs to the one before it."""
        return np.cumsum(self.unit_begins) - 1

    @cached_property
    def row(self) -> Whole:
        """(N,) row of each character."""
        return self.row_of_piece[self.piece]

    # --- back to a table

    def spelled(self, codes: NDArray[np.uint32], kept: Hits) -> list[str]:
        """Return the pieces with the code points (N,), without the characters where `kept` (N,) is False."""
        text = codes[kept].astype("<u4").tobytes().decode("utf-32-le")
        ends = np.cumsum(np.bincount(self.piece[kept], minlength=len(self.pieces))).tolist()
        return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def with_pieces(self, pieces: list[str]) -> pa.Table:
        """Return the table with other texts or words."""
        return self.kind.with_pieces(self.table, pieces)


def make_sets(sets: Sequence[str], text: Text) -> dict[str, Made]:
    """Return the table of each set and what was done."""
    levels: dict[str, list[int]] = {}
    for name in sets:
        kind, _, level = name.partition("-")
        if name != DISTRACTOR and (kind not in _UNITS or not level.isdecimal() or not 0 < int(level) <= 100):
            raise InputError(f"{name}: expected {DISTRACTOR}, or one of {', '.join(_UNITS)} and a percentage: swap-5")
        levels.setdefault(kind, []).extend([int(level)] if level else [])
    made = {DISTRACTOR: _distract(text)} if DISTRACTOR in sets else {}
    for kind in set(levels) - {DISTRACTOR}:
        made |= {f"{kind}-{level}": done for level, done in _perturb(kind, levels[kind], text).items()}
    return {name: made[name] for name in sets}


# --- distractors


def _distract(text: Text) -> Made:
    """Put a neutral sentence behind each row."""
    drawn = draws.uniform(text.keys(DISTRACTOR), np.zeros(text.table.num_rows, dtype=np.int64), Shift.ORDER)
    sentences = [DISTRACTORS[int(number * len(DISTRACTORS))] for number in drawn]
    changed = Changed(counts={"texts": len(sentences), "changed": len(sentences)}, rates={"changed": 1.0})
    return text.kind.append(text.table, sentences, text.labels), changed


# --- perturbations


@dataclass(frozen=True)
class _Units:
    """What a perturbation can change: U letters, pairs of letters or words, ordered by row."""

    name: str
    """``letters`` or ``words``: what shares are of."""
    rows: Whole
    """(U,) row of the text that each unit stands in."""
    whole: Whole
    """(rows,) number of letters or words of each row, also of those that cannot be changed."""
    apply: Callable[[Hits], pa.Table]
    """Return the table with the chosen units (U,) changed."""
    size: int = 1
    """Number of letters that a unit takes."""
    staying: int = 0
    """Units of each row that stay in any case."""


def _perturb(kind: str, levels: Sequence[int], text: Text) -> dict[int, Made]:
    """Change a share of each row, at some levels in percent, in an order that is drawn once."""
    keys = text.keys(kind)
    units = _UNITS[kind](text, keys)
    drawn = (draws.uniform(keys[units.rows], _places(units.rows), Shift.ORDER) * 2**40).astype(np.int64)
    rank = np.empty(len(units.rows), dtype=np.int64)
    rank[np.argsort(units.rows * 2**40 + drawn, kind="stable")] = _places(units.rows)
    # rounded up or down at random, so that the mean share is exact; the same way at all levels, so that they nest
    rounding = draws.uniform(keys, np.zeros(len(keys), dtype=np.int64), Shift.AMOUNT)
    most = np.bincount(units.rows, minlength=len(keys)) - units.staying
    whole = int(units.whole.sum())
    made: dict[int, Made] = {}
    for level in levels:
        amount = np.floor(level / 100 / units.size * units.whole + rounding).astype(np.int64)
        chosen = rank < np.minimum(amount, most)[units.rows]
        count = units.size * int(chosen.sum())
        changed = Changed(
            counts={units.name: whole, "changed": count}, rates={"changed": count / whole if whole else None}
        )
        made[level] = units.apply(chosen), changed
    return made


def _places(rows: Whole) -> Whole:
    """Return the number of each unit in its row, from 0; rows ascend."""
    first = np.diff(rows, prepend=-1) != 0
    return np.arange(len(rows)) - np.maximum.accumulate(np.where(first, np.arange(len(rows)), 0))


def _swap(text: Text, keys: Keys) -> _Units:
    """Swap neighbouring letters of a word."""
    left = np.flatnonzero(_pairs(text, keys))

    def apply(chosen: Hits) -> pa.Table:
        codes, at = text.codes.copy(), left[chosen]
        codes[at], codes[at + 1] = text.codes[at + 1], text.codes[at]
        return text.with_pieces(text.spelled(codes, np.ones(len(codes), dtype=bool)))

    letters = np.bincount(text.row[text.letter], minlength=len(keys))
    return _Units("letters", text.row[left], letters, apply, size=2)


def _pairs(text: Text, keys: Keys) -> Hits:
    """(N,) bool: left letters of pairs that do not overlap, from the first or the second letter of each run on.

    Pairs of equal letters, which a swap leaves as they are, are not among them.
    """
    follows = text.letter[1:] & text.letter[:-1] & (text.word[1:] == text.word[:-1])
    begins = text.letter & ~np.concatenate([[False], follows])
    place = np.flatnonzero(text.letter)
    run = (np.cumsum(begins) - 1)[place]
    starts = np.flatnonzero(begins)
    rows = text.row[starts]
    late = draws.uniform(keys[rows], _places(rows), Shift.OFFSET) < 0.5
    late &= np.bincount(run, minlength=len(starts)) > 2
    offset = place - (starts + late)[run]
    pair = np.zeros(len(text.codes), dtype=bool)
    pair[place] = (offset >= 0) & (offset % 2 == 0)
    pair[:-1] &= follows & (text.codes[1:] != text.codes[:-1])
    pair[-1:] = False
    return pair


def _delete(text: Text, keys: Keys) -> _Units:
    """Delete letters; one letter of each word, drawn at random, stays, so that no word disappears."""
    place = np.flatnonzero(text.letter)
    rows, words = text.row[place], text.word[place]
    new = np.diff(words, prepend=-1) != 0
    starts, lengths = np.flatnonzero(new), np.diff(np.flatnonzero(np.append(new, True)))
    drawn = draws.uniform(keys[rows[starts]], _places(rows[starts]), Shift.OFFSET)
    place = np.delete(place, starts + (drawn * lengths).astype(np.int64))

    def apply(chosen: Hits) -> pa.Table:
        kept = np.ones(len(text.codes), dtype=bool)
        kept[place[chosen]] = False
        return text.with_pieces(text.spelled(text.codes, kept))

    return _Units("letters", text.row[place], np.bincount(rows, minlength=len(keys)), apply)


def _words(text: Text, keys: Keys, apply: Callable[[Hits], pa.Table], staying: int = 0) -> _Units:
    """Return all words of the text as the units that a perturbation can change."""
    rows = text.row[text.unit_begins]
    return _Units("words", rows, np.bincount(rows, minlength=len(keys)), apply, staying=staying)


def _drop(text: Text, keys: Keys) -> _Units:
    """Drop words, with the white space after them."""

    def apply(chosen: Hits) -> pa.Table:
        if text.given:
            return text.kind.keep(text.table, ~chosen, text.labels)
        return text.with_pieces([piece.rstrip() for piece in text.spelled(text.codes, ~chosen[text.unit])])

    return _words(text, keys, apply, staying=1)


def _mask(text: Text, keys: Keys) -> _Units:
    """Replace words by `MASKED`, which tokenizers read as the mask token."""

    def apply(chosen: Hits) -> pa.Table:
        inside = chosen[text.unit] & ~text.space
        codes = np.where(inside, ord(MASKED), text.codes).astype(np.uint32)
        return text.with_pieces(text.spelled(codes, ~inside | text.unit_begins))

    return _words(text, keys, apply)


_UNITS: dict[str, Callable[[Text, Keys], _Units]] = {"swap": _swap, "delete": _delete, "drop": _drop, "mask": _mask}
