"""Kinds of task have a room of their own, their scores are functions of sums, and a third is a folder and a line."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import maskbench.kinds
from maskbench.analysis.bootstrap import generator, resampled_sums
from maskbench.analysis.collect import collect
from maskbench.analysis.metrics import OLD_COLUMNS, OUTCOME_COLUMNS, kinds_of, read_metrics, with_kind
from maskbench.analysis.outcomes import Outcomes
from maskbench.analysis.verdicts import judge
from maskbench.config.claims import Claims
from maskbench.config.kinds import TASK_KINDS, Form
from maskbench.config.measures import MEASURES, Measure, measure
from maskbench.config.measures.recipes import ratio
from maskbench.data.encode import encode
from maskbench.data.manifests import EncodedManifest, PreparedManifest
from maskbench.data.prepare import prepare
from maskbench.errors import InputError
from maskbench.io.code import ROOT, counted
from maskbench.kinds import PARTS, score
from maskbench.probes import fit
from maskbench.records.run import Record
from maskbench.report.study import Study
from maskbench.slots.device import choose
from maskbench.training.run import Inputs, run_cell
from tests.helpers.models import csv_of_texts, make_cell, make_model
from tests.helpers.tasks import make_source, make_task

FOLDER = Path(__file__).parent / "third_kind"
PEARSON = Measure(
    name="pearson",
    title="Pearson correlation",
    unit="coefficient",
    better="higher",
    family="score",
    definition="Correlation of the numbers that are given and those that are true.",
    made_of=ratio(("test", 1.0)),
)


@pytest.fixture
def third(monkeypatch):
    """A third kind of task: its folder is found beside the others, and one line registers it."""
    monkeypatch.setattr(maskbench.kinds, "__path__", [*maskbench.kinds.__path__, str(FOLDER)])
    monkeypatch.setitem(TASK_KINDS, "regression", Form(("csv", "tsv", "jsonl")))
    monkeypatch.setitem(MEASURES, "pearson", PEARSON)
    yield "regression"
    for name in [name for name in sys.modules if name.startswith("maskbench.kinds.regression")]:
        del sys.modules[name]


# --- the room


def sources():
    """Yield the files of the package and its scripts outside of the room of kinds, with what they say."""
    for path in sorted([*(ROOT / "maskbench").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]):
        if "kinds" not in path.relative_to(ROOT).parts and path.name != "kinds.py":
            yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def test_no_kind_is_named_outside_of_its_room():
    scores = {score.of(kind).measure for kind in TASK_KINDS}
    registries = {Path("maskbench/config/measures/score.py")}
    found = []
    for path, tree in sources():
        for node in ast.walk(tree):
            place = f"{path}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Constant) and node.value in set(TASK_KINDS):
                found.append(f"{place}: the name of a kind")
            if isinstance(node, ast.Constant) and node.value in scores and path not in registries:
                found.append(f"{place}: a kind, guessed from the measure {node.value}")
            names = [getattr(node, name, None) for name in ("id", "attr", "arg", "name")]
            if any(isinstance(name, str) and "tagging" in name.lower() for name in names):
                found.append(f"{place}: a name that says tagging")
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = getattr(node, "module", None) or ""
                if any(f"kinds.{kind.replace('-', '_')}" in module for kind in TASK_KINDS):
                    found.append(f"{place}: an import of one kind")
    assert found == []


def test_every_kind_has_every_part(third):
    for kind in TASK_KINDS:
        for name in PARTS:
            assert maskbench.kinds.part(kind, name) is maskbench.kinds.part(kind, name)
    with pytest.raises(KeyError):
        maskbench.kinds.part("nothing", "score")


def test_code_hashes_see_the_parts_that_a_stage_uses():
    parts = {"prepare": "reading", "encode": "encoding", "train": "head", "verdicts": "score"}
    modules = {script: {key.partition(":")[0] for key in counted(f"{script}.py")} for script in parts}
    for script, name in parts.items():
        assert {f"maskbench.kinds.{kind.replace('-', '_')}.{name}" for kind in TASK_KINDS} <= modules[script], script
    assert not any(name.endswith((".head", ".encoding")) for name in modules["prepare"] if ".kinds." in name)


# --- the kind in metrics.csv


def test_a_study_without_kinds_gets_them_from_its_measures_once(tmp_path):
    rows = [
        (f"{task}.m.none.single.clean.full.s1", task, *cell, "test", name, 0.5, measure(name).unit)
        for cell in [("m", "none", "single", "clean", "full", 1, "completed")]
        for task, own in (("words", "entity_f1"), ("texts", "accuracy"), ("else", "loss"))
        for name in ("score", own)
    ]
    old = pd.DataFrame(rows, columns=list(OLD_COLUMNS))
    old.to_csv(tmp_path / "old.csv", index=False)
    expected = {"words": "token-classification", "texts": "sequence-classification", "else": ""}
    assert kinds_of(read_metrics(tmp_path / "old.csv")) == expected
    new = with_kind(old)
    new.to_csv(tmp_path / "new.csv", index=False)
    pd.testing.assert_frame_equal(read_metrics(tmp_path / "new.csv"), read_metrics(tmp_path / "old.csv"))
    new.assign(kind="poetry").to_csv(tmp_path / "odd.csv", index=False)
    with pytest.raises(InputError, match=r"odd.csv: line 2: kind: expected one of sequence-classification, token-cl"):
        read_metrics(tmp_path / "odd.csv")
    two = new.assign(kind=["token-classification", ""] * 3)
    two.to_csv(tmp_path / "two.csv", index=False)
    with pytest.raises(InputError, match=r"two.csv: line 3: kind: expected token-classification, as on"):
        read_metrics(tmp_path / "two.csv")


# --- scores that are no ratios


def drawn(resamples, examples, owner, seed=0):
    """Return which rows each resample has, as the bootstrap draws them for a task."""
    counts = generator(seed, "examples", owner).multinomial(examples, np.full(examples, 1 / examples), size=resamples)
    return [np.repeat(np.arange(examples), count) for count in counts]


RUN = "a.m.none.single.clean.full.s1"
RUNS = pd.DataFrame(
    [(RUN, "a", "m", "none", "single", "clean", "full", 1)],
    columns=["run", "task", "model", "strategy", "regime", "condition", "train_size", "seed"],
)


def test_sums_of_resamples_are_those_of_the_rows_that_they_have():
    rng = np.random.default_rng(3)
    contributions = rng.normal(size=(5, 2, 30))
    found = resampled_sums(contributions, 40, generator(0, "examples", "a"))
    expected = [contributions[:, :, rows].sum(axis=-1) for rows in drawn(40, 30, "a")]
    assert found.shape == (5, 40, 2)
    assert np.allclose(found, np.stack(expected, axis=1))


def test_a_correlation_is_resampled_from_its_sums(third, tmp_path):
    rng = np.random.default_rng(1)
    true = rng.normal(size=50)
    given = true + rng.normal(size=50)
    columns = {"example": np.arange(50)}
    outcome = score.outcome_of(third, ["value"], columns, [given, (given - true) ** 2], true)
    assert outcome.score == pytest.approx(np.corrcoef(given, true)[0, 1])
    names = [name for name in score.sums_of([third, "token-classification"]) if name not in OUTCOME_COLUMNS]
    assert names == list(score.of(third).sums)
    table = outcome.table.assign(run=RUN, set="test", hit=0.0, weight=0.0)
    table[[*OUTCOME_COLUMNS, *names]].to_parquet(tmp_path / "outcomes.parquet", index=False)
    outcomes = Outcomes(tmp_path / "outcomes.parquet", 200, 0, {"a": third})
    recorded = pd.Series({RUN: 100 * outcome.score})
    found = outcomes.resampled("score", RUNS, recorded)[RUN]
    expected = [100 * np.corrcoef(given[rows], true[rows])[0, 1] for rows in drawn(200, 50, "a")]
    assert np.allclose(found, expected)
    # under its own name it is a coefficient
    assert np.allclose(outcomes.resampled("pearson", RUNS, recorded / 100)[RUN] * 100, expected)
    assert outcomes.influence["score"] == {}  # it is no share, so single texts are not counted for either side
    with pytest.raises(InputError, match="the outcomes add up to"):
        outcomes.resampled("score", RUNS, recorded + 1)
    # a study whose file lacks the sums is refused, never read as hits
    table[list(OUTCOME_COLUMNS)].to_parquet(tmp_path / "lacking.parquet", index=False)
    with pytest.raises(InputError, match=r"lacking.parquet: expected the column n"):
        Outcomes(tmp_path / "lacking.parquet", 200, 0, {"a": third}).resampled("score", RUNS, recorded)


def test_a_calibration_error_is_resampled_from_its_bins(tmp_path):
    rng = np.random.default_rng(2)
    sure, right = rng.uniform(0.5, 1, 80), rng.random(80) < 0.7
    kept = {}
    table = pd.DataFrame(
        {
            "example": np.arange(80),
            "probabilities": [np.array([1 - one, one]) for one in sure],
            "prediction": 1,
            "label": right.astype(int),
            "units": 1,
            "brier": 0.0,
        }
    )
    outcome = score.Outcome("sequence-classification", ("a", "b"), table)
    subject = SimpleNamespace(
        predictions=outcome,
        contribute=lambda name, examples, hit, weight=1.0: kept.update(
            {name: pd.DataFrame({"example": examples, "hit": np.asarray(hit, dtype=float), "weight": weight})}
        ),
        measured=lambda split, name, compute: compute(),
    )
    whole = next(fit.calibration(subject))
    list(fit.calibration(subject))
    parts = [one.assign(run=RUN, set=name) for name, one in kept.items() if "confident" in name]
    # every example is in the test split, whichever bin it is in
    assert sum(map(len, parts)) == 80
    pd.concat(parts)[list(OUTCOME_COLUMNS)].to_parquet(tmp_path / "outcomes.parquet", index=False)
    outcomes = Outcomes(tmp_path / "outcomes.parquet", 100, 0, {"a": "sequence-classification"})
    found = outcomes.resampled("ece", RUNS, pd.Series({RUN: 100 * whole}))[RUN]
    expected = [100 * fit.ece(sure[rows], right[rows]) for rows in drawn(100, 80, "a")]
    assert np.allclose(found, expected, atol=1e-3)


# --- a third kind, from its file to its verdict


def rated(count):
    """Return a CSV of texts with a number, which one word tells."""
    lines = csv_of_texts(count).splitlines()
    values = {"up": 1.0, "down": -1.0}
    rows = [line.rpartition(",") for line in lines[1:]]
    numbers = (f"{text},{values[label] + 0.01 * (n % 7)}" for n, (text, _, label) in enumerate(rows))
    return "\n".join(["text,label", *numbers])


def test_a_third_kind_goes_from_its_file_to_an_interval(third, tmp_path):
    task = make_task(kind=third, max_length=32)
    prepare(task, make_source(tmp_path / "source", {"train.csv": rated(80)}), tmp_path / "prepared")
    about = PreparedManifest.read(tmp_path / "prepared")
    assert (about.kind, about.labels, about.splits["train"].labels) == (third, ["value"], {})
    assert "by a plain permutation" in about.cut
    assert "each split" not in about.cut
    model = make_model(tmp_path / "model")
    encode(task, tmp_path / "prepared", model, tmp_path / "encoded")
    assert EncodedManifest.read(tmp_path / "encoded").kind == third
    runs = []
    for seed in (1, 2, 3):
        for strategy in ({"name": "none"}, {"name": "random", "input": {"kind": "random", "rate": 0.9}}):
            cell = make_cell(third, strategy, seed=seed, training={"epochs": 12, "learning_rate": 3e-3})
            folder = tmp_path / "study" / "training" / cell.run
            folder.mkdir(parents=True)
            inputs = Inputs(tmp_path / "encoded", model, tmp_path / "work")
            record, outcome = run_cell(cell, inputs, choose(cell.training), code="c", command="x")
            assert record.status == "completed", record.error
            record.write(folder / "metrics.json")
            outcome.table.to_parquet(folder / "predictions.parquet", index=False)
            runs.append(cell.run)
    of = {(item.split, item.measure): item.value for item in Record.read(folder / "metrics.json").metrics}
    predicted = outcome.table
    assert of["test", "pearson"] == of["test", "score"]
    assert of["test", "score"] == pytest.approx(np.corrcoef(predicted["label"], predicted["prediction"])[0, 1])
    assert of["test", "loss"] == pytest.approx(((predicted["label"] - predicted["prediction"]) ** 2).mean(), rel=1e-5)
    study = tmp_path / "study"
    collect("s", study, runs, study)
    metrics = read_metrics(study / "metrics.csv")
    assert kinds_of(metrics) == {"mine": third}
    assert Study.score_title(SimpleNamespace(kinds=kinds_of(metrics)), "mine") == "Pearson correlation"
    plain = metrics[(metrics["measure"] == "score") & (metrics["split"] == "test") & (metrics["strategy"] == "none")]
    assert plain["value"].max() > 0.5  # it learns
    contrast = {"name": "none against random", "of": {"strategy": "none"}, "against": {"strategy": "random"}}
    claims = Claims.model_validate(
        {
            "margins": {"points": {"pooled": 0.5, "task": 1.0}, "nats": 0.02, "per cent": 5, "coefficient": 0.01},
            "claims": [{"id": "C01", "claim": "It hurts.", "contrasts": [contrast], "measures": ["score", "loss"]}],
        }
    )
    outcomes = Outcomes(study / "outcomes.parquet", 300, 0, kinds_of(metrics))
    found = judge(metrics, outcomes, claims).verdicts
    assert set(found["interval"]) == {"seeds × texts"}
    assert np.isfinite(found[["estimate", "ci_low", "ci_high"]].to_numpy(dtype=float)).all()
    alone = judge(metrics, None, claims).verdicts
    assert found["estimate"].tolist() == alone["estimate"].tolist()
