"""A task as a script gets it: one JSON text."""

from __future__ import annotations

from pydantic import ValidationError

from maskbench.config.block import first_mistake
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
        raise InputError(f"--spec: {first_mistake(error, 'task')}") from None
