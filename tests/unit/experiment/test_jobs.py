"""Which cells share a job, what a job needs, and what of the configuration it depends on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskbench.config.training import TrainingOverrides
from maskbench.experiment.cell import cells
from maskbench.experiment.experiment import Experiment
from maskbench.experiment.jobs import AT_LEAST, Jobs, split
from maskbench.experiment.layout import Layout
from maskbench.experiment.load import load

LAYOUT = Layout(Path("results/mine"))
MASKS = ["none", "random", "span", "keyword"]
COUNTS = st.integers(1, 40)


def experiment(**keys):
    base = {
        "study": "mine",
        "tasks": ["rt-snippets", "conll2003"],
        "models": ["minilm-l6"],
        "strategies": MASKS,
        "seeds": [1],
    }
    return load(base | keys)


def jobs(**keys):
    return Jobs(experiment(**keys))


# --- the split


@given(COUNTS, COUNTS, st.sampled_from(["auto", "all"]) | COUNTS)
def test_every_strategy_is_in_one_piece_and_no_piece_is_empty(strategies, groups, wanted):
    pieces = split(strategies, groups, wanted)
    assert sorted(place for piece in pieces for place in piece) == list(range(strategies))
    assert all(pieces)
    assert all(piece == sorted(piece) for piece in pieces)


@given(COUNTS, COUNTS)
def test_auto_makes_as_few_jobs_as_keep_slots_busy_or_one_for_each_cell(strategies, groups):
    pieces = split(strategies, groups, "auto")
    made = groups * len(pieces)
    assert made >= min(AT_LEAST, groups * strategies)
    assert len(pieces) == 1 or groups * (len(pieces) - 1) < AT_LEAST
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


@given(COUNTS, COUNTS)
def test_an_appended_strategy_changes_one_piece(strategies, groups):
    before, after = split(strategies, groups, "auto"), split(strategies + 1, groups, "auto")
    changed = [piece for piece in after if piece not in before]
    if len(before) == len(after) or strategies >= AT_LEAST:
        assert len(changed) == 1


@given(COUNTS, COUNTS, COUNTS)
def test_a_number_makes_pieces_of_neighbours(strategies, groups, size):
    pieces = split(strategies, groups, size)
    assert [place for piece in pieces for place in piece] == list(range(strategies))
    assert all(len(piece) == size for piece in pieces[:-1])


# --- jobs


@pytest.mark.parametrize("wanted", ["auto", "all", 1, 3])
def test_every_cell_is_in_one_job_whose_cells_differ_in_strategy_alone(wanted):
    planned = jobs(
        regimes=["single", "sequential", "joint"],
        conditions=["clean", "label-noise:0.3"],
        resources={"cells_per_job": wanted},
    )
    found = [cell.run for job in planned.by_id.values() for cell in job.cells]
    assert sorted(found) == sorted(cell.run for cell in cells(planned.experiment))
    for name, job in planned.by_id.items():
        assert str(job.id) == name
        assert all(planned.job_of[cell.run] == name for cell in job.cells)
        alike = [
            {(cell.task, cell.model, cell.regime, cell.condition.name, cell.seed) for cell in member}
            for member in job.members
        ]
        assert all(one == alike[0] for one in alike)
        assert all(len(member) == (2 if member[0].regime == "joint" else 1) for member in job.members)


def test_every_strategy_is_trained_first_under_another_seed():
    """A process warms up: a fixed order could make the strategy that is always first look slow."""
    found = jobs(tasks=["rt-snippets"], seeds=[1, 2, 3, 4], resources={"cells_per_job": "all"}).by_id.values()
    orders = [[cell.strategy.name for cell in job.cells] for job in found]
    assert orders[0] == MASKS
    for place in range(len(MASKS)):
        assert sorted(order[place] for order in orders) == sorted(MASKS)


def test_a_joint_job_trains_pairs_of_cells():
    job = jobs(regimes=["single", "joint"], resources={"cells_per_job": "all"}).by_id[
        "rt-snippets.minilm-l6.with-conll2003.clean.full.s1.0"
    ]
    assert [[cell.task for cell in member] for member in job.members] == [["rt-snippets", "conll2003"]] * 4
    assert all(member[0].strategy == member[1].strategy for member in job.members)


@pytest.mark.parametrize("wanted", ["auto", 3])
def test_a_piece_needs_the_models_of_one_piece(wanted):
    planned = jobs(
        regimes=["single", "sequential"], conditions=["clean", "label-noise:0.3"], resources={"cells_per_job": wanted}
    )
    for name, job in planned.by_id.items():
        lenders = {path for path in planned.inputs(job, LAYOUT) if path.suffix == ".models"}
        if job.id.regime == "after-conll2003":
            lender = name.replace("rt-snippets", "conll2003").replace("after-conll2003", "single")
        elif job.id.condition == "noise-30":
            lender = name.replace("noise-30", "clean")
        else:
            assert job.id.regime == "after-rt-snippets" or not lenders
            continue
        assert lenders == {LAYOUT.models(lender)}


def test_what_a_job_waits_for():
    planned = jobs(conditions=["clean", "cue:0.9"], resources={"cells_per_job": "all"})
    found = planned.inputs(planned.by_id["conll2003.minilm-l6.single.cue-90.full.s1.0"], LAYOUT)
    names = {LAYOUT.parse(path)[0:1] + tuple(LAYOUT.parse(path)[1].values()) for path in found}
    assert names == {
        ("model_source", "minilm-l6"),
        ("reference", "conll2003", "minilm-l6"),
        *(("encoded", "conll2003", "minilm-l6", variant) for variant in ("clean", "cue-90", "shifted")),
    }
    bare = jobs(probes={"measure": []}, resources={"cells_per_job": "all"})
    (one, _) = bare.by_id.values()
    assert bare.inputs(one, LAYOUT) == [
        LAYOUT.encoded("rt-snippets", "minilm-l6", "clean"),
        LAYOUT.model_source("minilm-l6"),
    ]


def test_a_task_that_limits_leave_without_a_planted_cue_is_not_probed_with_one():
    keys = {"tasks": ["rt-snippets", "newsgroups20"], "conditions": ["clean", "cue:0.9"]}
    limits = [{"of": {"tasks": ["newsgroups20"]}, "only": {"conditions": ["clean"]}}]

    def cues(planned, task):
        cells = [cell for cell in planned.cells.values() if cell.task == task and cell.condition.name == "clean"]
        return {planned.sources(cell, LAYOUT).get("cue") for cell in cells}

    limited, every = jobs(**keys, limits=limits), jobs(**keys)
    assert cues(limited, "newsgroups20") == {None}
    assert cues(limited, "rt-snippets") == {LAYOUT.encoded("rt-snippets", "minilm-l6", "cue-90").parent}
    assert cues(every, "newsgroups20") == {LAYOUT.encoded("newsgroups20", "minilm-l6", "cue-90").parent}
    names = [LAYOUT.parse(path)[1].values() for job in limited.by_id.values() for path in limited.inputs(job, LAYOUT)]
    assert not any({"newsgroups20", "cue-90"} <= set(own) for own in names)
    # where only some cells are wanted, it is asked of the whole study
    run = next(
        name for name, cell in limited.cells.items() if cell.task == "rt-snippets" and cell.condition.name == "clean"
    )
    assert cues(Jobs(limited.experiment, only=[run]), "rt-snippets") == cues(limited, "rt-snippets")


def test_who_needs_a_model():
    planned = jobs(regimes=["single", "sequential"], conditions=["clean", "label-noise:0.3"])
    cell = planned.cells["rt-snippets.minilm-l6.span.single.clean.full.s1"]
    assert [other.run for other in planned.dependents(cell)] == [
        "rt-snippets.minilm-l6.span.single.noise-30.full.s1",
        "conll2003.minilm-l6.span.after-rt-snippets.clean.full.s1",
    ]
    assert planned.lending
    assert not jobs().lending
    # without the probe, a cell with flipped labels needs no twin
    assert not jobs(conditions=["clean", "label-noise:0.3"], probes={"measure": ["calibration"]}).lending


def test_the_resolved_experiment_has_the_same_jobs():
    """The job reads experiment.json, while Snakemake plans from the configuration."""
    one = jobs(
        strategies=[
            "none",
            {"name": "mine", "input": "random", "twins": ["rate-zero", "drawn-not-applied"]},
            {"name": "hot", "training": {"learning_rate": 1e-2}},
        ]
    )
    other = Jobs(Experiment.model_validate_json(one.experiment.as_argument(exclude={"cache"})))
    assert list(one.by_id) == list(other.by_id)
    for mine, read in zip(one.cells.values(), other.cells.values(), strict=True):
        assert mine.model_dump(mode="json") == read.model_dump(mode="json")
    assert [one.key(job) for job in one.by_id.values()] == [other.key(job) for job in other.by_id.values()]


# --- what a job depends on


def changed(before, after):
    """Return the jobs of both that have another key."""
    return {
        name
        for name in before.by_id.keys() & after.by_id.keys()
        if before.key(before.by_id[name]) != after.key(after.by_id[name])
    }


def test_a_changed_strategy_changes_the_keys_of_its_jobs_alone():
    before = jobs()
    after = jobs(strategies=["none", {"preset": "random", "input": {"kind": "random", "rate": 0.3}}, "span", "keyword"])
    assert changed(before, after) == {name for name in before.by_id if name.endswith(".1")}


def test_a_key_covers_the_probes_and_who_needs_the_models():
    before = jobs(regimes=["single", "sequential"])
    assert changed(before, jobs(regimes=["single", "sequential"], probes={"examples": 7})) == set(before.by_id)
    after = jobs(
        regimes=["single", "sequential"], tasks=["rt-snippets", {"preset": "conll2003", "training": {"epochs": 9.0}}]
    )
    assert changed(before, after) == {
        name
        for name, job in before.by_id.items()
        if "conll2003" in (job.id.task, job.id.regime.removeprefix("after-")) or job.id.regime == "single"
    }


@pytest.mark.parametrize(
    "keys", [{"question": "Why?"}, {"resources": {"minutes": 7}}, {"keep_models": True}, {"cache": "x"}]
)
def test_what_changes_no_number_changes_no_key(keys):
    assert changed(jobs(), jobs(**keys)) == set()


def test_conflict_points_are_a_parameter_of_joint_cells_alone():
    regimes = ["single", "joint"]
    before, after = jobs(regimes=regimes), jobs(regimes=regimes, probes={"conflict_points": 3})
    assert changed(before, after) == {name for name in before.by_id if ".with-" in name}


# --- time, and advice


def test_time_follows_from_the_cells():
    keys = {"resources": {"minutes": 60, "cells_per_job": "all"}, "regimes": ["single", "joint"]}
    planned = jobs(**keys)
    minutes = {job.id.regime: planned.minutes(job) for job in planned.by_id.values()}
    assert minutes == {"single": 4 * (60 + 30), "with-conll2003": 4 * (60 + 2 * 30)}
    bare = jobs(**keys, probes={"measure": []})
    assert {bare.minutes(job) for job in bare.by_id.values()} == {240}


def test_who_asks_for_more_slots_than_there_are_jobs_is_told():
    few = jobs(resources={"cells_per_job": "all"})
    assert few.advice(None) is None
    assert few.advice(2) is None
    assert (
        few.advice(8)
        == "resources.cells_per_job: all makes 2 jobs, fewer than the 8 that may run at once; 1 would make more"
    )
    assert jobs(resources={"cells_per_job": 1}).advice(64) is None  # there are no more cells


def test_the_command_line_does_not_grow_with_the_strategies():
    """128 KiB is what Linux takes; the job reads its cells from experiment.json."""
    many = [
        {"name": f"random-{number}", "input": {"kind": "random", "rate": number / 1000}} for number in range(1, 200)
    ]
    planned = jobs(strategies=["none", *many], resources={"cells_per_job": "all"})
    (job, _) = planned.by_id.values()
    assert len(job.members) == 200
    assert len(str(job.id)) + len(planned.key(job)) < 200


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "some", None])
def test_a_wrong_number_of_cells_is_named(value):
    with pytest.raises(
        Exception, match=r"resources\.cells_per_job: expected auto, all, or a whole number of at least 1"
    ):
        experiment(resources={"cells_per_job": value})


def test_an_untrained_model_is_evaluated_as_its_model_and_then_its_task_say():
    base = experiment()
    model = base.models[0].model_copy(update={"training": TrainingOverrides(attention="eager")})
    task = base.tasks[0].model_copy(update={"training": TrainingOverrides(attention="sdpa")})
    found = Jobs(base.model_copy(update={"models": [model], "tasks": [task, base.tasks[1]]}))
    attention = {
        name: json.loads(found.evaluated(name, model.name))["attention"] for name in ("rt-snippets", "conll2003")
    }
    assert attention == {"rt-snippets": "sdpa", "conll2003": "eager"}
