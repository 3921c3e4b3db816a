"""How labelled texts are read: a text, and a label that is a value."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from maskbench.errors import InputError
from maskbench.kinds import labels
from maskbench.kinds.findings import FEW, quoted
from maskbench.kinds.reading import Content, Reading
from maskbench.kinds.rows import Rows
from maskbench.kinds.values import renamed, unknown, word, written

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from maskbench.config.tasks import Split, Task
    from maskbench.kinds.files import File, FileTable, Place
    from maskbench.kinds.findings import Findings


@dataclass(frozen=True, slots=True)
class Example:
    """A text with its label, as the file has them."""

    line: int
    text: str
    label: str


class _Reading(Reading):
    noun = "text"
    class_noun = "label"
    stratified = True
    cut_words = "stratified by label"

    def row(self, file: File, line: int, text: Any, label: Any, lines: list[int] | None = None) -> Example | None:
        """Read one row: a text and its label; None if the row has no text and is left out."""
        if not file.hub:
            return Example(line, written(text, line, file.place), word(label, "label", line, file.place))
        if text is None or (isinstance(text, str) and not text.strip()):
            file.seen.dropped["no text"] += 1
            return None
        found = word(file.named(label, line), "label", line, file.place)
        return Example(line, written(text, line, file.place), found)

    def content(self, task: Task, tables: Mapping[Split, FileTable]) -> Content:
        """Return the task's content, with labels as indices in the order of the configuration or of their values."""
        dropped: Counter[str] = Counter()
        words = {split: [example.label for example in table.rows] for split, table in tables.items()}
        examples = {split: table.rows for split, table in tables.items()}
        if task.binarize is not None:
            for split, table in tables.items():
                signs = [_sign(example, task.binarize, table.place) for example in table.rows]
                examples[split] = [example for example, sign in zip(table.rows, signs, strict=True) if sign]
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
            for example, found, target in zip(examples[split], words[split], targets, strict=True):
                if target < 0:
                    raise table.place.error(example.line, unknown(task, "label", found, names))
            kept = examples[split]
            rows[split] = Rows([item.text for item in kept], targets, [item.line for item in kept], table.place)
        return Content(names, rows, dropped)

    def adopted(
        self, task: Task, rows: Rows, own: Sequence[str], labels: Sequence[str], relabel: Mapping[str, str | None]
    ) -> Rows:
        """Return the rows with the task's labels, without those whose label has no name there."""
        into, index = renamed(own, labels, relabel, rows.place), {name: place for place, name in enumerate(labels)}
        names = [into[own[target]] for target in rows.targets]
        for row, name in enumerate(names):
            if name is not None and name not in index:
                raise rows.place.error(rows.lines[row], unknown(task, "label", name, labels))
        kept = [row for row, name in enumerate(names) if name is not None]
        return replace(rows, targets=[index.get(str(name)) for name in names]).take(kept)

    def classes(self, labels: Sequence[str]) -> list[str]:
        """Return the labels: each is a class that every split should have."""
        return list(labels)

    def classes_of(self, target: Any) -> Collection[int]:
        """Return the one class of a text, its label's index."""
        return {int(target)}

    def table(self, rows: Rows) -> pa.Table:
        """Return the columns `example`, `text` and `label`."""
        example = pa.array(range(len(rows.inputs)), pa.int64())
        text, label = pa.array(rows.inputs, pa.string()), pa.array(rows.targets, pa.int64())
        return pa.table({"example": example, "text": text, "label": label})

    def counts(self, table: pa.Table, labels: Sequence[str]) -> dict[str, int]:
        """Return how many texts have each label."""
        found = np.bincount(table["label"].to_numpy(), minlength=len(labels))
        return {label: int(found[position]) for position, label in enumerate(labels)}

    def synthetic(self, words: list[str], label: str, place: int, second: bool) -> dict[str, Any]:
        """Return the words as one text, with the label."""
        return {"text": " ".join(words), "label": label}

    def known(self, table: FileTable) -> set[str]:
        """Return the labels as values."""
        return {labels.value(row.label) for row in table.rows}

    def examine_files(self, found: Findings, tables: Mapping[str, FileTable], train: FileTable) -> None:
        """Find headers that were taken for rows, a column that holds no labels, and labels in several spellings."""
        _first_rows(found, list(tables.values()))
        _own_labels(found, train)
        _spellings(found, tables)

    def examine_split(
        self, found: Findings, split: Split, rows: Rows, counts: Sequence[int], names: Sequence[str]
    ) -> None:
        """Find a split all of whose texts have one label, and a test split in which the label can be read."""
        _one_label(found, split, rows, counts, names)
        if split == "test":
            _label_in_text(found, rows, names)


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


def _first_rows(found: Findings, tables: Sequence[FileTable]) -> None:
    """Find headers by other names than the configuration gives: first rows that are alike and like no other row."""
    if found.task.header or found.task.format not in ("csv", "tsv") or any(table.seen.like_header for table in tables):
        return
    first = [table.rows[0] for table in tables]
    others = {labels.value(row.label) for table in tables for row in table.rows[1:]}
    word = labels.value(first[0].label)
    alike = len({(row.text, row.label) for row in first}) == 1 and word not in others
    number = bool(others) and all(map(labels.is_number, others)) and not labels.is_number(word)
    if alike and ((len(first) > 1 and others) or number):
        found.stop(
            "header-row",
            f"{tables[0].place.at(first[0].line)}: the first row of each file looks like names of columns: its label "
            f"{word!r} stands nowhere else; set header: true and leave columns out",
        )


def _own_labels(found: Findings, train: FileTable) -> None:
    """Find a column of labels that are not: nearly every text has one of its own."""
    counts = Counter(labels.value(row.label) for row in train.rows)
    if found.task.binarize is None and len(train.rows) >= FEW and len(counts) > len(train.rows) / 2:
        found.stop(
            "label-of-its-own",
            f"{train.place.file}: {len(counts)} different labels of {len(train.rows)} texts ({quoted(list(counts))}"
            "); is label the right column? Numbers become two labels with binarize",
        )


def _spellings(found: Findings, tables: Mapping[str, FileTable]) -> None:
    """Tell which labels are written in several ways, and which may be one but for case, space or accents."""
    written: defaultdict[str, set[str]] = defaultdict(set)
    for table in tables.values():
        for row in table.rows:
            written[labels.value(row.label)].add(row.label)
    names = ", ".join(tables)
    several = {value: sorted(ways) for value, ways in sorted(written.items()) if len(ways) > 1}
    if several and found.task.binarize is None:
        value, ways = next(iter(several.items()))
        many = f", and {len(several) - 1} more in such ways" if len(several) > 1 else ""
        found.tell("spelling", f"{names}: label {value!r} is written {quoted(ways)}{many}; each is read as one number")
    configured = [labels.value(label) for label in found.task.labels or []]
    if (numbers := sorted(set(written) - set(configured))) and configured and found.task.binarize is None:
        mixed = ", some of them and some by name" if len(numbers) < len(written) else ""
        if all(map(labels.is_number, numbers)):
            found.tell("numbers", f"{names}: labels {quoted(numbers)} count those of the configuration{mixed}")


def _one_label(found: Findings, split: Split, rows: Rows, counts: Sequence[int], kinds: Sequence[str]) -> None:
    """Find a split all of whose texts have one label."""
    if sum(count > 0 for count in counts) > 1:
        return
    name = next(kind for kind, count in zip(kinds, counts, strict=True) if count)
    message = f"{rows.place.file}: all {len(rows.inputs)} texts of {split} have the label {name!r}"
    if split == "test" and len(rows.inputs) >= FEW:
        found.stop("one-label", f"{message}, so that always saying it scores 1; give a file with true labels in files")
    else:
        found.tell("one-label", message)


def _label_in_text(found: Findings, rows: Rows, names: Sequence[str]) -> None:
    """Find texts each of which holds its own label as a word, and no other label."""

    def words(text: str) -> str:
        return " ".join(["", *re.findall(r"[^\W_]+", text.casefold()), ""])

    known = [words(name) for name in names]
    if len(rows.inputs) < FEW or not all(name.strip() for name in known):
        return
    for text, target in zip(map(words, rows.inputs), rows.targets, strict=True):
        if known[target] not in text or sum(name in text for name in known) > 1:
            return
    found.stop(
        "label-in-text",
        f"{rows.at(0)}: all {len(rows.inputs)} texts of test hold their own label as a word and no other one (here "
        f"{names[rows.targets[0]]!r}), so that reading it off scores 1; take the labels out of the texts",
    )


PART = _Reading()
