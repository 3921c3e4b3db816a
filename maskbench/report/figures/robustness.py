"""How much the score falls when the text is perturbed."""

from __future__ import annotations

import math
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.lines import Line2D

from maskbench.config.conditions import LEVELS
from maskbench.report.figures.drawing import (
    Drawing,
    Nothing,
    failure_words,
    interval_words,
    legend,
    seed_words,
    strategy_panels,
)
from maskbench.report.figures.grids import MOST_PANELS, SERIES, curve, grid, label, plain_numbers
from maskbench.report.figures.runs import by_seed, seed_legend
from maskbench.report.style import GREY, name_panel

if TYPE_CHECKING:
    from maskbench.report.blocks import Block
    from maskbench.report.study import Study

_PERTURBATIONS = {
    "swap": "letters swapped",
    "delete": "letters deleted",
    "drop": "words dropped",
    "mask": "words masked",
}


_ABOUT = (
    "How much the score on the test split falls when its text is perturbed{how}, of {main} ({count} completed runs); "
    "lower is more robust. A panel for each {panel}; dashed: {baseline}. Masked words are what input "
    "masks train for, and are no evidence of robustness to anything else. {marks}; no test is made here."
)


def robustness(study: Study) -> Drawing | Nothing:
    """Draw the drop in score: over the level of a perturbation, or line by line where one level alone was tested."""
    title, blocks = "Robustness to perturbed text", study.main_blocks
    tested = {
        (kind, level)
        for kind, level in product(_PERTURBATIONS, LEVELS)
        if any(
            len(study.values(block, name, "test", _measure(kind, level)))
            for block in blocks
            for name in study.strategies
        )
    }
    if not tested:
        return Nothing(title, f"No run of {study.main_words} was tested on perturbed text (probe: perturbation).")
    levels = {level for _, level in tested}
    if len(levels) == 1:
        return _lines(study, title, [kind for kind in _PERTURBATIONS if (kind, *levels) in tested], *levels)
    return _curves(study, title, tested)


def _measure(kind: str, level: int) -> str:
    return f"{'masking_drop' if kind == 'mask' else 'perturbation_drop'}:{kind}-{level}"


def _lines(study: Study, title: str, kinds: list[str], level: int) -> Drawing:
    """Draw the drop at one level, a panel for each task and perturbation with a line for each strategy."""
    blocks = study.main_blocks
    wanted = list(product(blocks, kinds))
    figure, grid = strategy_panels(study, [study.strategies_of(block) for block, _ in wanted], len(kinds))
    for panel, (block, kind) in zip(grid, wanted, strict=True):
        by_seed(panel, study, block, _measure(kind, level), 1.0, 1)
        name_panel(panel.axes, f"{study.title(block, blocks)}: {_PERTURBATIONS[kind]}")
        panel.axes.set_xlabel("drop in score (points)")
    legend(figure, seed_legend(study))
    caption = _ABOUT.format(
        how=f", {level} % of its letters or words changed",
        count=study.count(blocks),
        main=study.main_words,
        panel="task and perturbation",
        baseline=f"the mean of the baseline {study.baseline}",
        marks=f"Dots: seeds; diamond: mean, also in figures at the right; {interval_words(study)}",
    )
    return Drawing(figure, title, caption + seed_words(study, blocks) + failure_words(study))


def _curves(study: Study, title: str, tested: set[tuple[str, int]]) -> Drawing:
    """Draw the drop over the level, a panel for each strategy."""
    blocks = study.main_blocks
    tasks = list(dict.fromkeys(block.task for block in blocks))
    names = study.others or [study.baseline]
    apart = len(tasks) > 1 and len(tasks) * len(names) <= MOST_PANELS
    wanted = [(name, [task] if task else tasks) for task in (tasks if apart else [""]) for name in names]
    # the baseline on the blocks of the strategy: limits may leave it fewer tasks and models than the baseline has
    own = [
        [block for block in blocks if block.task in some and name in study.strategies_of(block)]
        for name, some in wanted
    ]
    found = [_drops(study, blocks, name) for blocks, (name, _) in zip(own, wanted, strict=True)]
    shown = [(*of, blocks, drops) for of, blocks, drops in zip(wanted, own, found, strict=True) if drops]
    of_baseline = cache(lambda blocks: _drops(study, list(blocks), study.baseline))
    panels = grid([f"{name} · {some[0]}" if apart else name for name, some, _, _ in shown], 2.4)
    for panel, (_, _, blocks_of, drops) in zip(panels.axes, shown, strict=True):
        base = _of_seeds(of_baseline(tuple(blocks_of)), drops)
        panel.axhline(0, color=GREY, linewidth=0.9, zorder=1)
        for kind, (colour, marker) in zip(_PERTURBATIONS, SERIES, strict=True):
            if study.others and kind in base:
                curve(panel, base[kind], colour, marker, study.confidence, baseline=True)
            if kind in drops:
                curve(panel, drops[kind], colour, marker, study.confidence)
        plain_numbers(panel.xaxis, LEVELS)
        panel.set_xlim(0, 1.1 * max(LEVELS))
    label(panels, "letters or words changed (%)", "drop in score (points)")
    marks = [
        Line2D([], [], color=colour, marker=marker, label=words)
        for (kind, words), (colour, marker) in zip(_PERTURBATIONS.items(), SERIES, strict=True)
        if any(kind == some for some, _ in tested)
    ]
    dashes = Line2D([], [], color=GREY, linestyle=(0, (4, 2.5)), label=f"{study.baseline} (baseline)")
    legend(panels.figure, [*marks, *([dashes] if study.others else [])])
    averaged = " Mean over the tasks of the strategy, since there would be too many panels."
    caption = _ABOUT.format(
        how=", over the share of letters or words that are changed",
        count=study.count(blocks),
        main=study.main_words,
        panel="strategy",
        baseline=f"the baseline {study.baseline} on the same tasks and seeds",
        marks=f"Mark: mean; {interval_words(study, 'bar')}",
    )
    return Drawing(panels.figure, title, caption + averaged * (len(tasks) > 1 and not apart) + failure_words(study))


def _of_seeds(
    base: dict[str, dict[float, pd.Series[float]]], drops: dict[str, dict[float, pd.Series[float]]]
) -> dict[str, dict[float, pd.Series[float]]]:
    """Return the drops of the baseline with the seeds that the strategy has; as they are where it has none of them."""
    found = {}
    for kind, levels in base.items():
        seeds = {seed for values in drops.get(kind, {}).values() for seed in values.index}
        found[kind] = {
            level: values[values.index.isin(seeds)] if values.index.isin(seeds).any() else values
            for level, values in levels.items()
        }
    return found


def _drops(study: Study, blocks: list[Block], strategy: str) -> dict[str, dict[float, pd.Series[float]]]:
    """Return the drop in score by kind of perturbation and level, the mean over blocks by seed."""
    found: dict[str, dict[float, pd.Series[float]]] = {}
    for kind in _PERTURBATIONS:
        for level in LEVELS:
            parts = [study.values(block, strategy, "test", _measure(kind, level)) for block in blocks]
            parts = [part for part in parts if len(part)]
            values = pd.DataFrame(dict(enumerate(parts))).dropna().mean(axis=1) if parts else pd.Series(dtype="float64")
            if len(values) and not math.isnan(values.mean()):
                found.setdefault(kind, {})[float(level)] = values
    return found
