"""MiniLM on real text through Snakemake: it learns, and its scores are those of the original scorers."""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile

import pandas as pd
import pytest
from sklearn.metrics import accuracy_score

from maskbench.data.packages import cached_archive
from maskbench.data.sources import cache_folder
from maskbench.experiment.load import load
from maskbench.records.run import Record
from tests.workflow.test_pipeline import METRICS, copy_project, snakemake, write_config

pytestmark = [pytest.mark.workflow, pytest.mark.network]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """One plain run of each preset task on a few hundred real sentences."""
    folder = copy_project(tmp_path_factory.mktemp("real") / "project")
    small = {"max_validation": 100, "max_test": 400}
    write_config(
        folder,
        tasks=[
            {"preset": "rt-snippets", "training": {"learning_rate": 2e-4, "epochs": 3.0}, **small},
            {"preset": "conll2003", **small},
        ],
        models=["minilm-l6"],
        strategies=["none"],
        seeds=[1],
        train_sizes=[600],
        training={"learning_rate": 5e-4},
        probes={"measure": []},
    )
    result = snakemake(folder, METRICS)
    assert result.returncode == 0, result.stdout
    return folder / "results/mine"


def read(study, task):
    """Return the record and the predictions of a task's run."""
    folder = study / f"training/{task}.minilm-l6.none.single.clean.n600.s1"
    record = Record.read(folder / "metrics.json")
    values = {item.measure: item.value for item in record.metrics if item.split == "test"}
    return values, pd.read_parquet(folder / "predictions.parquet")


def test_both_tasks_are_clearly_above_the_majority_class(study):
    for task, margin in (("rt-snippets", 0.15), ("conll2003", 0.2)):
        values, predictions = read(study, task)
        assert values["score"] > values["majority_score"] + margin
        assert len(predictions) == 400


def test_accuracy_is_that_of_scikit_learn(study):
    values, predictions = read(study, "rt-snippets")
    assert values["accuracy"] == pytest.approx(
        accuracy_score(predictions["label"], predictions["prediction"]), abs=1e-9
    )


@pytest.mark.skipif(shutil.which("perl") is None, reason="perl is missing: the original conlleval cannot be run")
def test_entity_f1_is_that_of_the_original_conlleval(study, tmp_path):
    task = load(
        {"study": "x", "tasks": ["conll2003"], "models": ["minilm-l6"], "strategies": ["none"], "seeds": [1]}
    ).tasks[0]
    with zipfile.ZipFile(cached_archive(task.source, cache_folder(None), "tests")) as archive:
        (tmp_path / "conlleval").write_bytes(archive.read("neuroner/conlleval"))
    values, predictions = read(study, "conll2003")
    tags = ["O", *(f"{place}-{kind}" for kind in task.labels for place in "BI")]
    lines = []
    for gold, found in zip(predictions["label"], predictions["prediction"], strict=True):
        lines += [f"w {tags[one]} {tags[other]}" for one, other in zip(gold, found, strict=True)] + [""]
    stray = sum(" I-" in f" {line.split()[-1]}" for line in lines if line)
    output = subprocess.run(
        ["perl", tmp_path / "conlleval"], input="\n".join(lines) + "\n", text=True, capture_output=True, check=True
    ).stdout
    overall = re.search(r"accuracy: +([\d.]+)%; precision: +([\d.]+)%; recall: +([\d.]+)%; FB1: +([\d.]+)", output)
    names = ("token_accuracy", "entity_precision", "entity_recall", "entity_f1")
    assert stray > 10  # there is something to read one way or another
    assert [round(100 * values[name], 2) for name in names] == [float(number) for number in overall.groups()]
    for kind in task.labels:
        of_kind = re.search(rf"{kind}: precision: +([\d.]+)%; recall: +([\d.]+)%; FB1: +([\d.]+)", output)
        found = [round(100 * values[f"{name}:{kind}"], 2) for name in ("precision", "recall", "f1")]
        assert found == [float(number) for number in of_kind.groups()]
