"""The figures of a study: every seed is shown, the baseline is marked, and what cannot be said is written there."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.lines import Line2D
from scipy import stats

from maskbench.analysis.compare import POOLED
from maskbench.config.measures import measure
from maskbench.io.files import write_json
from maskbench.report import text
from maskbench.report.interference import drawn, series
from maskbench.report.study import FEW_SEEDS
from maskbench.report.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    TINT,
    VERMILION,
    beside,
    panels,
    save,
    strategy_axis,
    style,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from maskbench.report.study import Block, Study

DASHED, DOTTED = (0, (5, 3)), (0, (1, 1.5))

LEAST_FOR_T = 3
"""Seeds from which on the interval of a mean is drawn; with two, a t interval is twelve times as long as their SD."""


class Drawing(NamedTuple):
    """A figure and what is written below it."""

    figure: Figure
    title: str
    caption: str


def _t_interval(values: pd.Series[float], confidence: float) -> tuple[float, float] | None:
    """Return the t interval of a mean, or None with too few seeds for one."""
    if len(values) < LEAST_FOR_T or values.std() == 0:
        return None
    half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def _seed_offsets(study: Study) -> dict[int, float]:
    """Return each seed's place above or below a strategy's line, the same for all strategies: pairs can be followed."""
    places = np.linspace(-0.2, 0.2, len(study.seeds)) if len(study.seeds) > 1 else np.zeros(1)
    return dict(zip(study.seeds, map(float, places), strict=True))


def _dots(axes: Axes, study: Study, line: int, values: pd.Series[float], colour: str, confidence: float) -> None:
    """Draw one strategy: a dot for each seed, the mean and its interval."""
    offsets = _seed_offsets(study)
    places = [line + offsets[int(seed)] for seed in values.index]
    axes.scatter(values, places, s=20, color=colour, alpha=0.45, linewidths=0, zorder=3)
    if interval := _t_interval(values, confidence):
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
    words = f"{arrow} majority class at {text.plain(value, 1)} %"
    axes.set_title(words, loc="right", fontsize=8.5, color=ORANGE, fontweight="normal")
    return False


def _absent(study: Study, block: Block, name: str) -> str | None:
    """Say why a strategy has nothing to show in a block."""
    if name not in study.strategies_of(block):
        return "not run"
    if failed := study.failed(block, name):
        return f"all {failed} failed" if failed == len(study.arm(block, name)) else None
    return None


def _mean_words(study: Study) -> str:
    """Return what the interval of a mean is, for captions."""
    if max(len(study.arm(block, name)) for block in study.blocks for name in study.strategies_of(block)) < LEAST_FOR_T:
        return f"no intervals, which need at least {LEAST_FOR_T} seeds"
    return f"line: {100 * study.confidence:g} % t interval of the mean over seeds (from {LEAST_FOR_T} seeds on)"


def _failure_words(study: Study) -> str:
    failed = len(study.failures)
    return f" {failed} of {text.count(len(study.runs), 'run')} did not complete." if failed else ""


def _margins(axes: Axes, include: list[float]) -> None:
    """Give the data some room at both sides; a single point gets a range around it."""
    low, high = axes.dataLim.intervalx
    low, high = min([low, *include]), max([high, *include])
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = 0.0, 1.0
    room = 0.07 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_xlim(low - room, high + room)


def _legend(figure: Figure, entries: list[Line2D]) -> None:
    figure.legend(handles=entries, loc="outside lower left", ncols=len(entries), frameon=False, fontsize=9)


def _seed_legend(study: Study) -> list[Line2D]:
    """Return the legend of a figure in which every seed is a dot."""
    interval = len(study.seeds) >= LEAST_FOR_T
    mean = f"mean and {100 * study.confidence:g} % interval" if interval else "mean"
    return [
        Line2D([], [], marker="o", linestyle="", color=BLUE, alpha=0.45, markersize=5, label="one seed"),
        Line2D([], [], marker="D", linestyle="-" if interval else "", color=BLUE, markersize=6, label=mean),
        Line2D([], [], color=GREY, linewidth=1.3, linestyle=DASHED, label=f"mean of {study.baseline} (baseline)"),
    ]


def _forest_legend(study: Study) -> list[Line2D]:
    """Return the legend of a figure of differences to the baseline: filled with enough seeds, open with few."""
    seeds = study.comparisons["n_seeds"]
    many, some, several = (seeds >= FEW_SEEDS).any(), seeds.between(1, FEW_SEEDS - 1).any(), (seeds > 1).any()
    mean = f"mean difference and {100 * study.confidence:g} % interval" if several else "difference of one seed"
    few = f"the same from fewer than {FEW_SEEDS} seeds" if many else mean
    filled = Line2D([], [], marker="D", color=BLUE, markersize=6, label=mean)
    hollow = Line2D([], [], marker="D", color=BLUE, markerfacecolor="white", linewidth=1.1, markersize=6, label=few)
    if not several:
        hollow.set_linestyle("")
    zero = Line2D([], [], color=GREY, linewidth=1.3, linestyle=DASHED, label=f"{study.baseline} (baseline)")
    return [*([filled] if many else []), *([hollow] if some else []), zero]


def _by_seed(axes: Axes, study: Study, block: Block, measure: str, factor: float, decimals: int) -> None:
    """Draw one measure of every strategy in a block, with the mean beside it."""
    for line, name in enumerate(study.strategies):
        values = factor * study.values(block, name, "test", measure)
        if values.empty:
            beside(axes, line, _absent(study, block, name) or "not recorded", ORANGE)
            continue
        colour = GREY if name == study.baseline else BLUE
        _dots(axes, study, line, values, colour, study.confidence)
        failed = study.failed(block, name)
        words = text.plain(values.mean(), decimals)
        beside(axes, line, f"{words}, {failed} failed" if failed else words, ORANGE if failed else INK)
        if name == study.baseline:
            axes.axvline(values.mean(), color=GREY, linewidth=1.3, linestyle=DASHED, zorder=1)
    _margins(axes, [])


def scores(study: Study) -> Drawing:
    """Draw the score of every run, a panel for each task."""
    figure, grid = panels(len(study.blocks), len(study.strategies))
    legend = _seed_legend(study)
    for index, (axes, block) in enumerate(zip(grid, study.blocks, strict=True)):
        _by_seed(axes, study, block, "score", 100.0, 1)
        axes.set_title(study.title(block))
        axes.set_xlabel(f"{study.score_title(block.task)} on the test split (%)")
        strategy_axis(axes, study.strategies, labelled=index % 2 == 0)
        if (majority := study.majority(block)) is not None and _level(axes, 100 * majority) and len(legend) == 3:
            legend.append(Line2D([], [], color=ORANGE, linestyle=DOTTED, label="majority class"))
    _legend(figure, legend)
    caption = (
        f"Score on the test split of every run ({study.count()} completed runs for each strategy and task). Dots: "
        f"seeds, each at the same height in every strategy; diamond: mean, also in figures at the right; "
        f"{_mean_words(study)}. Dashed: the mean of the baseline {study.baseline}. Dotted or named above a panel: the "
        f"score of the majority class.{_failure_words(study)}"
    )
    return Drawing(figure, "Score by strategy", caption)


_SERIES = ((BLUE, "D"), (VERMILION, "s"), (GREEN, "^"), (PURPLE, "o"))
"""Colour and shape of each series; both tell them apart."""


def _improvements(axes: Axes, study: Study, found: dict[str, dict[str, pd.Series[float]]], order: list[str]) -> None:
    """Draw the signed differences of one measure: a dot for each seed, a larger mark for the mean of each series."""
    axes.axvline(0, color=GREY, linewidth=1.3, linestyle=DASHED, zorder=1)
    heights = np.linspace(-0.18, 0.18, len(order)) if len(order) > 1 else np.zeros(1)
    for line, name in enumerate(study.others):
        if all(by_strategy[name].empty for by_strategy in found.values()):
            place = axes.get_yaxis_transform()
            axes.text(0.02, line, "no pairs", transform=place, va="center", fontsize=8, color=ORANGE)
        for key, height, (colour, marker) in zip(order, map(float, heights), _SERIES, strict=False):
            if key in found and len(values := found[key][name]):
                lines = [line + height] * len(values)
                axes.scatter(values, lines, s=16, color=colour, alpha=0.4, linewidths=0, zorder=3)
                edge: Any = {"edgecolors": "white", "linewidths": 0.8}
                axes.scatter([values.mean()], lines[:1], s=34, marker=marker, c=colour, zorder=4, **edge)
    _margins(axes, [0.0])
    axes.axvspan(0, axes.get_xlim()[1], color=TINT, linewidth=0, zorder=0)


def _series_legend(study: Study, order: list[str]) -> list[Line2D]:
    """Return the legend of the profile of interference: a mark for each series, and the zero line."""
    marks = [
        Line2D([], [], marker=marker, linestyle="", color=colour, markersize=6, label=key)
        for key, (colour, marker) in zip(order, _SERIES, strict=False)
    ]
    zero = f"{study.baseline} (baseline); to its right, tinted: less interference"
    return [*marks, Line2D([], [], color=GREY, linewidth=1.3, linestyle=DASHED, label=zero)]


def interference(study: Study) -> Drawing:
    """Draw each measure of interference as signed paired differences to the baseline, a panel for each measure."""
    title = f"Interference compared with {study.baseline}"
    if not study.others:
        return Drawing(_nothing_to_compare(study), title, f"Only {study.baseline} was run; no difference can be shown.")
    found = {name: series(study, name) for name in drawn(study)}
    if not found:
        words = "No measure of interference was recorded."
        return Drawing(_nothing_to_compare(study, words), title, words)
    order = list(dict.fromkeys(key for by_series in found.values() for key in by_series))
    figure, grid = panels(len(found), len(study.others) * (1 if len(order) < 3 else 1.4), columns=3)
    for index, (axes, (name, by_series)) in enumerate(zip(grid, found.items(), strict=True)):
        _improvements(axes, study, by_series, order)
        axes.set_title(measure(name).title, fontsize=9.5)
        axes.set_title(measure(name).family, loc="right", fontsize=8.5, color=GREY, fontweight="normal")
        axes.set_xlabel(measure(name).unit, labelpad=2)
        strategy_axis(axes, study.others, labelled=index % 3 == 0)
    _legend(figure, _series_legend(study, order))
    counts = [len(values) for by_series in found.values() for arms in by_series.values() for values in arms.values()]
    low, high = min(counts), max(counts)
    caption = (
        f"Every measure of interference, strategy minus {study.baseline}, paired by seed, with the sign turned where "
        "lower is better: above zero, on the tinted side, is less interference. Dots: seeds "
        f"(n = {low if low == high else f'{low} to {high}'} pairs); large marks: their mean. No intervals are drawn "
        "and nothing is adjusted for the number of measures: this is a profile and no test. Each measure is of the "
        "training that it is about: forgetting of another task, shown at the task trained last; negative transfer and "
        "gradients together with another task; cue reliance and memorisation on changed data; all others of a task "
        f"alone on clean data. Where several such trainings share a mark, it is their mean.{_failure_words(study)}"
    )
    return Drawing(figure, title, caption)


def _forest(axes: Axes, study: Study, block: Block, measure: str, unit: str, words: Callable[[str, str], str]) -> None:
    """Draw differences to the baseline with their intervals; the baseline is the zero line."""
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
        few = row["n_seeds"] < FEW_SEEDS
        if not math.isnan(row["ci_low"]):
            ends = [row["ci_low"], row["ci_high"]]
            axes.plot(ends, [line, line], color=BLUE, linewidth=1.1 if few else 2.2, solid_capstyle="butt", zorder=3)
        fill, edge = ("white", BLUE) if few else (BLUE, "white")
        axes.scatter([row["estimate"]], [line], s=46, marker="D", c=fill, edgecolors=edge, linewidths=1.0, zorder=4)
        value, missing = words(name, text.change(row["estimate"], unit)), int(row["missing_pairs"])
        lost = f", {text.count(missing, 'pair')} missing" if missing else ""
        beside(axes, line, value + lost, ORANGE if missing else INK)
    _margins(axes, [0.0])


def _nothing_to_compare(study: Study, words: str | None = None) -> Figure:
    """Return a figure that says why it is empty: there is only the baseline, or what `words` say."""
    figure, (axes,) = panels(1, 2)
    axes.set_axis_off()
    words = words or f"Only {study.baseline} was run: there is nothing to compare it with."
    axes.text(0.5, 0.5, words, ha="center", va="center", fontsize=11)
    return figure


def _n_words(study: Study, measure: str) -> str:
    counts = study.comparisons.loc[study.comparisons["measure"] == measure, "n_seeds"]
    low, high = int(counts.min()), int(counts.max())
    return f"n = {low} paired seeds" if low == high else f"n = {low} to {high} paired seeds"


def differences(study: Study) -> Drawing:
    """Draw the difference in score to the baseline, a panel for each task and one for all together."""
    title = f"Score compared with {study.baseline}"
    if not study.others:
        return Drawing(_nothing_to_compare(study), title, f"Only {study.baseline} was run; no difference can be shown.")
    blocks = study.comparison_blocks()
    figure, grid = panels(len(blocks), len(study.others))
    for index, (axes, block) in enumerate(zip(grid, blocks, strict=True)):
        _forest(axes, study, block, "score", "points", lambda _, change: change)
        axes.set_title(study.title(block).replace(POOLED, "all tasks together"))
        axes.set_xlabel(f"score, difference to {study.baseline} (points)")
        strategy_axis(axes, study.others, labelled=index % 2 == 0)
    _legend(figure, _forest_legend(study))
    caption = (
        f"Score on the test split, strategy minus {study.baseline}, paired by seed ({_n_words(study, 'score')}); above "
        f"zero is a higher score. Diamond: mean, also in figures at the right; line: {study.interval_words}. Dashed: "
        f"{study.baseline}, the baseline. Not adjusted for the number of comparisons."
        f"{_few_words(study, 'score')}{_failure_words(study)}"
    )
    return Drawing(figure, title, caption)


def _few_words(study: Study, measure: str) -> str:
    """Warn of intervals over few seeds."""
    counts = study.comparisons.loc[study.comparisons["measure"] == measure, "n_seeds"]
    if counts.between(1, FEW_SEEDS - 1).any():
        return f" Open and thin: fewer than {FEW_SEEDS} seeds, where such intervals are too short to rely on."
    return ""


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


def cost(study: Study) -> Drawing:
    """Draw the time of an update relative to the baseline, with the number of trained parameters beside it."""
    title = f"Cost compared with {study.baseline}"
    if not study.others:
        caption = f"Only {study.baseline} was run; its time, memory and parameters are in the table of costs."
        return Drawing(_nothing_to_compare(study), title, caption)
    blocks = [block for block in study.comparison_blocks() if block in study.blocks]
    figure, grid = panels(len(blocks), len(study.others))
    for index, (axes, block) in enumerate(zip(grid, blocks, strict=True)):

        def words(name: str, change: str, block: Block = block) -> str:
            return f"{change}, {_trained(study, block, name)}"

        _forest(axes, study, block, "step_time", "per cent", words)
        axes.set_title(study.title(block))
        axes.set_xlabel(f"time per update, difference to {study.baseline} (%)")
        strategy_axis(axes, study.others, labelled=index % 2 == 0)
    _legend(figure, _forest_legend(study))
    baseline = _trained(study, blocks[0], study.baseline)
    caption = (
        f"Time per update, strategy relative to {study.baseline}, paired by seed ({_n_words(study, 'step_time')}); "
        "below zero is faster. Diamond: mean ratio, also in figures at the right with the parameters trained; line: "
        f"{100 * study.confidence:g} % interval of a paired bootstrap over seeds. Dashed: {study.baseline}, the "
        f"baseline ({baseline}). Times also depend on what else the machine did."
        f"{_few_words(study, 'step_time')}{_failure_words(study)}"
    )
    return Drawing(figure, title, caption)


_GAPS = (
    ("loss_gap", 3, "cross-entropy, test minus train (nats)"),
    ("score_gap", 2, "score, train minus test (points)"),
)


def gaps(study: Study) -> Drawing:
    """Draw the generalisation gap of every run, in loss and in score."""
    figure, grid = panels(2 * len(study.blocks), len(study.strategies))
    for index, axes in enumerate(grid):
        block, (name, decimals, label) = study.blocks[index // 2], _GAPS[index % 2]
        _by_seed(axes, study, block, name, 1.0, decimals)
        axes.set_title(f"{study.title(block)}: {'gap in loss' if name == 'loss_gap' else 'gap in score'}")
        axes.set_xlabel(label)
        strategy_axis(axes, study.strategies, labelled=index % 2 == 0)
    _legend(figure, _seed_legend(study))
    caption = (
        f"Generalisation gap: how much worse the test split is than the training split, in cross-entropy and in score "
        f"({study.count()} completed runs for each strategy and task); further left is a smaller gap. Dots: seeds; "
        f"diamond: mean, also in figures at the right; {_mean_words(study)}. Dashed: the mean of the baseline "
        f"{study.baseline}.{_failure_words(study)}"
    )
    return Drawing(figure, "Generalisation gap by strategy", caption)


FIGURES: dict[str, Callable[[Study], Drawing]] = {
    "scores": scores,
    "interference": interference,
    "differences": differences,
    "gaps": gaps,
    "cost": cost,
}
"""All figures by the name of their files, in the order of the page."""


def write_figures(study: Study, folder: Path) -> None:
    """Write every figure as SVG and PNG, and all titles and captions as captions.json."""
    captions = {}
    for name, draw in FIGURES.items():
        with style():
            drawing = draw(study)
        save(drawing.figure, folder, name)
        captions[name] = {"title": drawing.title, "caption": drawing.caption}
    write_json(folder / "captions.json", captions)
