"""Every path and every id below results/ is read back as what it was made from."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskbench.config.block import NAME_PATTERN
from maskbench.errors import InputError
from maskbench.experiment.layout import JobId, Layout, RunId

NAMES = st.from_regex(NAME_PATTERN.strip("^$"), fullmatch=True).map(str.strip)
SIZES = st.just("full") | st.integers(1, 10**9).map(lambda size: f"n{size}")
REGIMES = st.just("single") | st.builds("{}-{}".format, st.sampled_from(["after", "with"]), NAMES)
CONDITIONS = st.sampled_from(["clean", "cue-95", "noise-30", "noise-0p25"])
SEEDS = st.integers(0, 2**32 - 1)
RUNS = st.builds(RunId, NAMES, NAMES, NAMES, REGIMES, CONDITIONS, SIZES, SEEDS)
JOBS = st.builds(JobId, NAMES, NAMES, REGIMES, CONDITIONS, SIZES, SEEDS, st.integers(0, 10**4))
LAYOUT = Layout(Path("results/mine"))


@given(RUNS)
def test_the_id_of_a_run_is_read_back(run):
    assert RunId.parse(str(run)) == run


@given(JOBS)
def test_the_id_of_a_job_is_read_back(job):
    assert JobId.parse(str(job)) == job


@given(RUNS)
def test_paths_of_a_run_are_read_back(run):
    for kind in ("record", "predictions", "probe_record", "outcomes", "train_log", "probe_log"):
        found, parts = LAYOUT.parse(getattr(LAYOUT, kind)(str(run)))
        assert (found, RunId(**parts | {"seed": int(parts["seed"])})) == (kind, run)
    assert LAYOUT.model(str(run)).parent == LAYOUT.record(str(run)).parent


@given(JOBS)
def test_paths_of_a_job_are_read_back(job):
    for kind in ("index", "models", "job_log"):
        found, parts = LAYOUT.parse(getattr(LAYOUT, kind)(str(job)))
        assert found == kind
        assert JobId(**parts | {"seed": int(parts["seed"]), "piece": int(parts["piece"])}) == job


@given(NAMES, NAMES, st.sampled_from(["clean", "shifted", "cue-95"]))
def test_paths_of_text_and_models_are_read_back(task, model, variant):
    parts = {"task": task, "model": model, "variant": variant}
    for kind in ("task_source", "model_source", "prepared", "encoded", "reference"):
        method = getattr(LAYOUT, kind)
        own = {name: parts[name] for name in inspect.signature(method).parameters}
        assert LAYOUT.parse(method(**own)) == (kind, own)


def test_a_wildcard_may_stand_for_every_part():
    assert (
        str(LAYOUT.encoded("{task}", "{model}", "clean"))
        == "results/mine/data/encoded/{task}.{model}.clean/manifest.json"
    )
    assert str(LAYOUT.index("{job}")) == "results/mine/jobs/{job}.json"


@pytest.mark.parametrize(
    "text", ["", "a.b.c", "a.b.none.single.clean.full.s01", "a.b.none.single.clean.n0.s1", "A.b.c.d.e.full.s1"]
)
def test_what_is_no_id_is_named(text):
    with pytest.raises(InputError, match="expected the id of a run"):
        RunId.parse(text)
    with pytest.raises(InputError, match="expected the id of a job"):
        JobId.parse(text)


def test_a_path_of_another_study_is_named():
    with pytest.raises(InputError, match=r"results/other/experiment\.json: not a path of results/mine"):
        LAYOUT.parse(Path("results/other/experiment.json"))
