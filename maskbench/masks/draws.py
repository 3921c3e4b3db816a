"""Counter-based random numbers: a mask depends on seed, pass, example and position, and on nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from maskbench import splitmix
from maskbench.channels import Channel, Stream

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.batch import Batch


def fold(key: Tensor | int, index: Tensor) -> Tensor:
    """Return a key for each index, int64 in the shape that `key` and `index` broadcast to.

    The product of int64 tensors wraps modulo 2**64 as intended; a Python integer of that size would overflow.
    """
    return splitmix.mixed((index.to(torch.int64) + 1) * splitmix.GOLDEN + key)


def fold_number(key: int, index: int) -> int:
    """Return what `fold` gives for one key and one index, as a signed 64-bit integer."""
    return splitmix.mixed_number(key + (int(index) + 1) * splitmix.GOLDEN)


class Draws:
    """Uniform random numbers addressed by (seed, stream, pass, example, place).

    Integer arithmetic modulo 2**64, so every device gives the same bits; nothing is drawn from torch's global
    generator, so dropout and data order are those of a run without masks. What is the same for a whole batch is
    computed on the host, so that no number is copied to a card.

    Parameters
    ----------
    seed
        Seed of the run.
    stream
        Whose draws they are, so that two masks of one strategy are independent.
    """

    def __init__(self, seed: int, stream: Stream = Stream.INPUT) -> None:
        self._key = fold_number(fold_number(0, seed), stream)

    def uniform(
        self, batch: Batch, *places: Tensor, time: int | None = None, channel: Channel = Channel.BUDGET
    ) -> Tensor:
        """Return float32 multiples of 2**-24 in [0, 1), one for each place of each example.

        Parameters
        ----------
        batch
            Its `examples` and `epoch` address the numbers.
        places
            int64 tensors that broadcast with (B, 1, ...) and with each other, such as `batch.words`: equal places of
            an example share a number. Without any, every position has its own, and the result is (B, T).
        time
            Pass to draw for; None: the batch's own. A constant gives the same numbers in every pass.
        channel
            An independent set of draws at the same address.
        """
        key = fold_number(fold_number(self._key, channel), (batch.epoch if time is None else time) + 1)
        places = places or (batch.positions,)
        bits = fold(key, batch.examples.to(batch.input_ids.device)).view(
            -1, *[1] * (max(place.dim() for place in places) - 1)
        )
        for place in places:
            bits = fold(bits, place)
        # 24 bits fill a float32 exactly; float64 does not exist on Apple's GPUs
        return splitmix.shifted(bits, 40).to(torch.float32) * 2.0**-24

    def generator(self, *path: int, device: str | torch.device = "cpu") -> torch.Generator:
        """Return a generator for draws that belong to no example, seeded by (seed, stream, path).

        Its numbers are those of torch's generator on the device, so they differ between kinds of devices.
        """
        key = self._key
        for index in path:
            key = fold_number(key, index)
        return torch.Generator(device).manual_seed(key % 2**64 >> 1)
