"""Models that are fine-tuned: fetched ones, and those that the study pretrains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, model_validator

from maskbench.config.block import ConfigBlock, Name
from maskbench.config.models import FetchedModel
from maskbench.config.sources import Source
from maskbench.config.training import TrainingOverrides
from maskbench.experiment.pretraining import Pretrain


class Model(ConfigBlock):
    """One pretrained model with its tokenizer: either `source` or `pretrain` says where it comes from."""

    name: Name
    """Name in results and figures."""
    source: Source | None = None
    """Where the folder with config.json, the weights (safetensors) and the tokenizer comes from."""
    pretrain: Pretrain | None = None
    """How the study pretrains it (docs/pretraining.md)."""
    masked_lm: bool | None = None
    """Whether the weights hold a masked-LM head, which some strategies need; null: unknown (local folders are read),
    and true of a model that the study pretrains; false: a head in the file is not used, as it was trained for something
    else."""
    training: TrainingOverrides = Field(default_factory=TrainingOverrides)
    """Hyperparameters of this model that differ from `training`."""
    strategies: Annotated[list[Name], Field(min_length=1)] | None = None
    """The strategies that it is fine-tuned with, by name, the baseline among them; null: all."""
    licence: str | None = None
    """Licence of the weights, for the documentation and the report."""
    citation: str | None = None
    """Who made it, for the documentation and the report."""
    made_by: Name | None = None
    """Filled in by the program: the name of the entry with `pretrain` that made this model; its models differ in their
    pretraining seed alone."""

    @model_validator(mode="after")
    def _comes_from_one_place(self) -> Self:
        if (self.source is None) == (self.pretrain is None):
            raise ValueError(
                "expected either source or pretrain, got " + ("neither" if self.source is None else "both")
            )
        if self.pretrain is not None and self.masked_lm is False:
            raise ValueError("masked_lm: a model that is pretrained has a masked-LM head; leave the key out")
        if self.made_by is not None and self.pretrain is None:
            raise ValueError("made_by: expected only at a model with pretrain")
        return self

    def takes(self, strategy: str) -> bool:
        """Tell whether the model is fine-tuned with a strategy."""
        return self.strategies is None or strategy in self.strategies

    @property
    def recipe(self) -> str:
        """The name of the entry that made the model, which it shares with those of other pretraining seeds."""
        return self.made_by or self.name

    @property
    def pretraining_seed(self) -> int | None:
        """The seed that the study pretrains the model with; None of a fetched one."""
        return None if self.pretrain is None else self.pretrain.seed

    @property
    def start(self) -> FetchedModel | None:
        """The fetched model whose pretraining goes on; None of other models."""
        return None if self.pretrain is None else self.pretrain.continues

    @property
    def fetched(self) -> FetchedModel:
        """What decides the files of a fetched model, so that no other change fetches it anew."""
        assert self.source is not None, self.name
        return FetchedModel(name=self.name, source=self.source)

    def expanded(self) -> Iterator[Model]:
        """Yield the models that the entry stands for: one for each pretraining seed."""
        if self.pretrain is None or self.made_by is not None:
            yield self
            return
        for seed in self.pretrain.seeded:
            name = self.name if self.pretrain.seeds is None else f"{self.name}-p{seed}"
            pretrain = self.pretrain.model_copy(update={"seeds": None, "seed": seed})
            update = {"name": name, "made_by": self.name, "masked_lm": True, "pretrain": pretrain}
            yield Model.model_validate(dict(self.model_copy(update=update)))
