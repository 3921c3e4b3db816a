"""A coin for every weight in every update."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from maskbench.masks.draws import Draws

_BITS = 16  # of a draw: four draws in each random word
_CHUNK = 2**15
"""Random words that a CPU makes, reads and compares while they are in its cache."""


class Chance:
    """Independent draws for all entries of named tensors, in a buffer that every update uses again.

    Torch's own Bernoulli takes some 18 ns an entry on a CPU, and boolean masks some 5 ns in each product; random words
    that are read as small integers and compared as float32 take under 2 ns, and give the 0 and 1 that products want.
    On a CPU the words are NumPy's (SFC64, twice as fast as torch's Mersenne Twister), elsewhere torch's.

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
        self._flat = torch.empty(sum(sizes), device=device)
        parts = zip(names, self._flat.split(sizes), strict=True)
        self._views = {name: part.view(shapes[name]) for name, part in parts}

    def draw(self, rng: Draws, step: int) -> dict[str, Tensor]:
        """Return float32 tensors of 0 and 1 by name; the next call overwrites them."""
        generator = rng.generator(step, device=self._flat.device)
        if self._flat.device.type == "cpu":
            random = np.random.Generator(np.random.SFC64(generator.initial_seed()))
            for part in self._flat.split(_CHUNK * (64 // _BITS)):
                drawn = random.integers(-(2**63), 2**63, size=_words(part), dtype=np.int64)
                self._compare(part, torch.from_numpy(drawn))
        else:
            words = torch.empty(_words(self._flat), dtype=torch.int64, device=self._flat.device)
            self._compare(self._flat, words.random_(-(2**63), None, generator=generator))
        return self._views

    def _compare(self, part: Tensor, words: Tensor) -> None:
        """Write 1 where a draw is below the threshold, and 0 elsewhere."""
        part.copy_(words.view(torch.int16)[: len(part)])
        part.lt_(self._threshold)


def _words(part: Tensor) -> int:
    """Return how many random words serve all entries."""
    return -(-len(part) // (64 // _BITS))
