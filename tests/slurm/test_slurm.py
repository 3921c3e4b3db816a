"""A small study through profiles/slurm, on a real scheduler with two nodes of pretended GPUs, and its jobs disturbed.

The study has four jobs of eight cells each. All run at once, and each is hit in the middle, in its fourth cell: by a
preemption, by scancel, by a SIGKILL and by the loss of its node.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from maskbench.experiment.layout import Layout
from maskbench.records.probe import ProbeRecord
from maskbench.records.run import Record
from tests.helpers.models import csv_of_texts, make_model
from tests.slurm.cluster import PARTITION, URGENT, Cluster, UnavailableError, clean, install
from tests.workflow.test_pipeline import REVIEWS, copy_project, edit, write_config

pytestmark = pytest.mark.slurm

SLOW = {"name": "slow", "training": {"epochs": 30}}  # some seconds, and a checkpoint in each of 30 passes
HOT = {"name": "hot", "training": {"learning_rate": 1e30}}  # diverges
STRATEGIES = ["none", "random", "span", SLOW, "static", HOT, "window", "fixed-positions"]
NAMES = [strategy if isinstance(strategy, str) else strategy["name"] for strategy in STRATEGIES]
HIT = NAMES.index("slow")
SEEDS = [1, 9, 17, 25]  # jobs of eight cells, which begin with the same strategy under these seeds
TARGET = "results/mine/metrics.csv"
LAYOUT = Layout(Path("results/mine"))

ENDS = {"preemption": "COMPLETED", "scancel": "CANCELLED", "SIGKILL": "FAILED", "loss of the node": "COMPLETED"}
"""What the jobs are hit by, and the state in which SLURM sees the job that was hit at last."""

RESUBMITTED = {fault: state for fault, state in ENDS.items() if state != "COMPLETED"}
REQUEUED = [fault for fault in ENDS if fault not in RESUBMITTED]


@dataclass(frozen=True)
class Speed:
    """How fast the scheduler and Snakemake notice things.

    Attributes
    ----------
    silence, requeue
        Of `Cluster`, in seconds.
    poll
        Seconds until Snakemake asks the scheduler for the first time.
    patience_s
        After which the study ought to be finished.
    """

    silence: int
    requeue: int
    poll: int
    patience_s: int


QUICK = Speed(silence=15, requeue=10, poll=3, patience_s=1500)
DEFAULTS = Speed(silence=300, requeue=120, poll=20, patience_s=3000)
"""SLURM's own, and the profile's."""


@pytest.fixture(
    scope="module", params=[QUICK, pytest.param(DEFAULTS, marks=pytest.mark.long)], ids=["quick", "defaults"]
)
def speed(request) -> Speed:
    return request.param


@pytest.fixture(scope="module")
def cluster(speed, tmp_path_factory):
    """A scheduler, if one can be had here."""
    try:
        install()
        with Cluster(tmp_path_factory.mktemp("cluster"), silence=speed.silence, requeue=speed.requeue) as running:
            yield running
    except UnavailableError as error:
        if os.environ.get("MASKBENCH_REQUIRE_SLURM"):
            raise
        pytest.skip(f"no SLURM: {error}")


def start(cluster: Cluster, folder: Path, poll: int) -> subprocess.Popen[bytes]:
    """Start Snakemake in a study; what it says is in the file `log`."""
    quick = ["--slurm-init-seconds-before-status-checks", str(poll)]
    call = [sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", *quick, TARGET]
    environment = {name: value for name, value in clean().items() if name != "MASKBENCH_GPUS"} | cluster.environment
    with (folder / "log").open("w") as log:
        return subprocess.Popen(call, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)


def job_of(seed: int) -> str:
    return f"reviews.tiny.single.clean.full.s{seed}.0"


def run_of(strategy: str, seed: int) -> str:
    return f"reviews.tiny.{strategy}.single.clean.full.s{seed}"


def until(done, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)


def stamps(folder: Path, seed: int) -> dict[Path, int]:
    """Return the files that the finished cells of a job have left, and when each was written."""
    made = [LAYOUT.record, LAYOUT.predictions, LAYOUT.train_log, LAYOUT.probe_record, LAYOUT.probe_log]
    files = [folder / path(run_of(strategy, seed)) for strategy in NAMES[:HIT] for path in made]
    return {file: file.stat().st_mtime_ns for file in files}


@dataclass
class Study:
    """A study of four jobs that run at once, each of which is hit in the middle.

    Attributes
    ----------
    devices
        Of each seed while all ran: node and number of the card, as the scheduler says.
    seeds
        Of each fault, the seed whose job was hit by it.
    ids
        Of each fault, the number of the job that was hit.
    times
        When that was.
    finished
        Of each fault, what the finished cells had left then.
    urgent
        Number of the job that preempted one.
    output
        What Snakemake said.
    """

    cluster: Cluster
    folder: Path
    devices: dict[int, tuple[str, str]] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    times: dict[str, datetime] = field(default_factory=dict)
    finished: dict[str, dict[Path, int]] = field(default_factory=dict)
    urgent: str = ""
    output: str = ""

    # --- the jobs

    def attempts(self, seed: int) -> list[dict[str, str]]:
        """Return the jobs that worked on a seed, as the scheduler describes them, in their order."""
        found = self.cluster.jobs(f"rule_train_wildcards_{job_of(seed)}")
        return sorted(found, key=lambda job: int(job["JobId"]))

    def state(self, seed: int) -> str:
        """Return the state of the last job that worked on a seed; empty if there is none yet."""
        return (self.attempts(seed) or [{"JobState": ""}])[-1]["JobState"]

    def processes(self) -> dict[int, int]:
        """Return the processes that work on the study here, by their seeds."""
        found = {}
        names = {job_of(seed): seed for seed in SEEDS}
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if words[1].endswith("scripts/train.py") and (entry / "cwd").readlink() == self.folder:
                    found |= {names[word]: int(entry.name) for word in words if word in names}
            except (OSError, IndexError):
                continue
        return found

    def record(self, strategy: str, seed: int) -> Record:
        return Record.read(self.folder / LAYOUT.record(run_of(strategy, seed)))

    # --- what happens to them

    def take(self, seconds: int) -> str:
        """Let an urgent job take a card of the first node; returns its number. It writes which one it got."""
        return self.cluster.call(
            "sbatch", "--parsable", f"--partition={URGENT}", "--nodelist=node1", "--gpus=1", "--mem=50", "--time=70",
            f"--output={self.folder}/urgent-%j", "--wrap", f"echo $CUDA_VISIBLE_DEVICES; sleep {seconds}",
        )  # fmt: skip

    def pause(self, snakemake: subprocess.Popen[bytes]) -> dict[int, int]:
        """Stop each job in the middle of its slow cell, so that all are hit there; returns the processes."""
        stopped: dict[int, int] = {}

        def all_stopped() -> bool:
            assert snakemake.poll() is None, (self.folder / "log").read_text()
            for seed in set(SEEDS) - stopped.keys():
                checkpoints = self.folder / LAYOUT.record(run_of("slow", seed)).parent / "checkpoints"
                if list(checkpoints.glob("*/sha256.json")):
                    stopped[seed] = self.processes()[seed]
                    os.kill(stopped[seed], signal.SIGSTOP)
            return len(stopped) == len(SEEDS)

        until(all_stopped, 1500)
        return stopped

    def disturb(self, processes: dict[int, int]) -> None:
        """Hit each job; the scheduler chooses which one is preempted."""
        jobs = {seed: self.attempts(seed)[0] for seed in SEEDS}
        self.devices = {seed: (job["NodeList"], re.search(r"IDX:(\d)", job["GRES"])[1]) for seed, job in jobs.items()}
        kept = {seed: stamps(self.folder, seed) for seed in SEEDS}
        first = [seed for seed, (node, _) in self.devices.items() if node == "node1"]

        def note(fault: str, seed: int) -> None:
            self.seeds[fault], self.ids[fault], self.finished[fault] = seed, jobs[seed]["JobId"], kept[seed]
            self.times[fault] = datetime.now()

        (alone,) = set(SEEDS) - set(first)
        note("loss of the node", alone)
        self.cluster.lose("node2")
        self.urgent = self.take(5)
        until(lambda: any(self.state(seed) != "RUNNING" for seed in first))
        (preempted,) = (seed for seed in first if self.state(seed) != "RUNNING")
        note("preemption", preempted)
        cancelled, killed = (seed for seed in first if seed != preempted)
        note("SIGKILL", killed)
        os.kill(processes[killed], signal.SIGKILL)
        note("scancel", cancelled)
        self.cluster.call("scancel", jobs[cancelled]["JobId"])


@pytest.fixture(scope="module")
def study(cluster, speed, tmp_path_factory):
    folder = copy_project(tmp_path_factory.mktemp("slurm") / "project").resolve()
    make_model(folder / "data/model")
    (folder / "data/model/source.json").unlink()
    (folder / "data/reviews.csv").write_text(csv_of_texts(120))
    edit(folder / "profiles/slurm/profile.yaml", "# slurm_partition: gpu", f"slurm_partition: {PARTITION}")
    write_config(
        folder, tasks=[REVIEWS], strategies=STRATEGIES, seeds=SEEDS, training={"batch_size": 8},
        probes={"measure": ["calibration"]}, resources={"cells_per_job": 8},
    )  # fmt: skip
    study = Study(cluster, folder)
    reserved = study.take(3600)  # so that three of the four jobs run on the first node, and one on the second
    snakemake = start(cluster, folder, speed.poll)
    try:
        study.disturb(study.pause(snakemake))
        cluster.call("scancel", reserved)
        snakemake.wait(speed.patience_s)
    finally:
        snakemake.kill()
        study.output = (folder / "log").read_text()
    assert snakemake.wait() == 0, study.output
    return study


every_fault = pytest.mark.parametrize("fault", ENDS)


@every_fault
def test_jobs_of_eight_cells_lose_none_and_train_no_finished_one_again(study, speed, injected, fault):
    seed = study.seeds[fault]
    assert stamps(study.folder, seed) == study.finished[fault]
    for strategy in NAMES:
        trained = study.record(strategy, seed)
        assert trained.status == ("diverged" if strategy == "hot" else "completed")
        assert ProbeRecord.read(study.folder / LAYOUT.probe_record(run_of(strategy, seed))).status == (
            "not probed" if strategy == "hot" else "probed"
        )
    said = (study.folder / LAYOUT.job_log(job_of(seed))).read_text()  # of the last attempt
    again = re.findall(r"^run (\S+): done", said, re.MULTILINE)
    assert list(dict.fromkeys(again)) == [run_of(strategy, seed) for strategy in NAMES[HIT:]]
    ended = datetime.fromisoformat(study.attempts(seed)[-1]["EndTime"])
    took = (ended - study.times[fault]).total_seconds()
    slow = ", with SLURM's own timeouts" if speed is DEFAULTS else ""
    injected(f"{fault} of a job of eight cells under SLURM{slow}", recovery_s=took)


@every_fault
def test_the_cell_that_was_hit_goes_on_from_its_checkpoint_and_no_other_was_ever_broken_off(study, fault):
    """After SLURM's SIGTERM from that of the update at which it came."""
    seed = study.seeds[fault]
    went_on = {
        strategy: [
            int(note.split()[4].rstrip(":"))
            for note in study.record(strategy, seed).notes
            if note.startswith("went on")
        ]
        for strategy in NAMES
    }
    assert {strategy for strategy, updates in went_on.items() if updates} == {"slow"}
    (update,) = went_on["slow"]
    assert update > 0
    assert len(study.record("slow", seed).history) == 30
    assert not (study.folder / LAYOUT.record(run_of("slow", seed)).parent / "checkpoints").exists()


@pytest.mark.parametrize(("fault", "state"), RESUBMITTED.items())
def test_snakemake_submits_a_cancelled_and_a_killed_job_again_with_more_memory_and_time(study, fault, state):
    first, second = study.attempts(study.seeds[fault])
    assert first["JobId"] == study.ids[fault]
    assert (first["JobState"], second["JobState"]) == (state, "COMPLETED")
    assert (first["MinMemoryNode"], second["MinMemoryNode"]) == ("3000M", "6000M")
    assert (first["TimeLimit"], second["TimeLimit"]) == ("1-00:00:00", "2-00:00:00")  # eight trainings and their probes
    assert f"SLURM-job '{first['JobId']}' failed, SLURM status is: '{state}'" in study.output


@pytest.mark.parametrize("fault", REQUEUED)
def test_slurm_requeues_what_is_preempted_or_loses_its_node_and_no_attempt_is_used_up(study, fault):
    (only,) = study.attempts(study.seeds[fault])
    assert only["JobId"] == study.ids[fault]
    assert (only["JobState"], only["Restarts"], only["MinMemoryNode"]) == ("COMPLETED", "1", "3000M")
    assert f"SLURM-job '{only['JobId']}' failed" not in study.output


def test_the_urgent_job_ran_where_it_preempted_a_job(study):
    (urgent,) = study.cluster.jobs(JobId=study.urgent)
    assert (urgent["JobState"], urgent["NodeList"]) == ("COMPLETED", "node1")
    assert study.devices[study.seeds["preemption"]][0] == "node1"


def test_the_job_of_the_lost_node_went_on_on_the_other_one(study):
    seed = study.seeds["loss of the node"]
    nodes = [study.record(strategy, seed).environment.gpu_uuid.split("/")[0] for strategy in NAMES]
    assert nodes == ["node2"] * HIT + ["node1"] * (len(NAMES) - HIT)


def test_jobs_that_run_at_once_have_devices_of_their_own_and_records_name_theirs(study):
    assert len(set(study.devices.values())) == len(SEEDS)
    for seed, (node, card) in study.devices.items():
        assert study.record("none", seed).environment.gpu_uuid == f"{node}/{card}"
        log = (study.folder / LAYOUT.train_log(run_of("none", seed))).read_text()
        assert f"GPU slot {card}/0 (scheduler)" in log


def test_text_is_prepared_and_results_are_collected_without_a_job_and_all_cells_are_among_them(study):
    comments = [job.get("Comment", "") for job in study.cluster.jobs()]
    assert {match[1] for comment in comments if (match := re.match("rule_([a-z]+)_", comment))} == {
        "reference",
        "train",
    }
    assert pd.read_csv(study.folder / TARGET)["run"].nunique() == len(NAMES) * len(SEEDS)


def test_a_diverged_cell_is_a_result_that_stops_no_job_and_is_not_tried_again(study, injected):
    for seed in SEEDS:
        assert study.record("hot", seed).status == "diverged"
        assert study.record("hot", seed).timings.started <= study.record("window", seed).timings.started
    injected("exploding gradient (recorded as `diverged`)", times=len(SEEDS))


def test_logs_of_slurm_are_kept_where_a_job_failed_and_what_it_said_is_shown(study):
    kept = {path.stem for path in (study.folder / "results/slurm-logs").rglob("*.log")}
    assert kept == {study.ids[fault] for fault in RESUBMITTED}
    assert f"Logfile results/mine/logs/jobs/{job_of(study.seeds['SIGKILL'])}.log" in study.output


def test_a_second_call_does_nothing(study, speed):
    before = len(study.cluster.jobs())
    assert start(study.cluster, study.folder, speed.poll).wait(120) == 0
    assert "Nothing to be done" in (study.folder / "log").read_text()
    assert len(study.cluster.jobs()) == before
