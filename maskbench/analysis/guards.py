"""Checks between a difference and its verdict: its cost in score, controls, parts of a mean, machines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from maskbench.analysis.contrasts import on_resamples, with_values
from maskbench.analysis.findings import AT_A_PRICE, POOLED
from maskbench.analysis.missing import by_arm, of_no_width, used
from maskbench.analysis.values import Scale
from maskbench.config.measures import measure
from maskbench.config.science import CONFIDENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maskbench.analysis.contrasts import Evidence
    from maskbench.analysis.controls import Checked
    from maskbench.analysis.findings import ControlResult
    from maskbench.analysis.metrics import Array
    from maskbench.analysis.resampler import Resampler
    from maskbench.analysis.rows import Row
    from maskbench.analysis.statistics import Spread
    from maskbench.analysis.values import Values
    from maskbench.config.measures import Measure


def scores_of(evidence: Evidence, values: Values) -> Evidence:
    """Return the differences of the test score between the same runs, with the same weights."""
    return replace(with_values(evidence, Scale("score").of(values.of("score"))), measure="score")


def _failed(row: Row, values: Values) -> tuple[int, int]:
    """Return how many runs of either side failed: did not complete, or learned nothing."""
    table = used(row.evidence, row.weights)
    return by_arm(table[table["run"].isin(values.failed)])


def _cost(row: Row, values: Values, resampler: Resampler) -> tuple[Spread | None, bool]:
    """Return the difference of the scores, and whether the first arm is the one with less interference."""
    assert row.spread is not None
    first = row.verdict == "supported" and (row.test == "non-inferior" or bool(row.spread.estimate > 0))
    score, weights = scores_of(row.evidence, values), row.weights
    if (weights < 0).any():  # an interaction: what the arm costs on the mean of the tasks that are compared
        weights = np.abs(weights) / np.abs(weights).sum()
    drawn: Array | None = on_resamples(score, resampler.of("score", [score]))
    return resampler.spread(score, weights, drawn), first


def heed_price(row: Row, values: Values, resampler: Resampler, margin: float) -> None:
    """Make a verdict invalid if the arm with less interference may have paid for it with its score.

    Holds for the measures that under-fitting flatters. What counts is shown, not merely not refuted: the 95 % interval
    of the score's difference must have a width and be above −margin, and the arm must not have `most_uneven` failed
    runs more than the other.

    Parameters
    ----------
    row
        With its verdict.
    values, resampler
        Of the study.
    margin
        By how many points the score may be lower.
    """
    entry = measure(row.evidence.measure)
    if not entry.flattered or row.verdict not in ("supported", "contradicted"):
        return
    spread, first = _cost(row, values, resampler)
    sides, failed = row.evidence.contrast.sides, _failed(row, values)
    winner, other = sides if first else sides[::-1]
    more = (failed[0] - failed[1]) * (1 if first else -1)
    told, free = "unknown", False
    if spread is not None and spread.n > 1:
        ends = spread.interval(CONFIDENCE)
        low, high = ends if first else (-ends[1], -ends[0])
        told = f"{float(spread.estimate) * (1 if first else -1):+.2f} points [{float(low):.2f}, {float(high):.2f}]"
        shown = of_no_width(spread, "score", margin) is None
        told += "" if shown else ", the same under every seed, which shows nothing"
        free = shown and bool(low > -margin) and more < row.rules.most_uneven
    if free:
        row.notes.append(f"The score of {winner} is less than {margin:g} points below that of {other}: {told}.")
        row.notes.append(_beside(entry, values, models=bool(row.evidence.fine_tuning)))
        return
    row.notes.insert(
        0,
        f"The verdict would be {row.verdict}, but it is not shown that the score of {winner} is less than {margin:g} "
        f"points below that of {other}: {told}; failed runs: {failed[0]} of {sides[0]}, {failed[1]} of {sides[1]}. "
        "What learned less has less interference, and that is no merit.",
    )
    row.verdict = AT_A_PRICE


def _beside(entry: Measure, values: Values, *, models: bool) -> str:
    """Say whether the measure can also be had at the matched score, which two models have not in common."""
    if models:
        return f"There is no value of {entry.name} at a matched score of two models: it rests on that."
    if entry.matched is None:
        return f"There is no value of {entry.name} at the matched score: it rests on that."
    if values.of(entry.matched).empty:
        return f"No run has a number of {entry.matched} (probe: trajectory): it rests on that."
    return f"See {entry.matched}, too."


def standing(gates: list[Checked], name: str) -> dict[str, ControlResult]:
    """Return the outcome of each control of a measure.

    A control has failed if it failed anywhere; it has passed if it passed on the measure itself, where it looks at it,
    else on any.
    """
    found: dict[str, ControlResult] = {}
    for gate in {item.gate.gate: item.gate for item in gates if item.gate.guarded(name)}.values():
        items = [item for item in gates if item.gate.gate == gate.gate]
        own = [item for item in items if item.measure == name] or items
        outcomes = {item.outcome for item in own} | {item.outcome for item in items if item.outcome == "failed"}
        order: tuple[ControlResult, ...] = ("failed", "passed", "undecided", "not run")
        found[gate.gate] = next(outcome for outcome in order if outcome in outcomes)
    return found


def heed_gates(row: Row, gates: list[Checked]) -> None:
    """Make a verdict invalid if a control of its measure failed; name the controls that do not stand behind it."""
    outcomes = standing(gates, row.evidence.measure)
    row.unguarded = "; ".join(
        f"{name}: {found}" for name, found in outcomes.items() if found in ("undecided", "not run")
    )
    if failed := [name for name, found in outcomes.items() if found == "failed"]:
        row.notes.insert(0, f"The control {', '.join(sorted(failed))} failed; the verdict would be {row.verdict}.")
        row.verdict = "invalid"


def at_sizes(evidence: Evidence, weights: Array) -> list[tuple[str, Evidence, Array]]:
    """Return the differences at each train size alone, with the weight of each of its blocks.

    Parameters
    ----------
    evidence
        Of a contrast over train sizes.
    weights
        (blocks,) weight of each of its blocks.
    """
    found = []
    of_block = dict(zip(evidence.terms["block"].unique(), weights, strict=True))
    for size in sorted(evidence.terms["train_size"].unique(), key=int):
        table = evidence.terms[evidence.terms["train_size"] == size]
        # the weights over sizes of a curve are all above 0: their signs are those of the arms
        table = table.assign(weight=np.sign(table["weight"]))
        blocks = table["block"].unique()
        part = replace(evidence, terms=table, tasks=table.drop_duplicates("block")["task"].tolist())
        own = np.array([of_block[block] for block in blocks])
        if own.sum():
            found.append((size, part.renewed(table["value"]), own / own.sum()))
    return found


def heed_parts(row: Row, rows: list[Row], resampler: Resampler) -> None:
    """Withdraw "equivalent" if it holds only in the mean of train sizes or of tasks; note the sizes of a curve."""
    evidence = row.evidence
    if evidence.contrast.kind == "curve" and row.spread is not None:
        told: list[str] = []
        inside = True
        for size, part, weights in at_sizes(evidence, row.weights):
            spread = resampler.spread(part, weights, on_resamples(part, resampler.of(evidence.measure, [part])))
            if spread is None or spread.n < 2:
                inside = False
                continue
            low, high = spread.inner()
            flat = of_no_width(spread, evidence.measure, row.margin) is not None
            inside &= bool(low > -row.margin and high < row.margin) and not flat
            told.append(f"{size}: {evidence.scale.show(float(spread.estimate)):+.2f}")
        row.notes.append(f"By train size: {', '.join(told)} {evidence.scale.unit}.")
        if row.verdict == "equivalent" and not inside:
            row.verdict = "inconclusive"
            row.notes.append("Equivalent in the mean of the sizes alone, not at each of them.")
    if row.verdict == "equivalent" and row.scope == POOLED:
        differ = [
            f"{other.scope} {other.verdict}"
            for other in rows
            if other.evidence is evidence and other.scope != POOLED and other.verdict in ("supported", "contradicted")
        ]
        if differ:
            row.verdict = "inconclusive"
            row.notes.append(f"Equivalent in the mean of the tasks alone: {', '.join(differ)}.")


def of_machines(row: Row) -> Iterator[str]:
    """Say which pairs are not compared for where they ran; of times and memory on which machines they were measured."""
    table = used(row.evidence, row.weights)
    if mixed := int(table.drop_duplicates("block")["mixed"].sum()):
        yield f"{mixed} of the pairs ran on different kinds of device (processor, card or precision) and do not count."
    if not measure(row.evidence.measure).of_machine:
        return
    if untimed := int(table.drop_duplicates("block")["untimed"].sum()):
        yield f"{untimed} of the pairs have cells of stacks, without times and memory of their own, and do not count."
    done = table[table["status"] == "completed"]
    if done["machine"].isna().any():
        yield "On which machines the runs were made is not recorded, so they may differ."
    elif apart := len(done[done["apart"]][["block", "seed"]].drop_duplicates()):
        every = len(done[["block", "seed"]].drop_duplicates())
        yield f"{apart} of {every} pairs ran on machines of different kinds (device, threads, stack): not compared."
    elif (kinds := done["machine"].nunique()) > 1:
        yield f"The runs were made on {kinds} kinds of machines, the two of a pair on the same kind."
