"""A training split that lies on the device, so that a batch is gathered there and nothing is copied for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset as Rows

from maskbench.kinds.encoding import IGNORED

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from datasets import Dataset
    from torch import Tensor

    from maskbench.training.collate import Collator


class Resident(Rows[int]):
    """The encoded examples of a split on a device; `batch` gives what a collator makes of some of them.

    As a dataset it has the numbers of the examples alone, so that a loader hands these to `batch`.

    Parameters
    ----------
    dataset
        Encoded examples (columns: data/encode.py).
    collate
        Says how texts are padded.
    device
        Where the texts lie, and where batches are made.
    """

    def __init__(self, dataset: Dataset, collate: Collator, device: torch.device) -> None:
        wanted = ("input_ids", "words", "capitals", "token_type_ids", "segments")
        names = [name for name in wanted if name in dataset.column_names]
        table = dataset.select_columns([*names, "labels", "example"]).with_format("arrow")[:]
        self._collate, self._device = collate, device
        self._lengths = _lengths(table["input_ids"])
        self._per_token = _is_list(table["labels"])
        ends = np.cumsum(self._lengths)
        self._starts = self._moved(ends - self._lengths)
        self._counts = self._moved(self._lengths)
        self._texts = {name: self._moved(_flat(table[name])) for name in names}
        self._labels = self._moved(_flat(table["labels"]) if self._per_token else _values(table["labels"]))
        self._examples = self._moved(_values(table["example"]))
        self._columns = torch.arange(self.width(range(len(self))), device=device)

    def __len__(self) -> int:
        return len(self._lengths)

    def __getitem__(self, row: int) -> int:
        return row

    def width(self, rows: Sequence[int]) -> int:
        """Return the length T to which some examples are padded."""
        longest = self._lengths[rows].max(initial=1)
        return int(-(-longest // self._collate.multiple) * self._collate.multiple)

    def tokens(self, rows: Sequence[int]) -> int:
        """Return how many tokens some examples have together, special ones included."""
        return int(self._lengths[rows].sum())

    def frequencies(self, size: int) -> Tensor:
        """Return (size,) how often each token id stands in a word; special tokens do not."""
        ids, words = self._texts["input_ids"], self._texts["words"]
        return torch.bincount(ids[words >= 0].long().cpu(), minlength=size)

    def placed(self, rows: Sequence[int]) -> Tensor:
        """Return the numbers of examples on the device, for instance of a whole pass."""
        chosen = torch.tensor(rows)
        if self._device.type == "cuda":  # from pinned memory, so that the host goes on while the card copies
            chosen = chosen.pin_memory().to(self._device, non_blocking=True)
        return chosen

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Return what the collator would make of these examples, on the device."""
        return self.gather(self.placed(rows), self.width(rows))

    def gather(self, chosen: Tensor, width: int) -> dict[str, Tensor]:
        """Return what the collator would make of some examples.

        Parameters
        ----------
        chosen
            (B,) their numbers, as `placed` gives them.
        width
            T, as `width` gives it.
        """
        left = self._collate.left
        columns, counts = self._columns[:width], self._counts[chosen][:, None]
        real = columns >= width - counts if left else columns < counts
        place = columns - (width - counts) if left else columns
        index = torch.where(real, self._starts[chosen][:, None] + place, 0)

        def padded(flat: Tensor, fill: int) -> Tensor:
            return torch.where(real, flat[index].long(), fill)

        texts = self._texts
        batch = {
            "input_ids": padded(texts["input_ids"], self._collate.pad_id),
            "attention_mask": real.long(),
            "words": padded(texts["words"], -1),
            "capitals": padded(texts["capitals"], 0).bool(),
            "examples": self._examples[chosen],
        }
        for name in ("token_type_ids", "segments"):
            if name in texts:
                batch[name] = padded(texts[name], 0)
        labels = self._labels
        batch["labels"] = padded(labels, IGNORED) if self._per_token else labels[chosen].long()
        return batch

    def _moved(self, values: Any) -> Tensor:
        """Return values as a tensor on the device."""
        return torch.from_numpy(np.array(values)).to(self._device)


def _is_list(column: pa.ChunkedArray) -> bool:
    import pyarrow.types as types

    return bool(types.is_list(column.type) or types.is_large_list(column.type))


def _values(column: pa.ChunkedArray) -> Any:
    return column.to_numpy()


def _flat(column: pa.ChunkedArray) -> Any:
    import pyarrow.compute as pc

    return pc.list_flatten(column).to_numpy()


def _lengths(column: pa.ChunkedArray) -> Any:
    import pyarrow.compute as pc

    return pc.list_value_length(column).to_numpy().astype(np.int64)
