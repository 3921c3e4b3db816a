"""Another probe in the configuration: what is measured again, what is trained again, and that it is said."""

from __future__ import annotations

import pytest

from tests.helpers.models import csv_of_texts, make_model
from tests.workflow.test_pipeline import METRICS, REVIEWS, copy_project, planned, snakemake, to_do, write_config

pytestmark = pytest.mark.workflow


def configure(folder, keep, *probes, **changes):
    keys = {
        "tasks": [REVIEWS],
        "strategies": ["none"],
        "seeds": [1],
        "keep_models": keep,
        "probes": {"measure": list(probes)},
    }
    write_config(folder, **keys | changes)


@pytest.mark.parametrize("keep", [pytest.param(True, marks=pytest.mark.long), False])
def test_another_probe_trains_nothing_again_where_models_are_kept_and_says_so_where_not(tmp_path, keep):
    """What a job does where models are kept is in test_job_runner.py at every change."""
    folder = copy_project(tmp_path / "project")
    make_model(folder / "data/model")
    (folder / "data/model/source.json").unlink()
    (folder / "data/reviews.csv").write_text(csv_of_texts(120))
    configure(folder, keep, "calibration")
    result = snakemake(folder, METRICS)
    assert result.returncode == 0, result.stdout
    assert "trained again" not in result.stdout
    assert planned(folder, METRICS) == {}
    models = [path / "model" for path in (folder / "results/mine/training").iterdir()]
    assert [model.exists() for model in models] == [keep]

    configure(folder, keep, "calibration", "parameter-drift")
    lost = "1 finished run is trained again: models were not kept (keep_models: true)"
    output = snakemake(folder, "--dry-run", METRICS).stdout
    assert (lost in output) == (not keep)
    assert to_do(output) == (0 if keep else 1, 1)
    if keep:
        configure(folder, keep, "trajectory")
        along = "1 finished run is trained again: weights along the way were not kept (probe: trajectory)"
        output = snakemake(folder, "--dry-run", METRICS).stdout
        assert along in output
        assert to_do(output) == (1, 1)
    else:
        configure(folder, keep, "calibration", "parameter-drift", seeds=[1, 2])  # a new run is none of them
        result = snakemake(folder, METRICS)
        assert result.returncode == 0, result.stdout
        assert result.stdout.count(lost) == 1
