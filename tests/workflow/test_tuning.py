"""Tuning as a stage, through Snakemake, on a user's own text: what runs, what is frozen, what runs again."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from maskbench.records.choices import Choices
from tests.helpers.models import csv_of_texts, make_model
from tests.workflow.test_pipeline import REVIEWS, copy_project, planned, snakemake, write_config

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.workflow

RESULTS = "results/mine"
CHOICES = f"{RESULTS}/tuning/choices.json"


def configure(folder: Path, rates: list[float], **more: object) -> None:
    """Write a study of two strategies and one seed, with a grid."""
    tune = {"learning_rates": rates, "seeds": [11], "train_size": 40, "validation_size": 20}
    plain = {"tasks": [REVIEWS], "seeds": [1], "probes": {"measure": []}, "resources": {"cells_per_job": "all"}}
    write_config(folder, tune=tune, **(plain | more))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished study, and what its call said."""
    folder = copy_project(tmp_path_factory.mktemp("tuning") / "project")
    make_model(folder / "data/model", head=True)
    (folder / "data/model/source.json").unlink()
    (folder / "data/reviews.csv").write_text(csv_of_texts(160))
    configure(folder, [1e-3, 1e-2])
    result = snakemake(folder)
    assert result.returncode == 0, result.stdout
    return folder, result.stdout


@pytest.fixture
def copied(study: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the finished study that a test may change; times of the files are kept."""
    shutil.copytree(study[0], tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def test_strategies_are_tuned_and_stand_in_the_study_at_both_rates(study: tuple[Path, str]) -> None:
    folder, output = study
    assert "of 4 tuning cells, 4 to train, in 1 job" in output
    assert "of 4 cells, 4 to train, in 2 jobs" in output
    assert "cells: 8 of 8 done, 0 left" in output
    choices = Choices.read(folder / CHOICES)
    assert [(item.strategy, len(item.tried)) for item in choices.choices] == [("none", 2), ("random", 2)]
    metrics = pd.read_csv(folder / RESULTS / "metrics.csv")
    assert set(metrics["strategy"]) == {"none", "random", "none-tuned", "random-tuned"}
    page = (folder / RESULTS / "report.html").read_text()
    assert choices.hash[:16] in page
    assert "Verdicts at the shared and at tuned learning rates" in page
    assert (folder / RESULTS / "tuning/verdicts.csv").exists()
    assert planned(folder) == {}


def test_a_changed_grid_tunes_again_and_trains_what_was_chosen_anew(copied: Path) -> None:
    configure(copied, [1e-3, 1e-2, 3e-2])
    output = snakemake(copied, "--dry-run").stdout
    assert "of 6 tuning cells, 2 to train, in 1 job" in output
    written = {path: path.stat().st_mtime_ns for path in copied.glob(f"{RESULTS}/training/*/metrics.json")}
    before = Choices.read(copied / CHOICES)
    assert snakemake(copied, f"{RESULTS}/metrics.csv").returncode == 0
    after = Choices.read(copied / CHOICES)
    again = {path.parent.name.split(".")[2] for path, time in written.items() if path.stat().st_mtime_ns != time}
    pairs = zip(before.choices, after.choices, strict=True)
    assert again == {f"{new.strategy}-tuned" for old, new in pairs if old.learning_rate != new.learning_rate}
    assert planned(copied, f"{RESULTS}/metrics.csv") == {}


def test_seeds_in_both_lists_stop_the_call_in_a_line(copied: Path) -> None:
    configure(copied, [1e-3, 1e-2], seeds=[1, 11])
    result = snakemake(copied, "--dry-run")
    assert result.returncode != 0
    (line,) = [line for line in result.stdout.splitlines() if "tune.seeds" in line]
    assert line.endswith("got 11 in both")
