"""An independent random draw for every weight in every update."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from maskbench.masks.draws import Draws

SIDES = 2**8
"""Number of equally likely outcomes of a draw: it is one byte of the eight in a random 64-bit word."""
_CHUNK = 2**17
"""Number of draws that are made and compared at once on a CPU, so that they stay in its cache."""


class Chance:
    """Independent draws for all entries of named tensors, in a buffer that every update uses again.

    Torch's own Bernoulli takes some 18 ns an entry on a CPU, and boolean masks some 5 ns in each product; random words
    that are read as bytes and compared take 1 ns, and give the float32 0 and 1 that products want. On a CPU the words
    are NumPy's (SFC64, twice as fast as torch's Mersenne Twister), elsewhere torch's.

    Parameters
    ----------
    shapes
        Shapes of the tensors, by name; the order does not matter.
    probability
        Probability of a 1, above 0 and below 1. It is rounded to a multiple of 1/256 between 1/256 and 255/256, which
        the attribute `probability` has.
    device
        Where to draw.
    """

    def __init__(self, shapes: Mapping[str, torch.Size], probability: float, device: torch.device) -> None:
        names = sorted(shapes)
        sizes = [prod(shapes[name]) for name in names]
        wins = min(max(round(probability * SIDES), 1), SIDES - 1)
        self.probability = wins / SIDES
        # read as signed integers, the bytes are uniform on -128 ... 127
        self._threshold = wins - SIDES // 2
        self._flat = torch.empty(sum(sizes), device=device)
        parts = zip(names, self._flat.split(sizes), strict=True)
        self._views = {name: part.view(shapes[name]) for name, part in parts}

    def draw(self, rng: Draws, step: int) -> dict[str, Tensor]:
        """Return float32 tensors of 0 and 1 by name, in the given shapes; the next call overwrites them."""
        generator = rng.generator(step, device=self._flat.device)
        if self._flat.device.type == "cpu":
            random = np.random.Generator(np.random.SFC64(generator.initial_seed()))
            for part in self._flat.split(_CHUNK):
                drawn = random.integers(-(2**63), 2**63, size=_words(part), dtype=np.int64)
                below = drawn.view(np.int8) < self._threshold
                part.copy_(torch.from_numpy(below.view(np.int8))[: len(part)])  # 5 times as fast as a copy from bool
        else:
            words = torch.empty(_words(self._flat), dtype=torch.int64, device=self._flat.device)
            words.random_(-(2**63), None, generator=generator)
            torch.lt(words.view(torch.int8)[: len(self._flat)], self._threshold, out=self._flat)
        return self._views


def _words(part: Tensor) -> int:
    """Return how many 64-bit random words have a byte for each entry."""
    return -(-len(part) // 8)
