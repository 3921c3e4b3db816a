"""Two tasks: the front of score and forgetting, and the conflict of their gradients."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from maskbench.analysis.metrics import regime_kind
from maskbench.config.conditions import CLEAN
from maskbench.report import text
from maskbench.report.figures.drawing import (
    DASHED,
    Drawing,
    Nothing,
    counted,
    failure_words,
    interval_words,
    legend,
    t_interval,
    wrapped,
)
from maskbench.report.figures.grids import grid, label
from maskbench.report.figures.profile import heat
from maskbench.report.style import BLUE, GREEN, GREY, INK, canvas, name_panel, panels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from maskbench.report.blocks import Block
    from maskbench.report.study import Study

MOST_BARS, MOST_NAMES = 10, 20
"""Up to so many points have intervals, and their names; if there are more, only those on the front and the baseline."""


TURNS = (0, 0.25, -0.25, 1, 0.75, -0.75, 0.5, -0.5, 0.12, -0.12, 0.38, -0.38, 0.62, -0.62, 0.88, -0.88)
"""Directions in which room for a name is looked for, the first ones first, in units of π."""


def _of_kind(study: Study, kind: str) -> list[Block]:
    return [block for block in study.blocks if regime_kind(block.regime) == kind and block.condition == CLEAN.name]


def forgetting(study: Study) -> Drawing | Nothing:
    """Draw the score on the second task against what was forgotten of the first, a point for each strategy."""
    title = "Score and forgetting"
    blocks = [block for block in _of_kind(study, "after-*") if any(_points(study, block).values())]
    if not blocks:
        return Nothing(title, "Forgetting needs a task that is trained after another one (regime: sequential).")
    ran = max(len(study.strategies_of(block)) for block in blocks)
    figure, axes = panels(len(blocks), 9) if ran <= MOST_BARS else _wide(len(blocks))
    for panel, block in zip(axes, blocks, strict=True):
        name_panel(panel, study.title(block, blocks))
    means = [_front(panel, study, block) for panel, block in zip(axes, blocks, strict=True)]
    entries = [
        Line2D([], [], marker="o", linestyle="", color=BLUE, markersize=6, label="strategy"),
        Line2D([], [], marker="D", linestyle="", color=GREY, markersize=6, label=f"{study.baseline} (baseline)"),
        Line2D([], [], color=GREEN, linewidth=1.6, label="front: no other is better in both"),
    ]
    legend(figure, entries)
    figure.draw_without_rendering()  # names are placed in panels that have their size
    for panel, found in zip(axes, means, strict=True):
        front = found if len(found) <= MOST_NAMES else _best(found)
        first = [name for name in (study.baseline, *_best(found)) if name in found]
        _place_names(panel, {name: found[name] for name in dict.fromkeys([*first, *front])}, list(found.values()))
    bars = interval_words(study, "bars") if ran <= MOST_BARS else "of so many, no intervals are drawn"
    named = "All" if ran <= MOST_NAMES else f"{study.baseline} and the strategies on the front"
    caption = (
        f"Sequential training{study.common_words(blocks)}: the score on the task trained last, against how much the "
        "score on the first task fell; up and to the left is better. Marks: means over seeds "
        f"({study.count(blocks)} completed runs); {bars}; no test is made here. Green: a line through the "
        f"strategies that no other beats in both. {named} are named where there is room; "
        "the table of interference has the numbers."
        f"{failure_words(study)}"
    )
    return Drawing(figure, title, caption)


def _wide(count: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many panels that have room for many names."""
    columns, lines = min(count, 2), -(-count // 2)
    figure, axes = canvas((7.0 * columns, 6.4 * lines + 0.6), lines, columns)
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


def _points(study: Study, block: Block) -> dict[str, tuple[pd.Series[float], pd.Series[float]] | None]:
    """Return what each strategy forgot (points) and its score (per cent), by seed."""
    found: dict[str, tuple[pd.Series[float], pd.Series[float]] | None] = {}
    for name in study.strategies_of(block):
        lost, score = study.measured(block, name, "forgetting"), 100 * study.values(block, name, "test", "score")
        seeds = lost.dropna().index.intersection(score.index)
        found[name] = (lost[seeds], score[seeds]) if len(seeds) else None
    return found


def _best(means: dict[str, tuple[float, float]]) -> list[str]:
    """Return the strategies that no other beats."""
    return [name for name, point in means.items() if not any(_beats(other, point) for other in means.values())]


def _front(axes: Axes, study: Study, block: Block) -> dict[str, tuple[float, float]]:
    """Draw one pair of tasks, and return where the point of each strategy is."""
    points = {name: found for name, found in _points(study, block).items() if found}
    means = {name: (float(lost.mean()), float(score.mean())) for name, (lost, score) in points.items()}
    few, line = len(means) <= MOST_BARS, sorted(means[name] for name in _best(means))
    axes.plot([x for x, _ in line], [y for _, y in line], color=GREEN, linewidth=1.6, zorder=2)
    for name, (lost, score) in points.items():
        x, y = means[name]
        base = name == study.baseline
        colour = GREY if base else BLUE
        for values, horizontal in ((lost, True), (score, False)):
            if few and (interval := t_interval(values, study.confidence)):
                ends = (interval, (y, y)) if horizontal else ((x, x), interval)
                axes.plot(*ends, color=colour, linewidth=0.9, alpha=0.45, zorder=1)
        # the baseline is drawn on top and smaller, since a mask that changes nothing lies on the same point
        size, above = (26, 5) if base else (44, 4)
        axes.scatter([x], [y], marker="D" if base else "o", s=size, color=colour, edgecolors="white", zorder=above)
    axes.margins(0.16, 0.14)
    axes.grid(True, axis="both")
    axes.set_xlabel("forgetting of the first task (points)")
    axes.set_ylabel(f"{study.score_title(block.task)} on {block.task} (%)")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return means


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Tell whether a point forgets no more and scores no less than another, and is not the same."""
    return one[0] <= other[0] and one[1] >= other[1] and one != other


def _place_names(axes: Axes, named: dict[str, tuple[float, float]], points: list[tuple[float, float]]) -> None:
    """Write names beside their points so that none covers another name or a point; one without room is left out.

    The figure has its layout by now.
    """
    panel, dpi = axes.get_window_extent(), axes.figure.dpi

    def inches(point: tuple[float, float]) -> tuple[float, float]:
        across, up = (axes.transData.transform(point) - panel.min) / dpi
        return float(across), float(up)

    width, height = panel.width / dpi, panel.height / dpi
    taken: list[Box] = [(x - 0.06, y - 0.06, x + 0.06, y + 0.06) for x, y in map(inches, points)]
    ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.3}
    line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
    for name, point in named.items():
        x, y = inches(point)
        words = wrapped(name, 22)
        for spot in _spots(x, y, words):
            box = spot.box
            inside = box[0] > 0 and box[1] > 0 and box[2] < width and box[3] < height
            if inside and not any(_overlap(part, other) for part in (box, *spot.lead) for other in taken):
                break
        else:
            continue
        taken += [spot.box, *spot.lead]
        axes.annotate(
            words,
            point,
            (72 * (spot.x - x), 72 * (spot.y - y)),
            textcoords="offset points",
            ha=spot.side,
            va="center",
            fontsize=8.5,
            color=INK,
            zorder=6,
            bbox=ground,
            arrowprops=line if spot.lead else None,
        )


Box = tuple[float, float, float, float]
"""Left, lower, right and upper edge, in inches."""


class _Spot(NamedTuple):
    """A place for a name beside its point."""

    x: float
    """Where the words begin, end or have their middle, as `side` says."""
    y: float
    side: Literal["left", "right", "center"]
    box: Box
    """What the words take of the panel."""
    lead: list[Box]
    """What the line from the point to the words takes; nothing where they stand right beside it."""


def _spots(x: float, y: float, words: str) -> Iterator[_Spot]:
    """Yield places for words beside a point, the nearest first."""
    wide, high = 0.07 * max(map(len, words.split("\n"))) + 0.05, 0.15 * (1 + words.count("\n"))
    for radius, angle in product((0.1, 0.2, 0.3, 0.45, 0.65, 0.9, 1.2, 1.6), TURNS):
        across, up = math.cos(math.pi * angle), math.sin(math.pi * angle)
        edge, middle = x + radius * across, y + radius * up
        side: Literal["left", "right", "center"] = "left" if across > 0.1 else "right" if across < -0.1 else "center"
        start = edge - {"left": 0.0, "right": wide, "center": wide / 2}[side]
        box = (start, middle - high / 2, start + wide, middle + high / 2)
        yield _Spot(edge, middle, side, box, _lead(x, y, box) if radius > 0.1 else [])


def _lead(x: float, y: float, box: Box) -> list[Box]:
    """Return small boxes along the line from a point to its name, but for those that touch the point."""
    right, up = min(max(x, box[0]), box[2]) - x, (box[1] + box[3]) / 2 - y
    far = math.hypot(right, up)
    places = [(x + part * right / far, y + part * up / far) for part in np.arange(0.1, far, 0.04)]
    return [(across - 0.01, height - 0.01, across + 0.01, height + 0.01) for across, height in places]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _cosines(study: Study) -> pd.DataFrame:
    """Return the cosines of two tasks' gradients along joint training: one row for each run, step and layer.

    Both tasks of a joint run record the same numbers; those of one of them are kept.
    """
    columns = ["pair", "strategy", "seed", "step", "layer", "value"]
    table = pd.DataFrame() if study.along is None else study.along.dropna()
    table = table[[name.partition(":")[0] == "gradient_cosine" for name in table["measure"]]] if len(table) else table
    if table.empty:
        return pd.DataFrame(columns=columns)
    runs = study.runs.loc[table["run"].unique()]
    runs = runs[runs["regime"].map(regime_kind) == "with-*"]
    others = runs["regime"].str.removeprefix("with-")
    keep = runs[(runs["task"] < others).to_numpy()].assign(pair=runs["task"] + " with " + others)
    several = keep[["model", "train_size"]].drop_duplicates().shape[0] > 1
    if several:
        keep["pair"] = keep["pair"] + ", " + keep["model"] + ", " + keep["train_size"]
    table = table[table["run"].isin(keep.index)]
    about = keep.loc[table["run"], ["pair", "strategy", "seed"]].reset_index(drop=True)
    layer = [name.partition(":")[2] for name in table["measure"]]
    return pd.concat([about, table[["step", "value"]].reset_index(drop=True)], axis=1).assign(layer=layer)[columns]


_NO_GRADIENTS = "Gradients of two tasks are measured in joint training (regime: joint)"


def _no_cosines(study: Study, title: str) -> Nothing:
    if study.along is None:
        return Nothing(title, "What was measured along training is not at hand (along.csv).")
    return Nothing(title, f"{_NO_GRADIENTS}, which this study has none of.")


def conflict(study: Study) -> Drawing | Nothing:
    """Draw the cosine of two tasks' gradients along training, a panel for each strategy and pair of tasks."""
    title, table = "Gradient conflict along training", _cosines(study)
    whole = table[table["layer"] == ""]
    if whole.empty:
        return _no_cosines(study, title)
    pairs = list(whole["pair"].unique())
    names = [name for name in (study.others or [study.baseline]) if name in set(whole["strategy"])]
    names = names or [study.baseline]
    wanted = list(product(pairs, names))
    found = grid([f"{name} · {pair}" if len(pairs) > 1 else name for pair, name in wanted], 2.0)
    means = whole.groupby(["pair", "strategy", "step"])["value"].mean()
    for panel, (pair, name) in zip(found.axes, wanted, strict=True):
        panel.axhline(0, color=INK, linewidth=0.9, zorder=1)
        for (_, strategy), own in whole[whole["pair"] == pair].groupby(["seed", "strategy"], sort=False):
            if strategy == name:
                panel.plot(own["step"], own["value"], color=BLUE, linewidth=0.8, alpha=0.3, zorder=2)
        for strategy, colour, dashes in ((study.baseline, GREY, DASHED), (name, BLUE, "-")):
            if (pair, strategy) in means.index and (strategy == name or study.others):
                line = means.loc[pair, strategy]
                panel.plot(line.index, line, color=colour, linewidth=1.8, linestyle=dashes, zorder=4)
    label(found, "updates", "cosine of gradients")
    entries = [
        Line2D([], [], color=BLUE, linewidth=0.8, alpha=0.45, label="one seed"),
        Line2D([], [], color=BLUE, linewidth=1.8, label="mean"),
        Line2D([], [], color=GREY, linewidth=1.8, linestyle=DASHED, label=f"mean of {study.baseline} (baseline)"),
    ]
    legend(found.figure, entries)
    counts = list(whole.groupby(["pair", "strategy"])["seed"].nunique())
    only = f" {pairs[0]}." if len(pairs) == 1 else ""
    caption = (
        f"Cosine of the two tasks' gradients on the whole encoder along joint training; below zero they pull against "
        f"each other.{only} Thin lines: seeds ({counted(counts, 'seeds')}); thick: their mean; dashed: the mean of the "
        f"baseline {study.baseline}. No interval is drawn and no test is made here.{failure_words(study)}"
    )
    return Drawing(found.figure, title, caption)


def _depth(layer: str) -> tuple[int, int]:
    """Order layers from the embeddings upwards."""
    number = layer.rpartition("-")[2]
    return (1, int(number)) if number.isdecimal() else (0, 0)


def layers(study: Study) -> Drawing | Nothing:
    """Draw the mean cosine of two tasks' gradients in every layer, a panel for each pair of tasks."""
    title, table = "Gradient conflict by layer", _cosines(study)
    table = table[table["layer"] != ""]
    if table.empty:
        return _no_cosines(study, title)
    pairs, names = list(table["pair"].unique()), [n for n in study.strategies if n in set(table["strategy"])]
    depths = sorted(table["layer"].unique(), key=_depth)
    means = table.groupby(["pair", "strategy", "layer"])["value"].mean()
    by_seed = table.groupby(["pair", "strategy", "layer", "seed"])["value"].mean()
    size = (2.8 + 0.62 * len(depths), len(pairs) * (0.8 + 0.3 * len(names)) + 1.2)
    figure, axes = canvas(size, len(pairs), 1)
    limit = max(0.1, float(np.ceil(10 * means.abs().max()) / 10))
    for place, (panel, pair) in enumerate(zip(axes, pairs, strict=True)):
        shape = (len(names), len(depths))
        values, bold = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
        for (row, name), (column, layer) in product(enumerate(names), enumerate(depths)):
            if (pair, name, layer) in means.index:
                values[row, column] = means.loc[pair, name, layer]
                interval = t_interval(by_seed.loc[pair, name, layer], study.confidence)
                bold[row, column] = interval is not None and not interval[0] <= 0 <= interval[1]
        heat(panel, values, limit, bold, decimals=2)
        panel.set_title(pair)
        panel.set_yticks(range(len(names)), [wrapped(name) for name in names])
        last = place == len(pairs) - 1
        marks = [layer.removeprefix("layer-") for layer in depths] if last else [""] * len(depths)
        panel.set_xticks(range(len(depths)), marks)
        panel.set_xlabel("layer" if last else "")
    counts = list(table.groupby(["pair", "strategy"])["seed"].nunique())
    caption = (
        "Cosine of the two tasks' gradients in each layer of the encoder, the mean over joint training and seeds "
        f"({counted(counts, 'seeds')}); orange and below zero: the tasks pull against each other. Colours end at "
        f"±{text.plain(limit, 1)}. Bold: the {100 * study.confidence:g} % t interval over seeds leaves out zero (from "
        f"3 seeds on), not adjusted; no test is made here.{failure_words(study)}"
    )
    return Drawing(figure, title, caption)
