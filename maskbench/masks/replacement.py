"""What stands at the places that an input mask hits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from maskbench.channels import Channel

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.batch import Batch
    from maskbench.masks.draws import Draws


def random_tokens(batch: Batch, rng: Draws, vocabulary: Tensor, time: int | None = None) -> Tensor:
    """Return (B, T) token ids drawn uniformly from a vocabulary (V,), for the batch's pass or for that of `time`."""
    place = (rng.uniform(batch, time=time, channel=Channel.TOKEN) * len(vocabulary)).long()
    return vocabulary.to(batch.input_ids.device)[place]


def replaced(
    how: str, batch: Batch, hit: Tensor, rng: Draws, vocabulary: Tensor | None, time: int | None = None
) -> Batch:
    """Replace the tokens at `hit`.

    Parameters
    ----------
    how
        `mask`: by [MASK]; `noise`: by random tokens; `bert`: 80 %, 10 % random, 10 % unchanged, yet counted as hit
        (Devlin et al. 2019, BERT, section 3.1).
    batch
        The clean batch.
    hit
        (B, T) bool.
    rng
        Draws of the mask.
    vocabulary
        (V,) ids that random tokens are drawn from; not needed for `mask`.
    time
        Pass to draw for; None: the batch's own. A mask that keeps its places gives a fixed pass, so that it keeps its
        replacements, too.
    """
    if how == "mask":
        return batch.corrupted(hit, batch.mask_id)
    assert vocabulary is not None, "the mask was not fitted"
    noise = random_tokens(batch, rng, vocabulary, time)
    if how == "noise":
        return batch.corrupted(hit, noise)
    which = rng.uniform(batch, time=time, channel=Channel.WHICH)
    kept = torch.where(which < 0.9, noise, batch.input_ids)
    return batch.corrupted(hit, torch.where(which < 0.8, batch.mask_id, kept))
