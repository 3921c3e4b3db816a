"""What breaks around a study: a full disk, a folder that cannot be written, Snakemake killed, two calls at once."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from maskbench.records.run import Record
from tests import warm
from tests.helpers.faults import garble
from tests.helpers.models import conll_of_sentences, csv_of_texts, make_model
from tests.workflow.test_pipeline import METRICS, NAMES, REVIEWS, copy_project, planned, snakemake, to_do, write_config

pytestmark = pytest.mark.workflow

MOUNT = shutil.which("mount") is not None and os.geteuid() == 0


def write_study(folder, **changes):
    """Write a study of two runs."""
    copy_project(folder)
    make_model(folder / "data/model")
    (folder / "data/model/source.json").unlink()
    (folder / "data/reviews.csv").write_text(csv_of_texts(120))
    write_config(folder, **{"tasks": [REVIEWS], "strategies": ["none"], "probes": {"measure": []}} | changes)
    return folder


def numbers(folder):
    """Return what a study measured, times and memory left out."""
    metrics = pd.read_csv(folder / METRICS)
    return metrics[metrics["split"] != "run"].drop(columns="status")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = write_study(tmp_path_factory.mktemp("faults") / "project")
    result = snakemake(folder, METRICS)
    assert result.returncode == 0, result.stdout
    return folder


@pytest.fixture
def disk(tmp_path):
    """Return a function that mounts a small disk."""
    if not MOUNT:
        pytest.skip("only root can mount a small disk")
    mounted = []

    def mount(folder, size, *options):
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}k", *options]), "tmpfs", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("share", [pytest.param(0.1, marks=pytest.mark.long), 0.6])
def test_a_full_disk_is_named_and_the_next_call_finishes(undisturbed, tmp_path, disk, injected, share):
    """There is room for this share of what the study leaves."""
    folder = write_study(tmp_path / "project")
    files = [path for path in (undisturbed / "results").rglob("*") if path.is_file()]
    needed = sum(path.stat().st_blocks / 2 for path in files)
    disk(folder / "results", round(share * needed))
    result = snakemake(folder, METRICS)
    assert result.returncode != 0
    assert "No space left on device" in result.stdout
    assert not (folder / METRICS).exists()
    records = [Record.read(path) for path in folder.glob("results/mine/training/*/metrics.json")]
    assert all(record.status == "completed" for record in records)  # a full disk is no result of a run
    subprocess.run(["mount", "-o", "remount,size=64m", folder / "results"], check=True)
    began = time.monotonic()
    result = snakemake(folder, METRICS)
    took = time.monotonic() - began
    assert result.returncode == 0, result.stdout
    pd.testing.assert_frame_equal(numbers(folder), numbers(undisturbed))
    injected("full disk", recovery_s=took)


def test_results_that_cannot_be_written_are_named(tmp_path, disk, injected):
    folder = write_study(tmp_path / "project")
    disk(folder / "results", 64, "ro")
    result = snakemake(folder, METRICS)
    assert result.returncode != 0
    assert "Read-only file system" in result.stdout
    assert "results" in result.stdout
    injected("results folder that cannot be written")


def test_a_folder_of_leases_that_cannot_be_written_is_named(tmp_path, injected):
    folder = write_study(tmp_path / "project")
    (folder / "leases").write_text("a file, not a folder")
    leases = {"MASKBENCH_GPUS": "0", "MASKBENCH_LEASES": str(folder / "leases")}
    result = snakemake(folder, METRICS, **leases)
    assert result.returncode != 0
    assert str(folder / "leases") in result.stdout
    assert "Traceback" not in result.stdout
    (folder / "leases").unlink()
    began = time.monotonic()
    assert snakemake(folder, METRICS, **leases).returncode == 0
    injected("lease folder that cannot be written", recovery_s=time.monotonic() - began)


def started(folder, *arguments, environment=None):
    """Start Snakemake in a process group of its own, so that its jobs can be killed with it."""
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "1", METRICS, *arguments],
        cwd=folder,
        env={**os.environ, "MASKBENCH_GPUS": "-1"} | (environment or {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_for(condition, what, seconds=120):
    """Wait until something is the case."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"no {what} within {seconds} s"
        time.sleep(0.05)


def trains(folder):
    """Tell whether a training job is in the middle of its work."""
    return bool(list(folder.glob("results/mine/training/*/checkpoints*/**/*.safetensors")))


@pytest.mark.parametrize("arguments", [(), pytest.param(("--keep-incomplete",), marks=pytest.mark.long)])
def test_a_killed_snakemake_leaves_nothing_that_is_read_as_a_result(undisturbed, tmp_path, injected, arguments):
    folder = write_study(tmp_path / "project")
    running = started(folder, *arguments)
    wait_for(lambda: trains(folder), "checkpoint")
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not (folder / METRICS).exists()
    began = time.monotonic()
    unlocked = snakemake(folder, "--unlock")
    assert unlocked.returncode == 0, unlocked.stdout
    result = snakemake(folder, METRICS)  # the profile has rerun-incomplete
    took = time.monotonic() - began
    assert result.returncode == 0, result.stdout
    pd.testing.assert_frame_equal(numbers(folder), numbers(undisturbed))
    assert planned(folder, METRICS) == {}
    assert "trained again" not in result.stdout  # Snakemake forces what is incomplete, too
    injected("SIGKILL of Snakemake and its jobs", recovery_s=took)


def test_a_forced_call_trains_again_and_the_next_one_does_nothing(undisturbed, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(undisturbed, folder, symlinks=True)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("results/mine/training/*/metrics.json")}
    result = snakemake(folder, METRICS, "--forcerun", "train")
    assert result.returncode == 0, result.stdout
    assert "2 finished runs are trained again: the call forces it" in result.stdout
    assert "cells: 2 of 2 done, 0 left" in result.stdout
    assert len(before) == 2
    assert all(path.stat().st_mtime_ns > time_before for path, time_before in before.items())
    assert not list(folder.glob("results/mine/jobs/*.forced"))
    pd.testing.assert_frame_equal(numbers(folder), numbers(undisturbed))
    assert planned(folder, METRICS) == {}


def test_a_forced_job_that_a_scheduler_starts_twice_trains_once(undisturbed, tmp_path):
    """The process that a scheduler starts knows no option of the call, and is started again after a preemption."""
    folder = tmp_path / "project"
    shutil.copytree(undisturbed, folder, symlinks=True)
    job = "reviews.tiny.single.clean.full.s1.0"
    mark = folder / f"results/mine/jobs/{job}.forced"
    mark.touch()
    (record,) = folder.glob("results/mine/training/*.s1/metrics.json")
    times = [record.stat().st_mtime_ns]
    for _ in range(2):
        here = ["--mode", "remote", "--target-jobs", f"train:job={job}", "--allowed-rules", "train"]
        result = snakemake(folder, *here, "--force", "--no-hooks", "--nolock", "--ignore-incomplete")
        assert result.returncode == 0, result.stdout
        times.append(record.stat().st_mtime_ns)
        assert not mark.exists()
    assert times[0] < times[1] == times[2]


def test_a_second_snakemake_in_one_folder_is_refused_and_the_first_goes_on(undisturbed, tmp_path, injected):
    folder = write_study(tmp_path / "project")
    first = started(folder)
    wait_for(lambda: trains(folder), "checkpoint")
    second = snakemake(folder, METRICS)
    assert second.returncode != 0
    assert "cannot be locked" in second.stdout
    assert first.wait(timeout=180) == 0
    pd.testing.assert_frame_equal(numbers(folder), numbers(undisturbed))
    injected("second Snakemake in one results folder")


def test_touching_a_half_study_makes_no_results(tmp_path, injected):
    folder = write_study(tmp_path / "project")
    result = snakemake(folder, "--touch", METRICS)
    assert not Path(folder / METRICS).exists()
    assert not list(folder.glob("results/mine/training/*/metrics.json")), result.stdout
    injected("`--touch` of a study that was never run")


def test_two_snakemakes_in_different_folders_share_the_cards_of_a_host(tmp_path, injected):
    shared = {"MASKBENCH_GPUS": "0", "MASKBENCH_LEASES": str(tmp_path / "leases")}
    folders = [write_study(tmp_path / name, seeds=[1]) for name in ("one", "other")]
    calls = [started(folder, "--resources", "gpu=1", environment=warm.environment() | shared) for folder in folders]
    assert [call.wait(timeout=300) for call in calls] == [0, 0]
    stays = []
    for path in tmp_path.glob("*/results/mine/training/*/metrics.json"):
        timings = Record.read(path).timings
        begun = datetime.fromisoformat(timings.started).timestamp()
        stays.append((begun, begun + timings.wall_s, path.parts[-5]))
    assert len(stays) == 2
    stays.sort()
    # the start is told in whole seconds
    assert all(following[0] >= stay[1] - 1.0 for stay, following in pairwise(stays)), stays
    logs = [path.read_text() for path in tmp_path.glob("*/results/mine/logs/train/*.log")]
    assert all("GPU slot 0/0 (pool)" in log for log in logs)
    injected("two Snakemakes on one host that want one card", 2)


def test_a_failed_job_stops_nothing_else_under_keep_going_and_garbled_files_are_made_again(tmp_path, injected):
    folder = write_study(tmp_path / "project", tasks=[REVIEWS, NAMES], seeds=[1])
    (folder / "data/names.txt").write_text(conll_of_sentences(120))
    assert snakemake(folder, METRICS).returncode == 0
    before = numbers(folder)

    # prepared text
    shutil.rmtree(folder / "results/mine/training")
    (folder / METRICS).unlink()
    (arrow,) = folder.glob("results/mine/data/encoded/reviews*/train/*.arrow")
    garble(arrow)
    result = snakemake(folder, METRICS, "--keep-going")
    assert result.returncode != 0
    assert str(arrow.relative_to(folder)) in result.stdout
    assert "Traceback" not in result.stdout
    assert [path.parent.name[:5] for path in folder.glob("results/mine/training/*/metrics.json")] == ["names"]
    assert not (folder / METRICS).exists()
    shutil.rmtree(arrow.parents[1])
    began = time.monotonic()
    result = snakemake(folder, METRICS)
    took = time.monotonic() - began
    assert result.returncode == 0, result.stdout
    assert "job=reviews.tiny" in result.stdout
    assert not re.search(r"rule train:[^\[]*job=names", result.stdout)  # what was done is kept
    pd.testing.assert_frame_equal(numbers(folder), before)
    injected("encoded text garbled, under `--keep-going`", recovery_s=took)

    # a record, first by a disk that tells nothing
    (record,) = folder.glob("results/mine/training/reviews*/metrics.json")
    written = record.stat().st_mtime_ns
    record.write_bytes(record.read_bytes()[:-200])
    os.utime(record, ns=(written, written))
    (folder / METRICS).unlink()  # while it stands, nobody reads records
    result = snakemake(folder, METRICS)
    assert result.returncode != 0
    assert re.search(rf"^{re.escape(str(record.relative_to(folder)))}: .*delete it and run again$", result.stdout, re.M)
    assert "Traceback" not in result.stdout
    record.touch()
    began = time.monotonic()
    result = snakemake(folder, METRICS)
    assert result.returncode == 0, result.stdout
    assert to_do(result.stdout) == (1, 0)
    pd.testing.assert_frame_equal(numbers(folder), before)
    injected("metrics.json of a run cut short", recovery_s=time.monotonic() - began)
