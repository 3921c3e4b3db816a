"""Before running: which claims an experiment can decide, how many seeds that takes, and how long it will run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from maskbench.analysis import between_models, detection, statistics
from maskbench.analysis.contrasts import lacking
from maskbench.analysis.controls import least_seeds
from maskbench.analysis.findings import OTHERS, POOLED
from maskbench.analysis.metrics import kinds_of, read_metrics, regime_kind
from maskbench.analysis.outcomes import Outcomes
from maskbench.analysis.planned_runs import common_seeds, planned_runs
from maskbench.analysis.power import Varying, chance_of_equivalence, seeds_for_equivalence, seeds_to_find
from maskbench.analysis.rates import at_rate
from maskbench.analysis.values import Scale
from maskbench.analysis.verdicts import measured, tasks_of
from maskbench.config.contrast import unit_of
from maskbench.config.measures import MEASURES, measure
from maskbench.config.science import ASSUMED_SD, EFFECT_TO_FIND, EVALUATIONS_TO_MATCH, LEVEL, PLANNED_EFFECTS, POWER
from maskbench.experiment.cell import cells
from maskbench.experiment.tuning import tuning
from maskbench.records.manifest import Timed, read_entries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

    from maskbench.config.claims import Claim, Claims, Control
    from maskbench.config.contrast import Contrast, Test
    from maskbench.experiment.experiment import Experiment

ON_SETS = ("input", "knowledge", "task")
"""Families of measures that rest on test-time sets of `probes: examples` texts."""


class PlannedRow(NamedTuple):
    """A contrast on a measure in one scope, and what stands in the way of a verdict."""

    claim: Claim
    contrast: Contrast
    measure: str
    scope: str
    lacks: str | None

    @property
    def test(self) -> Test:
        """The test that the contrast asks for: superior, non-inferior or either."""
        return self.contrast.test or "superior"


def _unmeasured(experiment: Experiment, name: str) -> str | None:
    """Return what the configuration lacks for a measure that is not measured unless it is asked for."""
    if name.startswith("ood_") and not any(task.out_of_domain for task in experiment.tasks):
        return "No task has texts from elsewhere (out_of_domain)."
    if name in ("attribution_agreement", "faithfulness") and experiment.probes.attributions is None:
        return "Attributions are not measured (probes: attributions)."
    return None


def _scopes(contrast: Contrast, here: list[str]) -> list[str]:
    """Return the scopes that count in the family: one, or of an interaction one for each task, as `Evidence.scopes`."""
    if contrast.kind != "interaction" or len(here) < 2:
        return [POOLED]
    return [f"{task}{OTHERS}" for task in (here if len(here) > 2 else here[:1])]


def _tasks(
    contrast: Contrast, name: str, runs: pd.DataFrame, by_task: dict[str, pd.DataFrame], tasks: list[str]
) -> tuple[list[str], str | None]:
    """Return the tasks that have all arms of a contrast on a measure, and what is lacking where these are too few.

    Limits may leave each arm on another task, so that a study has all of them and compares none.
    """
    if sentence := lacking(runs, contrast, name, tasks):
        return [], sentence
    found = {task: lacking(part, contrast, name, tasks) for task, part in by_task.items()}
    here = [task for task, missing in found.items() if task in tasks and missing is None]
    if not here:
        return [], f"No task has all runs of it, as the limits leave them ({', '.join(found)})."
    if contrast.kind == "interaction" and len(here) < 2:
        return here, f"An interaction takes two tasks, and the limits leave {here[0]} alone."
    return here, None


def needs(experiment: Experiment, claims: Claims, runs: pd.DataFrame) -> Iterator[PlannedRow]:
    """Yield each contrast on each measure in each scope, with what the experiment lacks for it."""
    kinds = {task.name: str(task.kind) for task in experiment.tasks}
    runs = runs.drop(columns=["run", "seed"]).drop_duplicates()  # what is there does not hang on the seeds
    by_task = {str(task): part for task, part in runs.groupby("task", sort=False)}
    heads = any(model.masked_lm is not False for model in experiment.models)
    along = {entry.matched for entry in MEASURES.values()}
    for claim in claims.claims:
        tasks = tasks_of(claim, kinds)
        for contrast in claim.resolved():
            for name in contrast.measures or []:
                here, lacks = _tasks(contrast, name, runs, by_task, tasks)
                if measure(name).masked_lm and not heads:
                    lacks = lacks or "No model has a masked-LM head."
                lacks = lacks or _unmeasured(experiment, measure(name).name)
                if name in along and "trajectory" not in experiment.probes.wanted:
                    lacks = lacks or "The probe trajectory is not among those to measure."
                for scope in _scopes(contrast, here):
                    yield PlannedRow(claim, contrast, name, scope, lacks)


@dataclass(frozen=True)
class Recorded:
    """What a recorded study tells: what differences vary by, and how long runs took."""

    spreads: dict[tuple[str, str, str, str], Varying]
    """By claim, contrast, measure and scope, on the measure's scale."""
    records: list[dict[str, Any]]
    """What the manifest says of each run."""

    @classmethod
    def read(cls, results: Path, claims: Claims, resamples: int = 1000) -> Recorded:
        """Read metrics.csv, manifest.json and, where it is there, outcomes.parquet of a study.

        Spreads are computed by the functions that make the verdicts, so that they hold what the verdicts will hold:
        the seeds, and the test texts.

        Raises
        ------
        InputError
            If one is missing or not valid.
        """
        path, metrics = results / "outcomes.parquet", at_rate(read_metrics(results / "metrics.csv"), "shared")
        outcomes = Outcomes(path, resamples, 0, kinds_of(metrics)) if path.exists() else None
        spreads = {
            (row.claim.id, row.evidence.contrast.name, row.evidence.measure, row.scope): Varying.of(row.spread)
            for row in measured(claims, metrics, outcomes)
            if row.spread is not None and row.spread.n > 1 and row.spread.error > 0
        }
        return cls(spreads, read_entries(results / "manifest.json", Timed))

    def varying(self, need: PlannedRow) -> tuple[Varying, str]:
        """Return what a contrast on a measure varies by, and where it is from; of another contrast if need be."""
        exact = self.spreads.get((need.claim.id, need.contrast.name, need.measure, need.scope))
        if exact is not None:
            return exact, "recorded"
        pooled = need.scope == POOLED
        models = need.contrast.kind == "models"
        alike = [
            one
            for (_, _, name, scope), one in self.spreads.items()
            if name == need.measure and (scope == POOLED) == pooled and (one.fine_tuning.seeds > 0) == models
        ]
        if alike:
            seeds, examples = (float(np.median([one[part] for one in alike])) for part in (0, 1))
            added = detection.FineTuning(
                float(np.median([one.fine_tuning.variance for one in alike])),
                min(one.fine_tuning.seeds for one in alike),
            )
            return Varying(seeds, examples, min(one.n_examples for one in alike), added), "recorded, others"
        return Varying(Scale(need.measure).hide(ASSUMED_SD[unit_of(need.measure)]) ** 2), "assumed"

    def seconds(self, run: str) -> float | None:
        """Return how long a cell will take: the mean of the recorded runs that are most like it; None without any."""
        task, model, _, regime, _, size, _ = run.split(".")
        timed = [(entry["run"].split("."), entry) for entry in self.records if entry["timings"]["train_s"] is not None]
        for wanted in ((task, model, regime_kind(regime)), (task, model), ()):
            found = [
                _scaled(entry, parts[5], size)
                for parts, entry in timed
                if (parts[0], parts[1], regime_kind(parts[3]))[: len(wanted)] == wanted
            ]
            if found:
                return float(np.mean(found))
        return None


def _scaled(entry: dict[str, Any], recorded: str, planned: str) -> float:
    """Return the time of a recorded run, its training part scaled to another train size if both have a number."""
    wall, train = float(entry["timings"]["wall_s"]), float(entry["timings"]["train_s"])
    factor = int(planned[1:]) / int(recorded[1:]) if "full" not in (planned, recorded) else 1.0
    probes = (entry.get("probes") or {}).get("timings", {}).get("wall_s", 0.0)
    return wall + train * (factor - 1.0) + float(probes)


def _count(seeds: int | None) -> str:
    return "> 10000" if seeds is None else str(seeds)


def _decides(need: PlannedRow, margin: float, varying: Varying, tests: int, seeds: int) -> tuple[str, bool]:
    """Say what the experiment's seeds can find, and whether that is anything at all."""
    scale = Scale(need.measure)
    non_inferior = need.test == "non-inferior"
    found = detection.detectable(varying.spread(max(seeds, 1)), tests, 0.0 if non_inferior else margin)
    if not math.isfinite(found):
        least = statistics.least_seeds(LEVEL / tests)
        unit = "pretraining seeds" if need.contrast.kind == "models" else "seeds"
        return f"nothing: {seeds} {unit} can never reject, {least} can", False
    if non_inferior:
        return f"not worse, from {scale.show(found - margin):.2g} {scale.unit}", True
    return f"effects from {scale.show(found):.2g} {scale.unit}", True


PLAN_HEADER: tuple[str, ...] = ("claim", "contrast", "measure", "SD", "texts", "", "δ")
PLAN_HEADER += (f"seeds for {EFFECT_TO_FIND:g} δ", *(f"{one:g} point{'s' * (one != 1)}" for one in PLANNED_EFFECTS))
PLAN_HEADER += ("seeds for no difference", "seeds there show none", "seeds there find")


def _row(need: PlannedRow, claims: Claims, known: Recorded, tests: int, seeds: int) -> tuple[tuple[str, ...], bool]:
    """Return a line of the plan, and whether the experiment's seeds can find anything."""
    scale, (varying, origin) = Scale(need.measure), known.varying(need)
    delta = claims.delta(need.claim, need.measure, pooled=need.scope == POOLED)
    margin = scale.hide(delta)

    def seeds_for(effect: float) -> str:
        return _count(seeds_to_find(varying, effect, tests, margin, need.test))

    least = seeds_for(0.0 if need.test == "non-inferior" else EFFECT_TO_FIND * margin)
    effects = [seeds_for(effect) if scale.unit == "points" else "–" for effect in PLANNED_EFFECTS]
    finds, anything = _decides(need, margin, varying, tests, seeds)
    equal = (
        _count(seeds_for_equivalence(varying, margin)),
        f"{100 * chance_of_equivalence(varying, seeds, margin):.0f} %",
    )
    texts = f"{scale.show(math.sqrt(varying.examples)):.2g}" if varying.n_examples else "–"
    where = need.contrast.name if need.scope == POOLED else f"{need.contrast.name}, {need.scope}"
    numbers = (f"{scale.show(math.sqrt(varying.seeds)):.2g}", texts, origin, f"{delta:g} {scale.unit}", least)
    return (need.claim.id, where, need.measure, *numbers, *effects, *equal, finds), anything


def _measured(need: PlannedRow, columns: int) -> tuple[str, ...]:
    """Return the line of a property, which takes no seeds: any run tells it."""
    first = (need.claim.id, need.contrast.name, need.measure, "–", "–", "", f"{need.contrast.bound:g}")
    return (*first, *["–"] * (columns - len(first) - 1), "holds or false, from any run")


def plan(experiment: Experiment, claims: Claims, recorded: Recorded | None) -> str:
    """Return what an experiment can decide, as text.

    Parameters
    ----------
    experiment
        The experiment that is going to run.
    claims
        What it is to decide.
    recorded
        A recorded study that tells spreads and times; None: spreads are assumed, and there is no forecast of time.
    """
    known = recorded or Recorded({}, [])
    runs, again = planned_runs(experiment), planned_runs(experiment, "tuned")
    rows, every, decided = _rows(experiment, claims, runs, known)
    lines = [f"{experiment.study}: {_size(runs)}. {_forecast(runs, recorded)}", "", *_aligned(rows)]
    if len(again):
        rows, _, more = _rows(experiment, claims, again, known)
        lines += ["", f"At tuned learning rates: {_size(again)}.", "", *_aligned(rows)]
        decided |= more
    lines += [*_undecided(claims, every, decided), *_unguarded(experiment, claims, runs)]
    lines += _unguarded(experiment, claims, again, " at tuned learning rates") if len(again) else []
    return "\n".join([*lines, "", *_notes(experiment, claims, every, recorded)]) + "\n"


def _size(runs: pd.DataFrame) -> str:
    """Say how many runs there are; limits may leave fewer seeds than there are."""
    seeds = runs["seed"].nunique()
    return f"{len(runs)} cells, {seeds} seed{'s' * (seeds != 1)}"


def _rows(
    experiment: Experiment, claims: Claims, runs: pd.DataFrame, known: Recorded
) -> tuple[list[tuple[str, ...]], list[PlannedRow], set[str]]:
    """Return the lines of the plan for runs at one of the rates, all planned rows, and the claims that are decided."""
    every = list(needs(experiment, claims, runs))
    rows, decided = [PLAN_HEADER], set()
    for need in (need for need in every if need.lacks is None):
        if need.contrast.kind == "property":
            rows.append(_measured(need, len(PLAN_HEADER)))
            decided.add(need.claim.id)
            continue
        tests = sum(other.claim is need.claim and other.lacks is None for other in every)
        between = need.contrast.kind == "models"
        seeds = between_models.planned_seeds(runs, need.contrast) if between else len(experiment.seeds)
        if experiment.limits and not between:
            seeds = common_seeds(runs, need.contrast, need.measure)
        row, anything = _row(need, claims, known, tests, seeds)
        rows.append(row)
        decided |= {need.claim.id} if anything else set()
    return rows, every, decided


def _notes(experiment: Experiment, claims: Claims, every: list[PlannedRow], recorded: Recorded | None) -> Iterator[str]:
    """Yield notes that a reader of the plan needs."""
    yield (
        f"Seeds are for {100 * POWER:g} % power by the rule of the verdicts, two-sided {100 * LEVEL:g} % with Holm's "
        "correction within the claim (of an interaction, one test for each task). An effect of exactly δ is found "
        "half the time however many seeds there are, since the estimate must reach δ, too: hence "
        f"{EFFECT_TO_FIND:g} δ (of a test of non-inferiority: no difference). No difference: two arms that are equal "
        "are called equivalent."
    )
    if any(need.contrast.kind == "models" and need.lacks is None for need in every):
        yield (
            "Between models a seed is one of pretraining. What fine-tuning seeds do to all of them alike is taken from "
            "the recorded study, if it has such a contrast, and does not get less with more pretraining seeds; without "
            "one it is not counted."
        )
    if recorded is None:
        yield (
            "SDs are assumed and test texts are not counted, so that it takes more than this; --from results/STUDY "
            "takes both from a recorded one."
        )
    elif all(one.n_examples == 0 for one in recorded.spreads.values()):
        yield "The recorded study has no outcomes.parquet: test texts are not counted, so that it takes more than this."
    if (examples := experiment.probes.examples) and (coarse := _coarse(claims, every, 100 / examples)):
        yield (
            f"One text of a test-time set of {examples} is {100 / examples:.2g} points of a task, no less than δ: "
            f"{', '.join(coarse)} differ by steps of that size (probes: examples)."
        )
    if experiment.tune is not None:
        trainings = sum(1 for _ in cells(tuning(experiment)))
        yield (
            f"Tuning takes {trainings} trainings more; the forecast of time has neither these nor cells at tuned rates."
        )
    training = experiment.training
    evaluations = math.floor(training.evaluations_per_epoch * training.epochs)
    matched = sorted({need.measure for need in every if need.lacks is None and measure(need.measure).at_matched_score})
    if matched and evaluations < EVALUATIONS_TO_MATCH:
        yield (
            f"{evaluations} evaluations of a run are too few to see when it reaches the matched score, and verdicts on "
            f"{', '.join(matched)} will be inconclusive; about {EVALUATIONS_TO_MATCH} do (training: "
            "evaluations_per_epoch)."
        )


def _coarse(claims: Claims, every: list[PlannedRow], text: float) -> list[str]:
    """Return the measures on test-time sets of which one text is as much as δ."""
    tested = (need for need in every if need.lacks is None and unit_of(need.measure) == "points")
    on_sets = (need for need in tested if measure(need.measure).family in ON_SETS)
    return sorted({need.measure for need in on_sets if text >= claims.delta(need.claim, need.measure, pooled=True)})


def _unguarded(experiment: Experiment, claims: Claims, runs: pd.DataFrame, where: str = "") -> Iterator[str]:
    """Yield the controls that the experiment lacks among its runs, and what their lack leaves unguarded."""
    missing = [
        (gate, lacks)
        for gate in claims.gates
        if (lacks := _gate_lacks(gate, experiment, runs, claims.decision.control_level))
    ]
    if not missing:
        return
    yield from (
        "",
        f"Controls that this experiment lacks{where}: {len(missing)} of {len(claims.gates)}; verdicts are unguarded",
    )
    for gate, lacks in missing:
        of = "all measures" if gate.guards == "all" else ", ".join(gate.guards)
        yield f"  {gate.gate}  {lacks} Unguarded: {of}."


def _gate_lacks(gate: Control, experiment: Experiment, runs: pd.DataFrame, level: float) -> str | None:
    """Return what an experiment lacks for a control; None if it has the runs for one of its contrasts."""
    tasks = [task.name for task in experiment.tasks]
    runs = runs.drop(columns=["run", "seed"]).drop_duplicates()
    found = [lacking(runs, contrast, gate.measures[0], tasks) for contrast in gate.contrasts]
    if all(found):
        return found[0]
    least = least_seeds(level)
    if gate.kind == "null" and len(experiment.seeds) < least:
        return f"{len(experiment.seeds)} seeds can never differ at {100 * level:g} %, {least} can."
    return None


def _undecided(claims: Claims, every: list[PlannedRow], decided: set[str]) -> Iterator[str]:
    """Yield the claims that the experiment cannot decide, then each contrast that it lacks the runs for."""
    rest = [claim.id for claim in claims.claims if claim.id not in decided]
    yield from ("", f"Not decided by this experiment: {len(rest)} of {len(claims.claims)} claims ({', '.join(rest)})")
    lacking = {(need.claim.id, need.contrast.name): need.lacks for need in every if need.lacks is not None}
    lines = [(claim.id, "", claim.why) for claim in claims.claims if claim.why is not None]
    lines += [(claim, f"{contrast}: ", str(lacks)) for (claim, contrast), lacks in lacking.items()]
    yield from (f"  {claim}  {contrast}{why}" for claim, contrast, why in sorted(lines, key=lambda line: line[0]))


def _forecast(runs: pd.DataFrame, recorded: Recorded | None) -> str:
    """Say how long the cells will take, one after another."""
    if recorded is None:
        return "No recorded study was named, so there is no forecast of time."
    found = [recorded.seconds(run) for run in runs["run"]]
    known = [seconds for seconds in found if seconds is not None]
    if not known:
        return "The recorded study has no timed run."
    hours = sum(known) / 3600
    return (
        f"About {hours:.1f} hours of training and probing, one cell after another, at the speed of the recorded study."
    )


def _aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Yield rows with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
