"""Finds what would make the host wait for a card, on any device: by the operations that a block of code asks for."""

from __future__ import annotations

import traceback
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_READS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal", "is_nonzero"}
"""Operations whose result, or its size, the host has to read from the card."""
_BY_MASK = {"index", "index_put", "index_put_"}
"""Operations that look for the True places of an index first, if it is a mask."""
_ON_HOST = {"derived", "draw"}
"""Functions that compute on the host whatever the device is (seeds), or on a CPU alone (masks/shared/chance.py)."""
_SENDS = {"lift_fresh"}
"""Makes a tensor of Python numbers, which are then copied to the card."""


class Waits(TorchDispatchMode):
    """In the block, collects in `found` each operation after which a card's host would wait, with its place."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note the operation if it is one of them, and carry it out."""
        name = func.overloadpacket.__name__
        by_mask = name in _BY_MASK and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in _READS | _SENDS or by_mask:
            frames = [frame for frame in traceback.extract_stack() if "helpers/waits" not in frame.filename]
            if any(frame.name in _ON_HOST for frame in frames):
                return func(*args, **(kwargs or {}))
            ours = [f"{frame.filename}:{frame.lineno}" for frame in frames if "/torch/" not in frame.filename]
            self.found.append(f"{name} at {ours[-1] if ours else frames[-1]}")
        return func(*args, **(kwargs or {}))
