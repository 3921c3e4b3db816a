"""Reports data that make no sense: what is odd about the files and the splits of a task.

A finding that makes a score meaningless stops the study in one line that names file, line and the key that mends it;
`accept` makes it one of the others, which stand in the manifest, in the job's log and in the report.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from maskbench.config.tasks import SPLITS
from maskbench.kinds import labels, reading, traits
from maskbench.kinds.findings import FEW, Findings, quoted
from maskbench.kinds.values import invisible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from maskbench.config.tasks import Split, Task
    from maskbench.data.manifests import EncodedSplit
    from maskbench.kinds.files import FileTable, Seen
    from maskbench.kinds.findings import Finding
    from maskbench.kinds.reading import Reading
    from maskbench.kinds.rows import Rows

LONG = 20
"""A text is far longer than the rest if it has more than this many times the median's words, and MANY words."""
MANY = 100

MOST_UNKNOWN, MANY_UNKNOWN = 0.9, 0.05
"""Shares of unknown tokens in a split: above the first a score means nothing; from the second on it is reported."""

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_BROKEN = re.compile("\ufffd|[\xc2\xc3][\x80-\xbf]|\xe2\u20ac")
"""U+FFFD, and UTF-8 that was read as Latin-1 or cp1252."""
_ESCAPED = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#[0-9]{2,6}|#x[0-9a-fA-F]{2,5});")
"""Characters as HTML writes them."""


# --- the files, before labels are read


def files(found: Findings, tables: Mapping[Split, FileTable]) -> None:
    """Examine what was seen of the files beside their rows.

    Raises
    ------
    InputError
        For a finding that stops the study.
    """
    distinct = {table.place.file: table for table in tables.values()}
    kind = reading.of(found.task.kind)
    known = {label for table in distinct.values() for label in kind.known(table)}
    for file, table in distinct.items():
        _headers(found, table, known)
        _swallowed(found, table, known)
        _oddities(found, file, table.seen)
    kind.examine_files(found, distinct, tables["train"])


def _headers(found: Findings, table: FileTable, known: set[str]) -> None:
    """Find a first row that is taken for names of columns, and names of columns that are taken for a row."""
    place, seen = table.place, table.seen
    if seen.first is not None and seen.by_index:
        line, _, label = seen.first
        word = labels.value(label.strip())
        if word in known or (labels.is_number(word) and all(map(labels.is_number, known))):
            found.stop(
                "header-row",
                f"{place.at(line)}: the first row was taken for the names of the columns, but {label.strip()!r} is a "
                "label like the others; set header: false",
            )
    if seen.like_header:
        line = seen.like_header[0]
        many = f" (and {len(seen.like_header) - 1} more rows)" if len(seen.like_header) > 1 else ""
        mend = (
            "several files were joined with their headers; take the line out"
            if found.task.header
            else "the file has a header; set header: true and leave columns out"
        )
        found.stop("header-row", f"{place.at(line)}{many}: the row repeats the names of the columns: {mend}")


def _swallowed(found: Findings, table: FileTable, known: set[str]) -> None:
    """Find quoted fields that hold lines like rows of the file: a quotation mark that was not meant as one."""
    separator, width, label = table.seen.shape
    for field in table.seen.spanning:
        # the file's author may have ended lines with a carriage return alone
        pieces = [piece for part in field.parts for piece in part.split("\r")]
        cells = [next(csv.reader([piece], delimiter=separator), []) for piece in pieces]
        # the fields before it are on its first line, and the fields after it on its last
        before = [field.column, *[0] * (len(cells) - 1)]
        behind = [*[0] * (len(cells) - 1), width - 1 - field.column]
        rows = sum(
            left + len(own) + right == width
            and 0 <= label - left < len(own)
            and labels.value(own[label - left].strip()) in known
            for left, own, right in zip(before, cells, behind, strict=True)
        )
        if rows:
            found.stop(
                "swallowed-rows",
                f"{table.place.at(field.line)}: a quoted field runs over {field.height} lines, {rows} of which look "
                "like rows of their own; close the quotation mark, or, if quotation marks are text, set format: tsv "
                f"and separator: {json.dumps(separator)}",
            )
            return
    heights = {field.line: field.height for field in table.seen.spanning}
    rows, inside = len(table.rows), sum(heights.values()) - len(heights)
    if inside > rows:
        line = max(heights, key=lambda start: heights[start])
        found.tell(
            "few-rows",
            f"{table.place.at(line)}: {rows} rows stand on {rows + inside} lines, this one on {heights[line]}: fields "
            "in quotation marks run over lines; is one of them not closed?",
        )


def _oddities(found: Findings, file: str, seen: Seen) -> None:
    """Report what the reader left out, or read as something else than it may have been meant."""
    if seen.marks:
        found.tell(
            "joined-files", f"{file}:{seen.marks[0]}: a byte order mark inside the file was left out: files were joined"
        )
    for reason in ("comment", "empty token"):
        if count := seen.dropped[reason]:
            noun = "line" if reason == "comment" else "token"
            found.tell("left-out", f"{file}: {count} {noun}{'s' if count > 1 else ''} left out ({reason})")
    if seen.numbered:
        names = reading.of(found.task.kind).names_of_numbers(found.task)
        meant = ", ".join(f"{number} = {name}" for number, name in enumerate(names[:10]))
        found.tell("numbers", f"{file}: {seen.numbered} tags are numbers, read as {meant}{', ...' * (len(names) > 10)}")


# --- the splits, after those that are missing were cut


def splits(found: Findings, names: Sequence[str], rows: Mapping[Split, Rows]) -> None:
    """Examine the splits of a task.

    Parameters
    ----------
    found
        Where findings go.
    names
        The labels; for tagging O, B-x, I-x, ...
    rows
        The rows of each split.

    Raises
    ------
    InputError
        For a finding that stops the study.
    """
    kind = reading.of(found.task.kind)
    kinds = kind.classes(names)
    counts = {split: _counts(rows[split], len(kinds), kind) for split in SPLITS}
    _alike(found, kinds, rows["train"].place.file, f"{kind.class_noun}s")
    for split in SPLITS:
        kind.examine_split(found, split, rows[split], counts[split], kinds)
    _rare(found, kinds, counts, rows, kind.class_noun)
    _shared(found, rows)
    for split in SPLITS:
        _repeated(found, split, rows[split])
        _texts(found, split, rows[split])


def _counts(rows: Rows, classes: int, kind: Reading) -> list[int]:
    """Return how many texts of a split have each class."""
    counts = Counter(index for target in rows.targets for index in kind.classes_of(target))
    return [counts[index] for index in range(classes)]


def _alike(found: Findings, kinds: Sequence[str], file: str, what: str) -> None:
    """Report labels that look alike: differing in case, white space, invisible characters, zeros, or as true and 1."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for kind in kinds:
        groups[labels.bare(kind)].append(kind)
    for group in groups.values():
        if len(group) > 1:
            found.tell("look-alikes", f"{file}: the {what} {quoted(group)} differ {labels.unlike(group)}")


def _rare(
    found: Findings,
    kinds: Sequence[str],
    counts: Mapping[Split, Sequence[int]],
    rows: Mapping[Split, Rows],
    what: str,
) -> None:
    """Report the labels that a split lacks, or has in one text only, while it has others."""
    if unused := [kind for number, kind in enumerate(kinds) if not any(counts[split][number] for split in SPLITS)]:
        found.tell("missing", f"{rows['train'].place.file}: no text at all of {what} {quoted(unused)}")
    for split in SPLITS:
        file = rows[split].place.file
        there = [kind for kind in kinds if kind not in unused]
        seen = dict(zip(kinds, counts[split], strict=True))
        missing, single = ([kind for kind in there if seen[kind] == number] for number in (0, 1))
        if missing and any(counts[split]):
            only = [kind for kind in missing if sum(counts[other][kinds.index(kind)] > 0 for other in SPLITS) == 1]
            note = f" ({quoted(only)} in one split alone)" if only else ""
            found.tell("missing", f"{file}: {split} has no text of {what} {quoted(missing)}{note}")
        if single:
            found.tell("rare", f"{file}: {split} has one text alone of {what} {quoted(single)}")


def _shared(found: Findings, rows: Mapping[Split, Rows]) -> None:
    """Find texts that stand in several splits."""
    pairs: tuple[tuple[Split, Split], ...] = (("train", "test"), ("validation", "test"), ("train", "validation"))
    for early, late in pairs:
        distinct, both = _in_both(rows[late], rows[early].keys)
        if both:
            found.tell("shared-texts", _of(rows[late], late, len(both), distinct, both[0], early))
    learnt = rows["train"].keys
    if rows["validation"].place is rows["train"].place:  # it was cut from the training file
        learnt = [*learnt, *rows["validation"].keys]
    distinct, both = _in_both(rows["test"], learnt)
    if len(both) == distinct >= FEW:
        found.stop(
            "test-in-training",
            f"{_of(rows['test'], 'test', len(both), distinct, both[0], 'the training file')}, so that the score says "
            "nothing of texts that are new; give other texts for test in files",
        )
    if rows["validation"].place is not rows["train"].place:
        _selected_on_test(found, rows)


def _selected_on_test(found: Findings, rows: Mapping[Split, Rows]) -> None:
    """Find a validation split and a test split of which one holds all texts of the other."""
    pairs: tuple[tuple[Split, Split], ...] = (("test", "validation"), ("validation", "test"))
    for late, early in pairs:
        distinct, both = _in_both(rows[late], rows[early].keys)
        if len(both) == distinct >= FEW:
            found.stop(
                "test-is-validation",
                f"{_of(rows[late], late, len(both), distinct, both[0], early)}, so that checkpoints are selected on "
                "the texts that they are tested on; give other texts for validation in files, or leave it out: then it "
                "is cut from the training file",
            )
            return


def _in_both(late: Rows, early: Sequence[str]) -> tuple[int, list[int]]:
    """Return how many distinct texts there are in a split, and the first rows of those that stand in another, too."""
    held = set(early)
    first = dict(zip(reversed(late.keys), reversed(range(len(late.keys))), strict=True))
    return len(first), sorted(row for key, row in first.items() if key in held)


def _of(rows: Rows, late: Split, number: int, distinct: int, row: int, early: str) -> str:
    return f"{rows.at(row)}: {number} of the {distinct} distinct texts of {late} stand in {early}, too"


def _repeated(found: Findings, split: Split, rows: Rows) -> None:
    """Report texts that stand several times in a split, and copies of one text with different labels."""
    first: dict[str, int] = {}
    again, against = 0, list[int]()
    for row, key in enumerate(rows.keys):
        before = first.setdefault(key, row)
        again += before != row
        if rows.targets[before] != rows.targets[row]:
            against.append(row)
    if again > len(rows.keys) / 20:
        found.tell(
            "repeated-texts", f"{rows.place.file}: {again} of the {len(rows.keys)} texts of {split} repeat another"
        )
    if against:
        found.tell(
            "contradictions",
            f"{rows.at(against[0])}: {len(against)} text{'s' * (len(against) != 1)} of {split} also earlier "
            "in the file, with another label or other tags",
        )


def _texts(found: Findings, split: Split, rows: Rows) -> None:
    """Tell of texts that look odd by themselves."""
    given, noun = traits.of(found.task.kind).words_given, reading.of(found.task.kind).noun
    lengths = [len(item) if given else len(text.split()) for item, text in zip(rows.inputs, rows.texts, strict=True)]
    middle = sorted(lengths)[len(lengths) // 2]

    def far_longer() -> Iterator[int]:
        return (row for row, length in enumerate(lengths) if length > max(MANY, LONG * middle))

    def those(odd: Callable[[str], object]) -> Iterator[int]:
        return (row for row, text in enumerate(rows.texts) if odd(text))

    looks: tuple[tuple[str, Iterator[int], str], ...] = (
        ("long-texts", far_longer(), f"far longer than the rest (more than {LONG} times the middle one)"),
        ("short-texts", those(lambda text: len(text) < 2), "of one character"),
        ("no-letters", those(lambda text: not any(map(str.isalnum, text))), "without a letter or digit"),
        ("control-characters", those(_CONTROLS.search), "with control characters or odd line ends"),
        ("broken-characters", those(_BROKEN.search), "with characters that another encoding spoilt"),
        ("escaped-characters", those(_ESCAPED.search), "with characters as HTML escapes them, such as &amp;"),
    )
    for about, found_rows, words in looks:
        if odd := list(found_rows):
            found.tell(about, f"{rows.at(odd[0])}: {_number(len(odd), noun)} of {split} {words}")
    if len(bare := list(those(lambda text: not any(map(str.isalpha, text))))) > len(rows.texts) / 2:
        found.tell(
            "no-letters",
            f"{rows.at(bare[0])}: {_number(len(bare), noun)} of {split} without a letter, numbers for instance; is "
            "text the right column?",
        )
    if given:
        hidden = [row for row, tokens in enumerate(rows.inputs) if any(map(invisible, tokens))]
        if hidden:
            found.tell(
                "invisible-tokens",
                f"{rows.at(hidden[0])}: {_number(len(hidden), noun)} of {split} with tokens that cannot be seen; they "
                "are left out with empty_tokens: drop",
            )


# --- the splits of a model, after they were encoded


def encoded(task: Task, model: Path, prepared: Path, splits: Mapping[str, EncodedSplit]) -> list[Finding]:
    """Examine what max_length cuts off, and what the tokenizer does not know.

    Parameters
    ----------
    task
        Its `max_length` and `accept` are used.
    model
        Folder of the model, whose tokenizer took the texts apart.
    prepared
        Folder of the prepared task.
    splits
        What the encoding counted.

    Returns
    -------
    list of Finding
        A split of which a hundredth of the words is cut off, or any entity, or a twentieth of the tokens is unknown.

    Raises
    ------
    InputError
        If every entity of the training or the test split is cut off, or nearly all tokens of a split are unknown.
    """
    found = Findings(task)
    for name, split in splits.items():
        _unknown(found, f"{prepared}: {name}", model, split)
        about = f"{prepared}: max_length: {task.max_length} tokens (of {model}) cut off"
        share = f"{split.truncated_words} of the {split.words} words of {name}"
        if split.entities and split.entities == split.truncated_entities and name in ("train", "test"):
            why = "F1 can only be 0" if name == "test" else "nothing is left to learn from"
            found.stop(
                "entities-cut-off",
                f"{about} {share}, and with them all {split.entities} entities: {why}; raise max_length",
            )
        elif split.truncated_entities:
            share += f", and {split.truncated_entities} of its {split.entities} entities, which count as missed"
            found.tell("cut-off", f"{about} {share}")
        elif split.truncated_words * 100 >= split.words > 0:
            found.tell("cut-off", f"{about} {share}")
        if split.lost_answers:
            found.tell(
                "cut-off",
                f"{prepared}: stride: {task.stride} tokens (of {model}) are shared by two windows, and "
                f"{split.lost_answers} of the {split.examples} answers of {name} stand in no window as a whole; raise "
                "stride",
            )
    return found.told


def _unknown(found: Findings, about: str, model: Path, split: EncodedSplit) -> None:
    """Find a split of which the tokenizer knows little: texts of unknown tokens alone are one and the same."""
    if split.rows and not split.text_tokens:
        found.stop(
            "unknown-tokens", f"{about}: the tokenizer of {model} makes no token of any text; choose another model"
        )
    share = split.unknown_tokens / max(split.text_tokens, 1)
    message = (
        f"{about}: {split.unknown_tokens} of {split.text_tokens} tokens ({100 * share:.0f} %) are unknown to the "
        f"tokenizer of {model}"
    )
    if share > MOST_UNKNOWN:
        found.stop(
            "unknown-tokens", f"{message}: nearly all words look the same to it; choose a model for this language"
        )
    elif share >= MANY_UNKNOWN:
        found.tell("unknown-tokens", message)


def _number(count: int, noun: str) -> str:
    """Write a number of texts."""
    return f"{count} {noun}{'s' if count > 1 else ''}"
