"""Which rows of a task belong together: by a column of its files, by their documents, or by a file of its own."""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from maskbench.config.cutting import DOCUMENT, GroupFile
from maskbench.config.kinds import TASK_KINDS
from maskbench.config.sources import HubSource, LocalSource
from maskbench.config.tasks import SPLITS, Task
from maskbench.data import columns, group_cutting
from maskbench.data.manifests import GroupsOfSplits
from maskbench.errors import InputError
from maskbench.kinds import reading
from maskbench.kinds.files import Place, Seen
from maskbench.kinds.findings import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from maskbench.config.tasks import Split
    from maskbench.kinds.files import FileTable
    from maskbench.kinds.findings import Findings
    from maskbench.kinds.rows import Rows

FOLDER = ".groups"
"""Folder of a fetched task that holds the file of groups, if there is one."""
_OTHER = re.compile(r"[\W_]+")
BEFORE = "(before the first)"
"""What stands in a CoNLL file before the first document begins is a document of its own."""


def letters(text: str) -> str:
    """Return the letters and digits of a text, by which it is found in another file: without case and accents.

    Whatever tokenizers and copies change is left out: white space, punctuation, and how characters are composed.
    """
    return _OTHER.sub("", unicodedata.normalize("NFKD", text).casefold())


def with_groups(
    task: Task, rows: Mapping[Split, Rows], tables: Mapping[Split, FileTable], source: Path
) -> dict[Split, Rows]:
    """Return the rows with the groups that they belong to; as they are if the task has no groups.

    Parameters
    ----------
    task
        `cut.group` says where the groups stand.
    rows, tables
        The rows of each file, and what was seen of it.
    source
        The fetched folder.

    Raises
    ------
    InputError
        If the file of groups cannot be read, or there is nothing in it of the task, or a CoNLL file has no documents.
    """
    group = task.cut.group
    if group is None:
        return dict(rows)
    if isinstance(group, GroupFile):
        return _by_text(task, group, rows, source)
    if task.format == "conll" and not isinstance(task.source, HubSource):
        return {split: _documents(found) for split, found in rows.items()}
    return {
        split: replace(
            found, groups=[tuple(filter(None, [tables[split].seen.groups.get(line)])) for line in found.lines]
        )
        for split, found in rows.items()
    }


def _documents(rows: Rows) -> Rows:
    """Return the rows of a CoNLL file with their documents as groups."""
    if rows.documents is None:
        raise InputError(f"{rows.place.file}: cut.group: {DOCUMENT}: no -DOCSTART- line says where documents begin")
    names = [BEFORE if number is None else f"{rows.place.file} {number + 1}" for number in rows.documents]
    return replace(rows, groups=[(name,) for name in names])


def _by_text(task: Task, group: GroupFile, rows: Mapping[Split, Rows], source: Path) -> dict[Split, Rows]:
    """Return the rows with the groups that a file of its own gives their texts."""
    known: defaultdict[str, set[str]] = defaultdict(set)
    for text, name in _pairs(task, group, source):
        known[letters(text)].add(name)
    known.pop("", None)  # what has no letter or digit says nothing
    named = {
        split: replace(found, groups=[tuple(sorted(known.get(letters(text), ()))) for text in found.texts])
        for split, found in rows.items()
    }
    if not any(names for found in named.values() for names in found.groups or ()):
        raise InputError(
            f"cut.group: {group.title}: none of its {len(known)} texts is one of {rows['train'].place.file}; is text "
            "the right column?"
        )
    return named


def _pairs(owner: Task, group: GroupFile, source: Path) -> Iterator[tuple[str, str]]:
    """Yield text and group of the rows of a file of groups; rows without one of them are left out."""
    place, seen = Place(f"cut.group: {group.title}"), Seen()
    task, name = as_task(owner, group), group.file
    if isinstance(group.source, LocalSource):
        with contextlib.suppress(ValueError):  # the source is gone, its copy is here
            name = group.source.file(group.file)[0]
    path = source / FOLDER / name
    if group.format == "jsonl":
        found = (
            (str(row.get(str(group.text)) or ""), str(row.get(str(group.group)) or ""))
            for _, row in columns.objects(task, path, place, seen)
        )
    else:
        cells = columns.fields(task, path, place, seen, keys=("text", "group"))
        found = ((text, label) for _, text, label in cells)
    for text, label in found:
        if text.strip() and label.strip():
            yield text, label.strip()


def as_task(task: Task, group: GroupFile) -> Task:
    """Return a task whose texts are those of the file of groups of another one, and whose labels are the groups."""
    plain = next(kind for kind, form in TASK_KINDS.items() if not form.tags)
    read: dict[str, Any] = {key: getattr(group, key) for key in ("source", "format", "encoding", "separator", "text")}
    read |= {"kind": plain, "files": {"train": group.file}, "label": group.group, "header": True, "columns": None}
    return task.model_copy(update=read | {"skip_lines": 0, "comments": None, "labels": None, "binarize": None})


def as_documents(table: pa.Table, rows: Rows) -> pa.Table:
    """Return the table of a split with the group of each row as its `document`, so that groups are resampled whole.

    A file that says where documents begin has them already. Groups that share a text are one; a text without a group is
    one of its own.

    Parameters
    ----------
    table
        As the task's kind writes it.
    rows
        Its rows, in the same order, with their groups if the task has any.
    """
    if rows.groups is None or "document" in table.column_names:
        return table
    joined = group_cutting.joined(rows.keys, rows.groups)
    number = dict(zip(dict.fromkeys(rows.keys), joined.of_text, strict=True))
    alone = {key: joined.count + place for place, key in enumerate(number)}
    documents = [number[key] if number[key] >= 0 else alone[key] for key in rows.keys]
    return table.append_column("document", pa.array(documents, pa.int64()))


# --- what is said about them


def about(task: Task, rows: Mapping[Split, Rows], joined: int) -> GroupsOfSplits | None:
    """Return what the manifest says of the groups; None if the task has none.

    Parameters
    ----------
    task
        The task.
    rows
        The rows of each split, with their groups.
    joined
        How many groups are one with another, because a text of the training file is in both.
    """
    if task.cut.group is None:
        return None
    names = {split: _names(rows[split]) for split in SPLITS}
    return GroupsOfSplits(
        by=title(task),
        groups={split: len(names[split]) for split in SPLITS},
        joined=joined,
        without={split: sum(not found for found in rows[split].groups or ()) for split in SPLITS},
        shared_with_test={split: len(names[split] & names["test"]) for split in ("train", "validation")},
        shared_with_validation={"train": len(names["train"] & names["validation"])},
    )


def title(task: Task) -> str:
    """Return what rows that belong together have in common, in words."""
    group = task.cut.group
    return f"{group.group} in {group.title}" if isinstance(group, GroupFile) else str(group)


def _names(rows: Rows) -> set[str]:
    return {name for found in rows.groups or () for name in found}


def examine(found: Findings, rows: Mapping[Split, Rows]) -> None:
    """Tell of groups that stand in several splits, and of rows whose group is not known."""
    if found.task.cut.group is None:
        return
    noun = reading.of(found.task.kind).noun
    pairs: tuple[tuple[Split, Split], ...] = (("train", "test"), ("validation", "test"), ("train", "validation"))
    for early, late in pairs:
        both, names = _names(rows[early]) & _names(rows[late]), _names(rows[late])
        if both:
            row, number = _of_these(rows[late], both)
            found.tell(
                "shared-groups",
                f"{rows[late].at(row)}: {len(both)} of the {len(names)} groups of {late} ({title(found.task)}: "
                f"{quoted(sorted(both), 3)}) stand in {early}, too, with {number} of the {len(rows[late].lines)} "
                f"{noun}s of {late}",
            )
    without = {split: [row for row, names in enumerate(rows[split].groups or ()) if not names] for split in SPLITS}
    if any(without.values()):
        first = next(split for split in SPLITS if without[split])
        counts = ", ".join(f"{len(without[split])} of {split}" for split in SPLITS if without[split])
        found.tell(
            "without-group",
            f"{rows[first].at(without[first][0])}: {title(found.task)} does not say the group of every {noun} (not of "
            f"{counts}); none of them was cut from the training file",
        )


def _of_these(rows: Rows, names: set[str]) -> tuple[int, int]:
    """Return the first row of some groups, and how many rows they have."""
    those = [row for row, found in enumerate(rows.groups or ()) if not names.isdisjoint(found)]
    return those[0], len(those)


def uneven(found: Findings, rows: Mapping[Split, Rows], shares: Mapping[Split, float]) -> None:
    """Tell of splits that are far from their share, since groups are large: by more than a quarter of it."""
    counts = Counter({split: len(set(rows[split].keys)) for split in ("train", *shares)})
    for split, share in shares.items():
        wanted = share * counts.total()
        if abs(counts[split] - wanted) > max(wanted / 4, 1):
            found.tell(
                "uneven-cut",
                f"{rows[split].place.file}: {split} has {counts[split]} texts where {wanted:.0f} were wanted, since "
                f"groups ({title(found.task)}) are not parted",
            )
