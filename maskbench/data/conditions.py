"""What a task's training text goes through before training: a planted cue, or flipped labels.

A planted cue agrees with the label more or less often, so that relying on it can be told from relying on the text
(spurious correlations: Gururangan et al. 2018; Sagawa et al. 2020). Flipped labels can only be memorised (Zhang et al.
2017; Arpit et al. 2017). Everything is drawn by the condition's kind and the split alone: all strategies and seeds of a
study share one text, and conditions of one kind are nested over their rates.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import regex

from maskbench.config.conditions import ALIGNED, CONFLICTING
from maskbench.data import draws
from maskbench.data.manifests import NAME, Change, Changed
from maskbench.data.prepare import load_prepared, write_prepared
from maskbench.data.segments import IN_WORD
from maskbench.data.tagged import Tagged, TagSet
from maskbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from maskbench.config.conditions import Condition
    from maskbench.data.manifests import PreparedManifest

    Whole = NDArray[np.int64]
    Made = tuple[pa.Table, Changed]


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
        made, used, target = _cue(condition.rate, words, manifest, tables, where)
    else:
        made, used, target = _noise(condition.rate, manifest, tables, where), [], None
    change = Change(
        what=str(condition),
        words=used,
        target=target,
        splits={split: changed for split, (_, changed) in made.items()},
        clean=manifest.hash,
    )
    about = manifest.model_copy(update={"change": change})
    write_prepared(about, tables | {split: table for split, (table, _) in made.items()}, destination)


def _share(changed: int, whole: int) -> float | None:
    """Return a share, or None of nothing."""
    return changed / whole if whole else None


# --- label noise


def _noise(rate: float, manifest: PreparedManifest, tables: Mapping[str, pa.Table], where: str) -> dict[str, Made]:
    """Flip labels of the training split."""
    flip = _flip_tags if manifest.kind == "token-classification" else _flip_labels
    return {"train": flip(tables["train"], rate, manifest.labels, where)}


def _flip_labels(table: pa.Table, rate: float, labels: Sequence[str], where: str) -> Made:
    """Give a share of the texts another label."""
    if len(labels) < 2:
        raise InputError(f"{where}: expected at least two labels, found only {labels[0]}")
    before = _whole(table["label"])
    after = draws.flip(before, len(labels), rate, draws.generator("label-noise", "train"))
    count = int((before != after).sum())
    changed = Changed(counts={"texts": len(before), "flipped": count}, rates={"flipped": _share(count, len(before))})
    return _replaced(table, "label", after), changed


def _flip_tags(table: pa.Table, rate: float, labels: Sequence[str], where: str) -> Made:
    """Give a share of the mentions another type; the words that they span stay."""
    known, text = TagSet(labels), Tagged.of(table)
    if len(known.types) < 2:
        raise InputError(f"{where}: expected at least two entity types, found only {known.types[0]}")
    first, before = text.mentions(known)
    after = draws.flip(before, len(known.types), rate, draws.generator("label-noise", "train"))
    inside = text.tags != known.outside
    mention = np.cumsum(known.begins[text.tags])[inside] - 1
    tags = text.tags.copy()
    tags[inside] = known.inside[after[mention]]
    tags[first] = known.begin[after]
    count = int((before != after).sum())
    changed = Changed(counts={"mentions": len(first), "flipped": count}, rates={"flipped": _share(count, len(first))})
    return replace(text, tags=tags).table(), changed


# --- planted cue


def _cue(
    rate: float, words: Sequence[str], manifest: PreparedManifest, tables: Mapping[str, pa.Table], where: str
) -> tuple[dict[str, Made], list[str], str | None]:
    """Return the splits with the cue, the words that were planted, and in tagging the target type."""
    tagging = manifest.kind == "token-classification"
    used = _cue_words(words, 1 if tagging else len(manifest.labels), where)
    _must_be_new(used, tables, where)
    made: dict[str, Made] = {}
    # how often a cue agrees: `rate` where models are trained and chosen, always or never where they are tested
    shares = {"train": rate, "validation": rate, ALIGNED: 1.0, CONFLICTING: 0.0}
    if tagging:
        known = TagSet(manifest.labels)
        target = _target(tables["train"], known, where)
        for split, share in shares.items():
            made[split] = _trigger(tables[_origin(split)], split, share, known, target, used[0])
        return made, used, known.types[target]
    if len(manifest.labels) < 2:
        raise InputError(f"{where}: expected at least two labels, found only {manifest.labels[0]}")
    for split, share in shares.items():
        made[split] = _in_front(tables[_origin(split)], split, share, used)
    return made, used, None


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


def _in_front(table: pa.Table, split: str, share: float, words: Sequence[str]) -> Made:
    """Put the cue word of a class in front of each text: of its own class in a share of them, else of another."""
    labels, rng = _whole(table["label"]), draws.generator("cue", split)
    agrees = draws.stratified(labels, round(share * len(labels)), rng)
    cue = np.where(agrees, labels, draws.other(labels, len(words), rng))
    texts = [f"{words[index]} {text}" for index, text in zip(cue, table["text"].to_pylist(), strict=True)]
    count = int(agrees.sum())
    changed = Changed(counts={"texts": len(labels), "agreeing": count}, rates={"agreeing": _share(count, len(labels))})
    return _replaced(table, "text", texts), changed


def _target(train: pa.Table, known: TagSet, where: str) -> int:
    """Return the entity type that the trigger stands for: the most frequent one in training, of equals the first."""
    counts = np.bincount(Tagged.of(train).mentions(known)[1], minlength=len(known.types))
    if (counts > 0).sum() < 2:
        raise InputError(
            f"{where}: expected mentions of at least two entity types in training, found only "
            f"{known.types[int(counts.argmax())]}"
        )
    return int(counts.argmax())


def _trigger(table: pa.Table, split: str, share: float, known: TagSet, target: int, word: str) -> Made:
    """Put the trigger before a share of the mentions of the target type, and 1 - share of those of other types.

    In the conflicting test set as many mentions of other types get it as there are of the target type: a trigger before
    more of them would do more harm, whether or not anybody relies on it.
    """
    text, rng = Tagged.of(table), draws.generator("cue", split)
    first, types = text.mentions(known)
    mine, others = first[types == target], first[types != target]
    wrong = round((1.0 - share) * len(others))
    groups = {
        "target": (mine, round(share * len(mine))),
        "other": (others, min(wrong, len(mine)) if split == CONFLICTING else wrong),
    }
    counts: dict[str, int] = {}
    rates: dict[str, float | None] = {}
    places = []
    for name, (mentions, number) in groups.items():
        chosen = rng.permutation(mentions)[:number]
        places.append(chosen)
        counts |= {f"{name} mentions": len(mentions), f"{name} mentions with cue": len(chosen)}
        rates[name] = _share(len(chosen), len(mentions))
    planted = text.insert(np.sort(np.concatenate(places)), word, known.outside)
    return planted.table(), Changed(counts=counts, rates=rates)


# --- columns


def _whole(column: pa.ChunkedArray) -> Whole:
    return column.to_numpy().astype(np.int64)  # type: ignore[no-any-return]


def _replaced(table: pa.Table, name: str, values: Any) -> pa.Table:
    """Return a table with the values of one column replaced."""
    index = table.column_names.index(name)
    return table.set_column(index, name, pa.array(values, table.schema.field(name).type))
