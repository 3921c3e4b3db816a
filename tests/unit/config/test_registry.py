"""The registry of measures: one entry makes a measure appear wherever it belongs, without another list."""

from __future__ import annotations

import json

import pytest

from maskbench.analysis.collect import collect
from maskbench.analysis.compare import read_comparisons
from maskbench.analysis.contributions import recipe
from maskbench.analysis.metrics import read_metrics
from maskbench.config.claims import Control
from maskbench.config.measures import MEASURES, Measure, measure, registered, shown_in
from maskbench.config.measures.recipes import ratio
from maskbench.experiment.document import measures_page
from maskbench.report import tables
from maskbench.report.figures.curves import dynamic
from maskbench.report.interference import drawn
from tests.helpers import reports as report_samples
from tests.helpers import run_folders as synthetic

EXTRA = Measure(
    name="surprise",
    title="surprise of the reader",
    short="surprise",
    unit="points",
    better="lower",
    family="input",
    definition="How much a text surprises.",
    made_of=ratio(("test:surprise", 100.0)),
    flattered=True,
    along=True,
    shown=("interference", "profile", "profile at matched score", "comparisons", "dynamic"),
)


@pytest.fixture
def extra(monkeypatch):
    """Register a measure as the module of its family would."""
    for entry in registered([EXTRA]):
        monkeypatch.setitem(MEASURES, entry.name, entry)
    return EXTRA.name


def test_a_measure_is_written_once_and_documented(extra):
    page = measures_page()
    assert "| `surprise` | points | ↓ | **surprise of the reader**: How much a text surprises. |" in page
    assert "| `matched_surprise` | points | ↓ | **surprise of the reader at matched score**: `surprise` at" in page
    found, parts = recipe("surprise", ["test", "test:surprise"])
    assert (found.on_sets, parts[0].streams) == (False, (("test:surprise", 100.0),))


def test_what_is_measured_along_the_training_is_derived_at_matched_score(extra, tmp_path):
    runs = synthetic.write_study(tmp_path, ["rt-snippets"], ["none", "random"], 2, examples=40, probes=True)
    for run in runs:
        path = tmp_path / "probes" / run / "metrics.json"
        record = json.loads(path.read_text())
        record["metrics"].append({"split": "test", "measure": extra, "value": 1.0, "unit": "points"})
        for index, point in enumerate(record["trajectory"]):
            point["measures"][extra] = float(index)
        path.write_text(json.dumps(record))
    collect("s", tmp_path, runs, tmp_path, probed=True)
    found = read_metrics(tmp_path / "metrics.csv").query("measure == 'matched_surprise'")
    assert set(found["run"]) == set(runs)
    assert set(found["split"]) == {"test"}
    assert found["value"].between(0, 3).all()


def test_a_measure_is_shown_where_its_entry_says(extra, tmp_path, monkeypatch):
    measured = report_samples._measured

    def more(*given):
        value = given[-1].normal()
        return measured(*given) | {("test", extra): value, ("test", f"matched_{extra}"): value + 1}

    monkeypatch.setattr(report_samples, "_measured", more)
    strategies = {name: report_samples.STRATEGIES[name] for name in ("none", "random", "static")}
    study = report_samples.write_all(tmp_path / "s", ["rt-snippets"], strategies, 3, full=False)
    assert drawn(study)[-2:] == ["surprise", "matched_surprise"]
    assert {"surprise", "matched_surprise"} <= set(tables.interference(study).data["measure"])
    assert "surprise, points" in tables.comparisons(study).shown.columns
    assert not any("surprise" in name for name in tables.cost(study).data.columns)
    compared = read_comparisons(tmp_path / "s" / "analysis" / "comparisons.csv")
    assert set(compared["measure"]) == {*shown_in("comparisons")}
    assert [axes.get_title() for axes in dynamic(study).figure.axes][-1] == "surprise of the reader"


def test_a_control_of_a_measure_guards_its_value_at_matched_score(extra):
    contrast = {"name": "a vs b", "of": "a", "against": "b"}
    about = {"gate": "g", "sentence": "It holds.", "kind": "positive", "contrasts": [contrast], "measures": [extra]}
    gate = Control.model_validate({**about, "guards": [extra]})
    assert gate.guarded("surprise")
    assert gate.guarded("matched_surprise")
    assert not gate.guarded("matched_loss_gap")


def test_every_entry_is_whole():
    for name, entry in MEASURES.items():
        assert entry.name == name
        assert entry.definition.endswith(".")
        if entry.along:
            twin = measure(str(entry.matched))
            assert entry.flattered
            assert twin.derived
            assert (twin.at_matched_score, twin.flattered, twin.made_of) == (True, False, None)
            same = ("unit", "better", "family", "home", "split", "masked_lm")
            assert [getattr(twin, key) for key in same] == [getattr(entry, key) for key in same]
        if "cost" in entry.shown:
            assert entry.split == "run"
    labels = [MEASURES[name].label for name in shown_in("profile")]
    assert len(set(labels)) == len(labels)
