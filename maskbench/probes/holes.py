"""Masked-language modelling with the original head, on fixed masks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from maskbench.channels import Fixed, Stream
from maskbench.config.science import MASKED_LM_RATE
from maskbench.masks.draws import Draws
from maskbench.models.anatomy import base_of
from maskbench.probes.errors import UnmeasuredError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from maskbench.models.masked_lm import MaskedLMHead
    from maskbench.training.forward import Forward, Rows


def loss(forward: Forward, head: MaskedLMHead, rows: Rows) -> float:
    """Return the cross-entropy of the true tokens at the masked positions, in nats per token, as `losses` tells it."""
    total, count = losses(forward, head, rows)
    return float(total.sum() / count.sum())


def losses(forward: Forward, head: MaskedLMHead, rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return (N,) the summed cross-entropy at the masked positions of each text, in nats, and (N,) their number.

    Every text has the same positions masked in every call: they depend on its example id and the place alone. All are
    replaced by [MASK].

    Raises
    ------
    UnmeasuredError
        If no token is masked, or the loss is not finite.
    """
    draws, total, count = Draws(Fixed.HOLES, Stream.HOLES), np.zeros(len(rows)), np.zeros(len(rows), dtype=np.int64)
    encoder = base_of(forward.model)
    for chosen, batch in forward.batches(rows):
        hit = (draws.uniform(replace(batch, epoch=0)) < MASKED_LM_RATE) & batch.maskable
        if not hit.any():
            continue
        hidden = forward(batch.corrupted(hit, batch.mask_id), model=encoder).last_hidden_state
        with (
            torch.no_grad(),
            torch.autocast(forward.device.kind, dtype=torch.bfloat16, enabled=forward.device.precision == "bf16"),
        ):
            logits = head(hidden[hit])
        lost = torch.nn.functional.cross_entropy(logits, batch.input_ids[hit], reduction="none")
        row = hit.nonzero()[:, 0].cpu().numpy()
        np.add.at(total, chosen[row], lost.double().cpu().numpy())
        np.add.at(count, chosen[row], 1)
    if not count.any():
        raise UnmeasuredError("no token of the probe texts is masked")
    if not np.isfinite(total).all():
        raise UnmeasuredError("the masked-LM loss is not finite")
    return total, count
