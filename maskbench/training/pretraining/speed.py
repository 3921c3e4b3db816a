"""How fast a pretraining is, beside the largest matrix products of the same machine at the same time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from maskbench.models.anatomy import base_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from maskbench.slots.device import Device

SIDE, TIMES = {"cpu": 1024, "mps": 4096, "cuda": 8192}, 5
"""Rows and columns of the square matrices that are multiplied, by kind of device, and how often: the fastest counts."""


def gemm_peak(device: Device) -> float:
    """Return how many floating-point operations a second a matrix product makes, in the precision of the passes."""
    dtype = torch.bfloat16 if device.precision == "bf16" else torch.float32
    side = SIDE[device.kind]
    left, right = (torch.ones(side, side, dtype=dtype, device=device.kind) for _ in range(2))
    fastest = float("inf")
    for _ in range(TIMES + 1):
        _wait(device)
        began = time.perf_counter()
        torch.mm(left, right)
        _wait(device)
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * side**3 / fastest


def _wait(device: Device) -> None:
    """Wait until a card has done all that it was given."""
    if device.kind == "cuda":
        torch.cuda.synchronize()


def operations(model: PreTrainedModel, length: int, rate: float) -> float:
    """Return the floating-point operations of matrix products in an update, for each token.

    Two for each weight in the forward pass and four in the backward pass; attention's products are counted, the
    masked-LM head at the masked places alone, and tables of embeddings not at all.

    Parameters
    ----------
    length
        Tokens of a sequence.
    rate
        Share of the tokens that are masked.
    """
    encoder, config = base_of(model), model.config
    tables = {id(part.weight) for part in encoder.modules() if isinstance(part, torch.nn.Embedding)}
    inner = sum(weight.numel() for weight in encoder.parameters() if weight.dim() == 2 and id(weight) not in tables)
    layers, hidden = getattr(config, "num_hidden_layers", 0), getattr(config, "hidden_size", 0)
    head = hidden * (int(config.vocab_size) + hidden)
    return 6.0 * (inner + rate * head + 2 * layers * length * hidden)
