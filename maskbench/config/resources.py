"""What a job may use, and how many cells it has: GPU slots, memory and time for the scheduler."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from maskbench.config.block import ConfigBlock, Count


def _cells(value: Any) -> Any:
    """Say in one error what is expected; the union alone would report one for each of its members."""
    if value in ("auto", "all") or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10**9):
        return value
    raise PydanticCustomError("cells_per_job", "expected auto, all, or a whole number of at least 1")


CellsPerJob = Annotated[Count | Literal["auto", "all"], BeforeValidator(_cells)]
"""How many cells that differ in strategy alone share a job."""


class Resources(ConfigBlock):
    """Requests of one training job; a cluster's scheduler enforces them, a local run counts the GPU slots."""

    slots_per_gpu: Count = 1
    """Training jobs that may share one card."""
    memory_mb: Count = 3000
    """Main memory of a training job, in MB."""
    minutes: Count = 120
    """Time limit of the training of one cell on a cluster, in minutes. Its probes get half as much, and a job gets the
    sum over its cells."""
    cells_per_job: CellsPerJob = "auto"
    """How many cells that differ in nothing but the strategy are trained and probed by one job, one after another, so
    that imports and data are loaded once: a number, `all` of them, or `auto`, which makes as few jobs as possible, but
    at least eight of a study that has eight cells."""
