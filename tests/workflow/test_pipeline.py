"""The whole pipeline through Snakemake, on a copy of the project: a user's own files and a tiny random model."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from maskbench.config.measures import MEASURES
from maskbench.experiment.code import training_code
from maskbench.masks import Strategy
from maskbench.records.run import Record
from tests import warm
from tests.helpers.models import conll_of_sentences, csv_of_texts, make_model
from tests.helpers.recorded import copy_record

pytestmark = pytest.mark.workflow

ROOT = Path(__file__).resolve().parents[2]
METRICS = "results/mine/metrics.csv"
PARTS = ("Snakefile", "config.yaml", "claims.yaml", "rules", "scripts", "maskbench", "envs", "profiles")
COLUMNS = (
    "run,task,model,strategy,regime,condition,train_size,seed,recipe,pretraining_seed,kind,status,split,measure,value,"
    "unit"
)
REVIEWS = {
    "name": "reviews",
    "kind": "sequence-classification",
    "source": {"local": "data"},
    "format": "csv",
    "files": {"train": "reviews.csv"},
    "max_length": 32,
}
NAMES = {
    "name": "names",
    "kind": "token-classification",
    "source": {"local": "data"},
    "format": "conll",
    "files": {"train": "names.txt"},
    "text": 0,
    "label": 1,
    "max_length": 32,
}


def copy_project(folder: Path) -> Path:
    """Copy what a user runs, with what was compiled of it and found out about it before."""
    folder.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("*.pyc.*", ".*.tmp"))  # half-written
        else:
            shutil.copy(source, folder / part)
    return folder


def snakemake(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a copy of the project; jobs that import torch start in the warm server (tests/warm)."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    dry = {"--dry-run", "--unlock", "--lint"} & set(arguments)
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
        cwd=folder,
        env={**inherited, "MASKBENCH_GPUS": "-1", **({} if dry else warm.environment())} | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """Return how many jobs of each rule a call would run; empty if there is nothing to be done."""
    return jobs_of(snakemake(folder, "--dry-run", *arguments).stdout)


def jobs_of(output: str) -> dict[str, int]:
    """Read these numbers in the output of a dry run."""
    if "Nothing to be done" in output:
        return {}
    table = output[output.index("Job stats:") :].split("\n\n")[0]
    counts = {match[1]: int(match[2]) for match in re.finditer(r"^(\w+) +(\d+)$", table, re.M)}
    return {rule: count for rule, count in counts.items() if rule not in ("all", "total")}


def to_do(output: str) -> tuple[int, int]:
    """Read in the output of a call how many cells it trains, and how many it probes."""
    found = re.search(r"^of \d+ cells, (\d+) to train(?:, (\d+) to probe)?, in \d+ jobs?$", output, re.M)
    return (0, 0) if found is None else (int(found[1]), int(found[2] or 0))


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text that must be there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def add_measure(folder: Path) -> None:
    """Enter another measure into the registry."""
    with (folder / "maskbench/config/measures/run.py").open("a") as stream:
        stream.write("\nfrom dataclasses import replace\n")
        stream.write("\nRUN = (*RUN, replace(RUN[0], name='extra'))\n")


def write_config(folder: Path, **changes: object) -> None:
    """Write an experiment over the user's files."""
    config = {
        "study": "mine",
        "tasks": [
            REVIEWS,
            NAMES,
        ],
        "models": [{"name": "tiny", "source": {"local": "data/model"}}],
        "strategies": ["none", "random"],
        "seeds": [1, 2],
        "training": {"batch_size": 8, "learning_rate": 1e-2},
        "analysis": {"resamples": 100},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config | changes))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A finished study on a user's own files."""
    folder = copy_project(tmp_path_factory.mktemp("pipeline") / "project")
    make_model(folder / "data/model", head=True)
    (folder / "data/model/source.json").unlink()
    (folder / "data/reviews.csv").write_text(csv_of_texts(120))
    (folder / "data/names.txt").write_text(conll_of_sentences(120))
    write_config(folder)
    result = snakemake(folder)
    assert result.returncode == 0, result.stdout
    return folder, result.stdout


# --- what comes out


def test_every_cell_is_in_the_metrics(study):
    folder, _ = study
    path = folder / "results/mine/metrics.csv"
    assert path.read_text().splitlines()[0] == COLUMNS
    metrics = pd.read_csv(path)
    assert metrics["run"].nunique() == 8
    measured = metrics[metrics["value"].notna()].groupby("measure")["run"].nunique()
    assert (measured[["representation_drift", "mlm_forgetting", "perturbation_drop", "disagreement"]] == 8).all()
    assert set(metrics["status"]) == {"completed"}
    assert {name.split(":")[0] for name in metrics["measure"]} <= set(MEASURES)
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder / "results/mine/metrics.parquet").astype({"train_size": str}),
        metrics.astype({"train_size": str}),
        check_dtype=False,
    )
    for run in metrics["run"].unique():
        record = Record.read(folder / f"results/mine/training/{run}/metrics.json")
        outcomes = pd.read_parquet(folder / f"results/mine/training/{run}/predictions.parquet")
        score = metrics[(metrics["run"] == run) & (metrics["split"] == "test") & (metrics["measure"] == "score")]
        assert score["value"].item() == pytest.approx(outcomes["hit"].sum() / outcomes["weight"].sum())
        assert record.code == training_code(Strategy.model_validate(record.parameters["strategy"]))


def test_tables_figures_and_page_are_there(study):
    results = study[0] / "results/mine"
    for name in ("scores", "comparisons", "cost", "per_class"):
        assert all((results / f"tables/{name}.{ending}").stat().st_size > 50 for ending in ("csv", "md", "tex"))
    for name in ("scores", "differences", "gaps", "cost"):
        assert (results / f"figures/{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert "<svg" in (results / f"figures/{name}.svg").read_text()
    page = (results / "report.html").read_text()
    assert "Does masking reduce interference" in page
    manifest = json.loads((results / "manifest.json").read_text())
    assert manifest["study"] == "mine"


def test_progress_and_the_head_of_the_log(study):
    folder, output = study
    assert re.search(r"cells: [123] of 8 done, \d+ left, about \d+ min", output)
    assert "cells: 8 of 8 done, 0 left" in output
    for log in (folder / "results/mine/logs").rglob("*.log"):
        assert re.match(r"maskbench [\d.]+, \w+\.py, Python [\d.]+ on ", log.read_text()), log
    lines = (folder / "results/mine/logs/train/reviews.tiny.none.single.clean.full.s1.log").read_text().splitlines()
    assert lines[1] == "run reviews.tiny.none.single.clean.full.s1"
    assert re.match(r"device \w+ \(.*\), GPU slot none/0 \(none\), \w+, attention \w+, 1 thread\(s\)", lines[2])


# --- a record of what is finished so far


@pytest.fixture(scope="module")
def half(study, tmp_path_factory):
    """A study that is half done, its record, a clone that has nothing else, and what the call that made it said.

    A third seed is planned and not run, and a run has lost its probes.
    """
    copied, clone = (tmp_path_factory.mktemp("half") / name for name in ("copy", "clone"))
    shutil.copytree(study[0], copied, symlinks=True)
    write_config(copied, seeds=[1, 2, 3])
    shutil.rmtree(copied / "results/mine/probes/names.tiny.random.single.clean.full.s2")
    made = snakemake(copied, "record")
    assert made.returncode == 0, made.stdout
    copy_project(clone)
    for name in ("config.yaml", "data"):
        (shutil.copytree if (copied / name).is_dir() else shutil.copy)(copied / name, clone / name)
    copy_record(copied / "results/mine", clone / "results/mine")
    return copied, clone, made.stdout


def test_a_study_that_is_half_done_has_a_record_of_the_cells_that_are_there(half):
    """Nothing is trained for it, and what has not run did not fail."""
    copied, _, output = half
    results = copied / "results/mine"
    assert not {"train", "reference", "encode"} & set(jobs_of(output))
    assert pd.read_csv(results / "metrics.csv")["run"].nunique() == 7
    manifest = json.loads((results / "manifest.json").read_text())
    assert (manifest["planned"], manifest["runs"], manifest["statuses"]) == (12, 7, {"completed": 7})
    assert manifest["not_run"]["strategies"] == {"none": 2, "random": 3}
    assert manifest["not_run"]["blocks"] == {"reviews.tiny.single.clean.full": 2, "names.tiny.single.clean.full": 3}
    assert not pd.read_csv(results / "verdicts.csv")["note"].str.contains("missing|failed runs").any()
    assert "7 of 12 planned cells have run." in (results / "report.html").read_text()
    assert planned(copied, "record") == {}
    # the whole study is planned as if there were no such record
    assert to_do(snakemake(copied, "--dry-run").stdout) == (5, 5)  # the model of the run without probes is gone, too


def test_all_that_is_shown_comes_out_of_the_record_byte_for_byte(half, tmp_path):
    """A clone has what git would keep of the study; verdicts stay as they are, as their outcomes are not there."""
    copied, _, _ = half
    clone = tmp_path / "clone"
    shutil.copytree(half[1], clone)
    before, after = copied / "results/mine", clone / "results/mine"
    assert not (after / "outcomes.parquet").exists()
    for folder in ("tables", "figures"):
        shutil.rmtree(after / folder)
    (after / "report.html").unlink()
    made = snakemake(clone)
    assert made.returncode == 0, made.stdout
    assert set(jobs_of(made.stdout)) == {"unpack", "tables", "plots", "page"}
    assert "verdicts as they are: outcomes.parquet, which they rest on, is not here" in made.stdout
    shown = [path.relative_to(before) for folder in ("tables", "figures") for path in (before / folder).iterdir()]
    unpacked = ("metrics.csv", "along.csv", "manifest.json", "analysis/pairs.csv")
    for name in (*shown, "report.html", "verdicts.csv", *unpacked):
        assert (after / name).read_bytes() == (before / name).read_bytes(), name
    (after / "manifest.json.gz").write_bytes(b"no archive")
    assert "manifest.json.gz: expected a file that gzip has packed" in snakemake(clone).stdout


OFFLINE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
"""What makes every download fail."""


def work_on_cells(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/cells.py on the study of a folder, without network."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    helped = warm.environment()
    return subprocess.run(
        [sys.executable, "scripts/cells.py", arguments[0], "--study", "config.yaml", *arguments[1:]],
        cwd=folder,
        env={
            **inherited,
            "MASKBENCH_GPUS": "-1",
            **OFFLINE,
            **helped,
            "PYTHONPATH": f"{folder}:{helped['PYTHONPATH']}",
        },
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


def test_a_cell_that_is_redone_from_the_record_is_the_same_and_a_changed_number_is_found(half):
    _, clone, _ = half
    path = clone / "results/mine/metrics.parquet"
    done = work_on_cells(clone, "verify", "--seed", "1", "--share", "10")
    assert done.returncode == 0, done.stdout
    assert "1 of 7 cells drawn with seed 1; with what they need, 1" in done.stdout
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("ok "))
    run = line.split()[-1]
    assert re.search(r"bit-identical +(\d+) of \1 identical", line)
    kept, metrics = path.read_bytes(), pd.read_parquet(path)
    own = (metrics["run"] == run) & (metrics["measure"] == "loss") & (metrics["split"] == "test")
    metrics.loc[own, "value"] += 1e-9
    metrics.to_parquet(path, index=False)
    again = work_on_cells(clone, "verify", "--seed", "1", "--share", "10")
    path.write_bytes(kept)
    assert again.returncode == 1, again.stdout
    assert f"{run}: 1 numbers differ from the record" in again.stdout


def test_missing_cells_that_ran_elsewhere_are_merged(half, tmp_path):
    """Only whole seed groups of which nothing is there are run: both tasks of the third seed."""
    copied, clone, _ = half
    archive = tmp_path / "card.zip"
    done = work_on_cells(clone, "card", "--minutes", "30", "--file", str(archive))
    assert done.returncode == 0, done.stdout
    assert f"{archive}: 4 finished cells" in done.stdout
    refused = work_on_cells(clone, "merge", "--file", str(archive))
    assert refused.returncode == 1
    assert "the record has 7 cells whose runs are not here" in refused.stdout
    before = (clone / "results/mine/verdicts.csv").read_bytes()
    alone = work_on_cells(clone, "merge", "--file", str(archive), "--into", "ours")
    assert alone.returncode == 0, alone.stdout
    assert "4 cells merged, 0 were there already" in alone.stdout
    manifest = json.loads((clone / "results/ours/manifest.json").read_text())
    assert (manifest["study"], manifest["planned"], manifest["runs"]) == ("ours", 12, 4)
    assert set(pd.read_parquet(clone / "results/ours/metrics.parquet")["seed"]) == {3}
    assert (clone / "results/mine/verdicts.csv").read_bytes() == before
    merged = work_on_cells(copied, "merge", "--file", str(archive))
    assert merged.returncode == 0, merged.stdout
    assert "4 cells merged, 0 were there already" in merged.stdout
    manifest = json.loads((copied / "results/mine/manifest.json").read_text())
    assert (manifest["planned"], manifest["runs"]) == (12, 11)
    assert not (copied / "results/mine/cells.json").exists()


# --- what changed reruns, and nothing else


def test_a_second_call_does_nothing(study):
    assert planned(study[0]) == {}


def test_a_changed_rate_reruns_the_cells_of_its_strategy(copied):
    write_config(copied, strategies=["none", {"preset": "random", "input": {"kind": "random", "rate": 0.3}}])
    output = snakemake(copied, "--dry-run").stdout
    counts = jobs_of(output)
    assert to_do(output) == (4, 4)
    assert counts["train"] == 4  # none and random are in jobs of their own, since there are only eight cells
    assert "encode" not in counts


def test_another_seed_trains_only_its_cells(copied):
    write_config(copied, seeds=[1, 2, 3])
    assert to_do(snakemake(copied, "--dry-run").stdout) == (4, 4)


@pytest.mark.parametrize("cells", [1, "all"])
def test_another_number_of_cells_in_a_job_trains_nothing(copied, cells):
    write_config(copied, resources={"cells_per_job": cells})
    assert to_do(snakemake(copied, "--dry-run").stdout) == (0, 0)


def test_an_added_strategy_is_trained_alone_in_a_job_that_it_shares(copied):
    """It takes its words from a lexicon of the user's own, which is part of what its cells depend on."""
    (copied / "data/words.txt").write_text("great\t2\nfilm\n")
    write_config(
        copied,
        strategies=["none", "random", {"name": "words", "input": {"kind": "keyword", "words": "mine"}}],
        lexicons=[{"name": "mine", "source": {"local": "data/words.txt"}}],
        resources={"cells_per_job": "all"},
    )
    records = {path: path.stat().st_mtime_ns for path in copied.glob("results/mine/*/*.*.*/metrics.json")}
    assert len(records) == 16
    result = snakemake(copied, METRICS)
    assert result.returncode == 0, result.stdout
    assert to_do(result.stdout) == (4, 4)
    assert jobs_of(result.stdout)["train"] == 4
    assert jobs_of(result.stdout)["fetch_lexicon"] == 1
    assert "cells: 4 of 4 done, 0 left" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in records} == records
    assert pd.read_csv(copied / METRICS)["run"].nunique() == 12
    assert planned(copied, METRICS) == {}
    record = Record.read(copied / "results/mine/training/names.tiny.words.single.clean.full.s1/metrics.json")
    assert record.data.lexicons.keys() == {"mine"}
    (copied / "data/words.txt").write_text("great\t2\nfilm\nplay\n")
    changed = snakemake(copied, "--dry-run", METRICS).stdout
    assert jobs_of(changed)["fetch_lexicon"] == 1
    assert to_do(changed) == (4, 4)


def test_a_run_that_is_deleted_is_made_again_and_nothing_else(copied):
    run = "reviews.tiny.random.single.clean.full.s1"
    shutil.rmtree(copied / "results/mine/training" / run)
    (copied / METRICS).unlink()  # Snakemake asks for nothing that no target needs
    assert to_do(snakemake(copied, "--dry-run", METRICS).stdout) == (1, 1)


@pytest.mark.parametrize(
    ("options", "cells"),
    [
        (("--forcerun", "train"), 8),
        (("--forceall",), 8),
        (("--forcerun", "results/mine/jobs/names.tiny.single.clean.full.s2.1.json"), 1),
        (("--forcerun", "collect"), 0),
    ],
)
def test_forced_jobs_train_finished_cells_again(study, options, cells):
    output = snakemake(study[0], "--dry-run", METRICS, *options).stdout
    assert to_do(output) == (cells, cells)
    assert len(re.findall(r"^\d finished runs? (are|is) trained again: the call forces it ", output, re.M)) == bool(
        cells
    )
    assert not list((study[0] / "results/mine/jobs").glob("*.forced"))


def test_an_edit_in_a_mask_reruns_the_cells_that_use_it(copied):
    edit(copied / "maskbench/masks/input/random.py", "else [])) < self.rate", "else [])) <= self.rate")
    output = snakemake(copied, "--dry-run").stdout
    assert to_do(output) == (4, 4)
    assert "encode" not in jobs_of(output)


def test_a_new_mask_and_a_new_measure_train_nothing(copied):
    shutil.copy(copied / "maskbench/masks/input/tail.py", copied / "maskbench/masks/input/rest.py")
    edit(copied / "maskbench/masks/input/rest.py", '"tail"', '"rest"')
    add_measure(copied)
    assert not {"prepare", "encode", "train", "reference"} & set(planned(copied))


def test_an_edit_in_the_core_of_masks_reruns_training(copied):
    edit(copied / "maskbench/masks/draws.py", "splitmix.shifted(bits, 40)", "splitmix.shifted(bits, 41)")
    output = snakemake(copied, "--dry-run").stdout
    assert to_do(output)[0] == 8
    assert "encode" not in jobs_of(output)


def test_a_comment_or_a_docstring_reruns_nothing(copied):
    edit(
        copied / "maskbench/masks/input/random.py",
        '"""Return (B, T) bool, drawn for each token or each word."""',
        '"""Draw."""  # for each',
    )
    assert planned(copied) == {}


def test_an_edit_in_probes_probes_again_and_trains_since_no_model_was_kept(copied):
    edit(copied / "maskbench/probes/linear.py", "_ITERATIONS = 1000", "_ITERATIONS = 999")
    output = snakemake(copied, "--dry-run").stdout
    assert "8 finished runs are trained again: models were not kept (keep_models: true)" in output
    assert to_do(output) == (8, 8)
    assert jobs_of(output)["reference"] == 2


def test_an_edit_in_report_reruns_the_report_alone(copied):
    edit(copied / "maskbench/report/page.py", "* 4 / 3", "* 5 / 3")
    assert planned(copied) == {"page": 1}


def test_another_text_reruns_its_task_alone(copied):
    with (copied / "data/reviews.csv").open("a") as stream:
        stream.write("a very warm film,up\n")
    output = snakemake(copied, "--dry-run").stdout
    assert to_do(output) == (4, 4)
    assert not re.search(r"rule (prepare|encode|train):[^\[]*names", output)


def test_question_licence_and_cache_retrain_nothing(copied):
    config = yaml.safe_load((copied / "config.yaml").read_text())
    config["tasks"][0]["licence"] = "CC0"
    write_config(copied, question="Should I mask?", tasks=config["tasks"], cache="elsewhere")
    assert not {"fetch_task", "prepare", "encode", "train"} & set(planned(copied))


# --- figures from recorded metrics alone


def test_figures_need_nothing_but_metrics(study, tmp_path):
    folder = copy_project(tmp_path / "project")
    write_config(folder)  # its data and its model are not here
    (folder / "results/mine").mkdir(parents=True)
    shutil.copy(study[0] / "results/mine/metrics.csv", folder / "results/mine")
    (tmp_path / "blocked").mkdir()
    for module in ("torch", "transformers", "datasets", "evaluate"):
        (tmp_path / f"blocked/{module}.py").write_text(f"raise ImportError('{module} was imported')\n")
    result = snakemake(folder, "figures", PYTHONPATH=str(tmp_path / "blocked"))
    assert result.returncode == 0, result.stdout
    assert (folder / "results/mine/figures/scores.png").exists()
    assert (folder / "results/mine/tables/comparisons.csv").exists()
    assert not (folder / "results/mine/training").exists()
    assert "Nothing to be done" in snakemake(folder, "figures").stdout


@pytest.mark.long  # the record of a study is drawn again byte for byte in every run of the tests
def test_figures_are_the_same_bytes_again(study, copied):
    shutil.rmtree(copied / "results/mine/figures")
    shutil.rmtree(copied / "results/mine/tables")
    assert snakemake(copied, "figures").returncode == 0
    for one in sorted((study[0] / "results/mine").glob("[ft]*s/*")):
        other = copied / one.relative_to(study[0])
        assert one.read_bytes() == other.read_bytes(), one.name


# --- wrong input


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"seeds": []}, r"config\.yaml: seeds: expected at least one entry"),
        ({"strategies": ["none", "randm"]}, r"config\.yaml: strategies\[1\] \(randm\): expected one of the presets"),
        ({"models": [{"name": "gone", "source": {"local": "data/gone"}}]}, r"data/gone.* does not exist"),
    ],
)
def test_a_wrong_configuration_starts_nothing(copied, change, line):
    shutil.rmtree(copied / "results")
    write_config(copied, **change)
    result = snakemake(copied)
    assert result.returncode != 0
    assert len(re.findall(line, result.stdout)) == 1
    assert "Traceback" not in result.stdout
    assert not (copied / "results").exists()


def test_a_broken_row_is_named_and_the_rest_goes_on(copied):
    with (copied / "data/reviews.csv").open("a") as stream:
        stream.write("no label here\n")
    result = snakemake(copied)
    assert result.returncode != 0
    assert re.search(r"reviews\.csv:122: .*expected", result.stdout)
    assert "Traceback" not in result.stdout


# --- GPU slots


def test_concurrent_jobs_get_distinct_devices_and_leave_models_and_traces(copied):
    training = {"batch_size": 8, "learning_rate": 1e-2, "report_to": ["tensorboard"]}
    write_config(copied, strategies=["none"], training=training, keep_models=True)
    leases = {"MASKBENCH_GPUS": "0,1", "MASKBENCH_LEASES": str(copied / "leases")}
    result = snakemake(copied, "--resources", "gpu=2", **leases)
    assert result.returncode == 0, result.stdout
    logs = [path.read_text() for path in sorted((copied / "results/mine/logs/train").glob("*none*.log"))]
    assert len(logs) == 4
    assert {re.search(r"GPU slot (\d)/0 \(pool\)", log)[1] for log in logs} == {"0", "1"}
    runs = list((copied / "results/mine/training").glob("*.none.*"))
    assert len(runs) == 4
    for run in runs:
        assert (run / "model/model.safetensors").exists()
        assert list(run.glob("tensorboard/events.*"))
    too_many = snakemake(copied, "--resources", "gpu=3", **leases)
    assert too_many.returncode != 0
    assert re.search(r"gpu.*3.*2", too_many.stdout)
