"""The frame of a job: what is held and set before torch is asked, what is refused, and what is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from maskbench.config.training import Training
from maskbench.errors import InputError
from maskbench.io import environment
from maskbench.slots import device as devices
from maskbench.slots.device import Device
from maskbench.slots.job import Allocation, on_slot
from maskbench.slots.leases import Lease, holders

CPU = Device("cpu", "fp32", "eager", 1)
CARD = Device("cuda", "bf16", "sdpa", 3)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with neither GPU nor scheduler, whose environment is put back after the test."""
    for name in list(os.environ):
        if name.startswith(("MASKBENCH_", "SLURM_", "CUDA_")) or name in (environment.OMP_NUM_THREADS,):
            monkeypatch.delenv(name)
    for name in (environment.VISIBLE, environment.OMP_NUM_THREADS, environment.TENSORBOARD):
        monkeypatch.setenv(name, "to be put back")
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv(environment.LEASES, str(tmp_path / "leases"))
    monkeypatch.setattr(Device, "name", property(lambda self: f"a {self.kind}"))


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let a device be chosen, and return what the environment was when it was."""

    def install(device: Device) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def choose(training: Training, model: Path | None = None) -> Device:
            seen.update(os.environ, training=training, model=model, held=[holder.run for holder in holders()])
            return device

        monkeypatch.setattr(devices, "choose", choose)
        return seen

    return install


def test_a_card_is_leased_and_named_before_the_device_is_chosen(monkeypatch, chosen, capsys, tmp_path):
    monkeypatch.setenv(environment.GPUS, "3")
    seen, training = chosen(CARD), Training(threads=3)
    with on_slot("a run", training, tmp_path / "model") as place:
        assert place == Allocation(CARD, Lease("3", 0, None, "pool"), place.waited_s)
        assert 0 <= place.waited_s < 5
        assert [holder.run for holder in holders()] == ["a run"]
        line = "device cuda (a cuda), GPU slot 3/0 (pool), bf16, attention sdpa, 3 thread(s)\n"
        assert capsys.readouterr().out == line
    assert (seen[environment.VISIBLE], seen[environment.OMP_NUM_THREADS], seen["held"]) == ("3", "3", ["a run"])
    assert (seen["training"], seen["model"]) == (training, tmp_path / "model")
    assert holders() == []


def test_without_a_card_nothing_is_held_and_one_line_says_so(chosen, capsys):
    seen = chosen(CPU)
    with on_slot("a run", Training()) as place:
        assert place.slot == Lease(None, 0, None, "none")
    assert environment.VISIBLE not in seen
    assert capsys.readouterr().out == "device cpu (a cpu), GPU slot none/0 (none), fp32, attention eager, 1 thread(s)\n"


def test_a_card_that_nobody_can_lease_is_refused_whatever_the_job(chosen, capsys):
    chosen(CARD)
    words = r"^MASKBENCH_GPUS: torch sees a GPU that neither NVML nor nvidia-smi lists"
    with pytest.raises(InputError, match=words), on_slot("a run", Training()):
        raise AssertionError
    assert capsys.readouterr().out == ""


def test_the_slot_is_free_after_a_refusal(monkeypatch):
    monkeypatch.setenv(environment.GPUS, "0")

    def refuse(training: Training, model: Path | None) -> Device:
        raise InputError("no sdpa")

    monkeypatch.setattr(devices, "choose", refuse)
    with pytest.raises(InputError, match="no sdpa"), on_slot("a run", Training()):
        raise AssertionError
    assert holders() == []


@pytest.mark.parametrize(("before", "after"), [(None, "curves"), ("mine", "mine")])
def test_tensorboards_folder_is_set_unless_the_user_has_set_one(monkeypatch, chosen, before, after):
    if before:
        monkeypatch.setenv(environment.TENSORBOARD, before)
    chosen(CPU)
    with on_slot("a run", Training(), tensorboard=Path("curves")):
        assert os.environ[environment.TENSORBOARD] == after


def test_a_job_that_draws_no_curves_sets_no_folder(chosen):
    chosen(CPU)
    with on_slot("a run", Training()):
        assert environment.TENSORBOARD not in os.environ


@pytest.mark.parametrize("value", ["", "two", "-1", "1.5"])
def test_a_number_of_slots_that_is_none_is_one_clear_line(monkeypatch, chosen, value):
    monkeypatch.setenv(environment.SLOTS_PER_GPU, value)
    chosen(CPU)
    words = r"^MASKBENCH_SLOTS_PER_GPU: '.*': expected a whole number from 1$"
    with pytest.raises(InputError, match=words), on_slot("a run", Training()):
        raise AssertionError


def test_as_many_jobs_share_a_card_as_the_call_says(monkeypatch, chosen):
    monkeypatch.setenv(environment.GPUS, "0")
    monkeypatch.setenv(environment.SLOTS_PER_GPU, "2")
    chosen(CARD)
    with on_slot("one", Training()) as one, on_slot("two", Training()) as two:
        assert (one.slot.slot, two.slot.slot) == (0, 1)


def test_torch_is_not_imported_before_the_slot_is_held(root):
    code = "import sys; import maskbench.slots.job; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("file", ["maskbench/runner/job.py", "scripts/reference.py"])
def test_every_job_of_a_card_stands_in_this_frame(root, file):
    text = (root / file).read_text()
    assert "with on_slot(" in text
    assert "slots.leases" not in text
