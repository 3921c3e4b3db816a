"""Which cards a process may use, and the one name that each of them has.

The driver lists the cards, through NVML where the package nvidia-ml-py is installed, else through ``nvidia-smi -L``.
Nothing here imports torch: CUDA_VISIBLE_DEVICES has to be set before torch is loaded.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from maskbench.errors import InputError
from maskbench.io import environment

if TYPE_CHECKING:
    from types import ModuleType

log = logging.getLogger(__name__)

Origin = Literal["pool", "scheduler", "none"]
"""Where devices come from: the host's own, assigned by SLURM, or there is none."""

Teller = Literal["NVML", "nvidia-smi"]
"""Who has listed the cards."""

_SMI_S = 60
"""A driver that does not answer for this long counts as one that cannot tell."""

_ENTRY = re.compile(r"\d{1,4}|GPU-[\w-]+|MIG-[\w-]+(/\d+/\d+)?")
_CARD = re.compile(r"GPU (?P<index>\d+): .*\(UUID: (?P<uuid>GPU-[\w-]+)\)")
_PART = re.compile(r"\s+MIG .*\(UUID: (?P<uuid>MIG-[\w/-]+)\)")


@dataclass(frozen=True)
class _Card:
    """A physical card and the parts that MIG splits it into."""

    index: str
    uuid: str
    parts: list[str]

    @property
    def devices(self) -> list[str]:
        """What a process can use: the parts of a split card, else the card."""
        return self.parts or [self.uuid]


@dataclass(frozen=True)
class Pool:
    """The devices that a process may lease from.

    Attributes
    ----------
    devices
        Each by its UUID where the driver tells it, else as the environment names it.
    origin
        Where they come from.
    told_by
        What has listed the host's cards; None: nothing could, or it was not needed.
    """

    devices: list[str]
    origin: Origin
    told_by: Teller | None


@dataclass(frozen=True)
class _Setting:
    """An environment variable that names the devices."""

    name: str
    value: str
    origin: Origin


def pool() -> Pool:
    """Return the devices that this process may lease from, in their given order.

    The first of these that is there counts: under SLURM the scheduler's CUDA_VISIBLE_DEVICES, SLURM_STEP_GPUS or
    SLURM_JOB_GPUS; MASKBENCH_GPUS; CUDA_VISIBLE_DEVICES; all cards (or their MIG parts) that the driver lists. Indices
    are the driver's, which nvidia-smi shows. A device is named by its UUID where the driver tells it, so that one card
    has one name.

    Returns
    -------
    Pool
        Without devices on a machine without GPU.

    Raises
    ------
    InputError
        If a setting is malformed, names a GPU twice, or names one that this host does not have.
    """
    setting = _setting()
    if setting is None:
        cards, told_by = _listed()
        return Pool([device for card in cards for device in card.devices], "pool", told_by)
    value = setting.value.strip()
    if value in {"", "-1", "NoDevFiles"}:  # CUDA's and old SLURM's ways to say: no GPU
        return Pool([], setting.origin, None)
    cards, told_by = _listed()
    devices: dict[str, str] = {}
    for entry in (part.strip() for part in value.split(",")):
        device = _identity(setting, entry, cards)
        if device in devices:
            raise InputError(f"{setting.name}: {devices[device]} and {entry} are one GPU ({device}); name each once")
        devices[device] = entry
    return Pool(list(devices), setting.origin, told_by)


def _setting() -> _Setting | None:
    """Return the variable that names this process's devices; under SLURM the scheduler's word comes first."""
    if environment.SLURM_JOB in os.environ:
        for name in (environment.VISIBLE, *environment.SLURM_GPUS):
            if name in os.environ:
                return _Setting(name, os.environ[name], "scheduler")
    for name in (environment.GPUS, environment.VISIBLE):
        if name in os.environ:
            return _Setting(name, os.environ[name], "pool")
    return None


def _identity(setting: _Setting, entry: str, cards: list[_Card]) -> str:
    """Return the one name of the device that an entry means."""
    if not _ENTRY.fullmatch(entry):
        raise InputError(
            f"{setting.name}: {entry!r} in {setting.value!r}: expected indices (0), GPU UUIDs (GPU-…) or MIG UUIDs"
            " (MIG-…) with commas between"
        )
    entry = str(int(entry)) if entry.isdecimal() else entry
    # CUDA takes any unique beginning of a UUID, and the first part of a card that MIG splits.
    uuids = {card.uuid: card.devices[0] for card in cards} | {part: part for card in cards for part in card.parts}
    if entry.isdecimal():
        named = {card.devices[0] for card in cards if card.index == entry}
    else:
        named = (
            {uuids[entry]} if entry in uuids else {device for uuid, device in uuids.items() if uuid.startswith(entry)}
        )
    if len(named) == 1:
        return named.pop()
    if not cards or setting.origin == "scheduler":
        return entry
    problem = "more than one GPU begins so" if named else "no such GPU"
    there = ", ".join(f"{card.index} ({' '.join(card.devices)})" for card in cards)
    raise InputError(f"{setting.name}: {entry}: {problem} on this host; it has {there}")


def capacity(slots_per_gpu: int) -> int | None:
    """Return the number of slots that this process may lease from, None without GPU."""
    return len(pool().devices) * slots_per_gpu or None


def check_request(requested: int | None, slots_per_gpu: int) -> None:
    """Check that a local run asks for no more slots than there are.

    Parameters
    ----------
    requested
        N of ``--resources gpu=N``; None if it was not given.
    slots_per_gpu
        Jobs that may share one card.

    Raises
    ------
    InputError
        If there are fewer. On a machine without GPU any number passes: it only limits concurrency there.
    """
    slots = capacity(slots_per_gpu)
    if requested is not None and slots is not None and requested > slots:
        raise InputError(
            f"--resources gpu={requested}: there are {slots} slots here (GPUs: {slots // slots_per_gpu}, slots_per_gpu:"
            f" {slots_per_gpu}); ask for at most gpu={slots}, or raise resources.slots_per_gpu"
        )


# --- asking the driver


def _listed() -> tuple[list[_Card], Teller | None]:
    """Return the cards of this host and who has listed them; none if neither of the two is there or can tell."""
    if (cards := _by_nvml()) is not None:
        return cards, "NVML"
    if (cards := _by_smi()) is not None:
        return cards, "nvidia-smi"
    return [], None


def _by_nvml() -> list[_Card] | None:
    """Return the cards that NVML lists; None if nvidia-ml-py is not installed or NVML cannot tell."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:  # a machine without NVIDIA's driver
        return None
    except pynvml.NVMLError as error:
        log.warning("NVML cannot be used (%s): nvidia-smi is asked instead", error)
        return None
    try:
        cards = [_nvml_card(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        log.warning("NVML cannot count the GPUs (%s): nvidia-smi is asked instead", error)
        return None
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
    return [card for card in cards if card is not None]


def _nvml_card(nvml: ModuleType, index: int) -> _Card | None:
    """Return a card; None, with a warning, if the driver has lost it or does not let this user have it."""
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        return _Card(str(index), _nvml_uuid(nvml, handle), _nvml_parts(nvml, handle))
    except nvml.NVMLError as error:
        log.warning("GPU %d is left out: NVML cannot reach it (%s)", index, error)
        return None


def _nvml_parts(nvml: ModuleType, card: object) -> list[str]:
    """Return the UUIDs of the parts that MIG splits a card into."""
    try:
        mode, _ = nvml.nvmlDeviceGetMigMode(card)
    except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):  # the card or its driver lacks MIG
        return []
    if mode != nvml.NVML_DEVICE_MIG_ENABLE:
        return []
    parts = []
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(card)):
        with suppress(nvml.NVMLError_NotFound):  # the numbers of parts may have gaps
            parts.append(_nvml_uuid(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex(card, index)))
    return parts


def _nvml_uuid(nvml: ModuleType, device: object) -> str:
    """Return the UUID of a card or a part, which old versions of nvidia-ml-py give as bytes."""
    uuid = nvml.nvmlDeviceGetUUID(device)
    return uuid.decode() if isinstance(uuid, bytes) else str(uuid)


def _by_smi() -> list[_Card] | None:
    """Return the cards that nvidia-smi lists; None if it is not installed or cannot reach the driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        answer = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=_SMI_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("nvidia-smi cannot be used (%s): GPUs are known by the names in the environment only", error)
        return None
    if answer.returncode:
        said = (answer.stdout + answer.stderr).strip().partition("\n")[0]
        log.warning("nvidia-smi fails (%s): GPUs are known by the names in the environment only", said)
        return None
    cards: list[_Card] = []
    for line in answer.stdout.splitlines():
        if card := _CARD.match(line):
            cards.append(_Card(card["index"], card["uuid"], []))
        elif (part := _PART.match(line)) and cards:
            cards[-1].parts.append(part["uuid"])
    return cards
