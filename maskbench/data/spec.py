"""A task as a script gets it: one JSON text."""

from __future__ import annotations

from pydantic import ValidationError

from maskbench.config.tasks import Task
from maskbench.errors import InputError


def read_task(spec: str) -> Task:
    """Read a task from JSON.

    Raises
    ------
    InputError
        Naming the key that is wrong.
    """
    try:
        return Task.model_validate_json(spec)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "task"
        raise InputError(f"--spec: {place}: {first['msg']}") from None
