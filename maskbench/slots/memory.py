"""How much memory a cell needs, whatever the process has done before."""

from __future__ import annotations

import ctypes
import gc
import math
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.nn import Module
    from torch.optim import Optimizer

MIB = 2**20


class Memory:
    """The most memory that a cell has allocated at once.

    A card's allocator keeps the peak itself. Elsewhere nothing does: what the process holds (its resident set) also has
    memory that it has freed and kept, what libraries allocate at their first call and never free, and what is imported
    on the way. So there the number is a sum: what is allocated when the first update begins, less what was allocated
    before the cell; the optimiser's state; and the most that an update has allocated beyond what is there after it.
    That is looked at when updates hold most: at the end of a forward pass (activations) and of a backward pass
    (gradients).

    Parameters
    ----------
    kind
        Of the device.
    """

    def __init__(self, kind: Literal["cuda", "mps", "cpu"]) -> None:
        self.kind = kind
        self._before = self._state = self._noted = 0.0
        self._ready: float | None = None
        """What the cell had allocated before its first update, without a state of the optimiser."""
        self._most: float | None = None

    def begin(self) -> None:
        """Count anew from here: a cell begins."""
        self._ready = self._most = None
        if self.kind == "cuda":
            torch.cuda.reset_peak_memory_stats()
            return
        _import_what_a_step_needs()
        gc.collect()
        self._before = _allocated(self.kind)

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Leave out what is allocated in the block: the job keeps it for all of its cells."""
        if self.kind == "cuda":
            yield
            return
        before = _allocated(self.kind)
        yield
        self._before += _allocated(self.kind) - before

    def enter(self, optimizer: Optimizer) -> None:
        """Note that an update begins."""
        if self.kind != "cuda" and self._ready is None:
            self._state = _state(optimizer)
            self._ready = _allocated(self.kind) - self._before - self._state

    def note(self) -> None:
        """Look at how much is allocated at this moment of an update."""
        if self._ready is not None:
            self._noted = max(self._noted, _allocated(self.kind))

    def leave(self, optimizer: Optimizer) -> None:
        """Note that an update is over."""
        if self._ready is not None:
            before, self._state = self._state, _state(optimizer)
            passing = self._noted - (_allocated(self.kind) - (self._state - before))
            self._most = max(self._ready + before + passing, self._most or 0.0)
            self._noted = 0.0

    def peak(self, model: Module) -> float | None:
        """Return the most that was allocated since `begin`, in MiB; None where the system does not tell it.

        Parameters
        ----------
        model
            The cell's model. Those of its weights that lie in a mapped file are counted, too: no allocator knows them.
        """
        if self.kind == "cuda":
            return torch.cuda.max_memory_allocated() / MIB
        if self._most is None or not math.isfinite(self._most):
            return None
        return self._most + _mapped(model)


@cache
def _import_what_a_step_needs() -> None:
    """Make torch import what it imports at the first step of an optimiser: it belongs to no cell."""
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    torch.optim.AdamW([weight]).step()


class _Heap(ctypes.Structure):
    """The heap as glibc describes it (``struct mallinfo2``); in bytes where it is a size."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def _allocated(kind: str) -> float:
    """Return how much is allocated now, in MiB: on MPS by torch, on CPUs by glibc; NaN with another C library."""
    if kind == "mps":
        return torch.mps.current_allocated_memory() / MIB
    try:
        describe = ctypes.CDLL(None).mallinfo2
    except AttributeError:  # before glibc 2.33, musl, macOS
        return math.nan
    describe.restype = _Heap
    heap = describe()
    return float(heap.uordblks + heap.hblkhd) / MIB


def _state(optimizer: Optimizer) -> float:
    """Return the size of what an optimiser keeps of each weight, in MiB."""
    kept = (item for state in optimizer.state.values() for item in state.values() if isinstance(item, torch.Tensor))
    return sum(tensor.nbytes for tensor in kept) / MIB


def _mapped(model: Module) -> float:
    """Return the size of the weights of a model that lie in mapped files, in MiB; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:  # only Linux has it
        return 0.0
    files = [line.split(maxsplit=5)[0].split("-") for line in lines if line.count("/")]
    ranges = [(int(first, 16), int(last, 16)) for first, last in files]
    storages = {tensor.untyped_storage() for tensor in model.parameters()}
    sizes = {storage.data_ptr(): storage.nbytes() for storage in storages}
    return sum(size for at, size in sizes.items() if any(first <= at < last for first, last in ranges)) / MIB
