"""A small study through profiles/slurm, on a real scheduler with four pretended GPUs; some jobs are ended by force."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from maskbench.records.probe import ProbeRecord
from maskbench.records.run import Record
from tests.helpers.models import csv_of_texts, make_model
from tests.slurm.cluster import PARTITION, Cluster, UnavailableError, clean, install
from tests.workflow.test_pipeline import REVIEWS, copy_project, edit, write_config

pytestmark = pytest.mark.slurm

HOT = {"name": "hot", "training": {"learning_rate": 1e30}}  # diverges
STRATEGIES = ["none", "random", "span", "hot"]
TARGET = "results/mine/metrics.csv"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler, if one can be had here."""
    try:
        install()
        with Cluster(tmp_path_factory.mktemp("cluster")) as running:
            yield running
    except UnavailableError as error:
        if os.environ.get("MASKBENCH_REQUIRE_SLURM"):
            raise
        pytest.skip(f"no SLURM: {error}")


def configure(folder: Path, *probes: str, **changes: object) -> None:
    keys = {"tasks": [REVIEWS], "strategies": ["none", "random", "span", HOT], "seeds": [1]}
    keys["resources"] = {"cells_per_job": 1}
    keys["training"] = {"batch_size": 8, "epochs": 30}  # some seconds, and a checkpoint in each of 30 passes
    write_config(folder, **keys | {"probes": {"measure": list(probes)}} | changes)


def command(*arguments: str) -> list[str]:
    quick = ["--slurm-init-seconds-before-status-checks", "3"]
    return [sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", *quick, TARGET, *arguments]


def environment(cluster: Cluster) -> dict[str, str]:
    return {name: value for name, value in clean().items() if name != "MASKBENCH_GPUS"} | cluster.environment


def submit(cluster: Cluster, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        command(*arguments), cwd=folder, env=environment(cluster),
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


class Interference:
    """Waits until the first attempts of all cells run, and ends some of them, each in its own way.

    Parameters
    ----------
    ends
        How, by strategy; None: not.
    """

    def __init__(self, cluster: Cluster, folder: Path, ends: dict[str, str | None]) -> None:
        self.cluster, self.folder = cluster, folder
        self.ends = {strategy: end for strategy, end in ends.items() if end is not None}
        self.strategies = list(ends)
        self.devices: dict[str, str] = {}
        """Of each cell while all ran at once, as the scheduler says."""
        self.ended: dict[str, str] = {}
        """Of each cell whose training was ended, the job."""

    def look(self) -> None:
        """End the training of every cell that has a checkpoint and is to be ended."""
        if not self.devices:
            found = {strategy: self.cluster.jobs(of(strategy), JobState="RUNNING") for strategy in self.strategies}
            if not all(found.values()):
                return
            self.devices = {strategy: re.search(r"IDX:(\d)", jobs[0]["GRES"])[1] for strategy, jobs in found.items()}
        for strategy in self.ends.keys() - self.ended.keys():
            process = training(self.folder, job_of(strategy))
            if process is not None and list(self.folder.glob(f"{output_of(strategy)}/checkpoints/*/sha256.json")):
                (job,) = self.cluster.jobs(of(strategy), JobState="RUNNING")
                self.ended[strategy] = job["JobId"]
                self.end(self.ends[strategy], job["JobId"], process)

    def end(self, how: str, job: str, process: int) -> None:
        """End a job."""
        if how == "kill":
            os.kill(process, signal.SIGKILL)
        elif how == "cancel":
            self.cluster.call("scancel", job)
        else:
            self.cluster.call("scontrol", "requeue", job)
            # by itself SLURM waits for two minutes
            until(lambda: self.cluster.jobs(JobId=job)[0]["JobState"] == "PENDING")
            self.cluster.call("scontrol", "update", f"JobId={job}", "StartTime=now")


def job_of(strategy: str, seed: int = 1) -> str:
    """Return the id of the job that trains a strategy: with one cell each, they are numbered."""
    return f"reviews.tiny.single.clean.full.s{seed}.{STRATEGIES.index(strategy)}"


def of(strategy: str) -> str:
    """Return how the plugin's comment on the jobs begins that train a strategy."""
    return f"rule_train_wildcards_{job_of(strategy)}"


def output_of(strategy: str, seed: int = 1) -> str:
    return f"results/mine/training/reviews.tiny.{strategy}.single.clean.full.s{seed}"


def training(folder: Path, job: str) -> int | None:
    """Return the process that works on a job of a study here."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if words[1].endswith("scripts/train.py") and job in words and (entry / "cwd").readlink() == folder:
                return int(entry.name)
        except (OSError, IndexError):
            continue
    return None


def until(done, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.fixture(scope="module")
def study(cluster, tmp_path_factory):
    """A study whose first attempt at three of four cells was ended: by scancel, by a SIGKILL and by a requeue."""
    folder = copy_project(tmp_path_factory.mktemp("slurm") / "project").resolve()
    make_model(folder / "data/model")
    (folder / "data/model/source.json").unlink()
    (folder / "data/reviews.csv").write_text(csv_of_texts(120))
    edit(folder / "profiles/slurm/profile.yaml", "# slurm_partition: gpu", f"slurm_partition: {PARTITION}")
    configure(folder)
    ends = {"none": "cancel", "random": "kill", "span": "requeue", "hot": None}
    interference = Interference(cluster, folder, ends)
    with (folder / "log").open("w") as log:
        snakemake = subprocess.Popen(
            command(), cwd=folder, env=environment(cluster), stdout=log, stderr=subprocess.STDOUT
        )
        end = time.monotonic() + 600
        while snakemake.poll() is None and time.monotonic() < end:
            interference.look()
            time.sleep(0.1)
        snakemake.kill()
    output = (folder / "log").read_text()
    assert snakemake.wait() == 0, output
    return SimpleNamespace(folder=folder, output=output, ended=interference.ended, devices=interference.devices)


def record(folder: Path, strategy: str, seed: int = 1) -> Record:
    return Record.read(folder / output_of(strategy, seed) / "metrics.json")


def attempts(cluster: Cluster, strategy: str) -> list[dict[str, str]]:
    """Return the jobs that trained a strategy's first cell, as the scheduler describes them, in their order."""
    return sorted(cluster.jobs(of(strategy)), key=lambda job: int(job["JobId"]))


def test_every_cell_is_done_and_what_diverged_is_a_result_that_is_not_tried_again(cluster, study, injected):
    found = {strategy: record(study.folder, strategy).status for strategy in study.devices}
    assert found == {"none": "completed", "random": "completed", "span": "completed", "hot": "diverged"}
    assert [job["JobState"] for job in attempts(cluster, "hot")] == ["COMPLETED"]
    injected("exploding gradient (recorded as `diverged`)")


@pytest.mark.parametrize(("strategy", "state"), [("none", "CANCELLED"), ("random", "FAILED")])
def test_a_cancelled_and_a_killed_job_are_tried_again_with_more_memory_and_time(cluster, study, strategy, state):
    first, second = attempts(cluster, strategy)
    assert first["JobId"] == study.ended[strategy]
    assert (first["JobState"], second["JobState"]) == (state, "COMPLETED")
    assert (first["MinMemoryNode"], second["MinMemoryNode"]) == ("3000M", "6000M")
    assert (first["TimeLimit"], second["TimeLimit"]) == ("02:00:00", "04:00:00")
    assert f"SLURM-job '{first['JobId']}' failed, SLURM status is: '{state}'" in study.output


def test_what_slurm_requeues_is_the_same_job_and_no_further_attempt(cluster, study):
    (only,) = attempts(cluster, "span")
    assert only["JobId"] == study.ended["span"]
    assert (only["JobState"], only["Restarts"], only["MinMemoryNode"]) == ("COMPLETED", "1", "3000M")


@pytest.mark.parametrize("strategy", ["none", "random", "span"])
def test_what_was_ended_went_on_from_its_checkpoint(cluster, study, injected, strategy):
    """With scancel and requeue from that of the update at which SLURM's SIGTERM came."""
    notes = [note for note in record(study.folder, strategy).notes if note.startswith("went on after update ")]
    assert len(notes) == 1
    assert len(record(study.folder, strategy).history) == 30
    updates = int(re.search(r"update (\d+)", notes[0])[1])
    assert updates > 0
    assert not (study.folder / output_of(strategy) / "checkpoints").exists()
    how = {"none": "scancel", "random": "SIGKILL", "span": "requeue"}[strategy]
    first, *again = (datetime.fromisoformat(job["EndTime"]) for job in attempts(cluster, strategy))
    took = (again[0] - first).total_seconds() if again else None  # a requeued job stays one, and has one end
    injected(f"{how} of a job under SLURM", recovery_s=took)


def test_jobs_that_run_at_once_have_devices_of_their_own_and_records_name_theirs(cluster, study):
    assert sorted(study.devices.values()) == ["0", "1", "2", "3"]
    assert record(study.folder, "hot").environment.gpu_uuid == f"node/{study.devices['hot']}"
    for strategy in study.devices:
        device = record(study.folder, strategy).environment.gpu_uuid
        log = study.folder / f"results/mine/logs/train/reviews.tiny.{strategy}.single.clean.full.s1.log"
        assert f"GPU slot {device.removeprefix('node/')}/0 (scheduler)" in log.read_text()


def test_text_is_prepared_and_results_are_collected_without_a_job(cluster, study):
    rules = {match[1] for job in cluster.jobs() if (match := re.match("rule_([a-z]+)_", job.get("Comment", "")))}
    assert rules == {"train"}
    assert (study.folder / TARGET).exists()


def test_logs_of_slurm_are_kept_where_a_job_failed_and_what_it_said_is_shown(study):
    ended, output = study.ended, study.output
    kept = {path.stem for path in (study.folder / "results/slurm-logs").rglob("*.log")}
    assert kept == {ended["none"], ended["random"]}
    assert f"Logfile results/mine/logs/jobs/{job_of('random')}.log" in output


def test_a_second_call_does_nothing(cluster, study):
    before = len(cluster.jobs())
    assert "Nothing to be done" in submit(cluster, study.folder)
    assert len(cluster.jobs()) == before


def test_short_cells_share_a_job_of_one_gpu_and_none_that_is_finished_is_lost_when_it_is_killed(
    cluster, study, injected
):
    """Three new cells and their probes: one submission beside that for the untrained model, killed in a cell."""
    before = {job["JobId"] for job in cluster.jobs()}
    configure(study.folder, "calibration", seeds=[2], strategies=STRATEGIES[:3], resources={"cells_per_job": "all"})
    name, finished = job_of("none", 2), study.folder / output_of("none", 2) / "metrics.json"
    with (study.folder / "second.log").open("w") as log:
        call = [*command(), "--jobs", "2"]
        snakemake = subprocess.Popen(
            call, cwd=study.folder, env=environment(cluster), stdout=log, stderr=subprocess.STDOUT
        )
        until(lambda: list(study.folder.glob(f"{output_of('random', 2)}/checkpoints/*/sha256.json")), 300)
        written = finished.stat().st_mtime_ns
        os.kill(training(study.folder, name), signal.SIGKILL)
        assert snakemake.wait(timeout=600) == 0, (study.folder / "second.log").read_text()
    jobs = [job for job in cluster.jobs() if job["JobId"] not in before]
    rules = [job["Comment"].split("_wildcards")[0] for job in jobs]
    assert sorted(rules) == ["rule_reference", "rule_train", "rule_train"]
    assert {job["TresPerJob"] for job in jobs} == {"gres:gpu:1"}
    first, second = sorted((job for job in jobs if "rule_train" in job["Comment"]), key=lambda job: int(job["JobId"]))
    assert (first["JobState"], second["JobState"]) == ("FAILED", "COMPLETED")
    assert (first["TimeLimit"], second["TimeLimit"]) == ("09:00:00", "18:00:00")  # three trainings and three probes
    assert finished.stat().st_mtime_ns == written
    for strategy in STRATEGIES[:3]:
        notes = [note for note in record(study.folder, strategy, 2).notes if note.startswith("went on after update ")]
        assert len(notes) == (strategy == "random")
        probed = study.folder / f"results/mine/probes/{Path(output_of(strategy, 2)).name}/metrics.json"
        assert ProbeRecord.read(probed).status == "probed"
    took = (datetime.fromisoformat(second["EndTime"]) - datetime.fromisoformat(first["EndTime"])).total_seconds()
    injected("SIGKILL of a job of several cells under SLURM", recovery_s=took)
