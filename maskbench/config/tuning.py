"""Learning rates of a strategy's own, chosen by one procedure with one budget for all of them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from maskbench.config.block import ConfigBlock, Count, Name, Positive, Seed
from maskbench.config.limits import StrategyPattern

SUFFIX = "-tuned"
"""What ends the name of a strategy at its tuned learning rate: ``random-tuned`` is ``random`` at that rate."""


def is_tuned(strategy: str) -> bool:
    """Tell whether a strategy of this name is trained at a tuned learning rate."""
    return strategy.endswith(SUFFIX)


def tuned(strategy: str) -> str:
    """Return the name that a strategy has at its tuned learning rate."""
    return f"{strategy}{SUFFIX}"


def untuned(strategy: str) -> str:
    """Return the name of a strategy without what says that its learning rate is tuned."""
    return strategy.removesuffix(SUFFIX)


def rate_words(rate: float) -> str:
    """Return a learning rate as part of a name: ``3e-4``, ``2p5e-4``."""
    number, _, exponent = f"{rate:.10e}".partition("e")
    return f"{number.rstrip('0').rstrip('.')}e{int(exponent)}".replace(".", "p")


def _ascending(rates: list[float]) -> list[float]:
    """Refuse a grid that is not written from the lowest rate to the highest, each once."""
    if any(low >= high for low, high in pairwise(rates)):
        raise PydanticCustomError("grid", "expected learning rates from the lowest to the highest, each once")
    return rates


def _once(seeds: list[int]) -> list[int]:
    """Refuse a seed that stands twice."""
    if len(set(seeds)) < len(seeds):
        raise PydanticCustomError("duplicate", "expected each seed once")
    return seeds


class Multiple(ConfigBlock):
    """A learning rate that is a multiple of the one that was tuned for another strategy."""

    of: Name
    """The other strategy, which is tuned."""
    times: Positive
    """What its rate is multiplied by."""

    def __str__(self) -> str:
        return f"{self.times:g} × that of {self.of}"


class Tune(ConfigBlock):
    """How each task, model and strategy gets a learning rate of its own: the same grid and the same budget for all.

    Every strategy is trained at every rate with every seed, on texts that no other cell of the study sees, and the rate
    with the best mean validation score is frozen in tuning/choices.json. Each strategy then stands in the study twice:
    at the shared rate (that of `training`, or its own), and as `<name>-tuned` at the chosen one (docs/tuning.md).
    """

    learning_rates: Annotated[list[Positive], Field(min_length=2), AfterValidator(_ascending)]
    """The rates that are tried, from the lowest to the highest."""
    seeds: Annotated[list[Seed], Field(min_length=1), AfterValidator(_once)]
    """Seeds of the tuning; none of the study's own."""
    train_size: Count = 1000
    """Texts of each task's training split that are set apart for the tuning to train on."""
    validation_size: Count = 500
    """Texts of each task's training split that are set apart for the tuning to choose by."""
    strategies: Annotated[list[StrategyPattern], Field(min_length=1)] | None = None
    """The strategies that are tuned, in which `*` stands for anything; null: all. Claims about others are judged at the
    shared rate alone."""
    multiples: dict[Name, Multiple] = {}
    """Strategies that are about their learning rate, such as a control at ten times the rate of another one,
    `{none-hot: {of: none, times: 10}}`. They are not tuned, since tuning would undo what they are about: `<name>-tuned`
    has this multiple of the rate that was tuned for the other strategy."""

    def takes(self, strategy: str) -> bool:
        """Tell whether a strategy of this name stands in the study at a tuned learning rate, too."""
        patterns = self.strategies
        return patterns is None or strategy in self.multiples or any(fnmatchcase(strategy, one) for one in patterns)

    @property
    def budget(self) -> int:
        """Trainings that each task, model and strategy that is tuned gets."""
        return len(self.learning_rates) * len(self.seeds)


class Reserve(ConfigBlock):
    """How many texts of a task's training split are set apart for tuning."""

    train_size: Count
    """Texts for the tuning to train on."""
    validation_size: Count
    """Texts for the tuning to choose by."""
