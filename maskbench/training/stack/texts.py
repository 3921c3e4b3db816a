"""The encoded training split on the device, and the batches that are gathered from it there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from maskbench.kinds.encoding import IGNORED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from datasets import Dataset
    from torch import Tensor

    from maskbench.training.collate import Collator
    from maskbench.training.trainer import PairedOrder


class EncodedTexts:
    """All encoded examples of a split as flat columns on a device; batches equal those of the collator.

    Parameters
    ----------
    dataset
        Encoded examples (columns: data/encode.py).
    collator
        What the Trainer's batches are made by: it pads on the right here.
    device
        Where the columns lie.
    """

    def __init__(self, dataset: Dataset, collator: Collator, device: torch.device) -> None:
        table = dataset.with_format("arrow")[:]
        self._multiple, self._device = collator.multiple, device
        self.lengths: np.ndarray[Any, Any] = pc.list_value_length(table["input_ids"]).to_numpy()
        """(N,) number of tokens of each example, on the host: widths of batches are known without asking a card."""
        starts = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
        self._lengths, self._starts = self._tensor(self.lengths), self._tensor(starts)
        self._examples = self._tensor(table["example"].to_numpy())
        fills = {"input_ids": collator.pad_id, "words": -1, "capitals": 0, "token_type_ids": 0, "labels": IGNORED}
        listed = [name for name in fills if name in table.column_names and _is_listed(table[name])]
        self._columns = {name: (self._tensor(pc.list_flatten(table[name]).to_numpy()), fills[name]) for name in listed}
        self._labels = None if "labels" in listed else self._tensor(table["labels"].to_numpy())

    def _tensor(self, values: np.ndarray[Any, Any]) -> Tensor:
        """Return whole numbers on the device."""
        return torch.from_numpy(values.astype(np.int64)).to(self._device)

    def rows(self, rows: Sequence[int]) -> Tensor:
        """Return the numbers of examples on the device, for instance of a whole pass."""
        host = torch.tensor(rows, dtype=torch.int64)
        if self._device.type == "cuda":
            host = host.pin_memory()
        return host.to(self._device, non_blocking=True)

    def width(self, rows: Sequence[int]) -> int:
        """Return the width T of the batch of these examples."""
        return int(-(-self.lengths[list(rows)].max() // self._multiple) * self._multiple)

    def batch(self, rows: Tensor, width: int) -> dict[str, Tensor]:
        """Gather a batch.

        Parameters
        ----------
        rows
            (B,) numbers of the examples, on the device.
        width
            T, as `width` returns it.

        Returns
        -------
        dict
            What the collator returns for these examples, on the device.
        """
        place = torch.arange(width, device=self._device)
        real = place < self._lengths[rows][:, None]
        where = torch.where(real, self._starts[rows][:, None] + place, 0)
        batch = {name: torch.where(real, flat[where], fill) for name, (flat, fill) in self._columns.items()}
        batch["capitals"] = batch["capitals"].bool()
        batch |= {"attention_mask": real.long(), "examples": self._examples[rows]}
        if self._labels is not None:
            batch["labels"] = self._labels[rows]
        return batch


def _is_listed(column: pa.ChunkedArray) -> bool:
    """Tell whether a column has a list of values for each example, one for each token."""
    kind = column.type
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


class Order:
    """Which examples each update sees, as the Trainer's sampler gives them.

    Parameters
    ----------
    sampler
        The sampler of the Trainer.
    texts
        Where the examples lie.
    size, parts
        Examples of an update, and micro-batches that it is split into.
    """

    def __init__(self, sampler: PairedOrder, texts: EncodedTexts, size: int, parts: int) -> None:
        self._sampler, self._texts, self._size, self._micro = sampler, texts, size, size // parts
        self._epoch, self._rows, self._placed = -1, [0], torch.zeros(0)
        self.per_epoch = -(-len(texts.lengths) // size)
        """Number of updates in a pass over the examples."""

    def epoch(self, update: int) -> int:
        """Return the pass that an update (counted from 0) belongs to."""
        return update // self.per_epoch

    def epochs(self, updates: int) -> float:
        """Return how many passes are over after some updates (at least one), as the Trainer counts them."""
        whole = (updates - 1) // self.per_epoch
        parts = self._size // self._micro
        total = -(-len(self._texts.lengths) // self._micro)
        return whole + min((updates - whole * self.per_epoch) * parts, total) / total

    def batches(self, update: int) -> Iterator[dict[str, Tensor]]:
        """Yield the micro-batches of an update, counted from 0."""
        if self._epoch != self.epoch(update):
            self._epoch = self.epoch(update)
            self._sampler.set_epoch(self._epoch)
            self._rows = list(self._sampler)
            self._placed = self._texts.rows(self._rows)
        first = update % self.per_epoch * self._size
        for start in range(first, min(first + self._size, len(self._rows)), self._micro):
            rows = slice(start, min(start + self._micro, first + self._size))
            yield self._texts.batch(self._placed[rows], self._texts.width(self._rows[rows]))
