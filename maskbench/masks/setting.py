"""What a mask may look at before the first update."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from maskbench.config.kinds import TaskKind


@dataclass(frozen=True)
class Setting:
    """The run that a mask is part of: its training split and its model at θ₀."""

    kind: TaskKind
    """Kind of the task, which says what is predicted."""
    labels: tuple[str, ...]
    """Names of the classes or tags, in the order of their indices."""
    train: Dataset
    """Encoded examples that the run trains on (columns: data/encode.py); the other splits are out of reach."""
    model: PreTrainedModel
    """What the run starts from, with its fresh head, on its device."""
    folder: Path
    """Folder of the pretrained model, for its masked-LM head; the same if the run starts from another run's encoder."""
    tokenizer: PreTrainedTokenizerBase
    """The model's tokenizer; it has a mask token."""
    vocabulary: Tensor
    """(V,) ids of all ordinary tokens: no special ones, none that is unused."""
    updates: int
    """Number of updates that the run makes."""
    batches: Callable[..., Iterator[dict[str, Any]]]
    """Collated batches of the given size, on the model's device: what the model's forward pass takes, and `labels`. Of
    the whole training split in its order, or of the rows that a second argument lists."""
    loss: Callable[..., Tensor]
    """Task loss in nats of a model's outputs and labels: a mean over labels, or a sum divided by a third argument."""
    lexicons: Mapping[str, Path] = field(default_factory=dict)
    """Folders of the lexicons that the strategy's masks name (data/lexicons.py reads them)."""
    parts: tuple[Setting, ...] = ()
    """Joint training, for the one parameter mask: the setting of each task, whose models share all but their heads. The
    other fields are the first task's, but its model has both heads. Empty: one task."""
