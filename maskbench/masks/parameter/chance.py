"""A coin for every weight in every update."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from maskbench.masks.draws import Draws

_BITS = 16  # of a draw: four draws in each random word


class Chance:
    """Independent draws for all entries of named tensors, in buffers that every update uses again.

    Torch's own Bernoulli takes some 18 ns an entry on a CPU, and boolean masks some 5 ns in each product; random words
    that are read as small integers and compared as float32 take 2 ns, and give the 0 and 1 that products want.

    Parameters
    ----------
    shapes
        Of the tensors, by name; the order does not matter.
    probability
        Of a 1; rounded to a multiple of 2**-16.
    device
        Where to draw.
    """

    def __init__(self, shapes: Mapping[str, torch.Size], probability: float, device: torch.device) -> None:
        names = sorted(shapes)
        sizes = [prod(shapes[name]) for name in names]
        # read as signed integers, the words are uniform on -2**15 ... 2**15 - 1
        self._threshold = round(probability * 2**_BITS) - 2 ** (_BITS - 1)
        self._words = torch.empty(-(-sum(sizes) // (64 // _BITS)), dtype=torch.int64, device=device)
        self._flat = torch.empty(sum(sizes), device=device)
        parts = zip(names, self._flat.split(sizes), strict=True)
        self._views = {name: part.view(shapes[name]) for name, part in parts}

    def draw(self, rng: Draws, step: int) -> dict[str, Tensor]:
        """Return float32 tensors of 0 and 1 by name; the next call overwrites them."""
        self._words.random_(-(2**63), None, generator=rng.generator(step, device=self._flat.device))
        self._flat.copy_(self._words.view(torch.int16)[: len(self._flat)])
        self._flat.lt_(self._threshold)
        return self._views
