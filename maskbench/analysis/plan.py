"""Before running: which claims an experiment can decide, how many seeds that takes, and how long it will run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from maskbench.analysis import statistics
from maskbench.analysis.contrasts import Scale, lacking
from maskbench.analysis.findings import read_pairs
from maskbench.analysis.manifest import Timed, read_entries
from maskbench.analysis.metrics import regime_kind
from maskbench.analysis.verdicts import tasks_of
from maskbench.config.claims import unit_of
from maskbench.experiment.cell import cells

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from maskbench.config.claims import Claim, Claims, Contrast
    from maskbench.experiment.experiment import Experiment

ASSUMED = {"points": 1.0, "nats": 0.03, "per cent": 5.0, "coefficient": 0.02}
"""SD of a seed's paired difference, mean over tasks, by unit, where no recorded study tells it. Mosbach et al. (2021)
report SDs of about 1 point between seeds of BERT-large, finetuned stably on small tasks; reruns found 0.7 to 2.2."""
EFFECTS = (1.0, 2.0, 5.0)
"""Effects in points that seeds are told for, beside δ."""


class Need(NamedTuple):
    """A contrast on a measure, and what stands in the way of a verdict."""

    claim: Claim
    contrast: Contrast
    measure: str
    lacks: str | None


def planned_runs(experiment: Experiment) -> pd.DataFrame:
    """Return the runs that an experiment will make, with the columns that contrasts look at."""
    rows = [
        (
            cell.run,
            cell.task,
            cell.model,
            cell.strategy.name,
            cell.regime_name,
            cell.condition.name,
            str(cell.train_size),
        )
        for cell in cells(experiment)
    ]
    table = pd.DataFrame(rows, columns=["run", "task", "model", "strategy", "regime", "condition", "train_size"])
    return table.assign(kind=table["regime"].map({name: regime_kind(name) for name in table["regime"].unique()}))


def needs(experiment: Experiment, claims: Claims, runs: pd.DataFrame) -> Iterator[Need]:
    """Yield each contrast on each measure, with what the experiment lacks for it."""
    kinds = {task.name: str(task.kind) for task in experiment.tasks}
    heads = any(model.masked_lm is not False for model in experiment.models)
    for claim in claims.claims:
        for contrast in claim.resolved():
            for name in contrast.measures or []:
                lacks = lacking(runs, contrast, name, tasks_of(claim, kinds))
                if name.startswith("mlm_") and not heads:
                    lacks = lacks or "No model has a masked-LM head."
                yield Need(claim, contrast, name, lacks)


@dataclass(frozen=True)
class Recorded:
    """What a recorded study tells: the spread of differences, and how long runs took."""

    spreads: dict[tuple[str, str, str], float]
    """SD over seeds of the mean over tasks, by claim, contrast and measure; in the unit of the differences."""
    records: list[dict[str, Any]]
    """Entries of the manifest."""

    @classmethod
    def read(cls, results: Path) -> Recorded:
        """Read analysis/pairs.csv and manifest.json of a study.

        Raises
        ------
        InputError
            If one is missing or not valid.
        """
        key = ["claim", "contrast", "measure"]
        of_task = read_pairs(results / "analysis/pairs.csv").groupby([*key, "task", "seed"])["difference"].mean()
        found = of_task.groupby([*key, "seed"]).mean().groupby(key).std().reset_index()
        found = found[found["difference"] > 0]
        names = zip(found["claim"], found["contrast"], found["measure"], strict=True)
        spreads = dict(zip(names, found["difference"].astype(float), strict=True))
        return cls(spreads, read_entries(results / "manifest.json", Timed))

    def spread(self, need: Need) -> tuple[float, str]:
        """Return the SD of a contrast on a measure, and where it is from; of another contrast if need be."""
        exact = self.spreads.get((need.claim.id, need.contrast.name, need.measure))
        if exact is not None:
            return exact, "recorded"
        alike = [sd for (_, _, name), sd in self.spreads.items() if name == need.measure]
        return (float(np.median(alike)), "recorded, others") if alike else (ASSUMED[unit_of(need.measure)], "assumed")

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


def _seeds(name: str, effect: float, sd: float, tests: int) -> str:
    hide = Scale(name).hide
    found = statistics.seeds_needed(hide(effect), hide(sd) ** 2, 0.0, 0, tests)
    return "> 10000" if found is None else str(found)


def _decides(need: Need, delta: float, sd: float, tests: int, seeds: int) -> tuple[str, bool]:
    """Say what the experiment's seeds can find, and whether that is anything at all."""
    scale = Scale(need.measure)
    variance = np.array(scale.hide(sd) ** 2 / max(seeds, 1))
    spread = statistics.Spread(np.array(0.0), variance, np.array(0.0), seeds, 0)
    found = statistics.detectable(spread, tests, scale.hide(delta))
    if not math.isfinite(found):
        least = statistics.least_seeds(statistics.ALPHA / tests)
        return f"nothing: {seeds} seeds can never reject, {least} can", False
    return f"effects from {scale.show(found):.2g} {scale.unit}", True


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
    runs = planned_runs(experiment)
    every = list(needs(experiment, claims, runs))
    seeds, known = len(experiment.seeds), recorded or Recorded({}, [])
    lines = [f"{experiment.study}: {len(runs)} cells, {seeds} seeds. {_forecast(runs, recorded)}", ""]
    head = ("claim", "contrast", "measure", "SD", "", "δ", "seeds for δ", *(f"{effect:g} points" for effect in EFFECTS))
    rows, decided = [(*head, f"{seeds} seeds find")], set()
    for need in (need for need in every if need.lacks is None):
        tests = sum(other.claim is need.claim and other.lacks is None for other in every)
        sd, origin = known.spread(need)
        delta = claims.delta(need.claim, need.measure, pooled=True)
        in_points = unit_of(need.measure) == "points"
        effects = [_seeds(need.measure, effect, sd, tests) if in_points else "–" for effect in EFFECTS]
        finds, anything = _decides(need, delta, sd, tests, seeds)
        decided |= {need.claim.id} if anything else set()
        numbers = (f"{sd:.2g}", origin, f"{delta:g} {unit_of(need.measure)}", _seeds(need.measure, delta, sd, tests))
        rows.append((need.claim.id, need.contrast.name, need.measure, *numbers, *effects, finds))
    lines += [*_aligned(rows), *_undecided(claims, every, decided), ""]
    note = "Seeds are for 80 % power, two-sided 5 % with Holm's correction within the claim, mean over tasks."
    if recorded is None:
        note += " SDs are assumed; --from results/STUDY takes those of a recorded one."
    return "\n".join([*lines, note]) + "\n"


def _undecided(claims: Claims, every: list[Need], decided: set[str]) -> Iterator[str]:
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
