"""From raw files to one form for all tasks: three disjoint splits as parquet, with a manifest that says how."""

from __future__ import annotations

import contextlib
import math
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
from maskbench.data import examine, labels
from maskbench.data import tags as schemes
from maskbench.data.cutting import LEAST, cut
from maskbench.data.folders import new_folder
from maskbench.data.manifests import NAME, PreparedManifest, PreparedSplit, in_order
from maskbench.data.readers import Example, Sentence, Table, read
from maskbench.data.rows import Rows, shared
from maskbench.data.tags import Writing
from maskbench.errors import InputError
from maskbench.io.files import canonical, read_json, sha256_file, sha256_text, verify

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from maskbench.data.columns import Place


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
    found = examine.Findings(task)
    examine.files(found, tables)
    content = _classification(task, tables) if task.kind == "sequence-classification" else _tagging(task, tables)
    for table in tables.values():
        content.dropped.update(table.seen.dropped)
    cut = _cut_missing(task, content, tables["train"].place)
    examine.splits(found, content.labels, content.rows)
    about = PreparedManifest(
        task=task.name,
        kind=task.kind,
        labels=content.labels,
        splits={},
        cut=cut,
        dropped={reason: count for reason, count in sorted(content.dropped.items()) if count},
        scheme=content.scheme,
        converted={**content.converted},
        shared_with_test=shared(content.rows, ("train", "validation"), "test"),
        shared_with_validation=shared(content.rows, ("train",), "validation"),
        findings=found.told,
        source=record,
        hash="",
    )
    write_prepared(about, {split: _table(content.rows[split]) for split in SPLITS}, destination)
    for finding in found.told:
        print(f"about the data: {finding.message}")


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
            place = task.source.path
            top = place.parent if place.is_file() else place
            shown = str(top / name)
            with contextlib.suppress(ValueError):  # the source is gone, its copy is here
                name = task.source.file(name)[0]
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
    fixed = _fixed(task, train)
    names = fixed or labels.in_order(map(labels.value, words["train"]))
    if len(names) < 2:
        raise InputError(f"{train}: label: expected at least two labels, found only {', '.join(names) or 'none'}")
    index = labels.indices(names, configured=task.labels is not None)
    rows: dict[Split, Rows] = {}
    for split, table in tables.items():
        targets = [index.get(labels.value(word), -1) for word in words[split]]
        for example, word, target in zip(examples[split], words[split], targets, strict=True):
            if target < 0:
                raise table.place.error(example.line, _unknown(task, "label", word, names))
        kept = examples[split]
        rows[split] = Rows([item.text for item in kept], targets, [item.line for item in kept], table.place)
    return Content(names, rows, dropped)


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
    if task.labels is not None and len(set(map(labels.value, task.labels))) != len(task.labels):
        raise InputError(f"{file}: labels: expected each label once, got {', '.join(task.labels)}")
    return task.labels or (binary if task.binarize is not None else None)


def _unknown(task: Task, what: str, found: str, names: Sequence[str]) -> str:
    """Say that something is not among the labels, and what could mend it."""
    known = labels.few(names)
    like = next((name for name in names if labels.bare(name) == labels.bare(found)), None)
    where = "of the configuration" if task.labels else "of the training split"
    message = f"{what} {examine.quoted([found])} is not among the labels {where} ({known})"
    if like is not None:
        return f"{message}; write it as {examine.quoted([like])}, which differs {labels.unlike([like, found])}"
    if what == "label" and not task.labels and labels.is_number(found) and not any(map(labels.is_number, names)):
        return f"{message}; if numbers count the labels from 0, list them in that order with labels"
    return message


def _tagging(task: Task, tables: Mapping[Split, Table]) -> Content:
    """Convert tags to IOB2 and to indices."""
    train = tables["train"]
    types = _types(task, train)
    if not types:
        raise InputError(
            f"{train.place.file}: label: no entity in the training file, every tag is O; is it the right column?"
        )
    names = schemes.label_names(types)
    index = {label: position for position, label in enumerate(names)}
    rows: dict[Split, Rows] = {}
    converted: dict[Split, int] = {}
    for split, table in tables.items():
        targets = [_tag_indices(sentence, index, types, task, table.place) for sentence in table.sentences]
        kept = table.sentences
        documents = [item.document for item in kept] if any(item.document is not None for item in kept) else None
        rows[split] = Rows(
            [item.tokens for item in kept], targets, [item.line for item in kept], table.place, documents
        )
        converted[split] = sum(
            names[target] != tag
            for sentence, row in zip(table.sentences, targets, strict=True)
            for tag, target in zip(sentence.tags, row, strict=True)
        )
    found = schemes.scheme(sentence.tags for sentence in train.sentences)
    scheme = task.scheme.upper() if task.scheme in ("io", "bmes") else found
    return Content(names, rows, scheme=scheme, converted=converted)


def _types(task: Task, train: Table) -> list[str]:
    """Return the entity types, in the order of the configuration or of their names."""
    try:
        fixed = Writing(task.scheme, None if task.labels is None else tuple(task.labels)).types
    except ValueError as error:
        raise InputError(f"{train.place.file}: labels: {error}") from None
    if fixed is not None and len(set(fixed)) != len(fixed):
        raise InputError(f"{train.place.file}: labels: expected each label once, got {', '.join(fixed)}")
    return fixed or sorted({schemes.parse(tag)[1] for item in train.sentences for tag in item.tags} - {""})


def _tag_indices(
    sentence: Sentence, index: Mapping[str, int], types: Sequence[str], task: Task, place: Place
) -> list[int]:
    """Return the index of each tag of a sentence."""
    indices = []
    for position, tag in enumerate(schemes.to_iob2(sentence.tags)):
        if tag not in index:
            raise place.error(sentence.line_of(position), _unknown(task, "entity type", tag[2:], types))
        indices.append(index[tag])
    return indices


# --- splits


def _cut_missing(task: Task, content: Content, place: Place) -> str | None:
    """Cut the splits that are not there from the training rows; return the rule in one sentence."""
    shares = {"test": task.cut.test, "validation": task.cut.validation}
    missing: dict[Split, float] = {
        split: shares[split] for split in ("test", "validation") if split not in content.rows
    }
    stratified = task.kind == "sequence-classification"
    if missing:
        train = content.rows["train"]
        types = None if stratified else [{(tag + 1) // 2 for tag in tags} - {0} for tags in train.targets]
        parts = cut(train.keys, train.targets if stratified else None, missing, task.cut.seed, place, types)
        content.rows |= {split: train.take(positions) for split, positions in parts.items()}
    for split in SPLITS:
        if not content.rows[split].inputs:
            raise InputError(f"{place.file}: no rows are left for {split}")
    if stratified:
        _all_trained(content, place)
    if not missing:
        return None
    names = ", then ".join(f"{split} ({share:g} of them)" for split, share in missing.items())
    how, what = ("stratified by label", "label") if stratified else ("by a plain permutation", "entity type")
    return (
        f"Cut from the distinct texts of the training file with seed {task.cut.seed}, {how}: {names}; "
        f"{_promise(content, ('train', *missing), what)}; texts that differ only in case or white space count as one "
        "and stay in one split."
    )


def _promise(content: Content, splits: Sequence[Split], what: str) -> str:
    """Say of which labels every split has at least two texts, and of which it has not."""
    names = content.labels if what == "label" else [name[2:] for name in content.labels[1::2]]
    short = [
        name
        for kind, name in enumerate(names)
        if any(_distinct(content.rows[split], kind, what) < LEAST for split in splits)
    ]
    lacking = f" but {examine.quoted(short)}, of which there are too few" if short else ""
    return f"each split has at least {LEAST} texts of each {what}{lacking}"


def _distinct(rows: Rows, kind: int, what: str) -> int:
    """Return how many distinct texts of a split have a label, or an entity of a type."""
    return len(
        {
            key
            for key, target in zip(rows.keys, rows.targets, strict=True)
            if (target == kind if what == "label" else kind in {(tag + 1) // 2 - 1 for tag in target})
        }
    )


def _all_trained(content: Content, place: Place) -> None:
    """Refuse a label that a later split has and the training split lacks."""
    trained = set(content.rows["train"].targets)
    for split in SPLITS:
        if missing := sorted(set(content.rows[split].targets) - trained):
            raise InputError(
                f"{place.file}: label {content.labels[missing[0]]!r} stands in {split} but not in the training split"
            )


# --- writing


def _table(rows: Rows) -> pa.Table:
    """Return the rows of one split, numbered from 0."""
    example = pa.array(range(len(rows.inputs)), pa.int64())
    if isinstance(rows.inputs[0], str):
        text, label = pa.array(rows.inputs, pa.string()), pa.array(rows.targets, pa.int64())
        return pa.table({"example": example, "text": text, "label": label})
    tokens, tags = pa.array(rows.inputs, pa.list_(pa.string())), pa.array(rows.targets, pa.list_(pa.int64()))
    columns = {"example": example, "tokens": tokens, "tags": tags}
    if rows.documents is not None:
        # what stands before the first mark is a document of its own
        columns["document"] = pa.array([-1 if one is None else one for one in rows.documents], pa.int64())
    return pa.table(columns)


def _write_split(table: pa.Table, names: list[str], path: Path) -> PreparedSplit:
    """Write one split as parquet."""
    targets = table["label"] if "label" in table.column_names else pc.list_flatten(table["tags"])
    counts = np.bincount(targets.to_numpy(), minlength=len(names))
    pq.write_table(table, path, compression="zstd")
    named = {label: int(counts[position]) for position, label in enumerate(names)}
    return PreparedSplit(rows=table.num_rows, sha256=sha256_file(path), labels=named)
