"""What snakemake-executor-plugin-slurm 2.8.0 gets wrong stays switched off (docs/slurm.md says why)."""

from __future__ import annotations

import re
from importlib.metadata import version
from itertools import combinations

import pytest
import yaml


@pytest.fixture(scope="module")
def profiles(root):
    return {path.parent.name: yaml.safe_load(path.read_text()) for path in (root / "profiles").glob("*/profile.yaml")}


@pytest.fixture(scope="module")
def rules(root):
    """The text of every rule, by its name or a part of it."""
    text = "\n".join(path.read_text() for path in sorted((root / "rules").glob("*.smk")))
    found = re.findall(r"^( *)rule( \w+)?:\n((?:\1    .*\n|\n)+)", text, re.MULTILINE)
    return {name.strip(): body for _, name, body in found}


def test_these_are_the_versions_that_it_was_learnt_with():
    """Another version: read its changes, run tests/slurm, and look at docs/slurm.md again."""
    assert version("snakemake-executor-plugin-slurm") == "2.8.0"
    assert version("snakemake-executor-plugin-slurm-jobstep") == "0.6.1"


def test_status_comes_from_squeue_and_does_not_fall_back_to_sacct_where_ended_jobs_are_shown_for_a_minute(profiles):
    slurm = profiles["slurm"]
    assert slurm["slurm-status-command"] == "squeue"
    assert 3 * slurm["slurm-init-seconds-before-status-checks"] <= 60


def test_no_profile_submits_arrays(profiles):
    assert not [key for profile in profiles.values() for key in profile if "array" in key]


def test_only_the_profile_retries_and_only_what_may_go_well_another_time(profiles, rules):
    assert profiles["slurm"]["retries"] >= 1
    assert "retries" not in profiles["default"]
    assert len(rules) > 12
    for name, body in rules.items():
        submitted = "localrule: True" not in body and "shell:" in body
        assert submitted == ("gpu=1" in body), name
        assert submitted == name.startswith(("train", "pretrain", "reference", "tune")), name
        assert re.findall(r"retries: (.+)", body) == ([] if submitted or "shell:" not in body else ["0"]), name
        if submitted:  # as much again at every further attempt
            assert re.search(r"mem_mb=lambda wildcards, attempt: CALL\.grown\([^=]*, attempt\s*\),", body), name
            assert re.search(r"runtime=lambda wildcards, attempt: CALL\.grown\([^=]*, attempt\s*\),", body), name


def test_slurm_itself_starts_a_job_again_that_is_preempted_or_loses_its_node(profiles):
    """Without it, many sites end such a job for good; Snakemake would use up an attempt and ask for more memory."""
    assert profiles["slurm"]["slurm-requeue"] is True


def test_rules_know_nothing_of_the_cluster(root):
    for path in [root / "Snakefile", *(root / "rules").glob("*.smk")]:
        assert not re.search("slurm|sbatch|srun|partition", path.read_text(), re.IGNORECASE), path


def test_partition_and_account_are_named_in_one_place(root):
    text = (root / "profiles/slurm/profile.yaml").read_text()
    assert text.count("slurm_partition") == text.count("slurm_account") == 1


def test_jobs_get_their_gpu_on_one_node(profiles):
    assert profiles["slurm"]["default-resources"]["nodes"] == 1


def test_no_profile_groups_jobs(profiles):
    """A group is one job to Snakemake: if a member fails, all are run again. A job of several cells loses none."""
    assert not [key for profile in profiles.values() for key in profile if "group" in key]


def test_what_every_call_needs_stands_in_the_profile_that_every_call_reads(profiles):
    for key in ("__definitions__", "shared-fs-usage"):
        assert [name for name, profile in profiles.items() if key in profile] == ["default"]
    for first, second in combinations(sorted(profiles), 2):
        # of what both say, a second profile would silently win
        shared = set(profiles[first]) & set(profiles[second])
        assert all(profiles[first][key] == profiles[second][key] for key in shared), (first, second)


def test_no_setting_has_a_name_that_srun_reads(root):
    """SLURM_NODES, SLURM_GPUS, ...: srun takes them for its own."""
    code = [*root.glob("maskbench/**/*.py"), *root.glob("scripts/*.py")]
    named = {name for path in code for name in re.findall(r"[\"'](SLURM_[A-Z_]+)", path.read_text())}
    named |= {
        name for path in root.glob("profiles/**/*.yaml") for name in re.findall(r"SLURM_[A-Z_]+", path.read_text())
    }
    assert named <= {"SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS"}
