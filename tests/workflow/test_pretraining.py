"""Pretraining as a stage, through Snakemake, on a user's own text: what runs, what runs again, what a failure stops."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from maskbench.records.pretraining import PretrainingRecord
from tests.helpers.models import csv_of_texts
from tests.helpers.packs import text
from tests.workflow.test_pipeline import METRICS, REVIEWS, copy_project, edit, planned, snakemake, to_do, write_config

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.workflow

SIZE = {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
CORPUS = {"name": "letters", "source": {"local": "data/letters.txt"}, "format": "text"}
RECIPE = {"corpora": [CORPUS, "tasks"], "size": SIZE, "vocabulary": 200, "length": 32, "batch_size": 8, "updates": 6}


def configure(folder: Path, changes: dict[str, Any], **more: Any) -> None:
    """Write a study of one recipe with two pretraining seeds."""
    models = [{"name": "own", "pretrain": RECIPE | {"seeds": [1, 2]} | changes}]
    plain = {"tasks": [REVIEWS], "models": models, "strategies": ["none"], "seeds": [1], "probes": {"measure": []}}
    write_config(folder, **(plain | more))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished study, and what its call said."""
    folder = copy_project(tmp_path_factory.mktemp("pretraining") / "project")
    (folder / "data").mkdir()
    (folder / "data/letters.txt").write_text(text(40))
    (folder / "data/reviews.csv").write_text(csv_of_texts(120))
    configure(folder, {})
    result = snakemake(folder, METRICS)
    assert result.returncode == 0, result.stdout
    return folder, result.stdout


def test_an_experiment_may_be_longer_than_an_argument_of_a_command(tmp_path: Path) -> None:
    folder = copy_project(tmp_path / "project")
    (folder / "data").mkdir()
    (folder / "data/letters.txt").write_text(text(40))
    (folder / "data/reviews.csv").write_text(csv_of_texts(120))
    configure(folder, {"seeds": list(range(1, 301))})
    result = snakemake(folder, "results/mine/experiment.json")
    assert result.returncode == 0, result.stdout
    assert (folder / "results/mine/experiment.json").stat().st_size > 2**17  # more than Linux takes as one argument


def test_each_seed_makes_a_model_that_cells_start_from(study: tuple[Path, str]) -> None:
    folder, output = study
    assert "of 2 models of the study's own, 2 to pretrain: own-p1, own-p2" in output
    folders = [folder / f"results/mine/data/models/own-p{seed}" for seed in (1, 2)]
    records = [PretrainingRecord.read(path / "pretraining.json") for path in folders]
    assert [record.recipe["seed"] for record in records] == [1, 2]
    assert records[0].files["model.safetensors"] != records[1].files["model.safetensors"]
    metrics = pd.read_csv(folder / METRICS)
    assert sorted(metrics["model"].unique()) == ["own-p1", "own-p2"]
    assert set(metrics["status"]) == {"completed"}
    for record in records:
        run = f"reviews.{record.model}.none.single.clean.full.s1"
        cell = json.loads((folder / f"results/mine/training/{run}/metrics.json").read_text())
        source = json.loads((folder / f"results/mine/data/models/{record.model}/source.json").read_text())
        assert source["files"] == record.files
        assert cell["data"]["model"]
        assert f"{record.model}: held-out loss" in output
    assert planned(folder, METRICS) == {}


def test_what_does_not_change_the_models_pretrains_nothing(copied: Path) -> None:
    configure(copied, {}, strategies=["none", "random"], training={"batch_size": 4, "learning_rate": 1e-3})
    assert "pretrain" not in planned(copied, METRICS)
    edit(copied / "maskbench/masks/input/static.py", "% self.duplicates", "% (self.duplicates + 1)")
    assert "pretrain" not in planned(copied, METRICS)
    configure(copied, {"seeds": [1, 2, 3]})
    assert planned(copied, METRICS)["pretrain"] == 1


def test_a_changed_recipe_text_or_code_pretrains_again(copied: Path) -> None:
    configure(copied, {"updates": 7})
    output = snakemake(copied, "--dry-run", METRICS).stdout
    assert "2 to pretrain: own-p1, own-p2" in output
    assert to_do(output) == (2, 0)
    configure(copied, {})
    assert planned(copied, METRICS) == {}
    edit(copied / "maskbench/training/pretraining/learner.py", "max(1, len(wanted))", "max(2, len(wanted))")
    assert planned(copied, METRICS)["pretrain"] == 2
    edit(copied / "maskbench/training/pretraining/learner.py", "max(2, len(wanted))", "max(1, len(wanted))")
    (copied / "data/letters.txt").write_text(text(41))
    assert planned(copied, METRICS)["pack"] == 1


@pytest.mark.long
def test_a_pack_that_is_made_again_as_it_was_pretrains_no_model_again(copied: Path) -> None:
    models = {path: path.stat().st_mtime_ns for path in copied.glob("results/mine/data/models/*/model.safetensors")}
    result = snakemake(copied, METRICS, "--forcerun", "pack")
    assert result.returncode == 0, result.stdout
    assert len(models) == 2
    assert {path: path.stat().st_mtime_ns for path in models} == models
    assert "kept" in (copied / "results/mine/logs/pretrain/own-p1.log").read_text()


def test_a_pretraining_that_fails_stops_what_depends_on_it_and_nothing_else(copied: Path) -> None:
    wild = {"name": "wild", "pretrain": RECIPE | {"learning_rate": 1e30, "max_grad_norm": 0.0, "warmup": 0.0}}
    tame = {"name": "tame", "pretrain": RECIPE | {"updates": 5}}
    configure(copied, {}, models=[wild, tame])
    result = snakemake(copied, METRICS)
    assert result.returncode != 0
    assert "model wild: its pretraining diverged: loss is " in result.stdout
    assert not list(copied.glob("results/mine/data/encoded/*.wild.*/manifest.json"))
    assert (copied / "results/mine/training/reviews.tame.none.single.clean.full.s1/metrics.json").exists()
