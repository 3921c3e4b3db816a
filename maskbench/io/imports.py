"""Imports that take seconds, made a fifth shorter."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


MANY = 300
"""Modules; a block that imports so many is one of the two with which a job begins."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Import modules in the block without the garbage collector: it would look at everything again and again.

    What a process holds after a block that imports many modules is never looked at again: it stays until the process
    ends. Later blocks, when there are models that should go, find them imported.
    """
    on, before = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) - before >= MANY:
            gc.freeze()
        if on:
            gc.enable()
