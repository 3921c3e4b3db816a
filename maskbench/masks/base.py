"""The four hooks of a mask strategy, what they are given, and the registry of what implements them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from maskbench.config.block import Block

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor
    from torch.nn import Module, Parameter

    from maskbench.masks.draws import Draws

Family = Literal["input", "attention", "parameter", "objective"]


@dataclass(frozen=True)
class Batch:
    """One micro-batch as the hooks see it; B examples, T positions, on the device of the model."""

    input_ids: Tensor
    """(B, T) token ids."""
    padding: Tensor
    """(B, T) bool: real tokens, special ones included."""
    words: Tensor
    """(B, T) index of the word that a subword belongs to; -1 on special tokens and padding."""
    examples: Tensor
    """(B,) index of each example in the training split."""
    epoch: int
    """Pass over the training examples, from 0."""
    mask_id: int
    """Token id that stands for [MASK]."""
    hit: Tensor | None = None
    """(B, T) bool: positions that an input mask replaced; None before one was applied."""

    @property
    def maskable(self) -> Tensor:
        """(B, T) bool: positions that a mask may touch: never special tokens, never padding."""
        return self.words >= 0

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
        other = torch.as_tensor(replacement, dtype=self.input_ids.dtype, device=self.input_ids.device)
        return replace(self, input_ids=torch.where(hit, other, self.input_ids), hit=hit)


class Mask(Block):
    """A mask: its parameters are the fields, its behaviour the hooks that it overrides.

    A subclass names its `kind` with a Literal default and is known by that name in the configuration as soon as
    it is defined; docs/add-a-mask.md walks through one.
    """

    family: ClassVar[Family]
    registry: ClassVar[dict[Family, dict[str, type[Mask]]]] = {
        "input": {},
        "attention": {},
        "parameter": {},
        "objective": {},
    }

    kind: str

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Enter the subclass in the registry under its `kind`."""
        super().__pydantic_init_subclass__(**kwargs)
        kind = cls.model_fields["kind"].default
        if isinstance(kind, str):
            known = Mask.registry[cls.family]
            if known.setdefault(kind, cls).__qualname__ != cls.__qualname__:
                raise TypeError(f"two {cls.family} masks are called {kind!r}")


class InputMask(Mask):
    """Replaces tokens of the training input."""

    family = "input"
    apply: bool = True
    """false: draw the mask but leave the input as it is (a control: must be bit-identical to no mask)."""

    def corrupt(self, batch: Batch, rng: Draws) -> Batch:
        """Return the batch with some tokens replaced (`Batch.corrupted`)."""
        raise NotImplementedError


class AttentionMask(Mask):
    """Hides positions from the attention of the model while it trains."""

    family = "attention"
    apply: bool = True
    """false: draw the mask but hide nothing (a control: must be bit-identical to no mask)."""

    def attend(self, batch: Batch, rng: Draws) -> Tensor:
        """Return (B, 1, T, T) or (1, 1, T, T) bool, True where a query (row) may see a key (column).

        Padding is added by the caller, which also turns the result into an additive bias.
        """
        raise NotImplementedError


class ParameterMask(Mask):
    """Decides which parameters move."""

    family = "parameter"

    def select(self, model: Module) -> Iterable[Parameter]:
        """Return the parameters that are frozen before training starts."""
        return ()

    def gate(self, gradients: Mapping[str, Tensor], step: int, rng: Draws) -> None:
        """Change the gradients (by parameter name) in place, just before the optimiser's update `step`."""


class Objective(Mask):
    """Adds a term to the loss."""

    family = "objective"

    def penalty(self, model: Module, clean: Batch, masked: Batch) -> Tensor:
        """Return a scalar that is added to the task loss."""
        raise NotImplementedError
