"""From raw files to one form for all tasks: three disjoint splits as parquet, with a manifest that says how."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from maskbench.config.sources import HubSource, LocalSource
from maskbench.config.tasks import SPLITS, Split, Task
from maskbench.data import tags as schemes
from maskbench.data.folders import new_folder
from maskbench.data.manifests import NAME, PreparedManifest, PreparedSplit, in_order
from maskbench.data.readers import Example, Place, Sentence, Table, read
from maskbench.errors import InputError
from maskbench.io.files import canonical, read_json, sha256_file, sha256_text, verify

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass
class Rows:
    """The rows of one split, or of a training file that is still to be cut."""

    inputs: list[Any]
    """Texts, or lists of tokens."""
    targets: list[Any]
    """Indices of labels, or lists of them."""

    @property
    def keys(self) -> list[str]:
        """What makes two rows the same text: the words, whatever their case and the white space between them."""
        joined = (item if isinstance(item, str) else " ".join(item) for item in self.inputs)
        return [" ".join(text.split()).casefold() for text in joined]

    def take(self, positions: Iterable[int]) -> Rows:
        """Return the rows at some positions."""
        positions = list(positions)
        return Rows([self.inputs[i] for i in positions], [self.targets[i] for i in positions])


@dataclass
class Content:
    """All of a task, before it is cut and written."""

    labels: list[str]
    rows: dict[Split, Rows]
    dropped: Counter[str] = field(default_factory=Counter)
    scheme: str | None = None
    converted: dict[Split, int] = field(default_factory=dict)


def prepare(task: Task, source: Path, destination: Path) -> None:
    """Read a task's raw files and write its splits.

    Parameters
    ----------
    task
        Says how the files are read.
    source
        Folder with source.json and the files that it lists; their hashes are checked.
    destination
        Folder to make, in one piece: train.parquet, validation.parquet, test.parquet (columns `example`, and `text`
        and `label`, or `tokens` and `tags`) and manifest.json. The same input gives the same bytes.

    Raises
    ------
    InputError
        For the first thing that is wrong: file, line and reason.
    """
    record = _read_record(source)
    tables = {split: _read(task, split, source, record) for split in _given(task)}
    content = _classification(task, tables) if task.kind == "sequence-classification" else _tagging(task, tables)
    for table in tables.values():
        content.dropped["no text"] += table.without_text
    cut = _cut_missing(task, content, tables["train"].place)
    about = PreparedManifest(
        task=task.name,
        kind=task.kind,
        labels=content.labels,
        splits={},
        cut=cut,
        dropped={reason: count for reason, count in sorted(content.dropped.items()) if count},
        scheme=content.scheme,
        converted={**content.converted},
        shared_with_test=_shared(content.rows, "test"),
        shared_with_validation=_shared(content.rows, "validation"),
        source=record,
        hash="",
    )
    write_prepared(about, {split: _table(content.rows[split]) for split in SPLITS}, destination)


def write_prepared(about: PreparedManifest, tables: Mapping[str, pa.Table], destination: Path) -> None:
    """Write a prepared task in one piece.

    Parameters
    ----------
    about
        The manifest, to which splits and hash are added.
    tables
        The rows of each split, with the columns that `prepare` writes.
    destination
        Folder to make; the same input gives the same bytes.
    """
    with new_folder(destination) as folder:
        splits = {
            split: _write_split(table, about.labels, folder / f"{split}.parquet") for split, table in tables.items()
        }
        whole = about.model_copy(update={"splits": splits})
        whole.model_copy(update={"hash": _hash(whole)}).write(folder)


def _hash(about: PreparedManifest) -> str:
    """Return the hash of a prepared task: over all that training sees of it."""
    hashes = {split: info.sha256 for split, info in about.splits.items()}
    return sha256_text(canonical({"kind": about.kind, "labels": about.labels, "splits": hashes}))


def load_prepared(folder: Path) -> tuple[PreparedManifest, dict[str, pa.Table]]:
    """Read a prepared task.

    Parameters
    ----------
    folder
        As `prepare`, `plant` or `shift` made it.

    Returns
    -------
    tuple
        The manifest, and the table of each split: train, validation and test first, then any others by name.

    Raises
    ------
    InputError
        If a file is missing or differs from the manifest.
    """
    manifest = PreparedManifest.read(folder)
    if _hash(manifest) != manifest.hash:
        raise InputError(f"{folder / NAME}: labels or splits differ from its hash; delete {folder} and run again")
    verify(folder, {f"{split}.parquet": info.sha256 for split, info in manifest.splits.items()})
    return manifest, {split: pq.read_table(folder / f"{split}.parquet") for split in in_order(manifest.splits)}


# --- reading


def _read_record(source: Path) -> dict[str, Any]:
    """Read source.json and check the files that it lists."""
    record = read_json(source / "source.json")
    files = record.get("files") if isinstance(record, dict) else None
    if not isinstance(files, dict):
        raise InputError(
            f"{source / 'source.json'}: files: expected the hash of each file; delete {source} and run again"
        )
    features = record.setdefault("features", {})
    if not isinstance(features, dict) or not all(isinstance(names, list) for names in features.values()):
        raise InputError(f"{source / 'source.json'}: features: expected lists of names; delete {source} and run again")
    verify(source, files)
    return dict(record)


def _given(task: Task) -> list[Split]:
    """Return the splits that the source has."""
    named = task.source.splits if isinstance(task.source, HubSource) else task.files
    return [split for split in SPLITS if split in named]


def _read(task: Task, split: Split, source: Path, record: Mapping[str, Any]) -> Table:
    """Read the file of one split; messages name the user's own file, not its copy."""
    if isinstance(task.source, HubSource):
        name = f"{split}.parquet"
        shown = f"{task.source.hub}, split {task.source.splits[split]}"
    else:
        name = task.files[split]
        shown = str(source / name)
        if isinstance(task.source, LocalSource):
            place = Path(task.source.local).expanduser()
            top = place.parent if place.is_file() else place
            shown = str(top / name)
            name = Path(top / name).relative_to(top).as_posix() if Path(top / name).is_relative_to(top) else name
    if name not in record["files"]:
        raise InputError(
            f"{source}: no file {name} for {split}; there are {', '.join(sorted(record['files'])) or 'none'}"
        )
    return read(task, source / name, shown, record.get("features"))


# --- labels


def _classification(task: Task, tables: Mapping[Split, Table]) -> Content:
    """Turn labels into indices."""
    dropped: Counter[str] = Counter()
    words = {split: [example.label for example in table.examples] for split, table in tables.items()}
    examples = {split: table.examples for split, table in tables.items()}
    if task.binarize is not None:
        for split, table in tables.items():
            signs = [_sign(example, task.binarize, table.place) for example in table.examples]
            examples[split] = [example for example, sign in zip(table.examples, signs, strict=True) if sign]
            words[split] = ["positive" if sign > 0 else "negative" for sign in signs if sign]
            dropped[f"{task.label} equals {task.binarize:g}"] += signs.count(0)
    train = tables["train"].place.file
    labels = _fixed(task, train) or _sorted(words["train"])
    if len(labels) < 2:
        raise InputError(f"{train}: label: expected at least two labels, found only {', '.join(labels) or 'none'}")
    index = _index(labels)
    rows: dict[Split, Rows] = {}
    for split, table in tables.items():
        for example, word in zip(examples[split], words[split], strict=True):
            if word not in index:
                raise table.place.error(example.line, _unknown(task, f"label {word!r}", labels))
        rows[split] = Rows([item.text for item in examples[split]], [index[word] for word in words[split]])
    return Content(labels, rows, dropped)


def _sign(example: Example, threshold: float, place: Place) -> int:
    """Return on which side of the threshold a label is: 1, -1, or 0 if it is equal."""
    try:
        value = float(example.label)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise place.error(example.line, f"label: expected a number, since binarize is set, got {example.label!r}")
    return (value > threshold) - (value < threshold)


def _fixed(task: Task, file: str) -> list[str] | None:
    """Return the labels that the configuration lists, or that binarize gives."""
    binary = ["negative", "positive"]
    if task.binarize is not None and sorted(task.labels or binary) != binary:
        raise InputError(
            f"{file}: labels: with binarize they are negative and positive, got {', '.join(task.labels or [])}"
        )
    if task.labels is not None and len(set(task.labels)) != len(task.labels):
        raise InputError(f"{file}: labels: expected each label once, got {', '.join(task.labels)}")
    return task.labels or (binary if task.binarize is not None else None)


def _sorted(words: Iterable[str]) -> list[str]:
    """Return the distinct labels in order, numbers by size."""
    distinct = set(words)
    if all(re.fullmatch(r"-?[0-9]{1,9}", word) for word in distinct):
        return sorted(distinct, key=lambda word: (int(word), word))
    return sorted(distinct)


def _index(labels: Sequence[str]) -> dict[str, int]:
    """Return the index of each label; where no label is a number, a number in the file is an index (as in GLUE)."""
    index = {label: position for position, label in enumerate(labels)}
    if not any(re.fullmatch(r"-?[0-9]+", label) for label in labels):
        index |= {str(position): position for position in range(len(labels))}
    return index


def _unknown(task: Task, what: str, labels: Sequence[str]) -> str:
    """Say that something is not among the labels."""
    known = ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
    return f"{what} is not among the labels " + (
        f"of the configuration ({known})" if task.labels else f"of the training split ({known})"
    )


def _tagging(task: Task, tables: Mapping[Split, Table]) -> Content:
    """Convert tags to IOB2 and to indices."""
    train = tables["train"]
    types = _fixed(task, train.place.file) or sorted(
        {schemes.parse(tag)[1] for sentence in train.sentences for tag in sentence.tags} - {""}
    )
    if not types:
        raise InputError(
            f"{train.place.file}: label: no entity in the training file, every tag is O; is it the right column?"
        )
    labels = schemes.label_names(types)
    index = {label: position for position, label in enumerate(labels)}
    rows: dict[Split, Rows] = {}
    converted: dict[Split, int] = {}
    for split, table in tables.items():
        targets = [_tag_indices(sentence, index, types, task, table.place) for sentence in table.sentences]
        rows[split] = Rows([sentence.tokens for sentence in table.sentences], targets)
        converted[split] = sum(
            labels[target] != tag
            for sentence, row in zip(table.sentences, targets, strict=True)
            for tag, target in zip(sentence.tags, row, strict=True)
        )
    scheme = schemes.scheme(sentence.tags for sentence in train.sentences)
    return Content(labels, rows, scheme=scheme, converted=converted)


def _tag_indices(
    sentence: Sentence, index: Mapping[str, int], types: Sequence[str], task: Task, place: Place
) -> list[int]:
    """Return the index of each tag of a sentence."""
    indices = []
    for position, tag in enumerate(schemes.to_iob2(sentence.tags)):
        if tag not in index:
            raise place.error(sentence.line_of(position), _unknown(task, f"entity type {tag[2:]!r}", types))
        indices.append(index[tag])
    return indices


# --- splits


def _cut_missing(task: Task, content: Content, place: Place) -> str | None:
    """Cut the splits that are not there from the training rows; return the rule in one sentence."""
    shares = {"test": task.cut.test, "validation": task.cut.validation}
    missing: dict[Split, float] = {
        split: shares[split] for split in ("test", "validation") if split not in content.rows
    }
    if missing:
        train = content.rows["train"]
        stratified = task.kind == "sequence-classification"
        parts = cut(train.keys, train.targets if stratified else None, missing, task.cut.seed, place)
        content.rows |= {split: train.take(positions) for split, positions in parts.items()}
    for split in SPLITS:
        if not content.rows[split].inputs:
            raise InputError(f"{place.file}: no rows are left for {split}")
    if task.kind == "sequence-classification":
        _all_trained(content, place)
    if not missing:
        return None
    names = ", then ".join(f"{split} ({share:g} of them)" for split, share in missing.items())
    how = f"stratified by label, at least {len(set(train.targets))} each" if stratified else "by a plain permutation"
    return (
        f"Cut from the distinct texts of the training file with seed {task.cut.seed}, {how}: {names}; "
        "texts that differ only in case or white space count as one and stay in one split."
    )


def cut(
    keys: Sequence[str], labels: Sequence[int] | None, shares: Mapping[Split, float], seed: int, place: Place
) -> dict[Split, list[int]]:
    """Cut rows into splits by a seeded permutation; rows with the same key stay together.

    Parameters
    ----------
    keys
        One for each row.
    labels
        Label of each row, to draw each split in the proportions of the labels (the first row with a key speaks for
        all); None: draw from all alike.
    shares
        Share of the distinct keys for each split to cut, in the order in which they are cut; what is left is `train`.
    seed
        Seed of the permutations.
    place
        The file that messages name.

    Returns
    -------
    dict
        Positions of the rows of each split, in the order of the file.

    Raises
    ------
    InputError
        If there are too few distinct keys, or too few of one label.
    """
    from sklearn.model_selection import train_test_split  # a second that only this needs

    distinct = list(dict.fromkeys(keys))
    group = {key: number for number, key in enumerate(distinct)}
    strata = np.zeros(len(distinct), dtype=np.int64)
    if labels is not None:
        for key, label in zip(reversed(keys), reversed(labels), strict=True):
            strata[group[key]] = label
    classes = len(np.unique(strata))
    owner: dict[int, Split] = {}
    rest = np.arange(len(distinct))
    for split, share in shares.items():
        size = max(round(share * len(distinct)), classes)
        try:
            rest, taken = train_test_split(
                rest, test_size=size, random_state=seed, stratify=strata[rest] if labels is not None else None
            )
        except ValueError:
            rarest = f", {np.unique(strata, return_counts=True)[1].min()} of the rarest label" if classes > 1 else ""
            raise InputError(
                f"{place.file}: too few distinct texts ({len(distinct)}{rarest}) to cut {size} of them for {split}; "
                f"give files for {' and '.join(shares)}, or change `cut`"
            ) from None
        owner |= {int(number): split for number in taken}
    parts: dict[Split, list[int]] = {split: [] for split in ("train", *shares)}
    for position, key in enumerate(keys):
        parts[owner.get(group[key], "train")].append(position)
    return parts


def _all_trained(content: Content, place: Place) -> None:
    """Refuse a label that a later split has and the training split lacks."""
    trained = set(content.rows["train"].targets)
    for split in SPLITS:
        if missing := sorted(set(content.rows[split].targets) - trained):
            raise InputError(
                f"{place.file}: label {content.labels[missing[0]]!r} stands in {split} but not in the training split"
            )


def _shared(rows: Mapping[Split, Rows], later: Split) -> dict[str, int]:
    """Count the rows of the splits before `later` whose text also stands in it."""
    held = set(rows[later].keys)
    return {split: sum(key in held for key in rows[split].keys) for split in SPLITS[: SPLITS.index(later)]}


# --- writing


def _table(rows: Rows) -> pa.Table:
    """Return the rows of one split, numbered from 0."""
    example = pa.array(range(len(rows.inputs)), pa.int64())
    if isinstance(rows.inputs[0], str):
        text, label = pa.array(rows.inputs, pa.string()), pa.array(rows.targets, pa.int64())
        return pa.table({"example": example, "text": text, "label": label})
    tokens, tags = pa.array(rows.inputs, pa.list_(pa.string())), pa.array(rows.targets, pa.list_(pa.int64()))
    return pa.table({"example": example, "tokens": tokens, "tags": tags})


def _write_split(table: pa.Table, labels: list[str], path: Path) -> PreparedSplit:
    """Write one split as parquet."""
    targets = table["label"] if "label" in table.column_names else pc.list_flatten(table["tags"])
    counts = np.bincount(targets.to_numpy(), minlength=len(labels))
    pq.write_table(table, path, compression="zstd")
    named = {label: int(counts[position]) for position, label in enumerate(labels)}
    return PreparedSplit(rows=table.num_rows, sha256=sha256_file(path), labels=named)
