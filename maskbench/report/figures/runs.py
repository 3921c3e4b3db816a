"""Scores and generalisation gaps of every run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D

from maskbench.config.measures import measure, shown_in
from maskbench.report import text
from maskbench.report.figures.drawing import (
    DASHED,
    DOTTED,
    LEAST_FOR_T,
    Drawing,
    absent,
    baseline_line,
    colour_of,
    failure_words,
    interval_words,
    legend,
    margins,
    seed_words,
    strategy_panels,
    t_interval,
    tint_of_words,
)
from maskbench.report.style import BLUE, GREY, ORANGE, beside, name_panel

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from maskbench.report.blocks import Block
    from maskbench.report.figures.drawing import Panel
    from maskbench.report.study import Study


def seed_offsets(study: Study) -> dict[int, float]:
    """Return each seed's place above or below a strategy's line, the same for all strategies: pairs can be followed."""
    places = np.linspace(-0.2, 0.2, len(study.seeds)) if len(study.seeds) > 1 else np.zeros(1)
    return dict(zip(study.seeds, map(float, places), strict=True))


def _dots(axes: Axes, study: Study, line: int, values: pd.Series[float], colour: str) -> None:
    """Draw one strategy: a dot for each seed, the mean and its interval."""
    offsets = seed_offsets(study)
    places = [line + offsets[int(seed)] for seed in values.index]
    axes.scatter(values, places, s=20, color=colour, alpha=0.45, linewidths=0, zorder=3)
    if interval := t_interval(values, study.confidence):
        axes.plot(interval, [line, line], color=colour, linewidth=1.6, solid_capstyle="butt", zorder=4)
    axes.scatter([values.mean()], [line], s=42, marker="D", color=colour, edgecolors="white", linewidths=0.9, zorder=5)


def _level(axes: Axes, value: float) -> bool:
    """Mark the majority class: as a line (True), or as a note where the line would squeeze the data."""
    low, high = axes.get_xlim()
    if low - 1.5 * (high - low) <= value <= high:
        axes.axvline(value, color=ORANGE, linewidth=1.3, linestyle=DOTTED, zorder=2)
        axes.set_xlim(min(low, value - 0.04 * (high - value)), high)
        return True
    arrow = "\N{LEFTWARDS ARROW}" if value < low else "\N{RIGHTWARDS ARROW}"
    axes.set_xlabel(f"{axes.get_xlabel()}\n{arrow} majority class at {text.plain(value, 1)} %")
    return False


def seed_legend(study: Study) -> list[Line2D]:
    """Return the legend of a figure in which every seed is a dot."""
    interval = len(study.seeds) >= LEAST_FOR_T
    mean = f"mean and {100 * study.confidence:g} % interval" if interval else "mean"
    return [
        Line2D([], [], marker="o", linestyle="", color=BLUE, alpha=0.45, markersize=5, label="one seed"),
        Line2D([], [], marker="D", linestyle="-" if interval else "", color=BLUE, markersize=6, label=mean),
        baseline_line(study, "mean of "),
    ]


def by_seed(panel: Panel, study: Study, block: Block, measure: str, factor: float, decimals: int) -> None:
    """Draw one measure of every strategy of a panel in a block, with the mean beside it."""
    axes = panel.axes
    for line, name in enumerate(panel.names):
        values = factor * study.values(block, name, "test", measure)
        if values.empty:
            beside(axes, line, absent(study, block, name) or "not recorded", ORANGE)
            continue
        _dots(axes, study, line, values, colour_of(study, name))
        failed = study.failed(block, name)
        words = text.plain(values.mean(), decimals)
        beside(axes, line, f"{words}, {failed} failed" if failed else words, tint_of_words(failed))
        if name == study.baseline:
            axes.axvline(values.mean(), color=GREY, linewidth=1.3, linestyle=DASHED, zorder=1)
    margins(axes, [])


def scores(study: Study) -> Drawing:
    """Draw the score of every run, a panel for each task."""
    blocks = study.main_blocks
    figure, grid = strategy_panels(study, [study.strategies_of(block) for block in blocks])
    entries = seed_legend(study)
    for panel, block in zip(grid, blocks, strict=True):
        axes = panel.axes
        by_seed(panel, study, block, "score", 100.0, 1)
        name_panel(axes, study.title(block, blocks))
        axes.set_xlabel(f"{study.score_title(block.task)} on the test split (%)")
        if (majority := study.majority(block)) is not None and _level(axes, 100 * majority) and len(entries) == 3:
            entries.append(Line2D([], [], color=ORANGE, linestyle=DOTTED, label="majority class"))
    legend(figure, entries)
    caption = (
        f"Score on the test split of every run of {study.main_words} ({study.count(blocks)} completed runs for each "
        "strategy and task); the table of scores has all others. Dots: seeds, each at the same height in every "
        f"strategy; diamond: mean, also in figures at the right; {interval_words(study)}; no test is made here. "
        f"Dashed: the mean of the baseline {study.baseline}. Dotted or named below a panel: the score of the majority "
        f"class.{seed_words(study, blocks)}{failure_words(study)}"
    )
    return Drawing(figure, "Score by strategy", caption)


def gaps(study: Study) -> Drawing:
    """Draw the generalisation gap of every run, in loss and in score."""
    title, blocks = "Generalisation gap by strategy", study.main_blocks
    wanted = [(block, measure(name)) for block in blocks for name in shown_in("gaps")]
    figure, grid = strategy_panels(study, [study.strategies_of(block) for block, _ in wanted], len(shown_in("gaps")))
    for panel, (block, entry) in zip(grid, wanted, strict=True):
        by_seed(panel, study, block, entry.name, 1.0, text.DECIMALS.get(entry.unit, 3))
        name_panel(panel.axes, f"{study.title(block, blocks)}: {entry.label}")
        panel.axes.set_xlabel(f"{entry.axis or entry.title} ({entry.unit})")
    legend(figure, seed_legend(study))
    caption = (
        f"Generalisation gap of {study.main_words}: how much worse the test split is than the training split, in "
        f"cross-entropy and in score ({study.count(blocks)} completed runs for each strategy and task); further left "
        f"is a smaller gap. Dots: seeds; diamond: mean, also in figures at the right; {interval_words(study)}; no test "
        f"is made here. Dashed: the mean of the baseline {study.baseline}."
        f"{seed_words(study, blocks)}{failure_words(study)}"
    )
    return Drawing(figure, title, caption)
