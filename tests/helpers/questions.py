"""Small tasks of questions in SQuAD's form."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.helpers.tasks import make_task

if TYPE_CHECKING:
    from maskbench.config.tasks import Task

QUESTIONS = {
    "kind": "extractive-question-answering",
    "format": "json",
    "files": {"train": "train.json"},
    "text": "context",
    "label": "answers",
    "cut": {"group": "context"},
    "max_length": 24,
    "stride": 4,
}
PLACES, THINGS = ["Rome", "quite", "very", "fine"], ["film", "play", "Anna", "great"]


def make_questions(**keys: Any) -> Task:
    """Return a task of questions, of windows of 24 tokens; the keys replace those of `QUESTIONS`."""
    return make_task(**{**QUESTIONS, **keys})


def asked(question: str, passage: str, *answers: str) -> dict[str, Any]:
    """Return a question of a flat SQuAD file; answers stand in the passage, and are found where they stand first."""
    found = [{"text": answer, "answer_start": passage.index(answer)} for answer in answers]
    return {"question": question, "context": passage, "answers": found}


def squad(rows: list[dict[str, Any]]) -> str:
    """Return the nested document of SQuAD of flat questions, those of one passage in one paragraph."""
    passages: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        passages.setdefault(row["context"], []).append({key: row[key] for key in ("question", "answers")})
    paragraphs = [{"context": context, "qas": qas} for context, qas in passages.items()]
    return json.dumps({"version": "1.1", "data": [{"title": "Mine", "paragraphs": paragraphs}]})


def questions(count: int) -> list[dict[str, Any]]:
    """Return questions in pairs about one passage, whose answers are told by the word before them: good or bad.

    Passages differ in length; the longest ones take two windows of `QUESTIONS`.
    """
    rows = []
    for number in range(0, count, 2):
        place, thing = PLACES[number // 2 % 4], THINGS[number // 8 % 4]
        pair = [f"good {place}", f"bad {thing}"]
        parts = pair if number % 4 else pair[::-1]
        filler = " ".join(["was", "is", "the", "saw"][: 1 + number // 2 % 4] * (1 + number % 3))
        passage = f"{number} was {filler}, {parts[0]} is the {filler} {parts[1]}."
        rows += [asked("Is it good?", passage, place), asked("Is it bad?", passage, thing)]
    return rows[:count]


def json_of_questions(count: int) -> str:
    """Return the document of `questions`."""
    return squad(questions(count))
