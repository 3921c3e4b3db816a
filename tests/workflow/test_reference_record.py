"""The committed record of the reference study: all that is shown of it comes out of it, byte for byte."""

from __future__ import annotations

import shutil

import pytest

from tests.helpers.recorded import ROOT, copy_record
from tests.workflow.test_pipeline import copy_project, jobs_of, snakemake

REFERENCE = ROOT / "results" / "reference"

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.long,
    pytest.mark.skipif(not (REFERENCE / "metrics.parquet").exists(), reason="there is no record yet"),
]


def test_tables_figures_and_page_of_the_reference_study_come_out_of_its_record(tmp_path):
    clone = copy_project(tmp_path / "project")
    shutil.copytree(ROOT / "experiments", clone / "experiments")
    results = clone / "results" / "reference"
    copy_record(REFERENCE, results)
    for folder in ("tables", "figures"):
        shutil.rmtree(results / folder)
    made = snakemake(clone, "figures", "--configfile", "experiments/reference.yaml")
    assert made.returncode == 0, made.stdout
    assert set(jobs_of(made.stdout)) == {"unpack", "tables", "plots", "figures"}
    for path in (path for folder in ("tables", "figures") for path in (REFERENCE / folder).iterdir()):
        assert (results / path.relative_to(REFERENCE)).read_bytes() == path.read_bytes(), path.name
