"""GPU slots over pretended pools: real concurrent processes, real kills, no GPU and no torch."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from maskbench.errors import InputError
from maskbench.slots import leases
from maskbench.slots.leases import Lease, holders, lease
from tests.helpers.drivers import CARDS, OLD_PART, OLD_SPLIT, OTHER_PART, PART, SPLIT, A, B, Nvml, Smi

ROOT = Path(__file__).resolve().parents[3]
ROUNDS, MORE = 40, 200
"""Rounds of contention, each with one SIGKILL: at every change, and with --long."""


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path) -> Path:
    """A lease folder of one's own, on a machine that seems to have neither GPU nor scheduler."""
    for name in list(os.environ):
        if name.startswith(("MASKBENCH_", "SLURM_", "CUDA_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("MASKBENCH_LEASES", str(tmp_path / "leases"))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr(leases, "_POLL_S", 0.02)
    return tmp_path / "leases"


@pytest.fixture(params=[Smi, Nvml])
def driver(request, monkeypatch, tmp_path):
    return request.param(monkeypatch, tmp_path)


HOLD = """
import json, os, sys
from dataclasses import asdict
sys.modules["pynvml"] = None
from maskbench.slots.leases import lease
with lease(int(sys.argv[1]), timeout_s=float(sys.argv[2]), run="hold") as slot:
    assert "torch" not in sys.modules
    if "fork" in sys.argv and os.fork() == 0:
        import time
        time.sleep(60)
        os._exit(0)
    if "spawn" in sys.argv:
        import subprocess
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
    print(json.dumps(asdict(slot)), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold():
    """Start processes that lease a slot and keep it until they are killed."""
    started: list[subprocess.Popen[str]] = []

    def start(slots: int = 1, *extra: str, timeout_s: float = 20, **environment: str):
        # A session of its own, so that what it leaves behind can be cleared away.
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(slots), str(timeout_s), *extra],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def got(process: subprocess.Popen[str]) -> Lease:
    return Lease(**json.loads(process.stdout.readline()))


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


# --- one process


def test_without_gpu_nothing_is_leased(folder):
    with lease() as slot:
        assert slot == Lease(None, 0, None, "none")
        assert slot.environment() == {}
    assert not folder.exists()


def test_who_asks_for_no_gpu_sees_none(monkeypatch, driver):
    driver.has(CARDS)
    monkeypatch.setenv("MASKBENCH_GPUS", "")
    with lease() as slot:
        assert slot == Lease(None, 0, None, "none")
        assert slot.environment() == {"CUDA_VISIBLE_DEVICES": ""}


def test_the_emptiest_card_comes_first_and_a_full_host_times_out(monkeypatch, folder):
    monkeypatch.setenv("MASKBENCH_GPUS", "3,5,7")
    with ExitStack() as stack:
        slots = [stack.enter_context(lease(2)) for _ in range(6)]
        assert [(slot.device, slot.slot) for slot in slots] == [(d, s) for s in (0, 1) for d in ("3", "5", "7")]
        assert slots[0].environment() == {"CUDA_VISIBLE_DEVICES": "3"}
        assert {slot.origin for slot in slots} == {"pool"}
        with pytest.raises(InputError, match=r"3, 5, 7 became free in 0 s.*pid \d+"), lease(2, timeout_s=0):
            pass
    assert holders() == []
    with lease(2, timeout_s=0) as slot:
        assert (slot.device, slot.slot) == ("3", 0)


def test_an_error_in_the_block_frees_the_slot(monkeypatch):
    monkeypatch.setenv("MASKBENCH_GPUS", "0")
    with pytest.raises(ZeroDivisionError), lease():
        raise ZeroDivisionError
    assert holders() == []


def test_a_job_that_wants_a_card_for_itself_shares_it_with_nobody(monkeypatch):
    monkeypatch.setenv("MASKBENCH_GPUS", "0,1")
    with lease(3) as shared, lease(1) as alone:
        assert (shared.device, alone.device) == ("0", "1")
        with lease(3, timeout_s=0) as third:
            assert (third.device, third.slot) == ("0", 1)
            for slots in (1, 2):  # card 0 holds two jobs, card 1 one that shares with nobody
                with pytest.raises(InputError), lease(slots, timeout_s=0):
                    pass


def test_uuid_and_index_are_one_card(monkeypatch, driver):
    driver.has(CARDS)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with lease() as slot:
        assert slot == Lease(B, 0, B, "pool", driver.told_by)
        for other in (B, "GPU-8932", "1"):
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", other)
            with pytest.raises(InputError, match=B), lease(timeout_s=0):
                pass
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{B},{A}")
        with lease(timeout_s=0) as other_slot:
            assert other_slot.device == A


def test_mig_parts_are_devices_of_their_own(monkeypatch, driver):
    driver.has(SPLIT)
    with lease() as first, lease() as second, lease() as third:
        assert [slot.uuid for slot in (first, second, third)] == [PART, OTHER_PART, B]
    driver.has(OLD_SPLIT)
    with lease(timeout_s=0) as old:
        assert old.environment() == {"CUDA_VISIBLE_DEVICES": OLD_PART}


def test_waiting_is_told_once(monkeypatch, caplog, hold):
    monkeypatch.setenv("MASKBENCH_GPUS", "0")
    monkeypatch.setattr(leases, "PATIENCE_S", 0.05)
    holder = hold()
    got(holder)
    words = rf"0 became free in 0.5 s; held by 0 slot 0 \(pid {holder.pid}, run hold"
    with pytest.raises(InputError, match=words), lease(timeout_s=0.5):
        pass
    told = [record.getMessage() for record in caplog.records if "waiting for" in record.getMessage()]
    assert len(told) == 1
    assert f"pid {holder.pid}" in told[0]


# --- several processes


def test_concurrent_processes_get_distinct_devices_and_a_kill_frees_one_at_once(hold, monkeypatch):
    monkeypatch.setenv("MASKBENCH_GPUS", "0,1,2")
    processes = [hold() for _ in range(3)]
    devices = [got(process).device for process in processes]
    assert sorted(devices) == ["0", "1", "2"]
    assert {holder.pid for holder in holders()} == {process.pid for process in processes}
    with pytest.raises(InputError), lease(timeout_s=0):
        pass
    kill(processes[1])
    with lease(timeout_s=0) as slot:
        assert slot.device == devices[1]


def test_a_waiting_process_gets_the_slot_of_a_killed_one(hold, monkeypatch):
    monkeypatch.setenv("MASKBENCH_GPUS", "0")
    first = hold()
    got(first)
    second = hold()
    time.sleep(0.5)
    assert second.poll() is None
    kill(first)
    assert got(second).device == "0"
    assert [holder.pid for holder in holders()] == [second.pid]


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_a_child_that_outlives_the_killed_parent_does_not_keep_the_slot(hold, monkeypatch, how):
    monkeypatch.setenv("MASKBENCH_GPUS", "0")
    parent = hold(1, how)
    got(parent)
    kill(parent)
    os.killpg(parent.pid, 0)  # the child lives on, or this raises
    until = time.monotonic() + 10
    while holders() and time.monotonic() < until:
        time.sleep(0.01)  # a forked child lets go as soon as it runs, which a busy machine may put off
    assert holders() == []
    with lease(timeout_s=0):
        pass


def test_the_end_of_a_forked_child_leaves_the_parents_slot_alone(monkeypatch):
    monkeypatch.setenv("MASKBENCH_GPUS", "0")
    with lease():
        child = os.fork()
        if child == 0:
            status = 1
            with suppress(BaseException):  # as a worker that unwinds: nothing it closes is the parent's
                with pytest.raises(InputError), lease(timeout_s=0):
                    pass
                status = 0
            os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert [holder.pid for holder in holders()] == [os.getpid()]


def test_holders_go_by_the_locks_not_by_the_notes(hold, monkeypatch, folder):
    monkeypatch.setenv("MASKBENCH_GPUS", "0,1")
    by_device = {got(process).device: process for process in (hold(), hold())}
    dead, alive = (folder / f"{device}.0of1.lock" for device in ("0", "1"))
    kill(by_device["0"])
    assert json.loads(dead.read_text())["pid"] == by_device["0"].pid  # the note is stale, the lock is not
    assert [(holder.device, holder.pid, holder.run) for holder in holders()] == [("1", by_device["1"].pid, "hold")]
    alive.write_text("{garbled")
    assert [(holder.device, holder.pid, holder.run) for holder in holders()] == [("1", None, None)]


def test_looking_disturbs_nobody(monkeypatch):
    monkeypatch.setenv("MASKBENCH_GPUS", "0")
    with lease():
        pass

    def look() -> None:
        while True:
            holders()

    watchers = [multiprocessing.get_context("fork").Process(target=look, daemon=True) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    try:
        for _ in range(30):
            assert holders() == []
            with lease(timeout_s=0):
                assert len(holders()) == 1
        assert all(watcher.is_alive() for watcher in watchers)
    finally:
        for watcher in watchers:
            watcher.kill()
            watcher.join()


# --- SLURM


def test_one_assigned_device_is_used_without_a_lease(monkeypatch, driver, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MASKBENCH_LEASES", str(tmp_path / "file" / "below"))
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with lease() as first, lease() as second:
        assert first == second == Lease("1", 0, None, "scheduler")
    driver.has(CARDS)
    with lease() as slot:
        assert slot == Lease(B, 0, B, "scheduler", driver.told_by)


def test_several_assigned_devices_are_leased_within_the_job_step(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with lease() as first, lease() as second:
        assert [first, second] == [Lease(str(index), 0, None, "scheduler") for index in (0, 1)]
        with pytest.raises(InputError), lease(timeout_s=0):
            pass
        for name, value in (("SLURM_STEP_ID", "3"), ("SLURM_JOB_ID", "13")):  # their 0 may be another card
            monkeypatch.setenv(name, value)
            with lease(timeout_s=0) as other:
                assert other.device == "0"


def test_slurm_without_gpu(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with lease() as slot:
        assert slot.origin == "none"


# --- the folder


@pytest.mark.parametrize("place", ["below a file", "on no disk", "exists on no disk"])
def test_an_unusable_folder_is_one_clear_line(monkeypatch, tmp_path, place):
    (tmp_path / "file").touch()
    path = {"below a file": tmp_path / "file" / "x", "on no disk": "/proc/x", "exists on no disk": "/proc/self"}[place]
    monkeypatch.setenv("MASKBENCH_GPUS", "0")
    monkeypatch.setenv("MASKBENCH_LEASES", str(path))
    with pytest.raises(InputError) as error, lease(timeout_s=0):
        pass
    assert str(error.value).startswith(f"{path}: ")
    assert "set MASKBENCH_LEASES to a writable folder" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_filesystem_without_locks_is_one_clear_line(monkeypatch):
    monkeypatch.setenv("MASKBENCH_GPUS", "0")

    def refuse(handle: int, operation: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(InputError, match="Function not implemented"), lease(timeout_s=0):
        pass


def test_the_default_folder_is_private_and_the_same_for_every_tmpdir(monkeypatch, tmp_path):
    before = leases._default_folder()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert leases._default_folder() == before
    assert str(os.getuid()) in before.name

    monkeypatch.delenv("MASKBENCH_LEASES")
    monkeypatch.setenv("MASKBENCH_GPUS", "0")
    default = tmp_path / "default"
    monkeypatch.setattr(leases, "_default_folder", lambda: default)
    with lease():
        assert stat.S_IMODE(default.stat().st_mode) == 0o700
    default.chmod(0o777)
    with lease():
        assert stat.S_IMODE(default.stat().st_mode) == 0o700


def test_a_default_folder_that_somebody_else_laid_is_refused(monkeypatch, tmp_path):
    monkeypatch.delenv("MASKBENCH_LEASES")
    monkeypatch.setenv("MASKBENCH_GPUS", "0")
    default, elsewhere = tmp_path / "default", tmp_path / "elsewhere"
    monkeypatch.setattr(leases, "_default_folder", lambda: default)
    elsewhere.mkdir()
    default.symlink_to(elsewhere)
    with pytest.raises(InputError, match=r"is a link.*MASKBENCH_LEASES"), lease():
        pass
    with pytest.raises(InputError, match="is a link"):
        holders()
    with lease(folder=default) as slot:  # named explicitly: the user's choice
        assert slot.device == "0"
    default.unlink()
    default.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(InputError, match=rf"belongs to user {os.getuid()}"), lease():
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which only root can")
def test_two_users_share_a_folder_that_is_open_to_both(monkeypatch):
    monkeypatch.setenv("MASKBENCH_GPUS", "0,1")
    with tempfile.TemporaryDirectory() as name:
        shared = Path(name)
        shared.chmod(0o1777)
        monkeypatch.setenv("MASKBENCH_LEASES", name)
        ready, end = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            os.umask(0o077)
            os.setuid(65534)
            with suppress(BaseException), lease(timeout_s=5) as slot:
                os.write(ready[1], slot.device.encode())
                os.read(end[0], 1)
            os._exit(0)
        os.close(ready[1])
        try:
            assert os.read(ready[0], 1) == b"0"
            with lease(timeout_s=0) as slot:
                assert slot.device == "1"
                assert {holder.pid for holder in holders()} == {child, os.getpid()}
        finally:
            os.close(end[1])
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        with lease(timeout_s=0) as slot:  # a lock file of the other user
            assert slot.device == "0"


# --- contention


@dataclass
class Stay:
    """One hold as its process wrote it down, from after the lease to before the release or the kill (ns)."""

    device: str
    slot: int
    slots_per_gpu: int
    start: int
    end: int
    killed: bool


def _work(journal: Path, slots_per_gpu: int, seed: int) -> None:
    """Lease again and again; note each hold by a clock that all processes share, and by nothing that locks."""
    rng = random.Random(seed)
    with journal.open("ab", buffering=0) as notes:
        while True:
            with lease(slots_per_gpu) as slot:
                notes.write(f"{slot.device} {slot.slot} {time.monotonic_ns()}".encode())
                time.sleep(rng.uniform(0, 0.03))
                notes.write(f" {time.monotonic_ns()}\n".encode())
            time.sleep(rng.uniform(0, 0.005))


def contend(folder: Path, rounds: int, wishes: list[int]) -> list[Stay]:
    """Let one process per wish (its slots_per_gpu) contend, and SIGKILL one and replace it in each round."""
    context = multiprocessing.get_context("fork")
    rng = random.Random(0)
    workers: dict[int, tuple[int, multiprocessing.process.BaseProcess]] = {}
    killed: dict[int, int] = {}
    journals = folder / "journals"
    journals.mkdir(parents=True)

    def start(wish: int) -> None:
        number = len(workers) + len(killed)
        process = context.Process(target=_work, args=(journals / str(number), wish, number), daemon=True)
        process.start()
        workers[number] = (wish, process)

    def stop(number: int) -> int:
        wish, process = workers.pop(number)
        assert process.is_alive(), "a worker ended by itself"
        killed[number] = time.monotonic_ns()
        process.kill()
        process.join()
        stays.extend(_read(journals / str(number), wish, killed[number]))
        return wish

    stays: list[Stay] = []
    for wish in wishes:
        start(wish)
    for _ in range(rounds):
        time.sleep(rng.uniform(0, 0.05))
        start(stop(rng.choice(list(workers))))
    for number in list(workers):
        stop(number)
    return stays


def _read(journal: Path, slots_per_gpu: int, killed: int) -> list[Stay]:
    found = []
    for line in journal.read_text().splitlines() if journal.exists() else []:
        device, slot, start, *end = line.split(" ")
        # Until the kill was sent the process lived and held its slot: nobody else may have had it before.
        found.append(Stay(device, int(slot), slots_per_gpu, int(start), int(end[0]) if end else killed, not end))
    return [stay for stay in found if stay.start < stay.end]  # it may start between the clock's reading and the kill


def crowded(stays: list[Stay]) -> list[str]:
    """Return every moment at which a slot was held twice or a card by more jobs than one of them allows."""
    found = []
    by_device: dict[str, list[Stay]] = defaultdict(list)
    for stay in stays:
        by_device[stay.device].append(stay)
    for device, here in by_device.items():
        for stay in here:
            together = [other for other in here if other.start <= stay.start < other.end]
            slots = [(other.slot, other.slots_per_gpu) for other in together]
            if len(set(slots)) < len(slots) or len(together) > min(other.slots_per_gpu for other in together):
                found.append(f"{device} at {stay.start}: {together}")
    return found


@pytest.mark.parametrize(
    ("rounds", "wishes"),
    [
        pytest.param(ROUNDS, [1] * 6, id="whole cards"),
        pytest.param(ROUNDS // 2, [1, 1, 2, 2, 3, 3], id="shared cards"),
        pytest.param(MORE, [1] * 6, id="whole cards, long", marks=pytest.mark.long),
        pytest.param(MORE // 2, [1, 1, 2, 2, 3, 3], id="shared cards, long", marks=pytest.mark.long),
    ],
)
def test_contention_with_kills_gives_no_double_and_no_stale_lease(monkeypatch, tmp_path, injected, rounds, wishes):
    monkeypatch.setenv("MASKBENCH_GPUS", "0,1,2")
    monkeypatch.setattr(leases, "_POLL_S", 0.002)
    stays = contend(tmp_path, rounds, wishes)
    assert crowded(stays) == []
    assert len(stays) > rounds / 2, "the processes hardly got a slot"
    assert sum(stay.killed for stay in stays) > rounds / 50, "hardly a kill hit a holder"
    assert {stay.device for stay in stays} == {"0", "1", "2"}
    assert holders() == []
    with ExitStack() as stack:
        assert {stack.enter_context(lease(timeout_s=0)).device for _ in range(3)} == {"0", "1", "2"}
    injected("SIGKILL of a process that contends for a GPU slot", rounds)


def test_the_contention_test_sees_a_broken_lock(monkeypatch, tmp_path):
    monkeypatch.setenv("MASKBENCH_GPUS", "0,1,2")
    monkeypatch.setattr(leases, "_POLL_S", 0.002)
    real = leases._lock
    monkeypatch.setattr(
        leases, "_lock", lambda path, note=None: real(path.with_name(f"{os.getpid()}.{path.name}"), note)
    )
    monkeypatch.setattr(leases, "_held", lambda folder: [])
    assert crowded(contend(tmp_path, 10, [1] * 6))
