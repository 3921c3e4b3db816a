"""Pretrained models that are read from their files once, whatever number of runs starts from them."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from transformers import set_seed

from maskbench.models.loading import build_model
from maskbench.models.masked_lm import MaskedLMHead, original_head

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel

    from maskbench.config.kinds import TaskKind


class Pretrained:
    """Pretrained models, each read once and then kept as it is; the job owns them."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], tuple[PreTrainedModel, Tensor]] = {}
        self._heads: dict[tuple[object, ...], MaskedLMHead] = {}

    def untrained(
        self, folder: Path, kind: TaskKind, labels: Sequence[str], *, seed: int, dropout: float | None, attention: str
    ) -> PreTrainedModel:
        """Return a pretrained model under a fresh head, as it is kept: to look at, never to change.

        The parameters are those of `build_model`.
        """
        return self._opened(folder, kind, labels, seed, dropout, attention)[0]

    def fresh(
        self, folder: Path, kind: TaskKind, labels: Sequence[str], *, seed: int, dropout: float | None, attention: str
    ) -> PreTrainedModel:
        """Return a pretrained model under a fresh head that is the caller's own.

        All of a seed begin with the same bits, and leave torch's generator in the same state, as if each had been read
        from the files. The parameters are those of `build_model`.
        """
        set_seed(seed)
        kept, generator = self._opened(folder, kind, labels, seed, dropout, attention)
        model = deepcopy(kept)
        for old, new in zip(kept.parameters(), model.parameters(), strict=True):
            if getattr(old, "fresh", False):
                new.fresh = True  # type: ignore[attr-defined]  # copies of parameters have no attributes
        torch.set_rng_state(generator)
        return model

    def _opened(
        self, folder: Path, kind: TaskKind, labels: Sequence[str], seed: int, dropout: float | None, attention: str
    ) -> tuple[PreTrainedModel, Tensor]:
        """Return a model that is kept, and the state of torch's generator after it was read."""
        key = (folder, kind, tuple(labels), seed, dropout, attention)
        if key not in self._kept:
            model = build_model(folder, kind, labels, seed=seed, dropout=dropout, attention=attention)
            self._kept[key] = model, torch.get_rng_state()
        return self._kept[key]

    def masked_lm_head(self, folder: Path, like: Module) -> MaskedLMHead:
        """Return the masked-LM head of a pretrained model, as it is kept: it is never trained.

        The parameters and errors are those of `maskbench.models.masked_lm.original_head`.
        """
        key = (folder, type(like), str(like.device), like.config._attn_implementation)  # type: ignore[union-attr]
        if key not in self._heads:
            self._heads[key] = original_head(folder, like)
        return self._heads[key]
