"""Imports that take seconds, made a fifth shorter."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def uncollected() -> Iterator[None]:
    """Import modules in the block without the garbage collector: it would look at everything again and again.

    What a process holds after its first such block is never looked at again: it stays until the process ends.
    """
    on, first = gc.isenabled(), "torch" not in sys.modules
    gc.disable()
    try:
        yield
    finally:
        if first:
            gc.freeze()
        if on:
            gc.enable()
