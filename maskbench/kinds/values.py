"""Values of fields as all kinds of task read them: words, texts, and what of a word can be seen."""

from __future__ import annotations

import json
import math
import unicodedata
from typing import TYPE_CHECKING, Any

from maskbench.errors import InputError
from maskbench.kinds import labels
from maskbench.kinds.findings import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from maskbench.config.tasks import Task
    from maskbench.kinds.files import Place


def word(value: Any, what: str, line: int, place: Place) -> str:
    """Return a label, or a number or truth value used as one, as a word."""
    if isinstance(value, str):
        found = encodable(value, what, line, place).strip()
        if not found:
            raise place.error(line, f"{what} is empty")
        return found
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    raise place.error(line, f"{what}: expected a word or a number, got {brief(value)}")


def written(value: Any, line: int, place: Place, what: str = "text") -> str:
    """Return a text without white space at its ends; an empty one is an error."""
    if not isinstance(value, str):
        raise place.error(line, f"{what}: expected text, got {brief(value)}")
    text = encodable(value, what, line, place).strip()
    if not text:
        raise place.error(line, f"{what} is empty")
    return text


def encodable(value: str, what: str, line: int, place: Place) -> str:
    """Refuse half a surrogate pair, which JSON can escape and no UTF-8 file can hold."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise place.error(line, f"{what}: half of a surrogate pair ({value[:20]!a}) is no character") from None
    return value


def brief(value: Any) -> str:
    """Show a value in a message."""
    shown = json.dumps(value, default=str)
    return shown if len(shown) <= 40 else shown[:37] + "..."


def invisible(token: str) -> bool:
    """Tell whether nothing of a token can be seen: it is empty, or white space, controls, joiners and selectors."""
    return all(
        letter.isspace()
        or unicodedata.category(letter) in ("Cc", "Cf")
        or "\ufe00" <= letter <= "\ufe0f"
        or "\U000e0100" <= letter <= "\U000e01ef"
        for letter in token
    )


def unknown(task: Task, what: str, found: str, names: Sequence[str]) -> str:
    """Say that something is not among the labels, and what could mend it."""
    known = labels.few(names)
    like = next((name for name in names if labels.bare(name) == labels.bare(found)), None)
    where = "of the configuration" if task.labels else "of the training split"
    message = f"{what} {quoted([found])} is not among the labels {where} ({known})"
    if like is not None:
        return f"{message}; write it as {quoted([like])}, which differs {labels.unlike([like, found])}"
    if what == "label" and not task.labels and labels.is_number(found) and not any(map(labels.is_number, names)):
        return f"{message}; if numbers count the labels from 0, list them in that order with labels"
    return message


def renamed(
    names: Sequence[str], known: Sequence[str], relabel: Mapping[str, str | None], place: Place
) -> dict[str, str | None]:
    """Return what labels of another file are called in a task; None: nothing. A label without an entry keeps its name.

    Parameters
    ----------
    names
        Labels of the file.
    known
        Labels of the task.
    relabel
        As the configuration has it.
    place
        The file, for messages.

    Raises
    ------
    InputError
        If an entry names a label that the file or the task has not.
    """
    into = {labels.value(name): other for name, other in relabel.items()}
    for name, other in relabel.items():
        if labels.value(name) not in names:
            raise InputError(f"{place.file}: relabel: no label {quoted([name])}; there are {labels.few(names)}")
        if other is not None and other not in known:
            raise InputError(f"{place.file}: relabel: {quoted([other])} is not among the labels ({labels.few(known)})")
    return {name: into.get(name, name) for name in names}
