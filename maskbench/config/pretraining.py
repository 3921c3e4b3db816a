"""The text that a model is pretrained on, and the model that a pretraining goes on with: what needs no mask."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from maskbench.config.block import ConfigBlock, Name, Share
from maskbench.config.models import FetchedModel

TASKS = "tasks"
"""The name of the corpus that the training texts of the configured tasks make."""

VOCABULARY = 8000
"""Word pieces of a vocabulary that is trained on the corpora, unless the configuration says otherwise."""


class Packing(ConfigBlock):
    """The text of a pretraining, as packed sequences: models for which these agree share one pack."""

    continues: FetchedModel | None = None
    """Model whose pretraining goes on: the name of a preset, or `{name, source}`; null: a model from scratch."""
    corpora: Annotated[list[Name], Field(min_length=1)] = [TASKS]
    """Texts: `tasks` stands for the training texts of the configured tasks."""
    vocabulary: Annotated[int, Field(ge=100, le=100_000)] | None = None
    """Word pieces of the vocabulary that is trained on the corpora; null: 8000, and with `continues` that model's own,
    which cannot be changed."""
    length: Annotated[int, Field(ge=8, le=4096)] = 128
    """Tokens of a packed sequence, special ones included."""
    held_out: Share = 0.02
    """Share of the documents that are not trained on: the held-out loss is measured on them."""
    next_sentence: bool = False
    """Whether the model also learns to tell whether two segments follow each other, as BERT did: documents in order,
    half of the pairs random."""


Size = Literal["tiny", "mini"]

SIZES: dict[Size, dict[str, int]] = {
    "tiny": {"num_hidden_layers": 2, "hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 512},
    "mini": {"num_hidden_layers": 4, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024},
}
"""The smallest two of Turc et al. (2019), Well-read students learn better."""
