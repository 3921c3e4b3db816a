"""Which cards there are and what they are called, as NVML and as nvidia-smi tell it; no GPU and no torch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from maskbench.errors import InputError
from maskbench.slots.cards import Pool, capacity, check_request, pool
from tests.helpers.drivers import CARDS, NOTHING, OLD_PART, OLD_SPLIT, OTHER_PART, PART, SPLIT, TWINS, A, B, Nvml, Smi


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path) -> None:
    """A machine that seems to have neither GPU nor scheduler."""
    for name in list(os.environ):
        if name.startswith(("MASKBENCH_", "SLURM_", "CUDA_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setitem(sys.modules, "pynvml", None)


@pytest.fixture(params=[Smi, Nvml])
def driver(request, monkeypatch, tmp_path):
    return request.param(monkeypatch, tmp_path)


@pytest.fixture
def smi(monkeypatch, tmp_path) -> Smi:
    return Smi(monkeypatch, tmp_path)


@pytest.fixture
def nvml(monkeypatch, tmp_path) -> Nvml:
    return Nvml(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("setting", "cards", "expected"),
    [
        ({}, None, []),
        ({}, CARDS, [A, B]),
        ({}, SPLIT, [PART, OTHER_PART, B]),
        ({}, OLD_SPLIT, [OLD_PART]),
        ({}, NOTHING, []),
        ({"CUDA_VISIBLE_DEVICES": "0,2"}, None, ["0", "2"]),
        ({"CUDA_VISIBLE_DEVICES": " 1 , 0 "}, CARDS, [B, A]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8932"}, CARDS, [B]),
        ({"CUDA_VISIBLE_DEVICES": f"{B},0"}, CARDS, [B, A]),
        ({"CUDA_VISIBLE_DEVICES": "0"}, SPLIT, [PART]),
        ({"CUDA_VISIBLE_DEVICES": f"{OTHER_PART},1"}, SPLIT, [OTHER_PART, B]),
        ({"CUDA_VISIBLE_DEVICES": OLD_PART}, None, [OLD_PART]),
        ({"CUDA_VISIBLE_DEVICES": ""}, CARDS, []),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, CARDS, []),
        ({"MASKBENCH_GPUS": "1", "CUDA_VISIBLE_DEVICES": "0"}, CARDS, [B]),
        ({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "1", "MASKBENCH_GPUS": "0"}, None, ["1"]),
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "2,3"}, None, ["2", "3"]),
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "2,3", "SLURM_STEP_GPUS": "3"}, None, ["3"]),
        ({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "1"}, CARDS, [B]),
        ({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "5"}, CARDS, ["5"]),
        ({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "NoDevFiles"}, CARDS, []),
        ({"SLURM_JOB_ID": "7"}, CARDS, [A, B]),
        ({"SLURM_JOB_GPUS": "2"}, None, []),
    ],
)
def test_pool(monkeypatch, driver, setting, cards, expected):
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    if cards is not None:
        driver.has(cards)
    found = pool()
    assert found.devices == expected
    assert found.origin == ("scheduler" if "SLURM_JOB_ID" in setting and len(setting) > 1 else "pool")
    asked = cards is not None and not set(setting.values()) & {"", "-1", "NoDevFiles"}
    assert found.told_by == (driver.told_by if asked else None)
    assert capacity(2) == (2 * len(expected) or None)


@pytest.mark.parametrize(
    ("value", "cards", "words"),
    [
        ("0,,1", None, "'' in '0,,1'"),
        ("0,-1", None, "'-1'"),
        ("1" * 5000, None, "expected indices"),
        ("all", None, "'all'"),
        ("0;1", None, "'0;1'"),
        ("GPU-../../x", None, "expected indices"),
        ("0,1,0", None, "0 and 0 are one GPU"),
        ("1,01", None, "1 and 01 are one GPU"),
        (f"0,{A}", CARDS, f"0 and {A} are one GPU"),
        ("4", CARDS, "4: no such GPU"),
        ("GPU-0000", CARDS, "no such GPU"),
        ("GPU-", TWINS, "expected indices"),
        (A[:-1], TWINS, "more than one GPU"),
    ],
)
@pytest.mark.parametrize("name", ["MASKBENCH_GPUS", "CUDA_VISIBLE_DEVICES"])
def test_misnamed_devices_are_one_clear_line(monkeypatch, driver, name, value, cards, words):
    monkeypatch.setenv(name, value)
    if cards:
        driver.has(cards)
    with pytest.raises(InputError) as error:
        pool()
    assert str(error.value).startswith(f"{name}: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_more_slots_than_there_are_is_an_error(monkeypatch):
    check_request(40, 1)  # no GPU: the number only limits concurrency
    monkeypatch.setenv("MASKBENCH_GPUS", "0,1")
    for requested, slots in ((None, 1), (2, 1), (4, 2)):
        check_request(requested, slots)
    with pytest.raises(InputError, match=r"gpu=5: there are 4 slots here .*at most gpu=4"):
        check_request(5, 2)


# --- drivers that cannot tell


def test_a_broken_nvidia_smi_is_told_and_names_are_used_as_they_are(monkeypatch, smi, caplog):
    smi.says("NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.", status=9)
    assert pool() == Pool([], "pool", None)
    assert "could not communicate" in caplog.text
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert pool() == Pool(["1"], "pool", None)


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [
        ("nvmlInit", "DriverNotLoaded", "Driver Not Loaded"),
        ("nvmlInit", "LibRmVersionMismatch", "RM has detected an NVML/RM version mismatch."),
        ("nvmlDeviceGetCount", "NoPermission", "Insufficient Permissions"),
    ],
)
def test_where_nvml_fails_nvidia_smi_is_asked_and_that_is_told(nvml, smi, caplog, function, error, text):
    nvml.has(CARDS)
    nvml.refuse(function, error, text)
    assert pool() == Pool([], "pool", None)
    assert text in caplog.text
    assert "nvidia-smi is asked instead" in caplog.text
    smi.has(SPLIT)
    assert pool() == Pool([PART, OTHER_PART, B], "pool", "nvidia-smi")
    assert nvml.state.open == 0


def test_a_machine_without_the_driver_needs_no_warning(nvml, caplog):
    nvml.has(NOTHING)
    nvml.refuse("nvmlInit", "LibraryNotFound", "NVML Shared Library Not Found")
    assert pool() == Pool([], "pool", None)
    assert caplog.text == ""


def test_nvml_goes_before_nvidia_smi_and_is_closed_again(nvml, smi):
    nvml.has(CARDS)
    smi.has(SPLIT)
    assert pool() == Pool([A, B], "pool", "NVML")
    assert nvml.state.open == 0


def test_a_lost_card_is_left_out_and_the_others_keep_their_numbers(monkeypatch, nvml, caplog):
    nvml.has(CARDS)
    nvml.refuse("nvmlDeviceGetHandleByIndex", "GpuIsLost", "GPU is lost", card=0)
    assert pool().devices == [B]
    assert "GPU 0 is left out: NVML cannot reach it (GPU is lost)" in caplog.text
    monkeypatch.setenv("MASKBENCH_GPUS", "1")
    assert pool().devices == [B]
    monkeypatch.setenv("MASKBENCH_GPUS", "0")
    with pytest.raises(InputError, match="0: no such GPU"):
        pool()


@pytest.mark.parametrize("error", ["NotSupported", "FunctionNotFound"])
def test_cards_and_drivers_that_know_no_mig_are_whole(nvml, error):
    nvml.has(SPLIT)
    nvml.refuse("nvmlDeviceGetMigMode", error, error)
    assert pool().devices == [A, B]


def test_a_part_that_cannot_be_reached_costs_its_card_and_is_told(nvml, caplog):
    """A part may be somebody else's: the whole card must not be taken in its place."""
    nvml.has(SPLIT)
    nvml.refuse("nvmlDeviceGetMigDeviceHandleByIndex", "NoPermission", "Insufficient Permissions", card=0)
    assert pool().devices == [B]
    assert "GPU 0 is left out: NVML cannot reach it (Insufficient Permissions)" in caplog.text


def test_uuids_of_old_versions_of_nvidia_ml_py_are_bytes(nvml):
    nvml.has(SPLIT)
    nvml.state.bytes = True
    assert pool().devices == [PART, OTHER_PART, B]


def test_cards_are_found_without_torch(root):
    code = "import sys; from maskbench.slots.cards import pool; pool(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=60, check=False).returncode == 0
