"""Objectives that look at a masked copy of the text."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from maskbench.masks.base import Need, Objective
from maskbench.masks.batch import Batch
from maskbench.masks.slots import InnerInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from torch.nn import Module

    from maskbench.config.kinds import TaskKind
    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting


class MaskedCopy(Objective):
    """An objective with an input mask of its own, which draws from the objective's stream."""

    mask: InnerInput | None = None
    """What the extra pass masks; null: what the strategy's own input mask hits."""
    _rng: Any = None
    _counts: Any = None
    """(2,) numbers of hit and of maskable positions so far."""

    def needs(self) -> frozenset[Need]:
        """Return what the inner mask needs."""
        return self.mask.needs() if self.mask is not None else frozenset()

    def mixes(self, kind: TaskKind) -> bool:
        """Tell whether the inner mask blends embeddings."""
        return self.mask is not None and self.mask.mixes(kind)

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Fit the inner mask, if there is one, and start its counts at 0."""
        import torch

        self._rng = rng
        self._counts = torch.zeros(2, dtype=torch.int64, device=setting.model.device)
        if self.mask is not None:
            self.mask.fit(setting, rng)

    def modules(self) -> Mapping[str, Module]:
        """Return the inner mask's modules."""
        return self.mask.modules() if self.mask is not None else {}

    def state(self) -> dict[str, Any]:
        """Return the inner mask's state."""
        return {"mask": self.mask.state() if self.mask is not None else {}, "counts": self._counts}

    def restore(self, state: dict[str, Any]) -> None:
        """Give the inner mask its state back."""
        self._counts.copy_(state["counts"])
        if self.mask is not None:
            self.mask.restore(state["mask"])

    @property
    def realised_rate(self) -> float | None:
        """Share of the maskable positions that the inner mask hit, over the whole training; None without one."""
        hits, positions = self._counts.tolist()
        return hits / positions if positions else None

    def observe(self, loss: Tensor) -> None:
        """Let the inner mask see the task loss."""
        if self.mask is not None:
            self.mask.observe(loss)

    def _copy(self, clean: Batch) -> Batch:
        """Return the batch as the inner mask gives it."""
        import torch

        assert self.mask is not None
        copy = self.mask.corrupt(clean, self._rng)
        if not self.mask.apply:
            return replace(clean, hit=None)
        if copy.hit is not None:
            self._counts += torch.stack([copy.hit.sum(), clean.maskable.sum()])
        return copy
