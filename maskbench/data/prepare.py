"""From raw files to one form for all tasks: three disjoint splits as parquet, with a manifest that says how."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from maskbench.config.sources import HubSource, LocalSource
from maskbench.config.tasks import SPLITS, Split, Task
from maskbench.data import examine, group_cutting, groups
from maskbench.data.cutting import LEAST, cut
from maskbench.data.folders import new_folder
from maskbench.data.manifests import NAME, PreparedManifest, PreparedSplit, in_order
from maskbench.data.readers import read
from maskbench.data.reserving import set_apart, words
from maskbench.errors import InputError
from maskbench.io.files import canonical, read_json, sha256_file, sha256_text, verify
from maskbench.kinds import reading
from maskbench.kinds.findings import Findings, quoted
from maskbench.kinds.rows import shared

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from maskbench.config.tuning import Reserve
    from maskbench.kinds.files import FileTable, Place
    from maskbench.kinds.reading import Content, Reading
    from maskbench.kinds.rows import Rows


def prepare(task: Task, source: Path, destination: Path, reserve: tuple[Reserve, Path] | None = None) -> None:
    """Read a task's raw files and write its splits.

    Parameters
    ----------
    task
        Says how the files are read.
    source
        Folder with source.json and the files that it lists; their hashes are checked.
    destination
        Folder to make, in one piece: train.parquet, validation.parquet, test.parquet (columns `example`, and `text`
        and `label`, or `tokens` and `tags`; `document` where rows belong together) and manifest.json. The same input
        gives the same bytes.
    reserve
        How many texts of the training split are set apart for tuning, and the folder to make of them, in the same form:
        there the test split repeats the validation split, so that the study's own is out of reach.

    Raises
    ------
    InputError
        For the first thing that is wrong: file, line and reason.
    """
    record = read_record(source)
    tables = {split: read_split(task, split, source, record) for split in _given(task)}
    found, kind = Findings(task), reading.of(task.kind)
    examine.files(found, tables)
    content = kind.content(task, tables)
    for table in tables.values():
        content.dropped.update(table.seen.dropped)
    content.rows = groups.with_groups(task, content.rows, tables, source)
    cut, joined = _cut_missing(found, content, tables["train"].place)
    examine.splits(found, content.labels, content.rows)
    groups.examine(found, content.rows)
    apart: dict[Split, Rows] = {}
    if reserve is not None:
        content.rows["train"], apart = set_apart(task, content.rows, reserve[0])
        cut = " ".join(sentence for sentence in (cut, words(apart)) if sentence)
    about = _about(found, content, record, cut, joined)
    write_prepared(about, {split: _table(kind, content.rows[split]) for split in SPLITS}, destination)
    if reserve is not None:
        tables_apart = {split: _table(kind, apart[split]) for split in ("train", "validation")}
        about = about.model_copy(update={"cut": words(apart), "groups": None, "shared_with_test": {}})
        about = about.model_copy(update={"shared_with_validation": shared(apart, ("train",), "validation")})
        write_prepared(about, {**tables_apart, "test": tables_apart["validation"]}, reserve[1])
    for finding in found.told:
        print(f"about the data: {finding.message}")


def _table(kind: Reading, rows: Rows) -> pa.Table:
    """Return the table of a split's rows, with the document of each where rows belong together."""
    return groups.as_documents(kind.table(rows), rows)


def _about(found: Findings, content: Content, record: dict[str, Any], cut: str | None, joined: int) -> PreparedManifest:
    """Return the manifest of a prepared task, but for its splits and hash."""
    task = found.task
    return PreparedManifest(
        task=task.name,
        kind=task.kind,
        labels=content.labels,
        splits={},
        cut=cut,
        groups=groups.about(task, content.rows, joined),
        dropped={reason: count for reason, count in sorted(content.dropped.items()) if count},
        scheme=content.scheme,
        converted={**content.converted},
        shared_with_test=shared(content.rows, ("train", "validation"), "test"),
        shared_with_validation=shared(content.rows, ("train",), "validation"),
        findings=found.told,
        source=record,
        hash="",
    )


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
        splits = {split: _write_split(table, about, folder / f"{split}.parquet") for split, table in tables.items()}
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


def read_record(source: Path) -> dict[str, Any]:
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


def read_split(task: Task, split: Split, source: Path, record: Mapping[str, Any]) -> FileTable:
    """Read the file of one split; messages name the user's own file, not its copy.

    Parameters
    ----------
    task
        Says how it is read.
    split
        The split.
    source
        The folder with the fetched file.
    record
        The names of the `files` in that folder, and the `features` of a hub's dataset.

    Raises
    ------
    InputError
        For the first thing that is wrong: file, line and reason.
    """
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


# --- splits


def _cut_missing(found: Findings, content: Content, place: Place) -> tuple[str | None, int]:
    """Cut the splits that are not there from the training rows; return the rule in one sentence.

    The second value is by how many groups there are fewer because they share a text.
    """
    task, rows = found.task, content.rows
    shares = {"test": task.cut.test, "validation": task.cut.validation}
    missing: dict[Split, float] = {split: shares[split] for split in ("test", "validation") if split not in rows}
    kind = reading.of(task.kind)
    joined = group_cutting.joined(rows["train"].keys, rows["train"].groups or [()] * len(rows["train"].keys))
    if missing:
        train = rows["train"]
        types = None if kind.stratified else [kind.classes_of(target) for target in train.targets]
        labels = train.targets if kind.stratified else None
        if train.groups is None:
            parts = cut(train.keys, labels, missing, task.cut.seed, place, types)
        else:
            parts = group_cutting.cut_groups(train.keys, joined, labels, missing, task.cut.seed, place, types)
        content.rows |= {split: train.take(positions) for split, positions in parts.items()}
    for split in SPLITS:
        if not content.rows[split].inputs:
            raise InputError(f"{place.file}: no rows are left for {split}")
    if kind.stratified:
        _all_trained(content, place)
    if missing and task.cut.group is not None:
        groups.uneven(found, content.rows, missing)
    return _rule(task, content, missing) if missing else None, len(joined.numbers) - joined.count


def _rule(task: Task, content: Content, missing: Mapping[Split, float]) -> str:
    """Say in one sentence how splits were cut."""
    kind = reading.of(task.kind)
    names = ", then ".join(f"{split} ({share:g} of them)" for split, share in missing.items())
    how, whole = kind.cut_words, ""
    if task.cut.group is not None:
        how = f"in whole groups ({groups.title(task)}){', ' + kind.cut_words if kind.stratified else ''}"
        whole = "no group stands in two splits, and texts without a group stay in training; "
    return (
        f"Cut from the distinct texts of the training file with seed {task.cut.seed}, {how}: {names}; "
        f"{_promise(content, ('train', *missing), kind)}{whole}texts that differ only in case or white space count as "
        "one and stay in one split."
    )


def _promise(content: Content, splits: Sequence[Split], kind: Reading) -> str:
    """Say of which classes every split has at least two texts, and of which it has not; nothing without classes."""
    if not (names := kind.classes(content.labels)):
        return ""
    short = [
        name
        for index, name in enumerate(names)
        if any(_distinct(content.rows[split], index, kind) < LEAST for split in splits)
    ]
    lacking = f" but {quoted(short)}, of which there are too few" if short else ""
    return f"each split has at least {LEAST} texts of each {kind.class_noun}{lacking}; "


def _distinct(rows: Rows, index: int, kind: Reading) -> int:
    """Return how many distinct texts of a split have a class."""
    pairs = zip(rows.keys, rows.targets, strict=True)
    return len({key for key, target in pairs if index in kind.classes_of(target)})


def _all_trained(content: Content, place: Place) -> None:
    """Refuse a label that a later split has and the training split lacks."""
    trained = set(content.rows["train"].targets)
    for split in SPLITS:
        if missing := sorted(set(content.rows[split].targets) - trained):
            raise InputError(
                f"{place.file}: label {content.labels[missing[0]]!r} stands in {split} but not in the training split"
            )


# --- writing


def _write_split(table: pa.Table, about: PreparedManifest, path: Path) -> PreparedSplit:
    """Write one split as parquet."""
    pq.write_table(table, path, compression="zstd")
    counts = reading.of(about.kind).counts(table, about.labels)
    return PreparedSplit(rows=table.num_rows, sha256=sha256_file(path), labels=counts)
