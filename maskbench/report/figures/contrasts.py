"""Differences to the baseline with their intervals: score, and cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd
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
    counted,
    failure_words,
    legend,
    margins,
    ratio_axis,
    strategy_panels,
    tint_of_words,
)
from maskbench.report.figures.runs import seed_offsets
from maskbench.report.style import BLUE, GREY, ORANGE, beside, name_panel

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from maskbench.report.blocks import Block
    from maskbench.report.figures.drawing import Panel
    from maskbench.report.study import Study


def _shown(study: Study, blocks: list[Block], measure: str) -> pd.DataFrame:
    """Return the comparisons on a measure that a figure of these blocks shows."""
    return pd.concat([study.compared(block, measure) for block in blocks])


def _forest_legend(study: Study, seeds: pd.Series[int]) -> list[Line2D]:
    """Return the legend of a figure of differences to the baseline: filled with an interval, open without."""
    many, some = (seeds >= LEAST_FOR_T).any(), seeds.between(1, LEAST_FOR_T - 1).any()
    mean = f"mean difference and {100 * study.confidence:g} % interval"
    few = f"mean of fewer than {LEAST_FOR_T} seeds" if (seeds > 1).any() else "difference of one seed"
    dot = Line2D([], [], marker="o", linestyle="", color=BLUE, alpha=0.4, markersize=5, label="one pair of runs")
    filled = Line2D([], [], marker="D", color=BLUE, markersize=6, label=mean)
    hollow = Line2D([], [], marker="D", color=BLUE, markerfacecolor="white", linestyle="", markersize=6, label=few)
    return [dot, *([filled] if many else []), *([hollow] if some else []), baseline_line(study, "")]


def _pairs(axes: Axes, study: Study, line: int, differences: pd.Series[float]) -> None:
    """Draw a dot for the difference of each seed."""
    places = [line + seed_offsets(study)[int(seed)] for seed in differences.index]
    axes.scatter(differences, places, s=18, color=BLUE, alpha=0.4, linewidths=0, zorder=2)


def _forest(
    panel: Panel,
    study: Study,
    block: Block,
    measure: str,
    unit: str,
    words: Callable[[str, str], str],
    by_seed: Callable[[Block, str], pd.Series[float]],
) -> None:
    """Draw differences to the baseline, seed by seed, and their mean with its interval; zero is the baseline."""
    axes, compared = panel.axes, study.compared(block, measure)
    axes.axvline(0, color=GREY, linewidth=1.3, linestyle=DASHED, zorder=1)
    for line, name in enumerate(panel.names):
        if name not in compared.index:
            beside(axes, line, "one task only" if block.task == ALL_TASKS else "not run", ORANGE)
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
    if unit == "per cent":
        ratio_axis(axes)
    else:
        margins(axes, [0.0])


def _n_words(counts: pd.Series[int]) -> str:
    return counted([int(number) for number in counts], "paired seeds")


def _few_words(counts: pd.Series[int]) -> str:
    """Say where intervals are too wide to draw."""
    if (found := counts.between(1, LEAST_FOR_T - 1)).any() and (counts > 1).any():
        which = "no line is drawn" if found.all() else "open, without a line"
        return f" From fewer than {LEAST_FOR_T} seeds {which}: see the table for their intervals."
    return ""


def _blocks(study: Study) -> list[Block]:
    """Return the main blocks that are compared, and those that pool them."""
    keys = {(block.model, regime_kind(block.regime), *block.key[3:]) for block in study.main_blocks}
    found = study.comparison_blocks()
    return [item for item in found if item in study.main_blocks or (item.task == ALL_TASKS and item.key[1:] in keys)]


def _alone(study: Study, title: str) -> Nothing:
    """Return what stands in place of a figure of differences if there are none."""
    where = f"on {study.main_words}" if study.others else "in this study"
    return Nothing(title, f"Only {study.baseline} was run {where}; there is nothing to compare it with.")


def differences(study: Study) -> Drawing | Nothing:
    """Draw the difference in score to the baseline, seed by seed, a panel for each task and one for all together."""
    title, blocks = f"Score compared with {study.baseline}, seed by seed", _blocks(study)
    if not blocks:
        return _alone(study, title)

    def by_seed(block: Block, name: str) -> pd.Series[float]:
        return study.paired(block, name, study.baseline, "score", 100.0)

    figure, grid = strategy_panels(study, [list(study.compared(block, "score").index) for block in blocks])
    for panel, block in zip(grid, blocks, strict=True):
        _forest(panel, study, block, "score", "points", lambda _, change: change, by_seed)
        name_panel(panel.axes, study.title(block, blocks).replace(ALL_TASKS, "all tasks together"))
        panel.axes.set_xlabel(f"score, difference to {study.baseline} (points)")
    seeds = _shown(study, blocks, "score")["n_seeds"]
    legend(figure, _forest_legend(study, seeds))
    pooled = (
        " All tasks together: the mean over the tasks, of strategies that ran on more than one."
        if any(block.task == ALL_TASKS for block in blocks)
        else ""
    )
    caption = (
        f"Score on the test split of {study.main_words}, strategy minus {study.baseline}, paired by seed "
        f"({_n_words(seeds)}); above zero is a higher score. Dots: seeds, each at the same height everywhere; diamond: "
        f"mean, also in figures at the right; line: {study.interval_words}. Dashed: {study.baseline}, the baseline."
        f"{pooled} Not adjusted for the number of comparisons, and no test: the tests are those of the claims."
        f"{_few_words(seeds)}{failure_words(study)}"
    )
    return Drawing(figure, title, caption)


def _number(parameters: float) -> str:
    """Write a number of parameters in millions; one that is far below a million in thousands."""
    return f"{text.plain(parameters / 1e6, 1)} M" if parameters >= 5e4 else f"{text.plain(parameters / 1e3, 1)} k"


def _share(fraction: float) -> str:
    """Write a share in per cent, with two digits where it is below one."""
    return f"{100 * fraction:.0f} %" if fraction >= 0.01 else f"{100 * fraction:.2g} %"


def _trained(study: Study, block: Block, name: str) -> str:
    """Write the number of trained parameters and their share."""
    blocks = [item for item in study.blocks if block.key[1:] == item.key[1:]] if block not in study.blocks else [block]
    for item in blocks:
        if name not in study.strategies_of(item):
            continue
        trained = study.values(item, name, "run", "trained_parameters")
        if len(trained):
            every = study.values(item, name, "run", "parameters")
            return f"{_number(trained.mean())} trained" + (
                f", {_share(trained.mean() / every.mean())}" if len(every) else ""
            )
    return "parameters not recorded"


def cost(study: Study) -> Drawing | Nothing:
    """Draw the time of an update relative to the baseline, beside it the trained parameters where they are others."""
    title, blocks = f"Cost compared with {study.baseline}", [item for item in _blocks(study) if item in study.blocks]
    if not blocks:
        return _alone(study, title)

    def by_seed(block: Block, name: str) -> pd.Series[float]:
        return study.paired_ratio(block, name, study.baseline, "step_time")

    figure, grid = strategy_panels(study, [list(study.compared(block, "step_time").index) for block in blocks])
    for panel, block in zip(grid, blocks, strict=True):
        base = _trained(study, block, study.baseline)

        def words(name: str, change: str, block: Block = block, base: str = base) -> str:
            own = _trained(study, block, name)
            return change if own == base else f"{change}, {own}"

        _forest(panel, study, block, "step_time", "per cent", words, by_seed)
        name_panel(panel.axes, study.title(block, blocks))
        panel.axes.set_xlabel(f"time per update, difference to {study.baseline} (%)")
    seeds = _shown(study, blocks, "step_time")["n_seeds"]
    legend(figure, _forest_legend(study, seeds))
    bases = text.listed(list(dict.fromkeys(_trained(study, block, study.baseline) for block in blocks)))
    caption = (
        f"Time per update of {study.main_words}, strategy relative to {study.baseline}, paired by seed "
        f"({_n_words(seeds)}), on a logarithmic axis; below zero is faster. Dots: seeds; diamond: mean ratio, also in "
        f"figures at the right, with the parameters trained where they are not those of {study.baseline}; line: "
        f"{study.interval_words_of('step_time')}, of logarithms; no test is made here. Dashed: "
        f"{study.baseline}, the baseline ({bases}). Times also depend on what else the machine did."
        f"{_few_words(seeds)}{failure_words(study)}"
    )
    return Drawing(figure, title, caption)
