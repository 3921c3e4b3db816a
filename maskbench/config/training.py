"""How a cell is trained: shared by all strategies unless a task, model or strategy says otherwise."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from maskbench.config.block import ConfigBlock, Count, NonNegative, Positive, Rate

Tracker = Literal[
    "clearml",
    "codecarbon",
    "comet_ml",
    "dvclive",
    "mlflow",
    "neptune",
    "swanlab",
    "tensorboard",
    "trackio",
    "wandb",
]
"""Experiment trackers that the transformers Trainer reports to; each is the name of its Python package."""

BatchSize = Count | Literal["auto"]


class Training(ConfigBlock):
    """Hyperparameters of fine-tuning; one seed and these fix a run completely, on one device and thread count."""

    epochs: Positive = 2.0
    """Passes over the training examples."""
    batch_size: Count = 32
    """Examples per update (before it is split into micro-batches)."""
    gradient_accumulation: Count = 1
    """Micro-batches per update; batch_size must be divisible by it."""
    eval_batch_size: BatchSize = "auto"
    """Examples per forward pass in evaluation; auto: as many as fill a pass of the device (slots/device.py), fewer of
    long texts than of short ones."""
    learning_rate: Positive = 2e-4
    """Peak learning rate of AdamW."""
    scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    """How the learning rate goes on after the warm-up."""
    warmup: Rate = 0.1
    """Share of all updates in which the learning rate rises from 0."""
    weight_decay: NonNegative = 0.01
    """AdamW's decoupled weight decay; biases and layer norms are left out."""
    max_grad_norm: NonNegative = 1.0
    """Gradient norm is clipped to this; 0 switches clipping off."""
    dropout: Rate | None = None
    """Dropout of hidden states, attention and classifier; null keeps the model's own."""
    evaluations_per_epoch: Count = 1
    """How often the validation split is scored in an epoch."""
    selection: Literal["best", "last"] = "best"
    """Which checkpoint is scored and probed: the best on validation, or the last."""
    early_stopping: Count | None = None
    """Stop after this many evaluations without a better validation score; null trains to the end."""
    group_by_length: bool = True
    """Put examples of similar length into one batch (less padding; the order stays seeded)."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 autocast where the hardware computes in bf16, fp32 elsewhere."""
    attention: Literal["auto", "eager", "sdpa"] = "auto"
    """auto: sdpa on GPUs, eager on CPUs (there sdpa's backward pass is several times slower) and for models without
    sdpa in transformers (XLNet, DeBERTa, ...; the record says so)."""
    compile: Literal["off", "on"] = "off"
    """Whether training passes go through torch.compile (on cards with CUDA graphs); it has not been measured on a card.
    Batches are then padded to multiples of 16, and cells are not stacked. Cells that were compiled have another dropout
    than others, so all of them should be. If nothing can be compiled, the record says so."""
    threads: Count = 1
    """CPU threads of a training job; results are bit-identical only at the same number."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    report_to: list[Tracker] = Field(default_factory=list)
    """Experiment trackers of the transformers Trainer: tensorboard, trackio, wandb, ..."""

    @model_validator(mode="after")
    def _micro_batches_are_equal(self) -> Self:
        if self.batch_size % self.gradient_accumulation:
            raise ValueError(
                f"batch_size {self.batch_size} must be divisible by gradient_accumulation {self.gradient_accumulation}"
            )
        return self


def _size(value: Any) -> Any:
    """Say in one error what is expected; the union alone would report one for each of its members."""
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10**9):
        return value
    raise PydanticCustomError("stack", "expected auto, or a whole number of at least 1")


Stack = Annotated[Count | Literal["auto"], BeforeValidator(_size)]
"""How many cells of a job are trained at once."""


class TrainingPlan(Training):
    """Hyperparameters of fine-tuning, and how many cells of a job are trained at once."""

    stack: Stack = "auto"
    """Most cells of a job that are trained at once, in one pass over stacked parameters (docs/gpus.md): a number; 1
    trains one after another; auto: on a card as many as its memory and speed allow, elsewhere 1. It changes the last
    digits of a result and no more, so changing it trains no finished cell again; records say what was stacked."""


class TrainingOverrides(ConfigBlock):
    """The part of Training that a model, a task or a strategy may set for itself.

    What comes later in this list wins: `training` of the experiment, then the model's, the task's and the strategy's.
    null means: no value of its own, so that the one before holds. Where an entry changes a preset, the hyperparameters
    that it names replace the preset's one by one, and the preset's others stay; null takes one of them away. Twins have
    the hyperparameters of their strategy.
    """

    epochs: Positive | None = None
    batch_size: Count | None = None
    gradient_accumulation: Count | None = None
    eval_batch_size: BatchSize | None = None
    learning_rate: Positive | None = None
    scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] | None = None
    warmup: Rate | None = None
    weight_decay: NonNegative | None = None
    max_grad_norm: NonNegative | None = None
    dropout: Rate | None = None
    evaluations_per_epoch: Count | None = None
    selection: Literal["best", "last"] | None = None
    early_stopping: Count | None = None
    attention: Literal["auto", "eager", "sdpa"] | None = None
    gradient_checkpointing: bool | None = None

    def apply(self, training: Training) -> Training:
        """Return `training` with the values that are set here."""
        return type(training).model_validate(training.model_dump() | self.model_dump(exclude_none=True))
