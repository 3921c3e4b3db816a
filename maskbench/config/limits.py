"""Which cells of the full product a study runs: what is not named by a limit runs everywhere."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from maskbench.config.block import ConfigBlock, Count, Name, Seed
from maskbench.config.conditions import Condition

Regime = Literal["single", "sequential", "joint"]


def _size(value: Any) -> Any:
    """Say in one error what a size is; the union alone would report one for each of its members."""
    if value == "full" or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10**9):
        return value
    raise PydanticCustomError("train_size", "expected a whole number of at least 1, or full")


TrainSize = Annotated[Count | Literal["full"], BeforeValidator(_size)]
"""Number of training examples, or all of them."""

StrategyPattern = Annotated[str, StringConstraints(pattern=r"^[a-z0-9*]+(-[a-z0-9*]+)*$")]
"""Name of a strategy, in which `*` stands for anything."""


class Place(NamedTuple):
    """Where a cell stands on each axis of the product."""

    task: str
    model: str
    """The recipe of a model that the study pretrains; else its name."""
    strategy: str
    regime: str
    condition: Condition
    train_size: int | str
    seed: int


class Selection(ConfigBlock):
    """The cells of the product that have one of the listed values on each axis; an axis left out is not asked."""

    tasks: Annotated[list[Name], Field(min_length=1)] | None = None
    """Names of tasks, as in the list of tasks."""
    models: Annotated[list[Name], Field(min_length=1)] | None = None
    """Names of models; of one that the study pretrains, the name without its pretraining seed."""
    strategies: Annotated[list[StrategyPattern], Field(min_length=1)] | None = None
    """Names of strategies; `*` stands for anything, such as `*-twin`. A strategy at its tuned learning rate has two
    names: its own, which ends in `-tuned`, and that without the ending."""
    regimes: Annotated[list[Regime], Field(min_length=1)] | None = None
    """Training regimes, as in the list of regimes."""
    conditions: Annotated[list[Condition], Field(min_length=1)] | None = None
    """Conditions, as in the list of conditions."""
    train_sizes: Annotated[list[TrainSize], Field(min_length=1)] | None = None
    """Train sizes, as in the list of train sizes."""
    seeds: Annotated[list[Seed], Field(min_length=1)] | None = None
    """Seeds, as in the list of seeds."""

    @model_validator(mode="after")
    def _selects(self) -> Selection:
        if not self.model_fields_set:
            raise ValueError(f"expected one of {', '.join(type(self).model_fields)}")
        return self

    def has(self, place: Place, names: tuple[str, ...]) -> bool:
        """Tell whether a cell is in the selection.

        Parameters
        ----------
        place
            Where the cell stands.
        names
            All names of its strategy.
        """
        asked: tuple[tuple[list[Any] | None, Any], ...] = (
            (self.tasks, place.task),
            (self.models, place.model),
            (self.regimes, place.regime),
            (self.conditions, place.condition),
            (self.train_sizes, place.train_size),
            (self.seeds, place.seed),
        )
        return all(listed is None or value in listed for listed, value in asked) and (
            self.strategies is None or any(fnmatchcase(name, pattern) for pattern in self.strategies for name in names)
        )


class Limit(ConfigBlock):
    """Cells that are in `of` are run only if they are in `only`, too."""

    of: Selection
    """The cells that the limit is about."""
    only: Selection
    """Those of them that are run."""
