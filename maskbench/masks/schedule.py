"""How the rate of a mask goes over a training."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, model_validator

from maskbench.config.block import ConfigBlock, Rate
from maskbench.masks.base import Mask

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

    from maskbench.masks.batch import Batch

Kind = Literal["constant", "linear", "cyclic", "epochs"]


class Schedule(ConfigBlock):
    """How the rate of a mask goes over a training: it begins with the mask's own rate.

    The rate of an update follows from its place in the training alone (pass over the texts, share of the updates that
    are done), so all micro-batches of an update, a run that goes on after a kill, and the cells of a stack have the
    same. In pretraining and in fine-tuning it is the same block.

    References
    ----------
    Ankner et al. (2023), Dynamic masking rate schedules for MLM pretraining (linear decay); Jarca, Croitoru & Ionescu
    (2025), Task-informed anti-curriculum by masking improves downstream performance on text (a list of rates, one for
    each epoch, repeated).
    """

    kind: Kind = "constant"
    """constant: the mask's own rate throughout; linear: from it to `to` at the last update; cyclic: a cosine that
    begins each pass over the text at the mask's own rate and reaches `to` in the middle of the pass; epochs: `rates`,
    one for each pass, from the first one again when all were used."""
    to: Rate = 0.0
    """The rate at the last update (linear), or in the middle of each pass (cyclic)."""
    rates: Annotated[list[Rate], Field(min_length=1)] | None = None
    """epochs: the rates of the passes, such as [0.15, 0.12, 0.09]; the first one is the mask's own rate."""
    flat: bool = False
    """true: in every update the mean of these rates over all updates that the training is to make (the constant-rate
    twin); one that stops early has had other rates than that in the mean."""

    @model_validator(mode="after")
    def _keys_go_together(self) -> Self:
        if (self.kind == "epochs") != (self.rates is not None):
            raise ValueError("expected rates with the kind epochs, and with no other")
        if self.kind == "epochs" and self.to:
            raise ValueError("to goes with linear and cyclic; expected rates alone with the kind epochs")
        if self.kind == "constant" and self.flat:
            raise ValueError("flat: a constant rate is its own mean; leave it out")
        return self

    def rate(self, start: float, *, progress: float, epoch: int, passes: float) -> float:
        """Return the rate at a moment of the training, whatever `flat` says.

        Parameters
        ----------
        start
            The mask's own rate.
        progress
            Share of the training's updates that are done, from 0 to 1.
        epoch
            Pass over the text, from 0.
        passes
            How many passes over the text the whole training makes.
        """
        return _rate(self.kind, self.to, tuple(self.rates or ()), start, progress, epoch, passes)

    def mean(self, start: float, updates: int, per_pass: int) -> float:
        """Return the mean of the rates over the updates of a training.

        Parameters
        ----------
        start
            The mask's own rate.
        updates
            Of the whole training.
        per_pass
            Of one pass over the text.
        """
        return _mean(self.kind, self.to, tuple(self.rates or ()), start, updates, per_pass)

    def at(self, start: float, batch: Batch) -> float:
        """Return the rate for a batch."""
        if self.kind == "constant":
            return start
        if self.flat:
            return self.mean(start, batch.updates, batch.per_pass)
        passes = batch.updates / batch.per_pass
        return self.rate(start, progress=batch.progress, epoch=batch.epoch, passes=passes)


def _rate(
    kind: Kind, to: float, rates: tuple[float, ...], start: float, progress: float, epoch: int, passes: float
) -> float:
    if kind == "linear":
        return start + (to - start) * progress
    if kind == "cyclic":
        return to + (start - to) * (1 + math.cos(2 * math.pi * progress * passes)) / 2
    return rates[epoch % len(rates)] if kind == "epochs" else start


@lru_cache(maxsize=64)
def _mean(kind: Kind, to: float, rates: tuple[float, ...], start: float, updates: int, per_pass: int) -> float:
    every = (
        _rate(kind, to, rates, start, update / updates, update // per_pass, updates / per_pass)
        for update in range(updates)
    )
    return math.fsum(every) / updates


def _block(value: Any) -> Any:
    """Let a kind alone, or a list of rates alone, stand for a schedule."""
    if isinstance(value, str):
        return {"kind": value}
    return {"kind": "epochs", "rates": value} if isinstance(value, list) else value


class _Short:
    """JSON schema of a schedule: the block, a kind that needs no other key, or a list of rates."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        rates = {"type": "array", "minItems": 1, "items": {"type": "number", "minimum": 0, "maximum": 1}}
        return {"anyOf": [{"enum": ["constant", "linear", "cyclic"]}, rates, handler(schema)]}


ScheduleSlot = Annotated[Schedule, BeforeValidator(_block), _Short()]
"""A schedule as a configuration may write it: ``linear``, ``[0.15, 0.12, 0.09]``, or the block."""


class Scheduled(Mask):
    """A mask with a rate that may change over the training; its `rate` is what the schedule begins with."""

    schedule: ScheduleSlot = Schedule()
    """How the rate goes over the training, such as `{kind: linear, to: 0.0}`; a list has a rate for each epoch and is
    repeated."""

    @model_validator(mode="before")
    @classmethod
    def _begins_with_the_first_rate(cls, value: Any) -> Any:
        """Take the rate over from a list of rates, unless it is given."""
        if not isinstance(value, dict) or "rate" in value:
            return value
        schedule = _block(value.get("schedule"))
        rates = schedule.get("rates") if isinstance(schedule, dict) else getattr(schedule, "rates", None)
        return value | {"rate": rates[0]} if isinstance(rates, list) and rates else value

    @model_validator(mode="after")
    def _schedule_fits(self) -> Self:
        if self.schedule.rates and self.schedule.rates[0] != self.own_rate:
            raise ValueError(
                f"rate: expected {self.schedule.rates[0]:g}, the first of schedule.rates, or no rate at all, "
                f"got {self.own_rate:g}"
            )
        if self.schedule.kind != "constant" and getattr(self, "at", "train") == "always":
            raise ValueError("schedule: a mask that is part of the model (at: always) has one rate; expected constant")
        return self

    @property
    def own_rate(self) -> float:
        """The rate that the configuration names, which the schedule begins with."""
        return self.rate  # type: ignore[attr-defined,no-any-return]

    def rate_at(self, batch: Batch) -> float:
        """Return the rate for a batch of the training."""
        return self.schedule.at(self.own_rate, batch)
