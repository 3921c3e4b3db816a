"""What a verdict lacks: missing runs, runs that learned nothing, unknown values and texts, seeds that do not vary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from maskbench.analysis import statistics
from maskbench.config.measures import measure
from maskbench.config.science import CONFIDENCE

if TYPE_CHECKING:
    from collections.abc import Collection

    import pandas as pd

    from maskbench.analysis.contrasts import Evidence
    from maskbench.analysis.metrics import Array
    from maskbench.analysis.rows import Row
    from maskbench.analysis.statistics import Spread
    from maskbench.config.claims import Decision

COUNTED = ("parameters", "trained_parameters", "changed_weights", "steps", "peak_memory", "memory_overhead")
"""Measures that count weights, updates or memory: they may be the same under every seed and mean it."""


def used(evidence: Evidence, weights: Array) -> pd.DataFrame:
    """Return the runs of the blocks whose weight (blocks,) is not 0, as `contrasts.terms` gives them.

    Only those of pairs that were to be run in all of these blocks: others stand in no mean.
    """
    block, pair = evidence.places
    table: pd.DataFrame = evidence.terms[(weights != 0)[block] & evidence.in_all(weights)[pair]]
    return table


def by_arm(table: pd.DataFrame) -> tuple[int, int]:
    """Return how many runs of a part of `contrasts.terms` belong to the first arm, and how many to the second."""
    return table[table["weight"] > 0]["run"].nunique(), table[table["weight"] < 0]["run"].nunique()


@dataclass(frozen=True)
class Lost:
    """What is missing from a mean over seeds."""

    pairs: int
    """How many differences are missing because a run of their pair is."""
    of_pairs: int
    """Differences that there should be."""
    seeds: int
    """Seeds that lack a difference, and are therefore left out."""
    of_seeds: int
    """Seeds that an arm was run with."""
    failed: tuple[int, int]
    """Runs of either arm that did not complete."""
    decision: Decision
    """How much may be missing."""
    paired: bool = True
    """Whether there are two arms; one alone cannot fail more often than the other."""
    unit: str = "seeds"
    """What `seeds` counts, as notes call it."""

    @property
    def too_much(self) -> bool:
        """Whether what is left may be biased: too many seeds are lost, or one arm failed more often than the other.

        A seed that lacks one block is lost in all: what counts is what the mean leaves out.
        """
        first, second = self.failed
        uneven = self.paired and bool(self.pairs) and abs(first - second) >= self.decision.most_uneven
        return 0 < self.seeds == self.of_seeds or self.seeds > self.decision.most_missing * self.of_seeds or uneven

    def __str__(self) -> str:
        first, second = self.failed
        if not self.paired:
            return f"{self.seeds} of {self.of_seeds} {self.unit} are missing (failed runs: {first + second})"
        words = (
            f"{self.pairs} of {self.of_pairs} pairs are missing (failed runs: {first} of the first arm, {second} of "
            "the second)"
        )
        if self.seeds * self.of_pairs > self.pairs * self.of_seeds:
            words += f", and only complete {self.unit} count: {self.seeds} of {self.of_seeds} {self.unit} are lost"
        return words


def lost(evidence: Evidence, weights: Array, decision: Decision) -> Lost:
    """Count what is missing from the mean of blocks with weights (blocks,), for verdicts and for controls alike."""
    planned, table = evidence.in_all(weights), used(evidence, weights)
    matrix = evidence.differences[weights != 0][:, planned]
    return Lost(
        pairs=int(np.isnan(matrix).sum()),
        of_pairs=matrix.size,
        seeds=int((~evidence.complete(weights))[planned].sum()),
        of_seeds=matrix.shape[1],
        failed=by_arm(table[table["status"] != "completed"]),
        decision=decision,
        paired=all(by_arm(table)),
        unit="pairs of both seeds" if evidence.fine_tuning else "seeds",
    )


def left_out(evidence: Evidence, weights: Array) -> str | None:
    """Say how many seeds are in no mean since they were not to be run in all blocks; None if there is none."""
    whole, some = evidence.in_all(weights), evidence.planned[weights != 0].any(axis=0)
    if not whole.any():
        return f"refused: no {evidence.unit[:-1]} was run with all arms in all blocks."
    if not (seeds := len(np.unique(evidence.seed_of[some])) - len(np.unique(evidence.seed_of[whole]))):
        return None
    unit, verb = (evidence.unit, "are") if seeds > 1 else (evidence.unit[:-1], "is")
    return f"{seeds} {unit} of some blocks alone, with which the others were not to be run, {verb} left out."


def learned_nothing(evidence: Evidence, weights: Array, collapsed: Collection[str]) -> list[tuple[int, int]]:
    """Return for each arm with completed runs how many of them learned nothing, and how many there are."""
    table = used(evidence, weights)
    table = table[table["status"] == "completed"]
    stuck = by_arm(table[table["run"].isin(collapsed)])
    return [(count, total) for count, total in zip(stuck, by_arm(table), strict=True) if total]


def shares(counts: list[tuple[int, int]]) -> str:
    """Write how many runs of each arm are meant: ``0 of 20 and 3 of 20``."""
    return " and ".join(f"{count} of {total}" for count, total in counts)


def refuse_collapse(row: Row, collapsed: Collection[str]) -> None:
    """Refuse a verdict on the mean of two kinds of runs: where a part of an arm's runs learned nothing.

    So few runs cannot show how often that happens, and the mean depends on it. The rate is an outcome of its own,
    `failed`; the verdict on any other measure is about runs that learned something.
    """
    if row.spread is None or measure(row.evidence.measure).name == "failed":
        return
    counts = learned_nothing(row.evidence, row.weights, collapsed)
    if any(0 < count < total for count, total in counts):
        row.verdict = "inconclusive"
        row.notes.append(
            f"refused: {shares(counts)} completed runs of the arms learned nothing; a mean over both kinds of runs "
            "depends on how often that happens. The measure `failed` compares the rates."
        )
    elif row.verdict != "inconclusive" and not any(count for count, _ in counts):
        least = min(total for _, total in counts)
        row.notes.append(
            f"No run of either arm collapsed; of {least} runs, up to {100 * statistics.unseen(least):.0f} % may."
        )


def refuse_censored(row: Row) -> bool:
    """Give no verdict where it was not seen when the matched score was reached; the note says in how many runs."""
    table = used(row.evidence, row.weights)
    early, never = (table[table["censored"] == side] for side in (-1, 1))
    if not len(early) + len(never):
        return False
    if row.evidence.curves is not None:
        row.verdict = "inconclusive"
        row.notes.append(f"refused: {_unknown_labels(early, never)}.")
        return True
    words = []
    for found, what in ((early, "evaluations were too few to see when"), (never, "it was never reached")):
        if len(found):
            first, second = by_arm(found)
            runs = "1 run" if first == 1 else f"{first} runs"
            words.append(f"{what} in {runs} of the first arm and {second} of the second")
    row.verdict = "inconclusive"
    row.notes.append(
        f"refused: it is not known when the matched score was reached: {'; '.join(words)}. Their values "
        "there are not known."
        + (" More of them (training: evaluations_per_epoch) would show it." if len(early) else "")
    )
    return True


def _unknown_labels(early: pd.DataFrame, never: pd.DataFrame) -> str:
    """Say of how many learning curves the labels for the fixed score are not known."""
    words = []
    for found, what in ((early, "have it with the smallest train size already"), (never, "never reach it")):
        if len(found):
            first, second = by_arm(found)
            words.append(f"{first} learning curves of the first arm and {second} of the second {what}")
    return f"how many labels the fixed score takes is not known: {'; '.join(words)}"


def refuse_unknown_texts(row: Row) -> None:
    """Say for how many seeds outcomes.parquet lacks the outcomes of a measure's texts; too many refuse a verdict."""
    spread = row.spread
    if spread is None or spread.covered is None:
        return
    words = (
        f"outcomes.parquet has what the texts of {spread.covered} of {spread.n} seeds add to {row.evidence.measure}, "
        "and lacks it for some run of the others"
    )
    if spread.n - spread.covered > row.rules.most_missing * spread.n:
        row.verdict = "inconclusive"
        row.notes.append(f"refused: {words}; how much the texts decide is not known. Collect again.")
        return
    row.notes.append(f"The file {words}: the variance of the texts is that of the seeds that have it.")


def of_no_width(spread: Spread, name: str, margin: float) -> str | None:
    """Say that all seeds of a measure gave one difference, where that shows nothing; None where they vary.

    The signs of ten equal differences reject, and an interval of no width holds no null. But training is random: seeds
    that give one number to the last digit did not reach it, or the measure has few values. Counts of weights, updates
    or memory may be the same and mean it.

    Parameters
    ----------
    spread
        Of the differences.
    name
        The measure.
    margin
        δ on its scale.
    """
    if spread.n < 2 or measure(name).name in COUNTED or bool(statistics.wide(spread.interval(CONFIDENCE), margin)):
        return None
    return (
        f"All {spread.n} seeds give the same difference, so that the interval has no width: that nothing varied is no "
        "evidence, neither of a difference nor that there is none."
    )


def refuse_no_width(row: Row) -> bool:
    """Give no verdict where seeds that should vary do not (`of_no_width`), and say so."""
    note = of_no_width(row.spread, row.evidence.measure, row.margin) if row.spread is not None else None
    if note is None:
        return False
    row.verdict = "inconclusive"
    row.notes.append(note)
    return True
