"""Nothing is compared between kinds of device; times and memory between runs on one kind of machine alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from maskbench.analysis.collect import machine_of
from maskbench.analysis.compare import Settings, compare
from maskbench.analysis.derived import RunSummary, machines, negative_transfer, overheads
from maskbench.analysis.verdicts import judge
from maskbench.records.run import Record
from tests.helpers import run_folders
from tests.unit.analysis.test_verdicts import claims, noise, row, study

FASTER = {"name": "none vs x", "of": "none", "against": "x"}


def timed(kinds, measure="step_time"):
    """Return a study whose second arm takes 25 % longer; `kinds` gives the machine of a run by (strategy, seed)."""

    def values(task, seed, size, place):
        found = {}
        for name, ms in (("none", 100.0), ("x", 125.0)):
            kind = kinds(name, seed)
            # the other kind of machine is ten times as fast
            found[name] = {"score": 0.8, measure: ms * (1 + 0.01 * seed) / (10 if kind == 2 else 1)}
            found[name] |= {} if kind is None else {"machine": kind}
        return found

    return study(values, tasks=("a",))


def verdict(metrics, measure="step_time"):
    return row(judge(metrics, None, claims(FASTER, measures=[measure])).verdicts, scope="pooled")


def test_pairs_on_machines_of_two_kinds_are_not_compared():
    some = verdict(timed(lambda name, seed: 2.0 if name == "x" and seed == 1 else 1.0))
    assert (some["estimate"], some["n_seeds"]) == (pytest.approx(25.0), 9)
    assert "1 of 10 pairs ran on machines of different kinds" in some["note"]
    every = verdict(timed(lambda name, seed: 2.0 if name == "x" else 1.0))
    assert every["verdict"] == "inconclusive"
    assert np.isnan(every["estimate"])
    assert "10 of 10 pairs ran on machines of different kinds" in every["note"]


@pytest.mark.parametrize("measure", ["step_time", "peak_memory", "train_time"])
def test_what_is_known_of_the_machines_is_said_in_the_row(measure):
    assert "machine" not in verdict(timed(lambda name, seed: 1.0, measure), measure)["note"]
    alike = verdict(timed(lambda name, seed: 1.0 + seed % 2, measure), measure)
    assert alike["estimate"] == pytest.approx(25.0)
    assert "2 kinds of machines, the two of a pair on the same kind" in alike["note"]
    unknown = verdict(timed(lambda name, seed: None, measure), measure)
    assert "is not recorded" in unknown["note"]


def stacked(seeds, arms=("none", "x"), failed=()):
    """Return a study whose runs of some seeds and strategies were trained in stacks; some of these failed."""
    metrics = timed(lambda name, seed: 1.0)
    own = metrics["strategy"].isin(arms) & metrics["seed"].isin(seeds)
    sizes = metrics[own & (metrics["measure"] == "score")].assign(measure="stack", value=4.0)
    metrics = pd.concat([metrics[~(own & (metrics["measure"] == "step_time"))], sizes], ignore_index=True)
    ended = (metrics["strategy"] == "x") & metrics["seed"].isin(failed)
    metrics.loc[ended, "status"] = "crashed"
    return metrics[~ended | (metrics["measure"] == "score")]


@pytest.mark.parametrize("arms", [("none", "x"), ("none",)])
def test_pairs_with_cells_of_stacks_have_no_times_and_are_not_missing(arms):
    """Seeds that a card trained in stacks beside seeds of a CPU: a verdict on time rests on the latter."""
    metrics = stacked((7, 8, 9, 10), arms)
    found = verdict(metrics)
    assert (found["estimate"], found["n_seeds"]) == (pytest.approx(25.0), 6)
    assert "4 of the pairs have cells of stacks, without times and memory of their own" in found["note"]
    assert "missing" not in found["note"]
    assert verdict(metrics, "score")["n_seeds"] == 10


def test_a_failure_in_a_stack_is_none_among_the_seeds_with_times():
    found = verdict(stacked((7, 8, 9, 10), failed=(9, 10)))
    assert "missing" not in found["note"]
    assert "4 of the pairs have cells of stacks" in found["note"]


def test_times_that_are_missing_without_a_stack_are_missing():
    """As those of a derived measure are where the baseline of their seed failed."""
    metrics = timed(lambda name, seed: 1.0)
    lost = verdict(metrics[~((metrics["measure"] == "step_time") & (metrics["seed"] > 6))])
    assert "4 of 10 pairs are missing" in lost["note"]
    assert "refused" in lost["note"]


def test_the_share_of_a_stack_is_another_kind_of_machine(tmp_path):
    (run,) = run_folders.write_study(tmp_path, ["rt-snippets"], ["none"], 1, examples=10)
    alone = Record.model_validate_json((tmp_path / "training" / run / "metrics.json").read_text())
    four, others, five = (
        alone.model_copy(update={"stack": [name] * size}) for name, size in (("x", 4), ("y", 4), ("x", 5))
    )
    assert len({machine_of(record) for record in (alone, four, five)}) == 3
    assert machine_of(four) == machine_of(others)
    assert "stack" not in machine_of(alone)


def test_a_score_does_not_mind_the_machine():
    metrics = timed(lambda name, seed: 2.0 if name == "x" else 1.0)
    assert verdict(metrics, "score")["n_seeds"] == 10


def on_devices(kinds, tasks=("a",), sizes=("100",)):
    """Return a study whose second arm scores 2 points higher; `kinds` gives the device of a run by (strategy, seed)."""

    def values(task, seed, size, place):
        level = 0.7 + 0.01 * noise(task, seed, size)
        found = {"none": {"score": level}, "x": {"score": level + 0.02 + 0.001 * noise(seed)}}
        # what ran on the second kind scores 10 points less
        return {
            name: own | {"score": own["score"] - 0.1 * (kinds(name, seed) == 2), "device": float(kinds(name, seed))}
            for name, own in found.items()
        }

    return study(values, tasks=tasks, sizes=sizes)


@pytest.mark.parametrize("tasks", [("a",), ("a", "b")])
def test_no_measure_is_compared_between_kinds_of_device(tasks):
    """A pair on a processor and a card does not count; pairs on one of them, whichever, do."""
    mixed = on_devices(lambda name, seed: 2 if name == "x" and seed in (1, 2) else 1, tasks)
    found = row(judge(mixed, None, claims(FASTER | {"of": "x", "against": "none"})).verdicts, scope="pooled")
    assert (found["n_seeds"], found["verdict"]) == (8, "supported")
    assert found["estimate"] == pytest.approx(2.0, abs=0.1)
    assert f"{2 * len(tasks)} of the pairs ran on different kinds of device" in found["note"]
    assert "missing" not in found["note"]  # they were not lost to a failure
    alike = on_devices(lambda name, seed: 1 + seed % 2, tasks)
    found = row(judge(alike, None, claims(FASTER | {"of": "x", "against": "none"})).verdicts, scope="pooled")
    assert (found["n_seeds"], "kinds of device" in found["note"]) == (10, False)


def test_a_contrast_of_pairs_that_are_all_mixed_is_not_tested():
    metrics = on_devices(lambda name, seed: 2 if name == "x" else 1)
    (found,) = judge(metrics, None, claims(FASTER)).verdicts.to_dict("records")
    assert found["verdict"] == "not tested"
    assert "different kinds of device" in found["note"]


def test_a_learning_curve_counts_if_all_of_its_runs_were_made_on_one_kind_of_device():
    metrics = on_devices(lambda name, seed: 1, sizes=("100", "200", "400"))
    other = (metrics["seed"] == 3) & (metrics["train_size"] == "400") & (metrics["measure"] == "device")
    metrics.loc[other & (metrics["strategy"] == "x"), "value"] = 2.0
    contrast = FASTER | {"of": "x", "against": "none", "kind": "curve"}
    found = row(judge(metrics, None, claims(contrast)).verdicts, scope="pooled")
    assert found["n_seeds"] == 9
    assert "1 of the pairs ran on different kinds of device" in found["note"]


def test_derived_numbers_and_comparisons_mix_no_devices():
    about = {"model": "m", "train_size": "100", "seed": 1, "condition": "clean", "completed": True, "strategy": "none"}
    runs = [
        RunSummary("alone", task="a", regime="single", score=0.8, device="cpu, fp32", **about),
        RunSummary("both", task="a", regime="with-b", score=0.7, device="cpu, fp32", **about),
        RunSummary("card", task="a", regime="with-b", score=0.7, device="H100, fp32", **about),
    ]
    assert {value.run: value.value for value in negative_transfer(runs)} == {"both": pytest.approx(10.0), "card": None}
    assert [value.value for value in machines(runs)] == [1.0, 1.0, 2.0]
    metrics = on_devices(lambda name, seed: 2 if name == "x" and seed == 1 else 1)
    found = compare(metrics, None, Settings("none", 100, 0.95, 0)).set_index("measure")
    assert found.loc["score", ["n_seeds", "missing_pairs"]].tolist() == [9, 1]


def test_comparisons_heed_it_too():
    metrics = timed(lambda name, seed: 2.0 if name == "x" and seed < 3 else 1.0)
    found = compare(metrics, None, Settings("none", 100, 0.95, 0)).set_index("measure")
    assert found.loc["step_time", ["n_seeds", "missing_pairs"]].tolist() == [8, 2]
    assert found.loc["step_time", "estimate"] == pytest.approx(25.0)
    assert found.loc["score", "n_seeds"] == 10


def test_overheads_are_ratios_on_one_kind_of_machine():
    about = {"task": "a", "model": "m", "regime": "single", "condition": "clean", "train_size": "full"}
    about |= {"seed": 1, "completed": True}
    runs = [
        RunSummary("n", strategy="none", step_time=100.0, peak_memory=10.0, machine="cpu, 1 threads", **about),
        RunSummary("x", strategy="x", step_time=125.0, peak_memory=10.0, machine="cpu, 1 threads", **about),
        RunSummary("y", strategy="y", step_time=12.5, peak_memory=10.0, machine="cuda, 1 threads", **about),
        RunSummary("z", strategy="z", step_time=60.0, peak_memory=10.0, machine="cpu, 2 threads", **about),
    ]
    found = pd.DataFrame(overheads(runs, "none")).query("measure == 'step_overhead'").set_index("run")["value"]
    assert found[["n", "x"]].tolist() == [1.0, 1.25]
    assert found[["y", "z"]].isna().all()
    assert [value.value for value in machines(runs)] == [1.0, 1.0, 2.0, 3.0]
