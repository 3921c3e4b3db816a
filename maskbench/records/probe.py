"""The record of what was measured on one trained model, checked when it is written and when it is read; no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from maskbench.records.run import Environment, Finite, Metric, RecordBlock, Stored


class TrajectoryPoint(RecordBlock):
    """One evaluation while training, and what was measured on the model as it was then."""

    step: int
    epoch: Finite
    score: Finite | None
    """Score on the validation split, as in the run's history."""
    measures: dict[str, Finite | None]
    """By name, what the probes measure under the weights of this moment (probes/trajectory.py); no part alone."""


class Attributed(RecordBlock):
    """How much each word of a test text adds to the model's answer (probes/attributions.py)."""

    example: int
    words: list[Finite]
    """(W,) by word, in the order of the text; those that were cut off are not among them."""


class ProbeTimings(RecordBlock):
    """When, and for how long, in seconds."""

    started: str
    wall_s: Finite
    cpu_s: Finite | None = None
    """CPU time of the job's process for these probes."""


class ProbeRecord(Stored):
    """Everything that was measured on one trained model."""

    what = "probe record"

    schema_version: Literal[1] = Field(default=1, alias="schema")
    run: str
    status: Literal["probed", "not probed"]
    error: str | None
    """Why it was not probed, such as a run that did not complete."""
    metrics: list[Metric]
    trajectory: list[TrajectoryPoint] = Field(default_factory=list)
    attributions: list[Attributed] = Field(default_factory=list)
    """Of some test texts; empty if they were not measured."""
    notes: list[str] = Field(default_factory=list)
    """Why a number is empty, and what a reader of the numbers has to know."""
    code: str
    data: dict[str, str]
    """Content hashes of what went in, by what it is."""
    environment: Environment
    timings: ProbeTimings
    key: str | None = None
    """Hash of all that the numbers depend on: the run, the settings, code and data of the probes. None in records that
    were made before there were keys."""
