"""The frozen choices of a tuning: choices.json, checked when it is written and when it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, ValidationError, model_validator

from maskbench.config.block import first_mistake
from maskbench.errors import InputError
from maskbench.io.files import canonical, read_json, sha256_text, write_json
from maskbench.records.run import Finite, RecordBlock

if TYPE_CHECKING:
    from pathlib import Path


class Tried(RecordBlock):
    """What came of one learning rate."""

    learning_rate: Finite
    scores: list[Finite]
    """Validation score of each completed cell, by seed: a fraction."""
    failed: int
    """Cells that did not complete."""
    mean: Finite | None
    """Mean of the scores; None if no cell completed."""


class Choice(RecordBlock):
    """The learning rate that a strategy got on one task with one model."""

    task: str
    model: str
    strategy: str
    learning_rate: Finite | None
    """None: no cell of the tuning completed, and the strategy keeps the rate that it has without tuning."""
    edge: Literal["lowest", "highest"] | None
    """Whether it is at an end of the grid, so that a better one may lie beyond."""
    ties: list[Finite]
    """Other rates that were exactly as good."""
    tried: list[Tried]
    """All rates, from the lowest to the highest; none of a multiple."""
    multiple: str | None = None
    """What its rate is, if it was not tuned but follows from another strategy's: ``10 × that of none``."""

    @property
    def failed(self) -> int:
        """Cells of the tuning that did not complete."""
        return sum(item.failed for item in self.tried)

    @property
    def score(self) -> float | None:
        """Mean validation score at the chosen rate, a fraction."""
        return next((item.mean for item in self.tried if item.learning_rate == self.learning_rate), None)


class Choices(RecordBlock):
    """All choices of a study, and the budget that each of them took."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    rule: str
    """How a rate was chosen, in a sentence."""
    learning_rates: list[Finite]
    seeds: list[int]
    train_size: int
    """Texts to train on that were set apart in each task."""
    validation_size: int
    """Texts to choose by that were set apart in each task."""
    choices: list[Choice]
    hash: str = ""
    """Of all the rest: what was frozen."""

    @property
    def digest(self) -> str:
        """Hash of all but the hash itself."""
        content = self.model_dump(mode="json", by_alias=True, exclude={"hash"})
        for choice in content["choices"]:
            if choice["multiple"] is None:  # so that files which were written without the key keep their hash
                del choice["multiple"]
        return sha256_text(canonical(content))

    @model_validator(mode="after")
    def _is_frozen(self) -> Self:
        if self.hash and self.hash != self.digest:
            raise ValueError("its content differs from its hash, and choices are frozen")
        return self

    def of(self, task: str, model: str, strategy: str) -> Choice | None:
        """Return what was chosen for a strategy; None if it was not tuned."""
        wanted = (task, model, strategy)
        return next((item for item in self.choices if (item.task, item.model, item.strategy) == wanted), None)

    def write(self, path: Path) -> None:
        """Write the choices atomically, with their hash."""
        frozen = self.model_copy(update={"hash": self.digest})
        write_json(path, frozen.model_dump(mode="json", by_alias=True))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read choices.

        Raises
        ------
        InputError
            If the file is missing, is no JSON, does not follow the schema, or was changed after it was written.
        """
        content = read_json(path)
        try:
            found = cls.model_validate(content)
        except ValidationError as error:
            raise InputError(f"{path}: {first_mistake(error)}; delete it and run again") from None
        if not found.hash:
            raise InputError(f"{path}: hash: expected the hash of its content, found none; delete it and run again")
        return found
