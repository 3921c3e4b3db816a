"""Blocks of runs that are compared with each other, and how regimes and conditions are written."""

from __future__ import annotations

from dataclasses import dataclass

from maskbench.analysis.metrics import regime_kind
from maskbench.config.conditions import CLEAN


def regime_words(regime: str) -> str:
    """Write a regime behind a task's name, such as ``after conll2003``; nothing for a task alone."""
    kind = regime_kind(regime)
    if kind == "single":
        return ""
    word = kind.removesuffix("-*")
    return f"{word} another task" if regime == kind else f"{word} {regime.removeprefix(f'{word}-')}"


def condition_words(condition: str) -> str:
    """Write a condition, such as ``cue right in 95 %``; nothing for clean data."""
    kind, _, percent = condition.partition("-")
    words = {"cue": "cue right in {} %", "noise": "{} % of labels flipped"}.get(kind, "" if kind == "clean" else kind)
    return words.format(percent.replace("p", "."))


@dataclass(frozen=True)
class Block:
    """Runs that are compared with each other: only strategy and seed differ."""

    task: str
    model: str
    regime: str
    condition: str
    train_size: str

    @property
    def key(self) -> tuple[str, ...]:
        """The block's values in the order of the columns of metrics.csv."""
        return (self.task, self.model, self.regime, self.condition, self.train_size)

    @property
    def plain(self) -> bool:
        """Whether the task is trained alone, on clean data."""
        return self.regime == "single" and self.condition == CLEAN.name
