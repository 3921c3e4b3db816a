"""Small encoded texts without a tokenizer, their batches, and the setting of a run that trains on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset

from maskbench.kinds.head import mean_cross_entropy
from maskbench.masks.batch import Batch
from maskbench.masks.setting import Setting
from maskbench.training.collate import Collator

if TYPE_CHECKING:
    from collections.abc import Sequence

PAD, CLS, SEP, MASK = 0, 1, 2, 3
SPECIAL, VOCABULARY = 4, 60
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
CLASSES = ("down", "up")


@dataclass(frozen=True)
class Text:
    """Words as runs of subword ids; tags, capitals and the class if they matter."""

    words: list[list[int]]
    tags: list[int] = field(default_factory=list)
    capitals: list[bool] = field(default_factory=list)
    label: int = 0

    def encoded(self, example: int, tagging: bool) -> dict[str, Any]:
        """Return the row that data/encode.py would make."""
        of = [-1, *(index for index, word in enumerate(self.words) for _ in word), -1]
        first = [False, *(place == 0 for word in self.words for place in range(len(word))), False]
        tags, capitals = self.tags or [0] * len(self.words), self.capitals or [False] * len(self.words)
        return {
            "example": example,
            "input_ids": [CLS, *(token for word in self.words for token in word), SEP],
            "words": of,
            "capitals": [index >= 0 and capitals[index] for index in of],
            "labels": [tags[i] if f else -100 for i, f in zip(of, first, strict=True)] if tagging else self.label,
            "length": len(of),
        }


def rows_of(texts: Sequence[Text], tagging: bool = True) -> list[dict[str, Any]]:
    """Return encoded rows, numbered from 0."""
    return [text.encoded(example, tagging) for example, text in enumerate(texts)]


def batch_of(rows: list[dict[str, Any]], *, left: bool = False, multiple: int = 1, epoch: int = 0) -> Batch:
    """Return a batch as the trainer makes it."""
    inputs = Collator(PAD, left=left, multiple=multiple)(rows)
    padding = inputs.pop("attention_mask").bool()
    return Batch(**inputs, padding=padding, epoch=epoch, mask_id=MASK)


def setting_of(rows: list[dict[str, Any]], tagging: bool = True, **keys: Any) -> Setting:
    """Return the setting of a run that trains on the rows; its model is a table of embeddings."""
    table = torch.nn.Embedding(VOCABULARY, 16)
    with torch.no_grad():
        table.weight.copy_(torch.randn(VOCABULARY, 16, generator=torch.Generator().manual_seed(0)))
    model: Any = SimpleNamespace(device=torch.device("cpu"), get_input_embeddings=lambda: table)
    tokenizer: Any = SimpleNamespace(encode=spell, unk_token_id=SPECIAL)
    known: dict[str, Any] = {
        "kind": "token-classification" if tagging else "sequence-classification",
        "labels": TAGS if tagging else CLASSES,
        "train": Dataset.from_list(rows),
        "model": model,
        "folder": Path(),
        "tokenizer": tokenizer,
        "vocabulary": torch.arange(SPECIAL, VOCABULARY),
        "updates": 10,
        "batches": lambda size: iter(()),
        "loss": mean_cross_entropy,
    }
    return Setting(**known | keys)


def spell(text: str, add_special_tokens: bool = True, split_special_tokens: bool = False) -> list[int]:
    """Spell words such as `10-11` by their ids; a space before a word makes its first id another (as in GPT-2)."""
    ids = [int(part) for part in text.strip().split("-")]
    return [ids[0] + 20 * text.startswith(" "), *ids[1:]]
