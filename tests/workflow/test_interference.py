"""Interference on real text through Snakemake: the measures are there, and the positive controls come out."""

from __future__ import annotations

import pandas as pd
import pytest

from maskbench.config.measures import MEASURES
from tests.workflow.test_pipeline import METRICS, copy_project, planned, snakemake, write_config

pytestmark = [pytest.mark.workflow, pytest.mark.network]

SMALL = {"max_validation": 60, "max_test": 200}
# The last checkpoint is probed: what is memorised late would be lost with the best one.
COMMON = {
    "models": ["bert-tiny"],
    "seeds": [1],
    "train_sizes": [400],
    "training": {"epochs": 8.0, "selection": "last", "learning_rate": 3.0e-4},
    "probes": {"examples": 128},
}
# the model here has no such head; that of tests/unit/probes/test_probes_run.py has one
MASKED_LM = {name for name, entry in MEASURES.items() if entry.masked_lm}


class Study:
    """A study that has been run."""

    def __init__(self, folder):
        self.folder = folder
        metrics = pd.read_csv(folder / METRICS, dtype={"train_size": "str"})
        self.metrics = metrics.set_index(["task", "strategy", "regime", "condition", "measure"]).sort_index()

    def value(self, task, measure, strategy="none", regime="single", condition="clean"):
        """Return a measure that stands once in a run."""
        (value,) = self.metrics.loc[[(task, strategy, regime, condition, measure)], "value"]
        return float(value)


def study(folder, **keys):
    folder = copy_project(folder / "project")
    write_config(folder, **COMMON | keys)
    result = snakemake(folder, METRICS)
    assert result.returncode == 0, result.stdout
    return Study(folder)


@pytest.fixture(scope="module")
def conditions(tmp_path_factory):
    """One task: clean, with a planted cue, with flipped labels; and the cue masked wherever it stands."""
    return study(
        tmp_path_factory.mktemp("conditions"),
        tasks=[{"preset": "rt-snippets", **SMALL}],
        strategies=["none", "oracle-cue"],
        conditions=["clean", "cue:0.95", "label-noise:0.3"],
        training=COMMON["training"] | {"learning_rate": 1.0e-3},
    )


@pytest.fixture(scope="module")
def regimes(tmp_path_factory):
    """Two tasks: alone, one after another, both at once; and all of it at ten times the learning rate."""
    return study(
        tmp_path_factory.mktemp("regimes"),
        tasks=[{"preset": "rt-snippets", **SMALL}, {"preset": "conll2003", **SMALL}],
        strategies=["none", {"name": "hot", "training": {"learning_rate": 3.0e-3}}],
        regimes=["single", "sequential", "joint"],
        # what is measured on the input of a model is in the study of the conditions
        probes={
            "examples": 128,
            "measure": ["forgetting", "representation-drift", "parameter-drift", "trajectory", "seen-mentions"],
        },
    )


def test_a_planted_cue_raises_reliance_and_masking_exactly_the_cue_removes_it(conditions):
    planted = conditions.value("rt-snippets", "cue_reliance", condition="cue-95")
    masked = conditions.value("rt-snippets", "cue_reliance", "oracle-cue", condition="cue-95")
    clean = conditions.value("rt-snippets", "cue_reliance")
    assert planted > 60
    # the two words have some sentiment of their own, cue or not
    assert abs(clean) < 20
    assert abs(masked) < 20
    right, wrong = (
        conditions.value("rt-snippets", "conflicting_score", strategy, condition="cue-95")
        for strategy in ("oracle-cue", "none")
    )
    assert right > wrong + 0.3


def test_flipped_labels_trained_long_are_memorised(conditions):
    assert conditions.value("rt-snippets", "noise_memorisation", condition="noise-30") > 0.3


def test_ten_times_the_learning_rate_raises_forgetting_and_drift(regimes):
    for task in ("rt-snippets", "conll2003"):
        assert regimes.value(task, "parameter_drift", "hot") > 2 * regimes.value(task, "parameter_drift")
        assert regimes.value(task, "representation_drift", "hot") > regimes.value(task, "representation_drift")
    # CoNLL is the first task, since both learning rates learn it
    first, calm, hot = (
        regimes.value("rt-snippets", measure, strategy, "after-conll2003")
        for measure, strategy in (("sequence_score:1-1", "none"), ("forgetting", "none"), ("forgetting", "hot"))
    )
    assert first > 0.05
    assert hot > calm + 5


def test_every_measure_of_interference_is_there(conditions, regimes):
    found = {name.split(":")[0] for one in (conditions, regimes) for name in one.metrics.index.get_level_values(4)}
    wanted = {name for name, entry in MEASURES.items() if entry.family in ("fit", "input", "task", "knowledge", "cost")}
    off = {"attribution_agreement", "comprehensiveness", "comprehensiveness_random", "faithfulness"}  # unless asked for
    assert wanted - found == MASKED_LM | off


def test_a_second_call_does_nothing_and_no_model_is_left(conditions, regimes):
    for one in (conditions, regimes):
        assert planned(one.folder, METRICS) == {}
        assert not list((one.folder / "results/mine/training").glob("*/model"))
