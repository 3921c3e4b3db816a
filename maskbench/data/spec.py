"""A block of the configuration as a script gets it: one JSON text."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from maskbench.config.block import ConfigBlock, first_mistake
from maskbench.config.tasks import Task
from maskbench.errors import InputError

Block = TypeVar("Block", bound=ConfigBlock)


def read_task(spec: str) -> Task:
    """Read a task from JSON.

    Raises
    ------
    InputError
        Naming the key that is wrong.
    """
    return read_block(Task, spec, "task")


def read_block(block: type[Block], spec: str, what: str) -> Block:
    """Read a block from JSON; `what` is what messages call all of it.

    Raises
    ------
    InputError
        Naming the key that is wrong.
    """
    try:
        return block.model_validate_json(spec)
    except ValidationError as error:
        raise InputError(f"--spec: {first_mistake(error, what)}") from None
