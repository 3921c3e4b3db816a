"""The frame of a job: a GPU slot is held, the environment is set, torch is imported, the device is chosen."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from maskbench.errors import InputError
from maskbench.slots.leases import lease

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from maskbench.config.training import Training
    from maskbench.slots.device import Device
    from maskbench.slots.leases import Lease


@dataclass(frozen=True)
class Place:
    """Where a job computes.

    Attributes
    ----------
    device
        What it computes on, and the settings that follow from it.
    slot
        The slot that it holds.
    model
        Folder of the pretrained model.
    """

    device: Device
    slot: Lease
    model: Path

    def __str__(self) -> str:
        """Tell the device and the slot in one line."""
        device, slot = self.device, self.slot
        return (
            f"device {device.kind} ({device.name}), GPU slot {slot.device or 'none'}/{slot.slot} ({slot.origin}), "
            f"{device.precision}, attention {device.attention}, {device.threads} thread(s)"
        )

    def for_cell(self, training: Training) -> Place:
        """Return the place with threads, precision and attention as a cell's hyperparameters say."""
        from maskbench.slots.device import choose

        return replace(self, device=choose(training, self.model))


@contextmanager
def on_slot(name: str, training: Training, model: Path) -> Iterator[Place]:
    """Hold a GPU slot while the block runs, and choose the device.

    Parameters
    ----------
    name
        Of the job, for people who look at who holds which slot.
    training
        Hyperparameters; they say threads, precision and attention.
    model
        Folder of the pretrained model, which may lack an attention implementation.

    Raises
    ------
    InputError
        If no slot can be leased, the device cannot be used as the hyperparameters say, or torch sees a card that nobody
        can lease.
    """
    with lease(int(os.environ.get("MASKBENCH_SLOTS_PER_GPU", "1")), run=name) as slot:
        os.environ |= slot.environment() | {"OMP_NUM_THREADS": str(training.threads)}
        from maskbench.slots.device import choose

        place = Place(choose(training, model), slot, model)
        if place.device.kind == "cuda" and slot.origin == "none":
            raise InputError(
                "MASKBENCH_GPUS: torch sees a GPU that nvidia-smi does not list, so jobs cannot share it safely; "
                "set MASKBENCH_GPUS to the devices to use (docs/gpus.md)"
            )
        yield place
