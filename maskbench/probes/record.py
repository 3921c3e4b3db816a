"""The record of what was measured on one trained model, checked when it is written and when it is read; no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from maskbench.config.block import first_mistake
from maskbench.errors import InputError
from maskbench.io.files import read_json, write_json
from maskbench.training.record import Environment, Finite, Metric

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1
"""Version of the schema; a reader refuses any other."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Point(_Part):
    """One evaluation while training, and what was measured on the model as it was then."""

    step: int
    epoch: Finite
    score: Finite | None
    """Score on the validation split, as in the run's history."""
    measures: dict[str, Finite | None]
    """`representation_drift`, `parameter_drift` and, where a task came before, `forgetting`."""


class Timings(_Part):
    """When, and for how long, in seconds."""

    started: str
    wall_s: Finite


class ProbeRecord(_Part):
    """Everything that was measured on one trained model."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    run: str
    status: Literal["probed", "not probed"]
    error: str | None
    """Why it was not probed, such as a run that did not complete."""
    metrics: list[Metric]
    trajectory: list[Point] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    """Why a number is empty, and what a reader of the numbers has to know."""
    code: str
    data: dict[str, str]
    """Content hashes of what went in, by what it is."""
    environment: Environment
    timings: Timings

    def write(self, path: str | Path) -> None:
        """Write the record atomically, after checking it once more against its schema."""
        content = self.model_dump(mode="json", by_alias=True)
        ProbeRecord.model_validate(content)
        write_json(path, content)

    @classmethod
    def read(cls, path: str | Path) -> ProbeRecord:
        """Read a record.

        Raises
        ------
        InputError
            If the file is missing, is no JSON, or does not follow the schema.
        """
        content = read_json(path)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise InputError(
                f"{path}: not a probe record of schema {SCHEMA} ({first_mistake(error)}); delete it and run again"
            ) from None
