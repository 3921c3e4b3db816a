"""How tagged sentences are read: words, and a tag for each in any scheme, which become IOB2."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from maskbench.errors import InputError
from maskbench.kinds.findings import FEW
from maskbench.kinds.reading import Content, Reading
from maskbench.kinds.rows import Rows
from maskbench.kinds.token_classification import tags as schemes
from maskbench.kinds.token_classification.tags import Writing
from maskbench.kinds.values import brief, encodable, invisible, renamed, unknown

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from maskbench.config.tasks import Scheme, Split, Task
    from maskbench.kinds.files import File, FileTable, Place
    from maskbench.kinds.findings import Findings


@dataclass(frozen=True, slots=True)
class Sentence:
    """One tagged sentence; `tags` are valid in one of the schemes of tags.py, as the file writes them."""

    line: int
    tokens: list[str]
    tags: list[str]
    lines: list[int] | None = None
    """Line of each token; None if all stand on one."""
    document: int | None = None
    """Number of its document in the file; None: the file does not say where documents begin."""

    def line_of(self, token: int) -> int:
        """Return the line that a token stands on."""
        return self.line if self.lines is None else self.lines[token]


class _Reading(Reading):
    noun = "sentence"
    class_noun = "entity type"
    stratified = False
    cut_words = "by a plain permutation"

    def row(self, file: File, line: int, text: Any, label: Any, lines: list[int] | None = None) -> Sentence | None:
        """Read one row: words and their tags; None if no word is left."""
        if file.hub:
            if not text and not label:
                file.seen.dropped["no text"] += 1
                return None
            label = _named(file, label, line)
        sentence = _sentence(file, text, label, line, lines)
        if sentence is None and lines is None:
            file.seen.dropped["no text"] += 1
        if sentence is not None and lines is None and not file.hub and not all(map(str.strip, sentence.tokens)):
            raise file.place.error(line, "a token is empty; it is left out with empty_tokens: drop")
        return sentence

    def tag(self, file: File, tag: str) -> str:
        """Read a tag as the task's scheme writes it."""
        return _writing(file.task).read(tag)

    def names_of_numbers(self, task: Task) -> list[str]:
        """Return the tags by the numbers that stand for them."""
        return Writing(task.scheme, tuple(task.labels or ())).names

    def content(self, task: Task, tables: Mapping[Split, FileTable]) -> Content:
        """Convert tags to IOB2 and to indices."""
        train = tables["train"]
        types = _types(task, train)
        if not types:
            raise InputError(
                f"{train.place.file}: label: no entity in the training file, every tag is O; is it the right column?"
            )
        if both := next((name for name in types if name[:2] == "b-" and f"i-{name[2:]}" in types), None):
            raise InputError(
                f"{train.place.file}: label: expected prefixes in capital letters, found {both} and i-{both[2:]}; "
                f"write B-{both[2:]} and I-{both[2:]}, and leave scheme out"
            )
        names = schemes.label_names(types)
        index = {label: position for position, label in enumerate(names)}
        rows: dict[Split, Rows] = {}
        converted: dict[Split, int] = {}
        for split, table in tables.items():
            targets = [_tag_indices(sentence, index, types, task, table.place) for sentence in table.rows]
            kept = table.rows
            documents = [item.document for item in kept] if any(item.document is not None for item in kept) else None
            rows[split] = Rows(
                [item.tokens for item in kept], targets, [item.line for item in kept], table.place, documents
            )
            converted[split] = sum(
                names[target] != tag
                for sentence, row in zip(table.rows, targets, strict=True)
                for tag, target in zip(sentence.tags, row, strict=True)
            )
        found = schemes.scheme(sentence.tags for sentence in train.rows)
        scheme = task.scheme.upper() if task.scheme in ("io", "bmes") else found
        return Content(names, rows, scheme=scheme, converted=converted)

    def adopted(
        self, task: Task, rows: Rows, own: Sequence[str], labels: Sequence[str], relabel: Mapping[str, str | None]
    ) -> Rows:
        """Return the sentences with the task's tags; entities whose type has no name there are outside of any."""
        into = renamed(self.classes(own), self.classes(labels), relabel, rows.place)
        named = ["O", *(f"{tag[:2]}{name}" if (name := into[tag[2:]]) else "O" for tag in own[1:])]
        index = {tag: place for place, tag in enumerate(labels)}
        targets = []
        for line, tags in zip(rows.lines, rows.targets, strict=True):
            if lacking := next((tag for tag in tags if named[tag] not in index), None):
                raise rows.place.error(line, unknown(task, "entity type", named[lacking][2:], self.classes(labels)))
            targets.append([index[named[tag]] for tag in tags])
        return replace(rows, targets=targets)

    def classes(self, labels: Sequence[str]) -> list[str]:
        """Return the entity types, which every split should have."""
        return [name[2:] for name in labels[1::2]]

    def classes_of(self, target: Any) -> Collection[int]:
        """Return the types of the entities of a sentence."""
        return {(tag + 1) // 2 - 1 for tag in target} - {-1}

    def table(self, rows: Rows) -> pa.Table:
        """Return the columns `example`, `tokens` and `tags`, and `document` where the file says where they begin."""
        example = pa.array(range(len(rows.inputs)), pa.int64())
        tokens, tags = pa.array(rows.inputs, pa.list_(pa.string())), pa.array(rows.targets, pa.list_(pa.int64()))
        columns = {"example": example, "tokens": tokens, "tags": tags}
        if rows.documents is not None:
            # what stands before the first mark is a document of its own
            columns["document"] = pa.array([-1 if one is None else one for one in rows.documents], pa.int64())
        return pa.table(columns)

    def counts(self, table: pa.Table, labels: Sequence[str]) -> dict[str, int]:
        """Return how many words have each tag."""
        found = np.bincount(pc.list_flatten(table["tags"]).to_numpy(), minlength=len(labels))
        return {label: int(found[position]) for position, label in enumerate(labels)}

    def counted(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Return how many entities there are of each type."""
        return {label[2:]: count for label, count in counts.items() if label.startswith("B-")}

    def synthetic(self, words: list[str], label: str, place: int, second: bool) -> dict[str, Any]:
        """Return the words, and tags of which the telling word and the one behind it are a mention."""
        tags = ["O"] * len(words)
        tags[place] = f"B-{label}"
        if second:
            tags[place + 1] = f"I-{label}"
        return {"text": words, "label": tags}

    def examine_split(
        self, found: Findings, split: Split, rows: Rows, counts: Sequence[int], names: Sequence[str]
    ) -> None:
        """Find a split without any entity, and one whose every word belongs to one."""
        _entities(found, split, rows, counts)


@cache
def _reader(scheme: Scheme, labels: tuple[str, ...] | None) -> Writing:
    return Writing(scheme, labels)


def _writing(task: Task) -> Writing:
    """Return how the tags of a task are written."""
    return _reader(task.scheme, None if task.labels is None else tuple(task.labels))


def _named(file: File, tags: Any, number: int) -> Any:
    """Return the tags of a hub's row by their names, where they are numbers."""
    if not isinstance(tags, list):
        return tags
    if file.names is None and file.task.labels is None and any(isinstance(tag, int) for tag in tags):
        raise file.place.error(
            number,
            f"{file.task.label}: tags are numbers, and the dataset does not say what they stand for; name "
            "them with labels, all tags in the order of their numbers",
        )
    return [file.named(tag, number) for tag in tags]


def _sentence(file: File, tokens: Any, tags: Any, line: int, lines: list[int] | None = None) -> Sentence | None:
    """Check tokens and tags, and read the tags; None if no token is left because all were empty."""
    place = file.place
    if not isinstance(tokens, list) or not all(isinstance(item, str) for item in tokens):
        raise place.error(line, f"tokens: expected a list of words, got {brief(tokens)}")
    if not isinstance(tags, list) or not all(isinstance(item, str) or type(item) is int for item in tags):
        raise place.error(line, f"tags: expected a list of words or whole numbers, got {brief(tags)}")
    if len(tokens) != len(tags):
        raise place.error(line, f"{len(tokens)} tokens but {len(tags)} tags")
    if not tokens:
        raise place.error(line, "text is empty")
    read = []
    for position, (token, tag) in enumerate(zip(tokens, tags, strict=True)):
        here = line if lines is None else lines[position]
        encodable(token, "token", here, place)
        read.append(_tag(file, tag, here))
    if file.task.empty_tokens == "drop":
        return _without_empty(file, Sentence(line, tokens, read, lines))
    return Sentence(line, tokens, read, lines)


def _tag(file: File, tag: str | int, line: int) -> str:
    """Read a tag as the task's scheme writes it."""
    if isinstance(tag, str):
        encodable(tag, "tag", line, file.place)
    try:
        read = _writing(file.task).read(tag)
    except ValueError as error:
        raise file.place.error(line, str(error)) from None
    file.seen.numbered += schemes.is_number(tag) and read != tag
    return read


def _without_empty(file: File, sentence: Sentence) -> Sentence | None:
    """Leave out tokens that cannot be seen; what is left first of a mention begins it."""
    tokens, tags, lines = [], [], []
    begun = ""
    for position, (token, tag) in enumerate(zip(sentence.tokens, sentence.tags, strict=True)):
        prefix, entity = schemes.parse(tag)
        if invisible(token):
            file.seen.dropped["empty token"] += 1
            begun = entity if prefix == "B" or (begun == entity and prefix == "I") else ""
            continue
        if begun and begun == entity and prefix in "IEL":
            tag = f"{'B' if prefix == 'I' else 'S'}-{entity}"
        begun = ""
        tokens.append(token)
        tags.append(tag)
        lines.append(sentence.line_of(position))
    return Sentence(lines[0], tokens, tags, lines) if tokens else None


def _types(task: Task, train: FileTable) -> list[str]:
    """Return the entity types, in the order of the configuration or of their names."""
    try:
        fixed = _writing(task).types
    except ValueError as error:
        raise InputError(f"{train.place.file}: labels: {error}") from None
    if fixed is not None and len(set(fixed)) != len(fixed):
        raise InputError(f"{train.place.file}: labels: expected each label once, got {', '.join(fixed)}")
    return fixed or sorted({schemes.parse(tag)[1] for item in train.rows for tag in item.tags} - {""})


def _tag_indices(
    sentence: Sentence, index: Mapping[str, int], types: Sequence[str], task: Task, place: Place
) -> list[int]:
    """Return the index of each tag of a sentence."""
    indices = []
    for position, tag in enumerate(schemes.to_iob2(sentence.tags)):
        if tag not in index:
            raise place.error(sentence.line_of(position), unknown(task, "entity type", tag[2:], types))
        indices.append(index[tag])
    return indices


def _entities(found: Findings, split: Split, rows: Rows, counts: Sequence[int]) -> None:
    """Find a split without any entity, and one whose every word belongs to one."""
    if len(rows.inputs) >= FEW and all(0 not in target for target in rows.targets):
        found.stop(
            "no-outside",
            f"{rows.place.file}: no tag of the {len(rows.inputs)} sentences of {split} is O, so that every word is "
            "part of an entity; words outside of entities have the tag O: write it in the place of what stands for it",
        )
    if any(counts):
        return
    message = f"{rows.place.file}: no entity in {split}, every tag of its {len(rows.inputs)} sentences is O"
    if split == "test":
        found.stop("no-entities", f"{message}: F1 would be 0 for every strategy; give the file with true tags in files")
    else:
        found.tell("no-entities", f"{message}, so that no checkpoint is better than another")


PART = _Reading()
