"""Tuning as a stage, through Snakemake, on a user's own text: what runs, what is frozen, what runs again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest
import yaml

from maskbench.records.choices import Choices
from tests.helpers.models import HINTS, csv_of_hints, make_model
from tests.workflow.test_pipeline import REVIEWS, ROOT, copy_project, jobs_of, planned, snakemake, write_config

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.workflow

RESULTS = "results/mine"
CHOICES = f"{RESULTS}/tuning/choices.json"
GRID = [1e-3, 3e-3, 1e-2]
SHORT = {"name": "short", "parameter": {"kind": "step-twin", "of": {"kind": "child-f", "share": 0.02}}}
"""Plain fine-tuning, every step of which is about a sixth as long: what differs from `none` is the best rate alone."""
CLAIM = {
    "id": "C90",
    "claim": "Short steps cost score.",
    "contrasts": [{"name": "none vs short", "of": "none", "against": "short"}],
    "measures": ["score"],
}


def configure(folder: Path, rates: list[float], **more: object) -> None:
    """Write a study of two strategies and eight seeds, with a grid and a claim."""
    tune = {"learning_rates": rates, "seeds": [11], "train_size": 384, "validation_size": 150}
    training = {"learning_rate": 1e-3, "dropout": 0.0, "epochs": 2}
    reviews = REVIEWS | {"cut": {"validation": 0.1, "test": 0.25}}
    plain = {"tasks": [reviews], "strategies": ["none", SHORT], "seeds": [*range(1, 9)], "training": training}
    plain |= {"probes": {"measure": []}, "resources": {"cells_per_job": "all"}, "claims": "rates.yaml"}
    write_config(folder, tune=tune, **(plain | more))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished study, and what its call said."""
    folder = copy_project(tmp_path_factory.mktemp("tuning") / "project")
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 1, "initializer_range": 0.1}
    make_model(folder / "data/model", more=HINTS, **sizes)
    (folder / "data/model/source.json").unlink()
    (folder / "data/reviews.csv").write_text(csv_of_hints(1400))
    stated = yaml.safe_load((folder / "claims.yaml").read_text())
    (folder / "rates.yaml").write_text(yaml.safe_dump(stated | {"claims": [CLAIM], "gates": []}))
    configure(folder, GRID)
    result = snakemake(folder)
    assert result.returncode == 0, result.stdout
    return folder, result.stdout


def test_strategies_are_tuned_and_stand_in_the_study_at_both_rates(study: tuple[Path, str]) -> None:
    folder, output = study
    assert "of 6 tuning cells, 6 to train, in 1 job" in output
    assert "of 32 cells, 32 to train, in 16 jobs" in output
    assert "cells: 38 of 38 done, 0 left" in output
    choices = Choices.read(folder / CHOICES)
    assert [item.strategy for item in choices.choices] == ["none", "short"]
    metrics = pd.read_csv(folder / RESULTS / "metrics.csv")
    assert set(metrics["strategy"]) == {"none", "short", "none-tuned", "short-tuned"}
    page = (folder / RESULTS / "report.html").read_text()
    assert choices.hash[:16] in page
    assert "Verdicts at the shared and at tuned learning rates" in page
    assert planned(folder) == {}


def test_a_difference_of_two_rates_is_found_at_the_shared_one_alone(study: tuple[Path, str]) -> None:
    """Trained, tuned and judged by the pipeline, of two strategies that differ in nothing but their best rate."""
    folder, _ = study
    choices = Choices.read(folder / CHOICES)
    budget = {
        item.strategy: [(one.learning_rate, len(one.scores), one.failed) for one in item.tried]
        for item in choices.choices
    }
    assert budget == {name: [(rate, 1, 0) for rate in GRID] for name in ("none", "short")}
    rate = {item.strategy: item.learning_rate for item in choices.choices}
    assert rate["short"] > rate["none"]
    found = [
        pd.read_csv(folder / RESULTS / part / "verdicts.csv").set_index("scope").loc["pooled"]
        for part in ("", "tuning")
    ]
    shared, tuned = found
    assert (shared["verdict"], shared["n_seeds"]) == ("supported", 8)
    assert shared["estimate"] > 5
    assert tuned["verdict"] in ("equivalent", "inconclusive")
    assert tuned["ci_low"] < 0 < tuned["ci_high"]
    assert "refused" not in str(tuned["note"])
    metrics = pd.read_csv(folder / RESULTS / "metrics.csv")
    score = metrics[metrics["measure"] == "score"].query("split == 'test'").groupby("strategy")["value"].mean()
    assert score["short"] + 0.05 < score["short-tuned"]  # with a rate of its own it is as good as the other


@pytest.mark.long
def test_a_changed_grid_tunes_again_and_trains_what_was_chosen_anew(copied: Path) -> None:
    before = Choices.read(copied / CHOICES)
    (chosen,) = (item.learning_rate for item in before.choices if item.strategy == "short")
    configure(copied, sorted({*GRID, 0.9 * chosen} - {chosen}))
    output = snakemake(copied, "--dry-run").stdout
    assert "of 6 tuning cells, 2 to train, in 1 job" in output
    written = {path: path.stat().st_mtime_ns for path in copied.glob(f"{RESULTS}/training/*/metrics.json")}
    assert snakemake(copied, f"{RESULTS}/metrics.csv").returncode == 0
    after = Choices.read(copied / CHOICES)
    again = {path.parent.name.split(".")[2] for path, time in written.items() if path.stat().st_mtime_ns != time}
    pairs = zip(before.choices, after.choices, strict=True)
    assert again == {f"{new.strategy}-tuned" for old, new in pairs if old.learning_rate != new.learning_rate}
    assert "short-tuned" in again
    assert planned(copied, f"{RESULTS}/metrics.csv") == {}


def test_seeds_in_both_lists_stop_the_call_in_a_line(copied: Path) -> None:
    configure(copied, GRID, seeds=[1, 11])
    result = snakemake(copied, "--dry-run")
    assert result.returncode != 0
    (line,) = [line for line in result.stdout.splitlines() if "tune.seeds" in line]
    assert line.endswith("got 11 in both")


def test_each_job_of_a_tuning_waits_for_files_that_a_rule_makes(study: tuple[Path, str]) -> None:
    """Of a study whose masks ask for a lexicon, too, which the tuning has from its study."""
    result = snakemake(study[0], "--dry-run", "--configfile", str(ROOT / "experiments/reference-tuned.yaml"))
    assert result.returncode == 0, result.stdout[-2000:]
    assert jobs_of(result.stdout)["fetch_lexicon"] == 1
    assert "of 276 tuning cells, 276 to train" in result.stdout
