"""What masks are given: one micro-batch of the training text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One micro-batch as the hooks see it; B examples, T positions, on the device of the model."""

    input_ids: Tensor
    """(B, T) ids of the tokens."""
    padding: Tensor
    """(B, T) bool: real tokens, special ones included."""
    words: Tensor
    """(B, T) index of the word that a subword belongs to; -1 on special tokens and padding."""
    examples: Tensor
    """(B,) index of each example in its split; windows of one passage share it, and so the draws at equal places."""
    epoch: int
    """Pass over the training examples, from 0."""
    mask_id: int
    """Token id that stands for [MASK]."""
    labels: Tensor | None = None
    """(B,) classes, or (B, T) with -100 where there is none: classes of words at their first subword, or what else a
    kind of task has at tokens."""
    capitals: Tensor | None = None
    """(B, T) bool: subwords of words that look like a name's (data/surface.py)."""
    token_types: Tensor | None = None
    """(B, T) segment ids, for models that take them."""
    segments: Tensor | None = None
    """(B, T) which text of a pair each subword is of: 0 the first, 1 the second; None where rows have one text."""
    items: Tensor | int | None = None
    """Number of labels in all micro-batches of the update; None: this is the only one."""
    progress: float = 0.0
    """Share of the training's updates that are done."""
    updates: int = 1
    """Number of updates of the whole training."""
    per_pass: int = 1
    """Number of updates in a pass over the training examples."""
    noise: int = 0
    """Seed of dropout in this micro-batch: a second pass that starts from it sees the same dropout as the first."""
    hit: Tensor | None = None
    """(B, T) bool: positions that an input mask replaced; None before one was applied."""
    mix: Tensor | None = None
    """(B, T) weights in [0, 1] of the embedding of [MASK] in a blend with each token's own; None: no blend."""
    hidden: Tensor | None = None
    """(B, T, H) last hidden states of the pass that the task loss came from; None before it."""

    @property
    def maskable(self) -> Tensor:
        """(B, T) bool: positions that a mask may touch: never special tokens, never padding."""
        return self.words >= 0

    @property
    def positions(self) -> Tensor:
        """(B, T) index of each token among the real ones of its text, whichever side is padded; padding is below 0."""
        import torch

        return torch.where(self.padding, self.padding.cumsum(1) - 1, -1)

    def corrupted(self, hit: Tensor, replacement: Tensor | int) -> Batch:
        """Return the batch with `replacement` at the positions in `hit`.

        Parameters
        ----------
        hit
            (B, T) bool; positions that may not be masked are left out.
        replacement
            Token ids (B, T), or one id.
        """
        import torch

        hit = hit & self.maskable
        if isinstance(replacement, torch.Tensor):
            replacement = replacement.to(self.input_ids)
        return replace(self, input_ids=torch.where(hit, replacement, self.input_ids), hit=hit)

    def inputs(self) -> dict[str, Tensor]:
        """Return what a model's forward pass takes, without labels."""
        inputs = {"input_ids": self.input_ids, "attention_mask": self.padding.long()}
        return inputs if self.token_types is None else inputs | {"token_type_ids": self.token_types}
