"""Differences to the baseline with their intervals: score, and cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from matplotlib.lines import Line2D

from maskbench.analysis.compare import ALL_TASKS
from maskbench.analysis.metrics import regime_kind
from maskbench.report import text
from maskbench.report.figures.drawing import (
    DASHED,
    LEAST_FOR_T,
    Drawing,
    Nothing,
    baseline_line,
    failure_words,
    legend,
    margins,
    tint_of_words,
)
from maskbench.report.figures.runs import seed_offsets
from maskbench.report.style import BLUE, GREY, ORANGE, beside, panels, strategy_axis

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from matplotlib.axes import Axes

    from maskbench.report.blocks import Block
    from maskbench.report.study import Study


def _forest_legend(study: Study) -> list[Line2D]:
    """Return the legend of a figure of differences to the baseline: filled with an interval, open without."""
    seeds = study.comparisons["n_seeds"]
    many, some = (seeds >= LEAST_FOR_T).any(), seeds.between(1, LEAST_FOR_T - 1).any()
    mean = f"mean difference and {100 * study.confidence:g} % interval"
    few = f"mean of fewer than {LEAST_FOR_T} seeds" if (seeds > 1).any() else "difference of one seed"
    filled = Line2D([], [], marker="D", color=BLUE, markersize=6, label=mean)
    hollow = Line2D([], [], marker="D", color=BLUE, markerfacecolor="white", linestyle="", markersize=6, label=few)
    return [*([filled] if many else []), *([hollow] if some else []), baseline_line(study, "")]


def _pairs(axes: Axes, study: Study, line: int, differences: pd.Series[float]) -> None:
    """Draw a dot for the difference of each seed."""
    places = [line + seed_offsets(study)[int(seed)] for seed in differences.index]
    axes.scatter(differences, places, s=18, color=BLUE, alpha=0.4, linewidths=0, zorder=2)


def _forest(
    axes: Axes,
    study: Study,
    block: Block,
    measure: str,
    unit: str,
    words: Callable[[str, str], str],
    by_seed: Callable[[Block, str], pd.Series[float]],
) -> None:
    """Draw differences to the baseline, seed by seed, and their mean with its interval; zero is the baseline."""
    compared = study.compared(block, measure)
    axes.axvline(0, color=GREY, linewidth=1.3, linestyle=DASHED, zorder=1)
    for line, name in enumerate(study.others):
        if name not in compared.index:
            beside(axes, line, "not run", ORANGE)
            continue
        row: dict[Any, Any] = compared.loc[[name]].to_dict("records")[0]
        if math.isnan(row["estimate"]):
            beside(axes, line, "no pairs of runs", ORANGE)
            continue
        _pairs(axes, study, line, by_seed(block, name))
        few = row["n_seeds"] < LEAST_FOR_T
        if not few:
            ends = [row["ci_low"], row["ci_high"]]
            axes.plot(ends, [line, line], color=BLUE, linewidth=2.2, solid_capstyle="butt", zorder=3)
        fill, edge = ("white", BLUE) if few else (BLUE, "white")
        axes.scatter([row["estimate"]], [line], s=46, marker="D", c=fill, edgecolors=edge, linewidths=1.0, zorder=4)
        value, missing = words(name, text.change(row["estimate"], unit)), int(row["missing_pairs"])
        lost = f", {text.count(missing, 'pair')} missing" if missing else ""
        beside(axes, line, value + lost, tint_of_words(missing))
    margins(axes, [0.0])


def _n_words(study: Study, measure: str) -> str:
    counts = study.comparisons.loc[study.comparisons["measure"] == measure, "n_seeds"]
    low, high = int(counts.min()), int(counts.max())
    return f"n = {low} paired seeds" if low == high else f"n = {low} to {high} paired seeds"


def _few_words(study: Study, measure: str) -> str:
    """Say where intervals are too wide to draw."""
    counts = study.comparisons.loc[study.comparisons["measure"] == measure, "n_seeds"]
    if (found := counts.between(1, LEAST_FOR_T - 1)).any() and (counts > 1).any():
        which = "no line is drawn" if found.all() else "open, without a line"
        return f" From fewer than {LEAST_FOR_T} seeds {which}: see the table for their intervals."
    return ""


def _blocks(study: Study) -> list[Block]:
    """Return the main blocks that are compared, and those that pool them."""
    keys = {(block.model, regime_kind(block.regime), *block.key[3:]) for block in study.main_blocks}
    found = study.comparison_blocks()
    return [item for item in found if item in study.main_blocks or (item.task == ALL_TASKS and item.key[1:] in keys)]


def differences(study: Study) -> Drawing | Nothing:
    """Draw the difference in score to the baseline, seed by seed, a panel for each task and one for all together."""
    title = f"Score compared with {study.baseline}, seed by seed"
    if not study.others:
        return Nothing(title, f"Only {study.baseline} was run; there is nothing to compare it with.")

    def by_seed(block: Block, name: str) -> pd.Series[float]:
        return study.paired(block, name, study.baseline, "score", 100.0)

    blocks = _blocks(study)
    figure, grid = panels(len(blocks), len(study.others))
    for index, (axes, block) in enumerate(zip(grid, blocks, strict=True)):
        _forest(axes, study, block, "score", "points", lambda _, change: change, by_seed)
        axes.set_title(study.title(block).replace(ALL_TASKS, "all tasks together"))
        axes.set_xlabel(f"score, difference to {study.baseline} (points)")
        strategy_axis(axes, study.others, labelled=index % 2 == 0)
    dot = Line2D([], [], marker="o", linestyle="", color=BLUE, alpha=0.4, markersize=5, label="one pair of runs")
    legend(figure, [dot, *_forest_legend(study)])
    caption = (
        f"Score on the test split of {study.main_words}, strategy minus {study.baseline}, paired by seed "
        f"({_n_words(study, 'score')}); above zero is a higher score. Dots: seeds, each at the same height everywhere "
        "(all tasks together: the mean over the tasks); diamond: mean, also in figures at the right; line: "
        f"{study.interval_words}. Dashed: {study.baseline}, the baseline. Not adjusted for the number of comparisons, "
        f"and no test: the tests are those of the claims.{_few_words(study, 'score')}{failure_words(study)}"
    )
    return Drawing(figure, title, caption)


def _trained(study: Study, block: Block, name: str) -> str:
    """Write the number of trained parameters and their share."""
    blocks = [item for item in study.blocks if block.key[1:] == item.key[1:]] if block not in study.blocks else [block]
    for item in blocks:
        if name not in study.strategies_of(item):
            continue
        trained = study.values(item, name, "run", "trained_parameters")
        if len(trained):
            every = study.values(item, name, "run", "parameters")
            share = f", {100 * trained.mean() / every.mean():.0f} %" if len(every) else ""
            return f"{text.plain(trained.mean() / 1e6, 1)} M trained{share}"
    return "parameters not recorded"


def cost(study: Study) -> Drawing | Nothing:
    """Draw the time of an update relative to the baseline, with the number of trained parameters beside it."""
    title = f"Cost compared with {study.baseline}"
    if not study.others:
        return Nothing(
            title, f"Only {study.baseline} was run; its time, memory and parameters are in the table of costs."
        )

    def by_seed(block: Block, name: str) -> pd.Series[float]:
        return study.paired_ratio(block, name, study.baseline, "step_time")

    blocks = [block for block in _blocks(study) if block in study.blocks]
    figure, grid = panels(len(blocks), len(study.others))
    for index, (axes, block) in enumerate(zip(grid, blocks, strict=True)):

        def words(name: str, change: str, block: Block = block) -> str:
            return f"{change}, {_trained(study, block, name)}"

        _forest(axes, study, block, "step_time", "per cent", words, by_seed)
        axes.set_title(study.title(block))
        axes.set_xlabel(f"time per update, difference to {study.baseline} (%)")
        strategy_axis(axes, study.others, labelled=index % 2 == 0)
    dot = Line2D([], [], marker="o", linestyle="", color=BLUE, alpha=0.4, markersize=5, label="one pair of runs")
    legend(figure, [dot, *_forest_legend(study)])
    baseline = _trained(study, blocks[0], study.baseline)
    caption = (
        f"Time per update of {study.main_words}, strategy relative to {study.baseline}, paired by seed "
        f"({_n_words(study, 'step_time')}); below zero is faster. Dots: seeds; diamond: mean ratio, also in figures at "
        f"the right with the parameters trained; line: {100 * study.confidence:g} % t interval over seeds, on the "
        f"log scale; no test is made here. Dashed: {study.baseline}, the baseline ({baseline}). Times also depend on "
        f"what else the machine did.{_few_words(study, 'step_time')}{failure_words(study)}"
    )
    return Drawing(figure, title, caption)
