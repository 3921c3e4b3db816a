"""Learning rates: the two halves of a study that tunes them, and what is said where those that are compared differ."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from maskbench.config.tuning import is_tuned, untuned
from maskbench.records.manifest import Rated, read_entries

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from maskbench.analysis.derived import RunSummary

Rate = Literal["shared", "tuned"]
"""Which runs are compared: those at the shared rate (or at a strategy's own), or those at the tuned ones."""

FOLDER = "tuning"
"""Folder of a study, beside its choices, with what is found at the tuned rates: the files have the names that they have
in the study itself."""

DIFFER = "The learning rates differ"
"""How the note of a row begins whose two sides were trained at different rates."""


def at_rate(metrics: pd.DataFrame, rate: Rate) -> pd.DataFrame:
    """Return the metrics of the runs at one of the rates, under the names that their strategies have in the claims."""
    names = {str(name) for name in metrics["strategy"].unique() if is_tuned(str(name))}
    if rate == "shared":
        return metrics[~metrics["strategy"].isin(names)].reset_index(drop=True) if names else metrics
    part = metrics[metrics["strategy"].isin(names)].reset_index(drop=True)
    return part.assign(strategy=part["strategy"].map({name: untuned(name) for name in names}))


def halves(runs: Sequence[RunSummary]) -> Iterator[list[RunSummary]]:
    """Yield the runs at the shared rate, and those at tuned rates under the names that their strategies have there."""
    yield [run for run in runs if not is_tuned(run.strategy)]
    yield [replace(run, strategy=untuned(run.strategy)) for run in runs if is_tuned(run.strategy)]


def rates_of(manifest: Path | None) -> dict[str, tuple[str, float]]:
    """Return strategy and learning rate of each run, as far as the manifest knows them."""
    entries = read_entries(manifest, Rated) if manifest else []
    return {one["run"]: (one["strategy"], one["learning_rate"]) for one in entries if one["learning_rate"] is not None}


def differing(pairs: pd.DataFrame, rates: Mapping[str, tuple[str, float]]) -> str | None:
    """Say which learning rates a contrast compares; None where both sides of every pair have the same.

    Parameters
    ----------
    pairs
        With the columns `of` and `against`: ids of runs, separated by blanks.
    rates
        Strategy and learning rate of each run, as far as they are known.
    """
    found: dict[str, set[float]] = {}
    differ = False
    for of, against in zip(pairs["of"], pairs["against"], strict=True):
        sides = [[rates[run] for run in side.split() if run in rates] for side in (of, against)]
        if not all(sides):
            continue
        differ = differ or len({rate for side in sides for _, rate in side}) > 1
        for strategy, rate in (one for side in sides for one in side):
            found.setdefault(untuned(strategy), set()).add(rate)
    return f"{DIFFER}: {words(found)}." if differ else None


def words(rates: Mapping[str, set[float]]) -> str:
    """Write the learning rates of strategies: ``lora 0.001, none 0.0003``; of several tasks, all of them."""
    return ", ".join(f"{name} {' or '.join(f'{rate:g}' for rate in sorted(own))}" for name, own in rates.items())
