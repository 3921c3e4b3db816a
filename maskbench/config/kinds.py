"""The kinds of task that a configuration can name: a line for each, and what the configuration has to know of it.

All else about a kind stands in its folder, maskbench/kinds/<kind>/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, GetJsonSchemaHandler
from pydantic_core import PydanticKnownError


@dataclass(frozen=True)
class Form:
    """How the tasks of a kind are written down."""

    formats: tuple[str, ...]
    """Formats of files that hold such a task."""
    keys: tuple[str, ...] = ()
    """Keys of a task that are read for this kind alone."""
    tags: bool = False
    """Whether labels are tags of entities, which begin with B- or I-."""
    synthetic: str | None = None
    """What a synthetic source calls such a task; None: it makes none."""
    texts: tuple[str, ...] = ("text",)
    """Keys of a task that name the columns of a row's texts, in the order in which a model reads them: one, or the two
    of a pair."""
    labels: bool = True
    """Whether a task predicts labels of a set, which the configuration may list, and rows can be given others."""


TASK_KINDS: dict[str, Form] = {
    "sequence-classification": Form(("csv", "tsv", "jsonl"), synthetic="classification"),
    "token-classification": Form(("conll", "jsonl"), ("scheme", "empty_tokens"), tags=True, synthetic="tagging"),
    "extractive-question-answering": Form(
        ("json", "jsonl"), ("question", "stride"), texts=("question", "text"), labels=False
    ),
}
"""Every kind of task by its name. A new kind is a line here, and a folder of the name in maskbench/kinds/."""


def _known(name: Any) -> Any:
    """Refuse what is not the name of a kind, as a literal type does."""
    if not isinstance(name, str) or name not in TASK_KINDS:
        *others, last = (f"'{kind}'" for kind in TASK_KINDS)
        expected = f"{', '.join(others)} or {last}" if others else last
        raise PydanticKnownError("literal_error", {"expected": expected})
    return name


class _Names:
    """Lists the names in the JSON schema, those that are registered when it is made."""

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core), "enum": list(TASK_KINDS)}


TaskKind = Annotated[str, BeforeValidator(_known), _Names()]
"""The name of a kind of task."""
