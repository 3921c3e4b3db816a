"""What readers of manifest.json rely on, checked: how the runs of a study were made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, NonNegativeInt, ValidationError

from maskbench.config.block import first_mistake
from maskbench.errors import InputError
from maskbench.io.files import read_json
from maskbench.records.run import Data, Finite, Timings

Length = Annotated[Finite, Field(ge=0)]

RunIdText = Annotated[str, Field(pattern=r"^([^.]+\.){5}(full|n[1-9][0-9]{0,8})\.s[0-9]{1,10}$")]


class Claimed(BaseModel):
    """A run, for readers that ask under which claims it was made."""

    claims: str | None = None


class Rated(BaseModel):
    """A run, for readers that ask at which learning rate it was trained."""

    run: str
    strategy: str
    learning_rate: Finite | None = None
    """None of a study that was collected before this was noted."""


class ProbeTimes(BaseModel):
    """When a model was probed, and for how long, in seconds."""

    wall_s: Finite


class ProbesEntry(BaseModel):
    """How a model was probed."""

    notes: list[str] = []
    code: str | None = None
    timings: ProbeTimes


class RunTimings(BaseModel):
    """For how long a run trained, in seconds."""

    wall_s: Finite
    train_s: Finite | None


class Timed(BaseModel):
    """A run, for readers that forecast how long other runs will take."""

    run: RunIdText
    timings: RunTimings
    probes: ProbesEntry | None


class RunEntry(Claimed, Rated):
    """A run as the report shows it."""

    status: str
    error: str | None
    notes: list[str]
    parameters_hash: str
    code: str
    data: Data
    device: str
    device_name: str
    gpu_uuid: str | None
    precision: str
    attention: str
    threads: int
    packages: dict[str, str] = {}
    """Versions of the packages of which not all runs of the study had the same."""
    timings: Timings
    probes: ProbesEntry | None


class SplitCounts(BaseModel):
    """What is in a split."""

    rows: int
    labels: dict[str, int]


class AboutTask(BaseModel):
    """What was found of the data of a task (analysis/about_data.py)."""

    task: str
    splits: dict[str, SplitCounts]
    used: dict[str, list[int]] = {}
    """How many texts of each split the runs use; nothing in studies that were collected before it was recorded."""
    cut: str | None
    dropped: dict[str, int]
    findings: list[str]


class ModelEntry(BaseModel):
    """A model of a study: its pretraining recipe, and what it did with the held-out text of its pretraining."""

    model: str
    recipe: str
    pretraining_seed: int | None
    """None: it was not pretrained here, and the other numbers are None, too."""
    updates: int | None = None
    held_out_loss: Finite | None = None
    """Cross-entropy at masked places, nats per token."""
    held_out_accuracy: Finite | None = None
    unigram_loss: Finite | None = None
    """What the tokens' frequencies lose at the same places, nats per token."""


class NotRun(BaseModel):
    """How many planned cells have not run."""

    strategies: dict[str, int] = {}
    blocks: dict[str, int] = {}
    """The keys are blocks: ``task.model.regime.condition.size``."""


class StudyManifest(BaseModel):
    """A study as the report shows it."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    study: str = ""
    planned: NonNegativeInt | None = None
    """Cells that the study is to have; None of a study that was collected before this was noted: then all ran."""
    not_run: NotRun = NotRun()

    packages: dict[str, str]
    packages_that_differ: dict[str, dict[str, int]]
    first_start: str
    last_start: str
    wall_s: Length
    train_s: Length
    probed: NonNegativeInt
    probe_s: Length
    about_data: list[AboutTask] = []
    """None of a study that was collected before this was noted."""
    records: list[RunEntry]


class _Of(BaseModel):
    records: list[Any]


class _Models(BaseModel):
    models: list[ModelEntry] = []
    """None of a study that was collected before models said how they were pretrained."""


_Model = TypeVar("_Model", bound=BaseModel)


def _checked(path: Path, model: type[_Model], content: Any, place: str = "") -> _Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: not a manifest of schema 1 ({place}{first_mistake(error)}); collect again") from None


def read_manifest(path: Path) -> dict[str, Any]:
    """Read manifest.json as far as the report needs it.

    Raises
    ------
    InputError
        If it is missing or not valid.
    """
    return check_manifest(path, read_json(path))


def check_manifest(path: Path, content: Any) -> dict[str, Any]:
    """Return what the report needs of the content of a manifest; `path` is where it was read.

    Raises
    ------
    InputError
        If it is not valid.
    """
    return _checked(path, StudyManifest, content).model_dump()


def read_models(path: Path) -> list[ModelEntry]:
    """Read what manifest.json says of the models of a study.

    Raises
    ------
    InputError
        If it is missing or not valid.
    """
    return _checked(path, _Models, read_json(path)).models


def read_entries(path: Path, kind: type[Timed] | type[Claimed] | type[Rated]) -> list[dict[str, Any]]:
    """Read the runs of manifest.json, with what one of the readers needs of each.

    Raises
    ------
    InputError
        If it is missing or not valid.
    """
    entries = _checked(path, _Of, read_json(path)).records
    return [_checked(path, kind, item, f"records.{index}.").model_dump() for index, item in enumerate(entries)]
