"""The frame of a job on a GPU slot: a slot is held, the environment is set, torch is imported, the device is chosen."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from maskbench.errors import InputError
from maskbench.io import environment
from maskbench.io.imports import uncollected
from maskbench.models.optional import leave_out
from maskbench.slots.leases import lease

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from maskbench.config.training import Training
    from maskbench.slots.device import Device
    from maskbench.slots.leases import Lease


@dataclass(frozen=True)
class Allocation:
    """Where a job computes.

    Attributes
    ----------
    device
        What it computes on, and the settings that follow from it.
    slot
        The slot that it holds.
    waited_s
        Seconds until it had the slot.
    """

    device: Device
    slot: Lease
    waited_s: float

    def __str__(self) -> str:
        """Tell the device and the slot in one line."""
        device, slot = self.device, self.slot
        told_by = f", cards as {slot.told_by} lists them" if slot.told_by else ""
        return (
            f"device {device.kind} ({device.name}), GPU slot {slot.device or 'none'}/{slot.slot} ({slot.origin}), "
            f"{device.precision}, attention {device.attention}, {device.threads} thread(s){told_by}"
        )


@contextmanager
def on_slot(
    name: str, training: Training, model: Path | None = None, tensorboard: Path | None = None
) -> Iterator[Allocation]:
    """Hold a GPU slot while the block runs, and choose the device; says which in one line on standard output.

    Torch must not have been imported with cards in sight before: it reads CUDA_VISIBLE_DEVICES once. What is put into
    ``os.environ`` stays there.

    Parameters
    ----------
    name
        Of the job, for the people who look at who holds which slot.
    training
        Hyperparameters; they say threads, precision and attention.
    model
        Folder of the pretrained model, which may lack an attention implementation; None: it has all of them.
    tensorboard
        Folder for the Trainer's curves, unless the user has set one; None: nothing of the job draws any.

    Yields
    ------
    Place
        Device, slot and the seconds that the job waited.

    Raises
    ------
    InputError
        If no slot can be leased (`maskbench.slots.leases.lease`), the device cannot be used as the hyperparameters say
        (`maskbench.slots.device.choose`), or torch sees a card that cannot be leased.
    """
    asked = time.perf_counter()
    with lease(_slots_per_gpu(), run=name) as slot:
        waited = time.perf_counter() - asked
        os.environ |= slot.environment() | {environment.OMP_NUM_THREADS: str(training.threads)}
        if tensorboard is not None:
            os.environ.setdefault(environment.TENSORBOARD, str(tensorboard))
        with uncollected():
            leave_out()
            from maskbench.slots.device import choose

        place = Allocation(choose(training, model), slot, waited)
        if place.device.kind == "cuda" and slot.origin == "none":
            raise InputError(
                f"{environment.GPUS}: torch sees a GPU that neither NVML nor nvidia-smi lists, so jobs cannot share it "
                f"safely; set {environment.GPUS} to the devices to use (docs/gpus.md)"
            )
        print(place, flush=True)
        yield place


def _slots_per_gpu() -> int:
    """Return how many jobs may share one card, as the call of Snakemake says; a job that is started by hand: one."""
    value = os.environ.get(environment.SLOTS_PER_GPU, "1")
    if not value.isdecimal():
        raise InputError(f"{environment.SLOTS_PER_GPU}: {value!r}: expected a whole number from 1")
    return int(value)
