"""What a task's training text goes through before training: a planted cue, or flipped labels.

A planted cue agrees with the label more or less often, so that relying on it can be told from relying on the text
(spurious correlations: Gururangan et al. 2018; Sagawa et al. 2020). Flipped labels can only be memorised (Zhang et al.
2017; Arpit et al. 2017). Everything is drawn by the condition's kind and the split alone: all strategies and seeds of a
study share one text, and conditions of one kind are nested over their rates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.compute as pc
import regex

from maskbench.config.conditions import ALIGNED, CONFLICTING
from maskbench.data.manifests import NAME, Change, Changed
from maskbench.data.prepare import load_prepared, write_prepared
from maskbench.data.segments import IN_WORD
from maskbench.errors import InputError
from maskbench.kinds import changing
from maskbench.kinds.changing import Planted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from maskbench.config.conditions import Condition
    from maskbench.data.manifests import PreparedManifest


def plant(condition: Condition, words: Sequence[str], clean: Path, destination: Path) -> None:
    """Write a prepared task as it is under a condition.

    Parameters
    ----------
    condition
        Cue or label-noise, and its rate.
    words
        Cue: one word for each class, in the order of the labels; tagging: the first is the trigger. Others are not
        used.
    clean
        Folder made by `prepare`.
    destination
        Folder to make, in the same format. Cue: train and validation with the cue at the rate, test as it was,
        `aligned` and `conflicting` made from test. Label noise: train with flipped labels, validation and test as
        they were. Rows keep their `example`, so that they pair with those of the clean task; the manifest says what
        was done (`change`). The same input gives the same bytes.

    Raises
    ------
    InputError
        If there is nothing to plant or to flip: one class or entity type only, too few cue words, a cue word that
        stands in the text.
    """
    manifest, tables = load_prepared(clean)
    where = f"task {manifest.task}: {condition}"
    if condition.kind == "clean" or manifest.change is not None:
        raise InputError(f"{clean / NAME}: {condition}: expected a condition other than clean, and the clean task")
    if condition.kind == "cue":
        found = _cue(condition.rate, words, manifest, tables, where)
    else:
        kind = changing.of(manifest.kind)
        found = Planted({"train": kind.flip(tables["train"], condition.rate, manifest.labels, where)}, [])
    change = Change(
        what=str(condition),
        words=found.words,
        target=found.target,
        splits={split: Changed(counts=one.counts, rates=one.rates) for split, one in found.made.items()},
        clean=manifest.hash,
    )
    about = manifest.model_copy(update={"change": change})
    write_prepared(about, tables | {split: one.table for split, one in found.made.items()}, destination)


# --- planted cue


def _cue(
    rate: float, words: Sequence[str], manifest: PreparedManifest, tables: Mapping[str, pa.Table], where: str
) -> Planted:
    """Return the splits with the cue, and what was planted."""
    kind = changing.of(manifest.kind)
    used = _cue_words(words, kind.cue_words(manifest.labels), where)
    _must_be_new(used, tables, where)
    # how often a cue agrees: `rate` where models are trained and chosen, always or never where they are tested
    shares = {"train": rate, "validation": rate, ALIGNED: 1.0, CONFLICTING: 0.0}
    origins = {split: tables[_origin(split)] for split in shares}
    return kind.plant(origins, shares, used, manifest.labels, where)


def _origin(split: str) -> str:
    """Return the clean split that a split is made from."""
    return "test" if split in (ALIGNED, CONFLICTING) else split


def _cue_words(words: Sequence[str], needed: int, where: str) -> list[str]:
    """Return the words to plant: as many as are needed, all different."""
    if len(words) < needed:
        raise InputError(
            f"{where}: cue.words: expected {needed} words, one for each label, got {len(words)} ({', '.join(words)})"
        )
    used = list(words[:needed])
    if len({word.casefold() for word in used}) < needed:
        raise InputError(f"{where}: cue.words: expected different words (case aside), got {', '.join(used)}")
    return used


def _must_be_new(words: Sequence[str], tables: Mapping[str, pa.Table], where: str) -> None:
    """Refuse a cue word that the task's own text has, whatever its case."""
    written = "|".join(map(regex.escape, sorted(words, key=len, reverse=True)))
    pattern = regex.compile(rf"(?<!{IN_WORD})({written})(?!{IN_WORD})", regex.IGNORECASE | regex.VERSION1)
    for split, table in tables.items():
        for example, text in zip(table["example"].to_pylist(), _texts(table), strict=True):
            if found := pattern.search(text):
                raise InputError(
                    f"{where}: cue.words: expected words that the text does not have, {found[0]!r} stands in "
                    f"{split}, example {example}"
                )


def _texts(table: pa.Table) -> list[str]:
    """Return the text of each row; words of a tagged sentence are joined by spaces."""
    column = table["text"] if "text" in table.column_names else pc.binary_join(table["tokens"], " ")
    return column.to_pylist()  # type: ignore[no-any-return]
