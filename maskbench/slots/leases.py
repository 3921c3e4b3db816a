"""GPU slots: each training job of a host holds one slot of one card, for as long as its process lives.

A slot is a lock file (`filelock`, flock on Unix). The kernel frees the lock when its process ends, however it ends, so
a slot never goes stale. Nothing here imports torch: CUDA_VISIBLE_DEVICES has to be set before torch is loaded.
"""

from __future__ import annotations

import json
import logging
import os
import random
import re
import socket
import stat
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from maskbench.errors import InputError
from maskbench.io import environment
from maskbench.slots.cards import pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maskbench.slots.cards import Origin, Teller

log = logging.getLogger(__name__)

PATIENCE_S = 3.0
"""A job that waits longer than this says so."""

_POLL_S = 0.25
"""Mean pause between two looks at the slots; jittered, so that no waiting job is always second."""

_GATE_S = 1.0
"""Seconds that one look at the slots waits for the looks of other processes, which take milliseconds."""

_SLOT = re.compile(r"(?P<device>.+)\.(?P<slot>\d+)of(?P<slots>\d+)\.lock")


@dataclass(frozen=True)
class Lease:
    """One slot of one device.

    Attributes
    ----------
    device
        What CUDA_VISIBLE_DEVICES has to name: the UUID where the driver tells it, else the index; None without GPU.
    slot
        Number of the slot on its card, from 0.
    uuid
        The card's or MIG part's UUID, where known.
    origin
        ``pool``: leased among the host's jobs; ``scheduler``: assigned by SLURM; ``none``: the machine has no GPU.
    told_by
        Who has listed the host's cards; None: names are as the environment has them.
    """

    device: str | None
    slot: int
    uuid: str | None
    origin: Origin
    told_by: Teller | None = None

    @property
    def name(self) -> str | None:
        """What tells the device from all others: its UUID, else its host and what it is called there."""
        if self.uuid is not None or self.device is None:
            return self.uuid
        return f"{os.environ.get(environment.SLURM_NODE) or socket.gethostname()}/{self.device}"

    def environment(self) -> dict[str, str]:
        """Return what to set before torch is imported; empty without GPU."""
        if self.device is not None:
            return {environment.VISIBLE: self.device}
        # MASKBENCH_GPUS= asks for none where there may be some, which torch would find.
        return {environment.VISIBLE: ""} if environment.GPUS in os.environ else {}


@dataclass(frozen=True)
class Holder:
    """A slot that is held now; who holds it is what the holder wrote, None where it wrote nothing readable."""

    device: str
    slot: int
    slots_per_gpu: int
    pid: int | None
    run: str | None
    since: str | None

    def __str__(self) -> str:
        """Name the slot and its holder in a few words."""
        return f"{self.device} slot {self.slot} (pid {self.pid}, run {self.run}, since {self.since})"


# --- where the locks are


def _default_folder() -> Path:
    """Return the user's lease folder, under /tmp whatever TMPDIR says, which may differ between the jobs of a host."""
    fixed = Path("/tmp")
    return (fixed if fixed.is_dir() else Path(tempfile.gettempdir())) / f"maskbench-leases-{os.getuid()}"


def _chosen(folder: Path | None) -> tuple[Path, bool]:
    """Return the lease folder and whether it was named explicitly."""
    named = folder or os.environ.get(environment.LEASES)
    return (Path(named).expanduser().absolute(), True) if named else (_default_folder(), False)


def _ready(folder: Path | None) -> Path:
    """Make the lease folder and check that it can be trusted and written."""
    path, named = _chosen(folder)
    try:
        path.mkdir(mode=0o700, parents=named, exist_ok=True)
        if not named:
            _check_private(path)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise _unusable(path, error) from None
    return path


def _check_private(path: Path) -> None:
    """Refuse a lease folder that another user may have made in our place, and close our own to other users."""
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        what = "is a link" if stat.S_ISLNK(found.st_mode) else f"belongs to user {found.st_uid}"
        raise InputError(
            f"{path}: the lease folder {what}; remove it, or name a folder that you trust by {environment.LEASES}"
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)


def _unusable(path: Path, error: OSError) -> InputError:
    """Return the one line about a folder that cannot hold leases."""
    return InputError(
        f"{path}: the lease folder cannot be used ({error.strerror or error}); set {environment.LEASES} to a writable"
        " folder on a disk of this machine"
    )


# --- the locks


def _lock(path: Path, note: str | None = None) -> FileLock:
    """Return a lock that is a kernel lock or an error (never a marker file), open to all who reach the folder."""

    def write(handle: int) -> None:
        with suppress(OSError):  # the note is for people; a full disk must not cost the slot
            os.ftruncate(handle, 0)
            os.pwrite(handle, (note or "").encode(), 0)

    return FileLock(
        path,
        mode=0o666,
        thread_local=False,
        poll_interval=0.01,
        fallback_to_soft=False,
        preserve_lock_file=True,
        on_acquired=write if note else None,
    )


@contextmanager
def _gate(folder: Path, seconds: float) -> Iterator[None]:
    """Let one process at a time look at the slots and take one; raises Timeout."""
    lock = _lock(folder / "gate.lock")
    lock.acquire(timeout=seconds)
    try:
        yield
    finally:
        lock.release()


def _is_held(path: Path) -> bool:
    """Tell whether a process holds this lock now; call it behind the gate, so that trying it disturbs no other."""
    lock = _lock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    lock.release()
    return False


def _held(folder: Path) -> list[Holder]:
    """Return the held slots; call it behind the gate."""
    found = []
    for path in sorted(folder.glob("*.lock")):
        name = _SLOT.fullmatch(path.name)
        if name and _is_held(path):
            note = _note(path)
            pid, run, since = (note.get(key) for key in ("pid", "run", "since"))
            found.append(
                Holder(
                    device=name["device"],
                    slot=int(name["slot"]),
                    slots_per_gpu=int(name["slots"]),
                    pid=pid if isinstance(pid, int) else None,
                    run=run if isinstance(run, str) else None,
                    since=since if isinstance(since, str) else None,
                )
            )
    return found


def _note(path: Path) -> dict[str, object]:
    """Return what a holder wrote about itself."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def holders(folder: Path | None = None) -> list[Holder]:
    """Return the slots that are held now, by trying their locks; what the lock files say only adds who it is.

    Parameters
    ----------
    folder
        Lease folder; the default one if None. One that does not exist holds nothing.

    Raises
    ------
    InputError
        If the folder cannot be used, or a stopped process bars it.
    """
    if not _chosen(folder)[0].exists():
        return []
    path = _ready(folder)
    try:
        with _gate(path, 5 * _GATE_S):
            return _held(path)
    except Timeout:
        raise InputError(f"{path / 'gate.lock'}: held by a process that does not move; end or resume it") from None
    except OSError as error:
        raise _unusable(path, error) from None


def _place(devices: dict[str, str], slots_per_gpu: int, held: list[Holder]) -> tuple[str, int] | None:
    """Return the emptiest device that takes one more job, and a free slot of it.

    A card takes as many jobs as the strictest of its users allows: ``slots_per_gpu: 1`` gives a job a card for itself.
    """
    load = {device: [holder for holder in held if holder.device == key] for device, key in devices.items()}
    fits = {
        device: len(jobs)
        for device, jobs in load.items()
        if len(jobs) < min([slots_per_gpu, *(job.slots_per_gpu for job in jobs)])
    }
    if not fits:
        return None
    device = min(fits, key=lambda name: fits[name])
    taken = {job.slot for job in load[device] if job.slots_per_gpu == slots_per_gpu}
    return device, min(set(range(slots_per_gpu)) - taken)


def _try(folder: Path, devices: dict[str, str], slots_per_gpu: int, note: str) -> tuple[FileLock, str, int] | None:
    """Take a slot if one is free; `devices` maps each to its name in the folder."""
    try:
        with _gate(folder, _GATE_S):
            place = _place(devices, slots_per_gpu, _held(folder))
            if place is None:
                return None
            device, slot = place
            lock = _lock(folder / f"{devices[device]}.{slot}of{slots_per_gpu}.lock", note)
            lock.acquire(blocking=False)
            return lock, device, slot
    except Timeout:
        return None
    except OSError as error:
        raise _unusable(folder, error) from None


def _who(folder: Path) -> str:
    """Say who holds the slots."""
    try:
        return "; ".join(map(str, holders(folder))) or "nobody any more"
    except InputError as error:
        return str(error)


def _wait(
    folder: Path, devices: dict[str, str], slots_per_gpu: int, timeout_s: float | None, note: str
) -> tuple[FileLock, str, int]:
    """Take a slot, as soon as one is free."""
    started = time.monotonic()
    told = False
    pause = random.SystemRandom()  # the global generator belongs to the experiment
    while (taken := _try(folder, devices, slots_per_gpu, note)) is None:
        waited = time.monotonic() - started
        if timeout_s is not None and waited >= timeout_s:
            raise InputError(
                f"{folder}: no GPU slot of {', '.join(devices)} became free in {timeout_s:g} s; held by {_who(folder)};"
                " wait for these jobs, or run fewer at once (--resources gpu=N)"
            )
        if not told and waited > PATIENCE_S:
            log.warning("waiting for a GPU slot of %s; held by %s", ", ".join(devices), _who(folder))
            told = True
        time.sleep(_POLL_S * pause.uniform(0.5, 1.5))
    if told:
        log.warning("got a slot of %s after %.0f s", taken[1], time.monotonic() - started)
    return taken


def _key(device: str, origin: Origin) -> str:
    """Return a device's name in the lease folder, safe in a path.

    A job step of SLURM has its cards for itself and may number them from 0, so its names are its own.
    """
    name = re.sub(r"[^\w-]", "_", device)
    if origin == "scheduler":
        return f"slurm-{os.environ[environment.SLURM_JOB]}-{os.environ.get(environment.SLURM_STEP, 'batch')}-{name}"
    return name


@contextmanager
def lease(
    slots_per_gpu: int = 1, folder: Path | None = None, timeout_s: float | None = None, run: str | None = None
) -> Iterator[Lease]:
    """Hold one GPU slot while the block runs; wait for it if all are taken.

    Sets nothing: put `Lease.environment` into ``os.environ`` before torch is imported. Nothing is locked without GPU,
    nor where SLURM assigned exactly one device; of several that it assigned, one is leased among the jobs of that step.

    Parameters
    ----------
    slots_per_gpu
        Jobs that may share one card.
    folder
        Lease folder, shared by all jobs of the host and on its own disk; by default MASKBENCH_LEASES, else a private
        folder in /tmp.
    timeout_s
        Seconds to wait; None waits for ever, 0 takes one look.
    run
        Name of the run, for the people who look at `holders`.

    Raises
    ------
    InputError
        If the devices are misnamed, the folder cannot be used, or no slot became free in time.
    """
    if slots_per_gpu < 1:
        raise InputError(f"resources: slots_per_gpu: {slots_per_gpu}: expected at least 1")
    found = pool()
    if not found.devices:
        yield Lease(None, 0, None, "none")
        return
    if found.origin == "scheduler" and len(found.devices) == 1:
        (device,) = found.devices
        yield Lease(device, 0, _uuid(device), found.origin, found.told_by)
        return
    since = datetime.now(UTC).isoformat(timespec="seconds")
    note = json.dumps({"pid": os.getpid(), "run": run, "since": since}) + "\n"
    keys = {device: _key(device, found.origin) for device in found.devices}
    lock, device, slot = _wait(_ready(folder), keys, slots_per_gpu, timeout_s, note)
    try:
        yield Lease(device, slot, _uuid(device), found.origin, found.told_by)
    finally:
        lock.release()


def _uuid(device: str) -> str | None:
    """Return a device's name if it is a UUID."""
    return None if device.isdecimal() else device
