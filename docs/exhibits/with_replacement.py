"""Positions drawn from the whole row, again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from docs.exhibits.exhibit import Damage, Exhibit, percent
from docs.exhibits.material import REVIEWS, Material
from maskbench.masks.draws import Draws
from maskbench.masks.input.random import Random

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from maskbench.masks.batch import Batch

RATE = 0.15


def article(batch: Batch) -> Tensor:
    """Draw 15 % of the row's length, with replacement, from the row's length."""
    masked = batch.input_ids.clone()
    length = masked.shape[1]
    for row in masked:
        row[torch.randint(length, (int(length * RATE),))] = batch.mask_id
    return masked


def right(batch: Batch) -> Tensor:
    """Give every word's token the same chance, and nothing else any."""
    return Random(rate=RATE).corrupt(batch, Draws(1)).input_ids


def counts(way: Callable[[Batch], Tensor], batches: list[Batch]) -> dict[str, float]:
    """Return the shares that say what a way of masking hits."""
    torch.manual_seed(1)
    hits = [way(batch) == batch.mask_id for batch in batches]

    def share(kind: Callable[[Batch], Tensor]) -> float:
        places = torch.cat([hit[kind(batch)] for hit, batch in zip(hits, batches, strict=True)])
        return float(places.float().mean()) if len(places) else 0.0

    on_words = sum(int((hit & batch.maskable).sum()) for hit, batch in zip(hits, batches, strict=True))
    return {
        "words": share(lambda batch: batch.maskable),
        "special": share(lambda batch: batch.padding & ~batch.maskable),
        "padding": share(lambda batch: ~batch.padding),
        "wasted": 1 - on_words / sum(int(hit.sum()) for hit in hits),
    }


def measure(material: Material) -> Damage:
    """Mask the same reviews alone, in batches, and padded to a fixed length."""
    dataset = material.shuffled(REVIEWS, "train")
    settings = {
        "each alone": [material.batch_of([dataset[row]]) for row in range(960)],
        "in batches of 32": material.batches(REVIEWS, "train", 960, size=32),
        "padded to 128": material.batches(REVIEWS, "train", 960, size=32, width=128),
    }
    rows, found = [], {}
    for name, way in (("articles", article), ("right", right)):
        for setting, batches in settings.items():
            seen = found[name, setting] = counts(way, batches)
            rows.append((f"{name}, {setting}", *(percent(share) for share in seen.values())))
    alone, padded = found["articles", "each alone"], found["articles", "padded to 128"]
    return Damage(
        headline=f"{percent(alone['words'])} to {percent(padded['words'])} of the words for 15 % asked; up to "
        f"{percent(padded['wasted'], 0)} of the masks hit no word",
        columns=("", "words' tokens masked", "[CLS], [SEP] masked", "padding masked", "masks that hit no word"),
        rows=rows,
        note="Nominal rate 15 %; the same 960 reviews.",
    )


EXHIBIT = Exhibit(
    name="with_replacement",
    title="Positions drawn with replacement over everything",
    mistakes=("mask positions drawn with replacement over [CLS], [SEP] and [PAD]",),
    why="A position drawn twice is masked once, and a short text in a wide batch spends its masks on padding: the rate "
    "that is reached is not the one that is reported, and it depends on the batch.",
    article=(article,),
    right=(right,),
    measure=measure,
)
