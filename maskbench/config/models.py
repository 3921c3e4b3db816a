"""Pretrained models: a folder in transformers' format, from any source."""

from __future__ import annotations

from pydantic import Field

from maskbench.config.block import ConfigBlock, Name
from maskbench.config.sources import Source
from maskbench.config.training import TrainingOverrides


class Model(ConfigBlock):
    """One pretrained model with its tokenizer."""

    name: Name
    """Name in results and figures."""
    source: Source
    """Where the folder with config.json, the weights (safetensors) and the tokenizer comes from."""
    masked_lm: bool | None = None
    """Whether the weights hold a masked-LM head, which some strategies need; null: unknown (local folders are read);
    false: a head in the file is not used, as it was trained for something else."""
    training: TrainingOverrides = Field(default_factory=TrainingOverrides)
    """Hyperparameters of this model that differ from `training`."""
    licence: str | None = None
    """Licence of the weights, for the documentation and the report."""
    citation: str | None = None
    """Who made it, for the documentation and the report."""

    @property
    def recipe(self) -> str:
        """Name of how the model was pretrained, which it shares with those of other pretraining seeds."""
        return self.name

    @property
    def pretraining_seed(self) -> int | None:
        """Seed of its pretraining; None: it was not pretrained here."""
        return None

    def weights(self) -> Model:
        """Return the model with all that does not change its files reset, so that no other change refetches it."""
        return self.model_copy(
            update={"training": TrainingOverrides(), "masked_lm": None, "licence": None, "citation": None}
        )
