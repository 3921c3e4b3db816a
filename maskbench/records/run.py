"""The record of a run: everything that metrics.json holds, checked when it is written and when it is read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from maskbench.config.block import first_mistake
from maskbench.config.measures import measure
from maskbench.errors import InputError
from maskbench.io.files import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1
"""Version of the schema; a reader refuses any other."""

TRACEBACK = "traceback.txt"
"""File beside the record of a run that crashed, or ran out of memory: where in the code the error came from."""

Status = Literal["completed", "diverged", "oom", "crashed"]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class RecordBlock(BaseModel):
    """A block of a record: no unknown keys, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Stored(RecordBlock):
    """A record that is a file of its own."""

    what: ClassVar[str]
    """What messages call such a record."""

    def write(self, path: str | Path) -> None:
        """Write the record atomically, after checking it once more against its schema."""
        content = self.model_dump(mode="json", by_alias=True)
        self.model_validate(content)
        write_json(path, content)

    @classmethod
    def read(cls, path: str | Path) -> Self:
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
                f"{path}: not a {cls.what} of schema {SCHEMA} ({first_mistake(error)}); delete it and run again"
            ) from None


class Metric(RecordBlock):
    """One measured number, with its split, measure and unit."""

    split: Literal["train", "validation", "test", "run"]
    """What it was measured on; `run`: the run itself (time, memory, parameters)."""
    measure: str
    """Name in the registry (config/measures); per class: ``f1:PER``."""
    value: float | None
    """The number; None where there is none (not finite, or the run did not complete)."""
    unit: str
    """Unit, as in the registry."""

    @field_validator("measure")
    @classmethod
    def _is_registered(cls, name: str) -> str:
        try:
            measure(name)
        except KeyError:
            raise ValueError(f"{name!r} is not in the registry of measures") from None
        return name

    @field_validator("value")
    @classmethod
    def _is_finite(cls, value: float | None) -> float | None:
        return None if value is None or not math.isfinite(value) else float(value)


class Progress(RecordBlock):
    """One evaluation on the validation split while training."""

    step: int
    epoch: Finite
    loss: Finite | None
    score: Finite | None


class Cosine(RecordBlock):
    """The cosine between two tasks' gradients before an update of their joint training."""

    step: int
    """Number of updates that were made before it."""
    layer: str
    """``all`` shared parameters, ``embeddings``, ``layer-0``, ..."""
    cosine: Finite | None
    """None where one of them is 0."""


class Data(RecordBlock):
    """Content hashes of what went in."""

    prepared: str
    encoded: str
    model: str
    lexicons: dict[str, str] = Field(default_factory=dict)
    """Of the words of each lexicon that the strategy's masks name."""


class Environment(RecordBlock):
    """What the run ran on."""

    python: str
    platform: str
    device: str
    device_name: str
    gpu_uuid: str | None
    """UUID of the card; where nothing tells it, the host and what the card is called there (``node-3/2``)."""
    precision: str
    attention: str
    threads: int
    packages: dict[str, str]


class Timings(RecordBlock):
    """When, and for how long, in seconds."""

    started: str
    wall_s: Finite
    train_s: Finite | None
    cpu_s: Finite | None = None
    """CPU time of the job's process for this run, without the imports before it; of a run that went on, of its last
    part."""


class Record(Stored):
    """All that metrics.json records about one run."""

    what = "run record"

    schema_version: Literal[1] = Field(default=1, alias="schema")
    run: str
    task: str
    model: str
    strategy: str
    regime: str
    """With its other task: ``single``, ``after-conll2003``, ``with-conll2003``."""
    condition: str
    train_size: str
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    status: Status
    error: str | None
    metrics: list[Metric]
    history: list[Progress]
    conflict: list[Cosine] = Field(default_factory=list)
    """Joint training: cosines of the two tasks' gradients, in the order of the updates."""
    notes: list[str] = Field(default_factory=list)
    """What a reader of the scores has to know: an attention mask in evaluation, a mask token that was added."""
    stack: list[str] = Field(default_factory=list)
    """The runs that were trained in one stack (`training.stack`), this one included; empty if it was trained alone."""
    parameters: dict[str, Any]
    parameters_hash: str
    code: str
    data: Data
    environment: Environment
    timings: Timings
    command: str
    key: str | None = None
    """Hash of all that the training depends on: parameters, code, data, the model that it starts from. A run whose
    record has the key that it would get now is not trained again. None in records from before there were keys."""
    claims: str | None = None
    """Hash of the claims file when the run was made: what was expected before anything was seen."""


def number(split: Literal["train", "validation", "test", "run"], name: str, value: float | None) -> Metric:
    """Return a metric with the unit that the registry gives it."""
    return Metric(split=split, measure=name, value=value, unit=measure(name).unit)
