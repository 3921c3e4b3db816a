"""A recorded study, made without a network: Snakemake's own report, and the reference study beside it."""

from __future__ import annotations

import json
import re
import shutil
import zipfile

import pytest
import yaml

from maskbench.report.figures import FIGURES
from maskbench.report.tables import NAMES
from tests.helpers import reports as report_samples
from tests.unit.report.test_reference import WANTED, change
from tests.workflow.test_pipeline import ROOT, copy_project, snakemake

pytestmark = pytest.mark.workflow

CONFIG = {
    "study": "mine",
    "tasks": ["rt-snippets", "conll2003"],
    "models": ["minilm-l6"],
    "strategies": ["none", "random"],
    "seeds": [1, 2],
    "analysis": {"resamples": 100},
}


def test_the_report_of_a_recorded_study(tmp_path):
    folder = copy_project(tmp_path / "project")
    shutil.copy(ROOT / "claims.yaml", folder)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    results = folder / "results" / "mine"
    results.mkdir(parents=True)
    strategies = {name: report_samples.STRATEGIES[name] for name in CONFIG["strategies"]}
    report_samples.write_metrics(results, CONFIG["tasks"], strategies, 2, full=False)
    record = folder / "results" / "reference"
    report_samples.write_all(record, CONFIG["tasks"], strategies, 6, full=False)
    report_samples.write_evidence(record, wanted=WANTED)
    offline = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    made = snakemake(folder, **offline)
    assert made.returncode == 0, made.stdout
    assert "Reference study: <span" in (results / "report.html").read_text()
    change(record, ("C02",), note="Another note.")
    again = snakemake(folder, "--dry-run", **offline)
    assert re.search(r"^rule page:|^localrule page:", again.stdout, flags=re.MULTILINE), again.stdout
    assert not re.search(r"^(local)?rule (compare|verdicts|tables|plots):", again.stdout, flags=re.MULTILINE), (
        again.stdout
    )
    archived = snakemake(folder, "--report", "report.zip", **offline)
    assert archived.returncode == 0, archived.stdout
    with zipfile.ZipFile(folder / "report.zip") as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist()}
        page = archive.read("report/report.html").decode()
    assert names >= {f"{name}.svg" for name in FIGURES} | {f"{name}.csv" for name in NAMES} | {"report.html"}
    captions = json.loads((results / "figures/captions.json").read_text())
    first = {
        name: re.match(r"[\w ]{10,}", words.get("caption", words.get("why")))[0] for name, words in captions.items()
    }
    assert first.keys() == FIGURES.keys()
    for words in (*first.values(), "Doses and curves", "The answer", "Tables"):
        assert words in page, words
