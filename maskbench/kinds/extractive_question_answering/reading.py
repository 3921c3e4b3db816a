"""How questions are read: a question, a passage, and the answers that stand in it, in any of SQuAD's forms."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from maskbench.errors import InputError
from maskbench.kinds.findings import quoted
from maskbench.kinds.reading import Content, Reading
from maskbench.kinds.rows import Rows
from maskbench.kinds.values import brief, encodable, written

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from maskbench.config.tasks import Split, Task
    from maskbench.kinds.files import File, FileTable, Place

Answers = tuple[tuple[int, str], ...]
"""Of each answer the character of the passage that it starts at, and its text."""

OUTPUTS = ["start", "end"]
"""What the head says of each token: whether the answer starts there, and whether it ends there."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about a passage, with its answers."""

    line: int
    question: str
    passage: str
    answers: Answers


class _Reading(Reading):
    noun = "question"
    class_noun = "answer"
    stratified = False
    cut_words = "by a plain permutation"

    def row(self, file: File, line: int, text: Any, label: Any, lines: list[int] | None = None) -> Asked | None:
        """Read one row: question and passage, and answers; None if the row lacks one of them and is left out."""
        question, passage = text
        if file.hub and not all(isinstance(one, str) and one.strip() for one in (question, passage)):
            file.seen.dropped["no text"] += 1
            return None
        pairs = _pairs(label, line, file.place)
        if file.hub and not pairs:
            file.seen.dropped["no answer"] += 1
            return None
        question = written(question, line, file.place, "question")
        bare = written(passage, line, file.place, "passage")
        before = len(passage) - len(passage.lstrip())
        answers = tuple(_answer(bare, start - before, answer, line, file.place) for start, answer in pairs)
        if not answers:
            raise file.place.error(
                line, "answers: expected at least one; questions without an answer (SQuAD 2.0) are not read"
            )
        return Asked(line, question, bare, answers)

    def objects(self, document: Any, place: Place) -> Iterator[dict[str, Any]]:
        """Yield the questions of a SQuAD document: nested (data, paragraphs, qas), or a list of flat rows."""
        data = document.get("data") if isinstance(document, dict) else document
        if not isinstance(data, list):
            raise InputError(f"{place.file}: expected the key data with a list, as in SQuAD, or a list of questions")
        for number, article in enumerate(data):
            where = f"{place.file}: data[{number}]"
            if isinstance(article, dict) and "paragraphs" in article:
                yield from _article(article, where)
            else:
                yield _object(article, where)

    def content(self, task: Task, tables: Mapping[Split, FileTable]) -> Content:
        """Return questions and passages, their answers, and the number of each passage as their document."""
        return Content(OUTPUTS, {split: _rows(table) for split, table in tables.items()}, Counter())

    def classes(self, labels: Sequence[str]) -> list[str]:
        """Return nothing, since answers are places and no classes."""
        return []

    def classes_of(self, target: Any) -> Collection[int]:
        """Return nothing, since no answer has a class."""
        return ()

    def table(self, rows: Rows) -> pa.Table:
        """Return the columns `example`, `question`, `text` (the passage), `answers`, `starts` and `document`."""
        starts, answers = ([[pair[place] for pair in target] for target in rows.targets] for place in (0, 1))
        return pa.table(
            {
                "example": pa.array(range(len(rows.inputs)), pa.int64()),
                "question": pa.array([question for question, _ in rows.inputs], pa.string()),
                "text": pa.array([passage for _, passage in rows.inputs], pa.string()),
                "answers": pa.array(answers, pa.list_(pa.string())),
                "starts": pa.array(starts, pa.list_(pa.int64())),
                "document": pa.array(rows.documents, pa.int64()),
            }
        )

    def counts(self, table: pa.Table, labels: Sequence[str]) -> dict[str, int]:
        """Return nothing: there are no labels to count."""
        return {}


def _rows(table: FileTable) -> Rows:
    """Return the rows of a file; questions about one passage are of one document, as which they are resampled."""
    asked: list[Asked] = table.rows
    numbers = {passage: number for number, passage in enumerate(dict.fromkeys(one.passage for one in asked))}
    return Rows(
        [(one.question, one.passage) for one in asked],
        [one.answers for one in asked],
        [one.line for one in asked],
        table.place,
        [numbers[one.passage] for one in asked],
    )


# --- answers


def _pairs(value: Any, line: int, place: Place) -> list[tuple[int, str]]:
    """Return start and text of each answer: of a list of objects (SQuAD), or of an object of two lists (datasets)."""
    if isinstance(value, dict) and all(isinstance(value.get(key), list) for key in ("text", "answer_start")):
        texts, starts = value["text"], value["answer_start"]
        if len(texts) != len(starts):
            raise place.error(line, f"answers: {len(texts)} texts but {len(starts)} places (answer_start)")
        value = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    if not isinstance(value, list):
        raise place.error(line, f"answers: expected a list of answers with text and answer_start, got {brief(value)}")
    pairs = []
    for answer in value:
        text, start = (answer.get(key) if isinstance(answer, dict) else None for key in ("text", "answer_start"))
        if not isinstance(text, str) or type(start) is not int:
            raise place.error(line, f"answers: expected a text and a whole number answer_start, got {brief(answer)}")
        pairs.append((start, encodable(text, "answer", line, place)))
    return pairs


def _answer(passage: str, start: int, text: str, line: int, place: Place) -> tuple[int, str]:
    """Return an answer and its place without white space at its ends; it must stand in the passage where it says so."""
    bare = text.strip()
    start += len(text) - len(text.lstrip())
    if not bare:
        raise place.error(line, "answers: an answer is empty")
    there = passage[max(start, 0) : max(start, 0) + len(bare)]
    if start < 0 or there != bare:
        raise place.error(
            line,
            f"answers: expected {quoted([bare])} at the character answer_start of the passage, found {quoted([there])}",
        )
    return start, bare


# --- SQuAD's document


def _article(article: dict[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """Yield the questions of an article: of each paragraph (context) its questions (qas)."""
    for number, paragraph in enumerate(_list(article, "paragraphs", where)):
        here = f"{where}.paragraphs[{number}]"
        context = _object(paragraph, here).get("context")
        if not isinstance(context, str):
            raise InputError(f"{here}: context: expected text, got {brief(context)}")
        for place, question in enumerate(_list(paragraph, "qas", here)):
            yield {"title": article.get("title"), "context": context, **_object(question, f"{here}.qas[{place}]")}


def _list(entry: dict[str, Any], key: str, where: str) -> list[Any]:
    """Return the list that stands under a key."""
    found = entry.get(key)
    if not isinstance(found, list):
        raise InputError(f"{where}: {key}: expected a list, got {brief(found)}")
    return found


def _object(value: Any, where: str) -> dict[str, Any]:
    """Return a value that must be an object."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object, got {brief(value)}")
    return value


PART = _Reading()
