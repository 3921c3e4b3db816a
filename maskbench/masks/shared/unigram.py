"""Tokens as often as the training split has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from maskbench.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.batch import Batch
    from maskbench.masks.setting import Setting


class Unigram:
    """Draws tokens from the unigram distribution of the training split's maskable tokens.

    Parameters
    ----------
    setting
        The setting of the run; only tokens of its `vocabulary` are drawn.
    temperature
        Shares are raised to the power 1 / temperature.

    Raises
    ------
    InputError
        If the training split has no token of the vocabulary.
    """

    def __init__(self, setting: Setting, temperature: float) -> None:
        words, ids = (np.concatenate([np.asarray(row) for row in setting.train[key]]) for key in ("words", "input_ids"))
        counts = np.bincount(ids[words >= 0], minlength=int(setting.vocabulary.max()) + 1)
        tokens = np.intersect1d(np.flatnonzero(counts), setting.vocabulary.numpy(force=True))
        if not len(tokens):
            raise InputError("generated: the training split has no token but special ones")
        shares = (counts[tokens] ** (1 / temperature)).cumsum()
        device = setting.model.device
        self._tokens = torch.from_numpy(tokens).to(device)
        # summed in float64 first, since the shares are many and small
        self._shares = torch.from_numpy((shares / shares[-1]).astype(np.float32)).to(device)

    def sample(self, batch: Batch, uniform: Tensor) -> Tensor:
        """Return (B, T) token ids for (B, T) uniform numbers in [0, 1)."""
        return self._tokens[torch.searchsorted(self._shares, uniform, right=True)]
