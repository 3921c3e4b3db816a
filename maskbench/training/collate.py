"""From encoded examples to padded tensors, without a Python loop over tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig

from maskbench.kinds.encoding import IGNORED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from maskbench.slots.device import Device


BESIDE_TEXT = ("words", "examples", "capitals", "segments")
"""Columns of a batch that masks see but models do not take."""


@dataclass(frozen=True)
class Collator:
    """Pads a list of encoded examples (data/encode.py) to their longest.

    Attributes
    ----------
    pad_id
        Token id of padding.
    left
        Pad on the left (XLNet) instead of the right (all others, whatever their tokenizers say: `collator_for`).
    multiple
        Round the length up to a multiple of this (`Device.multiple`).
    """

    pad_id: int
    left: bool = False
    multiple: int = 1

    def width(self, longest: int) -> int:
        """Return the length that texts are padded to, given that of the longest."""
        return -(-longest // self.multiple) * self.multiple

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Pad encoded examples to one length.

        Parameters
        ----------
        rows
            B encoded examples (columns: data/encode.py).

        Returns
        -------
        dict
            (B, T) `input_ids`, `attention_mask`, `words` (-1 outside words) and `capitals` (bool); (B,) `examples`;
            `labels`: (B,) for classification, (B, T) where the head answers at tokens, -100 where one has no label.
            `token_type_ids` and `segments`, both (B, T), if the examples have them.
        """
        lengths = np.array([len(row["input_ids"]) for row in rows])
        width = self.width(int(lengths.max()))
        columns = np.arange(width)[None, :]
        real = columns >= width - lengths[:, None] if self.left else columns < lengths[:, None]

        def padded(name: str, fill: int) -> Tensor:
            array = np.full((len(rows), width), fill, dtype=np.int64)
            array[real] = np.concatenate([row[name] for row in rows])
            return torch.from_numpy(array)

        batch = {
            "input_ids": padded("input_ids", self.pad_id),
            "attention_mask": torch.from_numpy(real.astype(np.int64)),
            "words": padded("words", -1),
            "capitals": padded("capitals", 0).bool(),
            "examples": torch.tensor([row["example"] for row in rows]),
        }
        for name in ("token_type_ids", "segments"):
            if name in rows[0]:
                batch[name] = padded(name, 0)
        per_token = isinstance(rows[0]["labels"], (list, np.ndarray))
        batch["labels"] = padded("labels", IGNORED) if per_token else torch.tensor([row["labels"] for row in rows])
        return batch


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the token id of padding; a tokenizer without one (GPT-2) pads with its end-of-text token."""
    return cast("int", tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


def collator_for(tokenizer: PreTrainedTokenizerBase, device: Device, model: Path) -> Collator:
    """Return what makes batches of examples, in training and in probes, for the model in a folder.

    Padding is on the right, so that a token's position is its place in its own text, whatever texts are in the batch.
    Tokenizers of decoders often pad on the left, which serves generation: GPT-2 would count its positions from the
    batch's longest text. Only XLNet is padded on the left: it has no absolute positions, only distances, and reads the
    class of a text from its last place.
    """
    config = AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    positions = getattr(config, "max_position_embeddings", None) or 0
    left = getattr(config, "summary_type", None) == "last" and positions <= 0
    return Collator(pad_id(tokenizer), left=left, multiple=device.multiple)
