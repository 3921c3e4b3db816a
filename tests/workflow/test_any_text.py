"""Names of files and texts of a configuration, whatever characters they have, through Snakemake itself."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
import yaml

from maskbench.report import text
from tests.helpers import reports as report_samples
from tests.helpers.models import csv_of_texts, make_model
from tests.workflow.test_pipeline import copy_project, edit, planned, snakemake

pytestmark = pytest.mark.workflow

WORDS = '{masking} {{a}} <results> [1]* 50 % $HOME `ls` it\'s "x" a\\b --b מרחבא e\u0301 正 \u0007'
FILE = "reviews[1] {task} <results> $x 50% 'a' *.csv"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project with a study whose every free text is nasty."""
    folder = copy_project(tmp_path / "project")
    make_model(folder / "data {model}/model")
    (folder / "data {model}" / FILE).write_text(csv_of_texts(40))
    shutil.copy(folder / "claims.yaml", folder / "-claims {masking}.yaml")
    config = {
        "study": "any",
        "question": WORDS,
        "tasks": [
            {
                "name": "mine",
                "kind": "sequence-classification",
                "source": {"local": "data {model}"},
                "format": "csv",
                "files": {"train": FILE},
                "citation": "@misc{lee, title={A Study}, year={2021}}",
                "licence": WORDS,
            }
        ],
        "models": [{"name": "tiny", "source": {"local": "data {model}/model"}, "citation": WORDS}],
        "strategies": ["none", "random"],
        "seeds": [1, 2],
        "analysis": {"resamples": 100},
        "claims": "-claims {masking}.yaml",
    }
    (folder / "my {study} [1].yaml").write_text(yaml.safe_dump(config))
    return folder


def test_files_of_any_name_are_read_and_a_change_of_them_is_seen(project: Path) -> None:
    prepared = "results/any/data/tasks/mine/clean/manifest.json"
    call = [prepared, "results/any/experiment.json", "--configfile", "my {study} [1].yaml"]
    done = snakemake(project, *call)
    assert done.returncode == 0, done.stdout
    experiment = json.loads((project / "results/any/experiment.json").read_text(encoding="utf-8"))
    assert (experiment["question"], experiment["models"][0]["citation"]) == (WORDS, WORDS)
    assert json.loads((project / prepared).read_text())["splits"]["train"]["rows"] == 32
    assert planned(project, *call) == {}
    with (project / "data {model}" / FILE).open("a") as stream:
        stream.write("a good film,up\n")
    assert set(planned(project, *call)) == {"fetch_task", "prepare"}


def test_texts_reach_the_page(project: Path) -> None:
    results = project / "results/any"
    results.mkdir(parents=True)
    report_samples.write_metrics(results, ["mine"], {"none": {}, "random": {}}, 2, full=False)
    metrics = results / "metrics.csv"
    metrics.write_text(
        metrics.read_text().replace("f1:no", "f1:<n> {o} $x$").replace("confusion:no>", "confusion:<n\\> {o} $x$>")
    )
    started = time.monotonic()
    done = snakemake(project, "--configfile", "my {study} [1].yaml", "--config", 'question="{masking}: $x"')
    assert done.returncode == 0, done.stdout
    page = html.unescape((results / "report.html").read_text(encoding="utf-8"))
    for words in (
        "<h1>{masking}: $x</h1>",
        "@misc{lee, title={A Study}, year={2021}}",
        text.visible(WORDS),
        "<n> {o} $x$",
    ):
        assert words in page
    assert "--configfile 'my {study} [1].yaml' --config 'question=\"{masking}: $x\"'" in page
    assert time.monotonic() - started < 300


def test_two_files_and_broken_values_start_nothing(project: Path) -> None:
    edit(project / "config.yaml", "study: quickstart", "study: other")
    done = snakemake(project, "-n", "--configfile", "config.yaml", "my {study} [1].yaml")
    assert done.returncode != 0
    assert "--configfile: expected one file, got config.yaml, my {study} [1].yaml" in done.stdout
    done = snakemake(project, "-n", "--configfile", "my {study} [1].yaml", "--config", "seeds=[1")
    assert done.returncode != 0
    assert "--config seeds: line 1: not valid YAML" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_machine_without_slurm_is_told_before_anything_starts(project: Path) -> None:
    tools = project / "tools"
    tools.mkdir()
    (tools / "sinfo").write_text("#!/bin/sh\necho 'sinfo: fatal: no configuration source' >&2\nexit 1\n")
    (tools / "sinfo").chmod(0o755)
    call = ["--profile", "profiles/slurm", "--configfile", "my {study} [1].yaml"]
    done = snakemake(project, *call, PATH=f"{tools}:{os.environ['PATH']}")
    assert done.returncode != 0
    assert re.search(r"^executor slurm .*: expected a machine .*; sinfo: fatal: no configuration so", done.stdout, re.M)
    assert "Traceback" not in done.stdout
    assert not (project / "results").exists()


def test_a_home_folder_that_cannot_be_written(project: Path) -> None:
    (project / "home").write_text("a file, so that nothing can be made in it")
    done = snakemake(project, "results/any/experiment.json", "--configfile", "my {study} [1].yaml", HOME="home")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("profile", [[], ["--profile", "profiles/slurm"]])
@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"study: a\nseeds: [1\nb: {", "line 3: not valid YAML: expected ',' or ']', but got ':'"),
        (b"study: caf\xe9\n", "expected UTF-8 text"),
        (b"- a\n", "expected a mapping of keys, found ['a']"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_line(
    content: bytes | None, line: str, profile: list[str], bare: Path
) -> None:
    (bare / "x.yaml").unlink(missing_ok=True)
    if content is not None:
        (bare / "x.yaml").write_bytes(content)
    done = snakemake(bare, "-n", *profile, "--configfile", "x.yaml")
    assert done.returncode != 0
    assert done.stdout.splitlines()[1:] == [f"x.yaml: {line}"]  # the first line names the profile


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("bare") / "project")
