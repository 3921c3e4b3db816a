"""The record of a pretraining: pretraining.json beside the model."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from maskbench.records.run import Environment, Finite, RecordBlock, Status, Stored

NAME = "pretraining.json"
"""File name of the record, in the folder of the model."""


class HeldOutRow(RecordBlock):
    """What a model did with the held-out text after some updates, under masks that are the same for all."""

    update: int
    """How many updates were done before it."""
    loss: Finite
    """Cross-entropy at the masked places, nats per token."""
    unigram_loss: Finite | None = None
    """What the frequencies of the training text lose at the same places, nats per token: the loss of a model that has
    learnt nothing else. None in records that are older than it."""
    accuracy: Finite
    """Share of the masked tokens that are predicted."""
    pseudo_perplexity: Finite
    """Exponential of the loss, per masked token."""
    pair_accuracy: Finite | None = None
    """Share of the pairs that are told right; None without next sentences."""
    sequences: int
    """Held-out sequences that were read."""
    masked: int
    """Tokens that were masked in them."""


class Speed(RecordBlock):
    """Time of the updates alone: no evaluation, no checkpoint."""

    tokens: int
    """Tokens trained on, special ones included."""
    seconds: Finite
    """Seconds that all updates took together."""
    tokens_per_s: Finite | None
    """Tokens in a second; None without updates."""
    operations_per_token: Finite
    """Floating-point operations of matrix products, forward and backward."""
    gemm_peak: Finite
    """Operations a second of a large matrix product in the same process, before the first update."""
    share_of_peak: Finite | None
    """Operations of the training in a second over that peak; None without updates."""


class MaskCounts(RecordBlock):
    """How often sequences were seen under masks that they had been seen under before."""

    rate: Finite | None
    """Share of the maskable tokens that were hit, over the whole training; None without updates."""
    shown: int
    """Sequences that were shown, each time counted."""
    repeated: int
    """How many of them under a mask that the same sequence had before."""


class PretrainingRecord(Stored):
    """What became of a pretraining, and of what it was made."""

    what: ClassVar[str] = "record of a pretraining"

    schema_version: Literal[1] = 1
    model: str
    """Name of the model in the experiment."""
    key: str
    """Hash of all that the model depends on: recipe, text, start and code."""
    status: Status
    error: str | None = None
    """Why it did not complete."""
    files: dict[str, str]
    """Hash of each file of the model; empty if it did not complete."""
    recipe: dict[str, Any]
    """The block `pretrain` with its defaults filled in."""
    updates: int
    """Updates of the whole training."""
    passes: Finite
    """Passes over the text that these make."""
    held_out: list[HeldOutRow]
    """After each evaluation; the last one is of the finished model, on all held-out sequences."""
    unigram_entropy: Finite
    """Entropy of the held-out tokens' frequencies, nats per token."""
    unigram_loss: Finite
    """What the training split's frequencies lose on the held-out tokens, nats per token: a model that is not below has
    learnt frequencies alone."""
    masks: MaskCounts
    speed: Speed
    pack: str
    """Hash of the packed text."""
    corpora: dict[str, Any]
    """What the packed text was made of, as its manifest says."""
    start: str | None
    """Hash of the model that was continued."""
    code: str
    """Content hash of the code."""
    command: str
    environment: Environment
    started: str
    wall_s: Finite
    """Wall time of the last process that worked on it."""
    notes: list[str] = []
