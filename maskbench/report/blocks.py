"""Blocks of runs that are compared with each other, and how regimes and conditions are written."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from maskbench.analysis.metrics import regime_kind
from maskbench.config.conditions import CLEAN
from maskbench.report import text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


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


def size_number(size: str) -> float:
    """Return a train size as a number; the full train set is more than any."""
    return math.inf if size == "full" else float(size)


def size_text(size: str) -> str:
    """Write a train size, such as ``1 000`` or ``all``."""
    return "all" if size == "full" else text.plain(float(size), 0)


def size_words(sizes: Iterable[str], of: str = "training text") -> str:
    """Write train sizes with what they count, such as ``1 000 or 4 000 training texts``."""
    ordered = sorted(set(sizes), key=size_number)
    return f"{' or '.join(map(size_text, ordered))} {of}{'' if ordered == ['1'] else 's'}"


def of_one_size(arms: Mapping[Block, int], wanted: str | None) -> list[Block]:
    """Return the blocks of the train size that stands for a study, and for what was not run at it, of another.

    Parameters
    ----------
    arms
        The blocks to choose from, each with the number of its strategies.
    wanted
        The train size at which claims are judged. If it is None, or a task or model was not run at it, the size at
        which most strategies ran is taken, and of several such sizes the largest.
    """
    ran: Counter[str] = Counter()
    for block, number in arms.items():
        ran[block.train_size] += number

    def rank(block: Block) -> tuple[bool, int, float]:
        return block.train_size == wanted, ran[block.train_size], size_number(block.train_size)

    best: dict[tuple[str, str], tuple[bool, int, float]] = {}
    for block in arms:
        key = (block.task, block.model)
        best[key] = max(best.get(key, rank(block)), rank(block))
    return [block for block in arms if rank(block) == best[block.task, block.model]]
