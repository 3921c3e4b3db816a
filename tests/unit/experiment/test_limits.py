"""Which cells of the full product a study runs."""

from __future__ import annotations

import pytest

from maskbench.analysis.planned_runs import common_seeds, planned_runs
from maskbench.config.contrast import Contrast
from maskbench.errors import InputError
from maskbench.experiment.cell import cells
from maskbench.experiment.jobs import Jobs
from maskbench.experiment.load import load
from maskbench.experiment.tuning import tried, tuning

MASKS = ["none", "random", "span", "keyword"]
TUNE = {"learning_rates": [1e-4, 1e-3], "seeds": [101, 102]}


def experiment(**keys):
    base = {
        "study": "mine",
        "tasks": ["rt-snippets", "conll2003"],
        "models": ["minilm-l6", {"preset": "bert-tiny"}],
        "strategies": MASKS,
        "train_sizes": [100, 200],
        "conditions": ["clean", "cue:0.95", "label-noise:0.3"],
        "regimes": ["single", "sequential"],
        "seeds": [1, 2, 3],
    }
    return load(base | keys)


def runs(**keys):
    return {cell.run for cell in cells(experiment(**keys))}


@pytest.mark.parametrize(
    ("of", "gone"),
    [
        ({"tasks": ["conll2003"]}, "conll2003."),
        ({"models": ["bert-tiny"]}, ".bert-tiny."),
        ({"strategies": ["sp*"]}, ".span."),
        ({"conditions": ["cue:0.95"]}, ".cue-95."),
        ({"train_sizes": [200]}, ".n200."),
        ({"seeds": [3]}, ".s3"),
    ],
)
def test_what_a_limit_is_about_runs_only_where_it_says_and_all_else_everywhere(of, gone):
    plain = {"regimes": ["single"], "conditions": ["clean", "cue:0.95"]}
    limit = {"of": of, "only": {"seeds": [2, 3], "strategies": ["none", "span"]}}
    everything, left = runs(**plain), runs(**plain, limits=[limit])
    about = {run for run in everything if gone in run if gone != "conll2003." or run.startswith(gone)}
    kept = {run for run in about if not run.endswith(".s1") and (".none." in run or ".span." in run)}
    assert about, of
    assert left == (everything - about) | kept


def test_several_limits_hold_at_once_and_none_of_them_changes_a_cell_or_its_key():
    limits = [
        {
            "of": {"strategies": ["span"]},
            "only": {"train_sizes": [100], "conditions": ["clean"], "regimes": ["single"]},
        },
        {"of": {"strategies": ["span"]}, "only": {"tasks": ["conll2003"], "seeds": [1]}},
    ]
    every, few = Jobs(experiment()), Jobs(experiment(limits=limits))
    spans = [run for run in few.cells if ".span." in run]
    assert sorted(spans) == [f"conll2003.{model}.span.single.clean.n100.s1" for model in ("bert-tiny", "minilm-l6")]
    assert all(few.cells[run] == every.cells[run] for run in few.cells)
    assert {cell.run for job in few.by_id.values() for cell in job.cells} == set(few.cells)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({"of": {"tasks": ["sst2"]}, "only": {"seeds": [1]}}, r"limits\[0\].of.tasks: expected some of .*, got sst2"),
        ({"of": {"seeds": [1]}, "only": {"strategies": ["ranom"]}}, r"limits\[0\].only.strategies: .* got ranom"),
        ({"of": {"seeds": [1]}, "only": {"train_sizes": [300]}}, r"limits\[0\].only.train_sizes: .*, got 300"),
        ({"of": {"strategies": ["none"]}, "only": {"seeds": [1]}}, r"is run without the baseline, .*\.none\."),
        (
            {"of": {"regimes": ["single"], "strategies": ["span"]}, "only": {"tasks": ["conll2003"]}},
            r"is run without its first task, rt-snippets",
        ),
        (
            {"of": {"strategies": ["span"]}, "only": {"conditions": ["label-noise:0.3"]}},
            "is run without the same with clean labels",
        ),
        ({"of": {}, "only": {"seeds": [1]}}, "expected one of tasks, models"),
    ],
)
def test_a_limit_that_names_what_is_not_there_or_leaves_a_cell_alone_is_told_in_one_line(limit, message):
    with pytest.raises(InputError, match=message) as told:
        experiment(limits=[limit])
    assert all("\n" not in line for line in told.value.args)


def test_claims_can_be_judged_only_at_a_train_size_that_is_run():
    with pytest.raises(InputError, match=r"analysis.train_size: expected one of the train sizes 100, 200, got 300"):
        experiment(analysis={"train_size": 300})


def test_limits_that_leave_nothing_are_refused():
    limits = [{"of": {"seeds": [1, 2, 3]}, "only": {"seeds": [1]}}, {"of": {"seeds": [1]}, "only": {"seeds": [2]}}]
    with pytest.raises(InputError, match="expected that some cell is run"):
        experiment(limits=limits)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            [
                {"of": {"strategies": ["span"]}, "only": {"seeds": [1]}},
                {"of": {"strategies": ["span"]}, "only": {"seeds": [2]}},
            ],
            "strategy span is asked for, and they leave no cell of it",
        ),
        ([{"of": {"train_sizes": [200]}, "only": {"train_sizes": [100]}}], "train size 200 is asked for"),
        ([{"of": {"seeds": [3]}, "only": {"seeds": [1, 2]}}], "seed 3 is asked for"),
        ([{"of": {"models": ["minilm-l6"]}, "only": {"models": ["bert-tiny"]}}], "model minilm-l6 is asked for"),
        ([{"of": {"regimes": ["sequential"]}, "only": {"regimes": ["single"]}}], "regime sequential is asked for"),
        ([{"of": {"conditions": ["cue:0.95"]}, "only": {"conditions": ["clean"]}}], "condition cue:0.95 is asked for"),
    ],
)
def test_what_is_asked_for_and_left_nowhere_is_told_in_one_line(limits, message):
    with pytest.raises(InputError, match=message) as told:
        experiment(limits=limits)
    assert all("\n" not in line for line in told.value.args)


def test_a_strategy_is_tuned_only_for_the_tasks_and_models_that_it_is_run_with():
    only = {"tasks": ["conll2003"], "models": ["bert-tiny"], "regimes": ["single"]}
    limits = [{"of": {"strategies": ["span"]}, "only": only}]
    found = experiment(tune=TUNE | {"strategies": ["none", "sp*"]}, limits=limits)
    arms = {(cell.task, cell.model) for cell in cells(tuning(found)) if cell.strategy.name.startswith("span")}
    assert arms == {("conll2003", "bert-tiny")}
    assert {name for _, _, name, *_ in tried(found)} == {"none", "span"}
    planned = {cell.run for cell in cells(tuning(found))}
    assert {run for item in tried(found) for run in item.runs} == planned
    assert [strategy.name for strategy in found.arms] == [*MASKS, "none-tuned", "span-tuned"]


def test_limits_leave_no_tuned_strategy_without_its_tuned_baseline():
    tune = TUNE | {"strategies": ["none", "span"]}
    half = {"of": {"strategies": ["none-tuned"]}, "only": {"seeds": [1]}}
    with pytest.raises(InputError, match=r"span-tuned\..* is run without the baseline, .*\.none-tuned\."):
        experiment(tune=tune, limits=[half])
    # a baseline that is not tuned at all is another thing
    one = {"of": {"strategies": ["span-tuned"]}, "only": {"seeds": [1]}}
    assert experiment(tune=TUNE | {"strategies": ["span"]}, limits=[one])


def test_an_entity_mask_may_stand_beside_a_task_that_it_is_not_run_on():
    strategies = ["none", "entity"]
    with pytest.raises(InputError, match="gold mentions"):
        experiment(strategies=strategies)
    limit = {"of": {"strategies": ["entity"]}, "only": {"tasks": ["conll2003"], "regimes": ["single"]}}
    kept = experiment(strategies=strategies, limits=[limit])
    assert {cell.task for cell in cells(kept) if cell.strategy.name == "entity"} == {"conll2003"}


def test_the_plan_counts_the_seeds_that_both_arms_have():
    limits = [{"of": {"seeds": [2, 3]}, "only": {"strategies": ["none", "random"]}}]
    planned = planned_runs(experiment(limits=limits))
    wide = Contrast(name="random vs none", of="random", against="none")
    narrow = Contrast(name="span vs none", of="span", against="none")
    assert (common_seeds(planned, wide, "score"), common_seeds(planned, narrow, "score")) == (3, 1)
