"""Interference on real text through Snakemake: every measure is there, and the positive controls come out."""

from __future__ import annotations

import pandas as pd
import pytest

from maskbench.config.measures import MEASURES
from tests.workflow.test_pipeline import copy_project, planned, snakemake, write_config

pytestmark = [pytest.mark.workflow, pytest.mark.network]

NEEDS_SEEDS = {"score_sd", "disagreement"}
NEEDS_A_HEAD = {"mlm_loss", "mlm_forgetting"}
INTERFERENCE = {name for name, entry in MEASURES.items() if entry.family in ("fit", "input", "task", "knowledge")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Single, sequential and joint runs, clean, with a cue and with flipped labels; ten times the learning rate."""
    folder = copy_project(tmp_path_factory.mktemp("interference") / "project")
    small = {"max_validation": 100, "max_test": 300}
    write_config(
        folder,
        tasks=[
            {"preset": "rt-snippets", "training": {"learning_rate": 1.0e-4}, **small},
            {"preset": "conll2003", "training": {"learning_rate": 1.0e-4}, **small},
        ],
        models=["minilm-l6"],
        strategies=["none", {"name": "hot", "learning_rate": 1.0e-3}, "oracle-cue"],
        regimes=["single", "sequential"],
        conditions=["clean", "cue:0.95", "label-noise:0.3"],
        seeds=[1],
        train_sizes=[500],
        training={"epochs": 4.0, "selection": "last"},
        probes={"examples": 200},
    )
    result = snakemake(folder)
    assert result.returncode == 0, result.stdout
    return folder


@pytest.fixture(scope="module")
def value(folder):
    """Return a measure of one run."""
    metrics = pd.read_csv(folder / "results/mine/metrics.csv", dtype={"train_size": "str"})

    def find(task, measure, strategy="none", regime="single", condition="clean"):
        rows = metrics[
            (metrics["task"] == task)
            & (metrics["strategy"] == strategy)
            & (metrics["regime"] == regime)
            & (metrics["condition"] == condition)
            & (metrics["measure"] == measure)
        ]
        assert len(rows) == 1, (task, measure, strategy, regime, condition)
        return float(rows["value"].iloc[0])

    return find


def test_ten_times_the_learning_rate_raises_forgetting_and_drift(value):
    for task, other in (("rt-snippets", "conll2003"), ("conll2003", "rt-snippets")):
        calm, hot = (value(task, "forgetting", strategy, f"after-{other}") for strategy in ("none", "hot"))
        assert hot > calm + 5
        assert value(task, "parameter_drift", "hot") > 2 * value(task, "parameter_drift")
        assert value(task, "representation_drift", "hot") > value(task, "representation_drift")


def test_a_planted_cue_raises_reliance_and_masking_exactly_the_cue_removes_it(value):
    planted = value("rt-snippets", "cue_reliance", condition="cue-95")
    masked = value("rt-snippets", "cue_reliance", "oracle-cue", condition="cue-95")
    clean = value("rt-snippets", "cue_reliance")
    assert planted > 30
    assert abs(clean) < 5
    assert abs(masked) < 5


def test_flipped_labels_trained_long_are_memorised(value):
    assert value("rt-snippets", "noise_memorisation", "hot", condition="noise-30") > 0.1


def test_a_second_call_does_nothing_and_no_model_is_left(folder):
    assert planned(folder) == {}
    assert not list((folder / "results/mine/training").glob("*/model"))
