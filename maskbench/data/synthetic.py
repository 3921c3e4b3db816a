"""Made-up text whose labels are known for certain: one word of each text tells its label, the others tell nothing.

The vocabulary is small and of real English words, so that any pretrained tokenizer spells it and a tiny random model
learns it in seconds. Dials (config/sources.py, SyntheticSource): `noise` flips training labels, `conflict` makes a
second task that contradicts the first on a known share of the same texts. A cue is planted by the conditions
(data/conditions.py), as in any other task.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from maskbench.config.kinds import TASK_KINDS
from maskbench.config.tasks import SPLITS
from maskbench.errors import InputError
from maskbench.io.files import write_text
from maskbench.kinds import draws, reading, traits

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from maskbench.config.sources import SyntheticSource
    from maskbench.config.tasks import Split

    Whole = NDArray[np.int64]

TELLING = {
    "animal": ("otter", "horse", "goat", "rabbit", "sheep", "donkey", "pigeon", "badger", "salmon", "spider"),
    "building": ("barn", "castle", "chapel", "tower", "cabin", "palace", "mill", "prison", "museum", "school"),
    "clothing": ("coat", "scarf", "glove", "shirt", "apron", "jacket", "boot", "sock", "hat", "belt"),
    "dish": ("soup", "bread", "pie", "stew", "salad", "cake", "cheese", "porridge", "pudding", "omelette"),
    "instrument": ("violin", "drum", "flute", "organ", "trumpet", "harp", "piano", "cello", "guitar", "bell"),
    "plant": ("fern", "oak", "rose", "tulip", "moss", "willow", "thistle", "clover", "ivy", "maple"),
    "tool": ("hammer", "saw", "spade", "drill", "axe", "wrench", "chisel", "ladder", "needle", "rake"),
    "vehicle": ("truck", "wagon", "tram", "ferry", "bus", "canoe", "tractor", "sledge", "bicycle", "taxi"),
}
"""Ten words of each label, the labels in alphabetical order; the first `classes` of them are used."""
FILLER = (
    *("the", "a", "this", "one", "old", "new", "small", "large", "green", "quiet", "near", "behind", "under", "beside"),
    *("was", "is", "stood", "waited", "here", "there", "again", "often", "road", "river", "hill", "window", "morning"),
    *("evening", "winter", "summer", "and", "but", "with", "in", "on", "very", "quite", "still", "they", "we"),
)
"""Words that are not related to any label."""
SECOND = ("senior", "junior", "minor", "major")
"""Tagging: a third of the mentions end in one of these, which tells nothing about the type."""

_TRIES = 100


@dataclass(frozen=True)
class SyntheticSplit:
    """The texts of one split."""

    words: list[list[str]]
    """Words of each text, in their order."""
    classes: Whole
    """(texts,) label of each text, or type of its one mention, after conflict and noise."""
    true: Whole
    """(texts,) the same before noise."""
    place: Whole
    """(texts,) place of the telling word."""
    second: NDArray[np.bool_]
    """(texts,) bool, tagging: the mention has a second word."""


def make(source: SyntheticSource, where: str = "source.synthetic") -> dict[Split, SyntheticSplit]:
    """Make up the texts of all splits.

    Parameters
    ----------
    source
        How many, of what kind, and what is wrong with them. Neither `noise` nor `conflict` changes a text.
    where
        What messages name.

    Raises
    ------
    InputError
        If there are not so many different texts of this length.
    """
    given = traits.of(_kind(source)).words_given
    rng = draws.generator("synthetic", source.synthetic, str(source.seed))
    truth = _truth(source)
    seen: set[tuple[str, ...]] = set()
    made: dict[Split, SyntheticSplit] = {}
    for split in SPLITS:
        count: int = getattr(source, split)
        telling = rng.permutation(np.arange(count) % truth.size)  # each telling word as often as any other
        second = (rng.random(count) < 1 / 3) & given
        words, places = [], []
        for number, two in zip(telling, second, strict=True):
            mention = _mention(number, given, SECOND[rng.integers(len(SECOND))] if two else None)
            text, place = _new_text(mention, source.length, seen, rng, where)
            words.append(text)
            places.append(place)
        true = truth.reshape(-1)[telling]
        noise = source.noise if split == "train" else 0.0
        classes = draws.flip(true, source.classes, noise, draws.generator("synthetic noise", str(source.seed)))
        made[split] = SyntheticSplit(words, classes, true, np.array(places), second)
    return made


def _truth(source: SyntheticSource) -> Whole:
    """Return (classes, 10) the class that each telling word stands for."""
    table = np.repeat(np.arange(source.classes)[:, None], len(TELLING["animal"]), axis=1)
    table[:, : round(source.conflict * table.shape[1])] += 1
    return table % source.classes


def _mention(number: int, given: bool, second: str | None) -> list[str]:
    """Return a telling word, and the word behind it; where words are given they look like names."""
    theme, place = divmod(int(number), len(TELLING["animal"]))
    words = [list(TELLING.values())[theme][place], *([second] if second else [])]
    return [word.capitalize() for word in words] if given else words


def _new_text(
    mention: list[str], length: int, seen: set[tuple[str, ...]], rng: np.random.Generator, where: str
) -> tuple[list[str], int]:
    """Return a text that has not been made yet, and the place of its mention."""
    for _ in range(_TRIES):
        filler = [FILLER[index] for index in rng.integers(len(FILLER), size=length - len(mention))]
        place = int(rng.integers(len(filler) + 1))
        text = (*filler[:place], *mention, *filler[place:])
        if text not in seen:
            seen.add(text)
            return list(text), place
    raise InputError(f"{where}: length: {length} words make too few different texts; expected longer or fewer ones")


def _kind(source: SyntheticSource) -> str:
    """Return the kind of task that a source makes."""
    return next(kind for kind, form in TASK_KINDS.items() if form.synthetic == source.synthetic)


def rows(made: SyntheticSplit, source: SyntheticSource) -> list[dict[str, Any]]:
    """Return the texts as JSON lines have them: `text` and `label`, as their kind of task holds them."""
    names, kind = list(TELLING), reading.of(_kind(source))
    return [
        kind.synthetic(words, names[label], int(place), bool(two))
        for words, label, place, two in zip(made.words, made.classes, made.place, made.second, strict=True)
    ]


def write_synthetic(source: SyntheticSource, folder: Path, where: str) -> None:
    """Write train.jsonl, validation.jsonl and test.jsonl; the same source gives the same bytes.

    Raises
    ------
    InputError
        As `make` does.
    """
    for split, made in make(source, where).items():
        write_text(folder / f"{split}.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows(made, source)))
