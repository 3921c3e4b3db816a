"""A block of the configuration as a script gets it: one JSON text."""

from __future__ import annotations

from collections.abc import Callable
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
    return read_block(Task.model_validate_json, spec, "task")


def read_block(read: Callable[[str], Block], spec: str, what: str) -> Block:
    """Read a block from JSON.

    Parameters
    ----------
    read
        ``model_validate_json`` of the block: written out by the caller, so that the code hash (io/code.py) sees that
        the block's values are parameters.
    spec
        The JSON.
    what
        What messages call all of it.

    Raises
    ------
    InputError
        Naming the key that is wrong.
    """
    try:
        return read(spec)
    except ValidationError as error:
        raise InputError(f"--spec: {first_mistake(error, what)}") from None
