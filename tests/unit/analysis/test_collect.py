"""Run folders to metrics.csv, outcomes.parquet and manifest.json."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from maskbench.analysis.collect import collect
from maskbench.analysis.metrics import METRIC_COLUMNS, read_metrics
from maskbench.config.measures import MEASURES, measure
from maskbench.errors import InputError
from maskbench.records.manifest import read_models
from maskbench.records.pretraining import PretrainingRecord
from tests.helpers import run_folders as synthetic

ROOT = Path(__file__).resolve().parents[3]
FILES = ("metrics.csv", "metrics.parquet", "along.csv", "outcomes.parquet", "manifest.json")


@pytest.fixture
def study(tmp_path):
    failed = {("conll2003", "random", 2): "diverged"}
    runs = synthetic.write_study(
        tmp_path, ["rt-snippets", "conll2003"], ["none", "random"], 2, failed=failed, examples=50
    )
    return tmp_path, runs


def test_collects_every_number_and_every_run(study, tmp_path):
    folder, runs = study
    collect("s", folder, runs, folder)
    metrics = read_metrics(folder / "metrics.csv")
    assert list(metrics["run"].unique()) == runs
    assert list(metrics.columns) == list(METRIC_COLUMNS)
    pd.testing.assert_frame_equal(metrics, pd.read_parquet(folder / "metrics.parquet"), check_dtype=False)
    record = json.loads((folder / "training" / runs[0] / "metrics.json").read_text())
    stored = {(item["split"], item["measure"]): item["value"] for item in record["metrics"]}
    rows = metrics[metrics["run"] == runs[0]]
    found = dict(zip(zip(rows["split"], rows["measure"], strict=True), rows["value"], strict=True))
    assert {key: value for key, value in found.items() if not measure(key[1]).derived} == stored
    more = set(found) - set(stored)
    assert more == {(entry.split, entry.name) for entry in MEASURES.values() if entry.derived} & set(found)
    outcomes = pd.read_parquet(folder / "outcomes.parquet")
    assert list(outcomes.columns) == ["run", "set", "example", "hit", "weight"]
    assert set(outcomes["set"]) == {"test", "test:disagreement"}
    assert outcomes.groupby(["run", "set"], observed=True).size().eq(50).all()
    assert set(outcomes["run"]) == set(runs) - {"conll2003.minilm-l6.random.single.clean.n2000.s2"}


def pretraining_record() -> PretrainingRecord:
    """Return the record of a pretraining of nine updates, whose held-out loss fell from 6 nats to 4."""
    rows = [
        {"update": update, "loss": loss, "unigram_loss": 6.2, "accuracy": share, "pseudo_perplexity": 9.0}
        | {"sequences": 8, "masked": 90}
        for update, loss, share in ((4, 6.0, 0.1), (9, 4.0, 0.3))
    ]
    speed = {"tokens": 9, "seconds": 1.0, "operations_per_token": 1.0, "gemm_peak": 1.0}
    machine = dict.fromkeys(("python", "platform", "device", "device_name", "precision", "attention"), "made up")
    return PretrainingRecord.model_validate(
        {
            **{"model": "minilm-l6", "key": "k", "status": "completed", "files": {}, "recipe": {}, "updates": 9},
            **{"passes": 1.0, "held_out": rows, "unigram_entropy": 6.5, "unigram_loss": 6.6, "pack": "p"},
            **{"masks": {"rate": 0.15, "shown": 9, "repeated": 0}, "corpora": {}, "start": None, "code": "c"},
            **{"speed": speed | {"tokens_per_s": 9.0, "share_of_peak": 0.5}, "command": "c", "started": "today"},
            **{"environment": machine | {"gpu_uuid": None, "threads": 1, "packages": {}}, "wall_s": 1.0},
        }
    )


def test_metrics_and_manifest_say_how_models_were_pretrained(study):
    folder, runs = study
    record = folder / "data" / "models" / "minilm-l6" / "pretraining.json"
    record.parent.mkdir(parents=True)
    written = pretraining_record()
    written.write(record)
    collect("s", folder, runs, folder, pretrained={"minilm-l6": ("mini", 7)})
    metrics = read_metrics(folder / "metrics.csv")
    assert set(metrics["recipe"]) == {"mini"}
    assert set(metrics["pretraining_seed"]) == {7}
    (entry,) = read_models(folder / "manifest.json")
    assert (entry.recipe, entry.pretraining_seed, entry.updates) == ("mini", 7, 9)
    assert (entry.held_out_loss, entry.held_out_accuracy, entry.unigram_loss) == (4.0, 0.3, 6.2)
    written.model_copy(update={"held_out": []}).write(record)
    with pytest.raises(InputError, match=r"pretraining\.json: expected a row of held_out, found none"):
        collect("s", folder, runs, folder, pretrained={"minilm-l6": ("mini", 7)})


def test_what_was_measured_along_training_is_kept(study):
    folder, runs = study
    path = folder / "training" / runs[0] / "metrics.json"
    record = json.loads(path.read_text())
    record["conflict"] = [
        {"step": 0, "layer": "all", "cosine": 0.5},
        {"step": 0, "layer": "layer-1", "cosine": None},
    ]
    path.write_text(json.dumps(record))
    collect("s", folder, runs, folder)
    along = pd.read_csv(folder / "along.csv")
    assert list(along.columns) == ["run", "step", "measure", "value"]
    rows = along[along["run"] == runs[0]]
    scores = rows[rows["measure"] == "validation_score"]
    assert scores["step"].tolist() == [row["step"] for row in record["history"]]
    assert scores["value"].tolist() == [row["score"] for row in record["history"]]
    cosines = rows[rows["measure"].str.startswith("gradient_cosine")].set_index("measure")["value"]
    assert cosines["gradient_cosine"] == 0.5
    assert pd.isna(cosines["gradient_cosine:layer-1"])


def test_a_failed_run_keeps_an_empty_score(study):
    folder, runs = study
    collect("s", folder, runs, folder)
    metrics = read_metrics(folder / "metrics.csv")
    rows = metrics[metrics["status"] == "diverged"]
    places = [["test", "score"], ["test", "failed"], ["run", "machine"], ["run", "device"]]
    assert rows[["split", "measure"]].to_numpy().tolist() == places
    assert rows["value"].isna().tolist() == [True, False, False, False]
    assert rows["value"].iloc[1] == 1.0
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["statuses"] == {"completed": 7, "diverged": 1}
    assert manifest["records"][7]["error"] == "loss is not finite at step 40"


def test_the_same_runs_give_the_same_bytes(study, tmp_path):
    folder, runs = study
    collect("s", folder, runs, folder / "one")
    collect("s", folder, runs, folder / "two")
    for name in FILES:
        assert (folder / "one" / name).read_bytes() == (folder / "two" / name).read_bytes(), name


def test_the_manifest_says_how_it_was_made(study):
    folder, runs = study
    path = folder / "training" / runs[0] / "metrics.json"
    record = json.loads(path.read_text())
    record["environment"]["packages"] = {"torch": "2.12.0", "peft": "0.19"}
    path.write_text(json.dumps(record))
    collect("s", folder, runs, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["packages"] == {"python": "3.11.9"}
    assert manifest["packages_that_differ"] == {
        "torch": {"2.12.0": 1, "2.13.0": 7},
        "peft": {"0.19": 1, "(absent)": 7},
        "transformers": {"5.23.0": 7, "(absent)": 1},
    }
    assert manifest["wall_s"] == pytest.approx(8 * 70.5)
    assert manifest["train_s"] == pytest.approx(7 * 60.25)
    entry = manifest["records"][0]
    assert entry["run"] == runs[0]
    assert entry["code"] == "0123456789abcdef"
    assert entry["data"] == {"prepared": "a" * 64, "encoded": "b" * 64, "model": "c" * 64, "lexicons": {}}
    assert entry["gpu_uuid"] is None


def garble(record, path):
    path.write_text("{", encoding="utf-8")


def rename(record, path):
    path.write_text(json.dumps({**record, "run": "another"}))


def wrong_unit(record, path):
    record["metrics"][0]["unit"] = "points"
    path.write_text(json.dumps(record))


def without_score(record, path):
    path.write_text(json.dumps({**record, "metrics": record["metrics"][1:]}))


def twice(record, path):
    path.write_text(json.dumps({**record, "metrics": record["metrics"] * 2}))


def future_schema(record, path):
    path.write_text(json.dumps({**record, "schema": 2}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (garble, "not valid JSON"),
        (rename, "run: expected"),
        (wrong_unit, "expected the unit fraction, got points"),
        (without_score, "no score on test"),
        (twice, "stands twice"),
        (future_schema, "schema"),
        (lambda record, path: path.unlink(), "cannot be read"),
    ],
)
def test_a_bad_record_is_named(study, damage, message):
    folder, runs = study
    path = folder / "training" / runs[3] / "metrics.json"
    damage(json.loads(path.read_text()), path)
    with pytest.raises(InputError, match=message) as error:
        collect("s", folder, runs, folder)
    assert str(path) in str(error.value)
    assert not any((folder / name).exists() for name in FILES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.assign(hit=0.0), "add up to a score of 0.000000"),
        (lambda frame: frame.drop(columns="weight"), "expected a parquet file with example, hit, weight"),
        (lambda frame: frame.drop(columns="prediction"), "expected a parquet file with example, hit, weight, pred"),
        (lambda frame: frame.assign(hit="yes"), "numbers as hit and weight"),
        (lambda frame: frame.iloc[:0], "a row for each test example"),
        (lambda frame: frame.assign(hit=float("inf")), "finite"),
    ],
)
def test_bad_predictions_are_named(study, change, message):
    folder, runs = study
    path = folder / "training" / runs[1] / "predictions.parquet"
    change(pd.read_parquet(path)).to_parquet(path)
    with pytest.raises(InputError, match=message) as error:
        collect("s", folder, runs, folder)
    assert str(path) in str(error.value)


def test_a_completed_run_without_predictions_is_named(study):
    folder, runs = study
    (folder / "training" / runs[1] / "predictions.parquet").unlink()
    with pytest.raises(InputError, match=rf"{runs[1]}/predictions.parquet"):
        collect("s", folder, runs, folder)


@pytest.fixture
def mixed(tmp_path):
    runs = synthetic.write_mixed(tmp_path, ["rt-snippets", "conll2003"], ["none", "random"], 2, examples=30)
    return tmp_path, runs


def test_probes_are_merged_with_the_record(mixed):
    folder, runs = mixed
    collect("s", folder, runs, folder, probed=True)
    metrics = read_metrics(folder / "metrics.csv")
    assert list(metrics["run"].unique()) == runs  # run by run, whatever was computed in the end
    assert (metrics["run"] != metrics["run"].shift()).sum() == len(runs)
    run = runs[0]
    record = json.loads((folder / "probes" / run / "metrics.json").read_text())
    rows = metrics[metrics["run"] == run].set_index(["split", "measure"])["value"]
    for item in record["metrics"]:
        value = rows[item["split"], item["measure"]]
        assert pd.isna(value) if item["value"] is None else value == item["value"]
    outcomes = pd.read_parquet(folder / "outcomes.parquet")
    sizes = outcomes[outcomes["run"] == run].groupby("set", observed=True).size()
    assert sizes.to_dict() == {"test": 30, "test:disagreement": 30, "distractor": 20, "swap-10": 20}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["records"][0]["probes"] == {
        "status": "probed",
        "error": None,
        "notes": ["mlm_forgetting: the model has no masked-LM head"],
        "code": "fedcba9876543210",
        "timings": {"started": "2026-11-22T03:00:00+00:00", "wall_s": 12.5, "cpu_s": None},
    }
    assert (manifest["probed"], manifest["probe_s"]) == (40, 40 * 12.5)


def test_probes_that_are_not_asked_for_are_not_read(mixed):
    folder, runs = mixed
    (folder / "probes" / runs[0] / "metrics.json").unlink()
    collect("s", folder, runs, folder)
    assert "distractor_drop" not in set(read_metrics(folder / "metrics.csv")["measure"])
    assert set(pd.read_parquet(folder / "outcomes.parquet")["set"]) == {"test", "test:disagreement"}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["records"][0]["probes"], manifest["probed"]) == (None, 0)


def test_the_same_probed_runs_give_the_same_bytes(mixed):
    folder, runs = mixed
    script = (
        "import sys; from pathlib import Path; from maskbench.analysis.collect import collect; f = Path(sys.argv[1])"
    )
    script += "\ncollect('s', f, sys.argv[3:], f / sys.argv[2], probed=True)"
    for name in ("one", "two"):  # processes of their own: hashes of bytes differ between them
        subprocess.run([sys.executable, "-c", script, str(folder), name, *runs], cwd=ROOT, check=True)
    for name in FILES:
        assert (folder / "one" / name).read_bytes() == (folder / "two" / name).read_bytes(), name


def test_a_failed_run_is_not_probed(tmp_path):
    runs = [synthetic.write_run(tmp_path, "rt-snippets", "none", seed, "oom", 30, probes=True) for seed in (1, 2)]
    collect("s", tmp_path, runs, tmp_path, probed=True)
    metrics = read_metrics(tmp_path / "metrics.csv")
    rows = metrics[~metrics["measure"].isin(["machine", "device"])]
    assert rows[["measure", "value"]].fillna(-1).to_numpy().tolist() == [["score", -1], ["failed", 1]] * 2
    path = tmp_path / "probes" / runs[1] / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "probed"}))
    with pytest.raises(InputError, match="status: probed, but the run has the status oom"):
        collect("s", tmp_path, runs, tmp_path, probed=True)


def derived(record, path):
    record["metrics"].append({"split": "test", "measure": "failed", "value": 0.0, "unit": "fraction"})
    path.write_text(json.dumps(record))


def as_in_training(record, path):
    record["metrics"].append({"split": "test", "measure": "loss", "value": 0.0, "unit": "nats"})
    path.write_text(json.dumps(record))


def out_of_order(record, path):
    path.write_text(json.dumps({**record, "trajectory": record["trajectory"][::-1]}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (garble, "not valid JSON"),
        (rename, "run: expected"),
        (wrong_unit, "expected the unit fraction, got points"),
        (twice, "stands twice"),
        (as_in_training, "loss of test stands twice"),
        (derived, "failed takes several runs"),
        (out_of_order, "trajectory: expected each step once"),
        (future_schema, "schema"),
        (lambda record, path: path.write_text(json.dumps({**record, "status": "not probed"})), "not probed"),
        (lambda record, path: path.unlink(), "cannot be read"),
    ],
)
def test_a_bad_probe_record_is_named(mixed, damage, message):
    folder, runs = mixed
    path = folder / "probes" / runs[3] / "metrics.json"
    damage(json.loads(path.read_text()), path)
    with pytest.raises(InputError, match=message) as error:
        collect("s", folder, runs, folder, probed=True)
    assert str(path) in str(error.value)
    assert not any((folder / name).exists() for name in FILES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.assign(set="test"), "set: test is the run's own"),
        (lambda frame: pd.concat([frame, frame.iloc[:1]]), "each example of a set once"),
        (lambda frame: frame.drop(columns="set"), "expected a parquet file with set, example, hit, weight"),
        (lambda frame: frame.assign(weight=-1.0), "at least 0"),
        (lambda frame: frame.assign(hit=None), "no empty values"),
    ],
)
def test_bad_outcomes_of_sets_are_named(mixed, change, message):
    folder, runs = mixed
    path = folder / "probes" / runs[1] / "outcomes.parquet"
    change(pd.read_parquet(path)).to_parquet(path)
    with pytest.raises(InputError, match=message) as error:
        collect("s", folder, runs, folder, probed=True)
    assert str(path) in str(error.value)


def test_where_no_set_was_measured_outcomes_may_be_empty(mixed):
    folder, runs = mixed
    path = folder / "probes" / runs[0] / "outcomes.parquet"
    pd.read_parquet(path).iloc[:0].to_parquet(path, index=False)
    with pytest.raises(InputError, match=rf"{runs[0]}/outcomes.parquet: expected a row for each"):
        collect("s", folder, runs, folder, probed=True)
    record = path.with_name("metrics.json")
    content = json.loads(record.read_text())
    content["metrics"] = [item for item in content["metrics"] if item["measure"] == "ece"]
    record.write_text(json.dumps(content))
    collect("s", folder, runs, folder, probed=True)
    outcomes = pd.read_parquet(folder / "outcomes.parquet")
    assert set(outcomes.loc[outcomes["run"] == runs[0], "set"]) == {"test", "test:disagreement"}


def test_measured_sets_without_outcomes_are_named(mixed):
    folder, runs = mixed
    (folder / "probes" / runs[1] / "outcomes.parquet").unlink()
    with pytest.raises(InputError, match=rf"{runs[1]}/outcomes.parquet"):
        collect("s", folder, runs, folder, probed=True)


def test_a_run_is_listed_once(study):
    folder, runs = study
    with pytest.raises(InputError, match="expected each run once"):
        collect("s", folder, [*runs, runs[2]], folder)


def test_the_command_line_ends_in_one_line(study):
    folder, _ = study
    experiment = synthetic.experiment(
        ["rt-snippets", "conll2003"], ["none", "random"], 3
    )  # the third seed is not there
    path = synthetic.write_experiment(folder / "experiment.json", experiment)
    command = [
        sys.executable,
        str(ROOT / "scripts" / "collect.py"),
        "--experiment",
        str(path),
        "--results",
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "rt-snippets.minilm-l6.none.single.clean.n2000.s3/metrics.json: cannot be read" in done.stderr
