"""Two tasks: the front of score and forgetting, and the conflict of their gradients."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

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
from maskbench.report.style import BLUE, GREEN, GREY, INK, canvas, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from maskbench.report.blocks import Block
    from maskbench.report.study import Study

MOST_NAMES = 10
"""Up to this many points all have their names; if there are more, only those on the front and the baseline."""


def _of_kind(study: Study, kind: str) -> list[Block]:
    return [block for block in study.blocks if regime_kind(block.regime) == kind and block.condition == CLEAN.name]


def forgetting(study: Study) -> Drawing | Nothing:
    """Draw the score on the second task against what was forgotten of the first, a point for each strategy."""
    title = "Score and forgetting"
    blocks = [block for block in _of_kind(study, "after-*") if any(_points(study, block).values())]
    if not blocks:
        return Nothing(title, "Forgetting needs a task that is trained after another one (regime: sequential).")
    figure, axes = panels(len(blocks), 12 if len(study.strategies) > MOST_NAMES else 9)
    for panel, block in zip(axes, blocks, strict=True):
        _front(panel, study, block)
    entries = [
        Line2D([], [], marker="o", linestyle="", color=BLUE, markersize=6, label="strategy"),
        Line2D([], [], marker="D", linestyle="", color=GREY, markersize=6, label=f"{study.baseline} (baseline)"),
        Line2D([], [], color=GREEN, linewidth=1.6, label="front: no other is better in both"),
    ]
    legend(figure, entries)
    bars = interval_words(study, "bars")
    if len(study.strategies) > MOST_NAMES:
        bars = (
            f"no intervals are drawn; of so many strategies, {study.baseline} and those on the front are named where "
        )
        bars += "there is room, and the table of interference has all"
    caption = (
        "Sequential training: the score on the task trained last, against how much the score on the first task fell; "
        f"up and to the left is better. Marks: means over seeds ({study.count(blocks)} completed runs); {bars}; no "
        f"test is made here. Green: strategies that no other beats in both.{failure_words(study)}"
    )
    return Drawing(figure, title, caption)


def _points(study: Study, block: Block) -> dict[str, tuple[pd.Series[float], pd.Series[float]] | None]:
    """Return what each strategy forgot (points) and its score (per cent), by seed."""
    found: dict[str, tuple[pd.Series[float], pd.Series[float]] | None] = {}
    for name in study.strategies_of(block):
        lost, score = study.measured(block, name, "forgetting"), 100 * study.values(block, name, "test", "score")
        seeds = lost.dropna().index.intersection(score.index)
        found[name] = (lost[seeds], score[seeds]) if len(seeds) else None
    return found


def _front(axes: Axes, study: Study, block: Block) -> None:
    """Draw one pair of tasks."""
    points = {name: found for name, found in _points(study, block).items() if found}
    means = {name: (float(lost.mean()), float(score.mean())) for name, (lost, score) in points.items()}
    best = [name for name, (x, y) in means.items() if not any(_beats(other, (x, y)) for other in means.values())]
    few, line = len(means) <= MOST_NAMES, sorted(means[name] for name in best)
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
    axes.set_title(study.title(block))
    axes.set_xlabel("forgetting of the first task (points)")
    axes.set_ylabel(f"{study.score_title(block.task)} on {block.task} (%)")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    order = [study.baseline, *(name for name in (means if few else best) if name != study.baseline)]
    _place_names(axes, {name: means[name] for name in order if name in means}, list(means.values()))


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Tell whether a point forgets no more and scores no less than another, and is not the same."""
    return one[0] <= other[0] and one[1] >= other[1] and one != other


def _place_names(axes: Axes, named: dict[str, tuple[float, float]], points: list[tuple[float, float]]) -> None:
    """Write names beside their points so that none covers another name or a point; one without room is left out."""
    axes.autoscale_view()
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    box = axes.get_position()
    size = axes.figure.get_size_inches()  # type: ignore[union-attr]
    # inches per unit of the data, before the layout is made; names are kept apart with some room to spare
    width, height = 0.8 * box.width * size[0], 0.74 * box.height * size[1]

    def inches(point: tuple[float, float]) -> tuple[float, float]:
        return (point[0] - left) / (right - left) * width, (point[1] - bottom) / (top - bottom) * height

    taken = [(x - 0.07, y - 0.07, x + 0.07, y + 0.07) for x, y in map(inches, points)]
    turns = [(np.cos(angle), np.sin(angle)) for angle in np.pi * np.array([0, 0.25, -0.25, 1, 0.75, -0.75, 0.5, -0.5])]
    for name, point in named.items():
        x, y = inches(point)
        words = wrapped(name, 22)
        wide = 0.074 * max(map(len, words.split("\n"))) + 0.05
        high = 0.18 * (1 + words.count("\n"))
        for radius, (across, up) in product((0.11, 0.25, 0.42, 0.65, 0.9, 1.2, 1.6), turns):
            start = x + radius * across - (0 if across > 0.1 else wide if across < -0.1 else wide / 2)
            base = y + radius * up - high / 2
            area = (start, base, start + wide, base + high)
            inside = area[0] > 0 and area[1] > 0 and area[2] < width and area[3] < height
            if inside and not any(_overlap(area, other) for other in taken):
                break
        else:
            continue
        taken.append(area)
        place = (72 * (area[0] - x), 72 * (base + high / 2 - y))
        line = (
            {"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3} if radius > 0.2 else None
        )
        written = axes.annotate(
            words,
            point,
            place,
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=INK,
            arrowprops=line,
            zorder=6,
        )
        written.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
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
    figure, axes, columns = grid([f"{name} · {pair}" if len(pairs) > 1 else name for pair, name in wanted], 2.0)
    means = whole.groupby(["pair", "strategy", "step"])["value"].mean()
    for panel, (pair, name) in zip(axes, wanted, strict=True):
        panel.axhline(0, color=INK, linewidth=0.9, zorder=1)
        for (_, strategy), own in whole[whole["pair"] == pair].groupby(["seed", "strategy"], sort=False):
            if strategy == name:
                panel.plot(own["step"], own["value"], color=BLUE, linewidth=0.8, alpha=0.3, zorder=2)
        for strategy, colour, dashes in ((study.baseline, GREY, DASHED), (name, BLUE, "-")):
            if (pair, strategy) in means.index and (strategy == name or study.others):
                line = means.loc[pair, strategy]
                panel.plot(line.index, line, color=colour, linewidth=1.8, linestyle=dashes, zorder=4)
    label(axes, columns, "updates", "cosine of gradients")
    entries = [
        Line2D([], [], color=BLUE, linewidth=0.8, alpha=0.45, label="one seed"),
        Line2D([], [], color=BLUE, linewidth=1.8, label="mean"),
        Line2D([], [], color=GREY, linewidth=1.8, linestyle=DASHED, label=f"mean of {study.baseline} (baseline)"),
    ]
    legend(figure, entries)
    counts = list(whole.groupby(["pair", "strategy"])["seed"].nunique())
    only = f" {pairs[0]}." if len(pairs) == 1 else ""
    caption = (
        f"Cosine of the two tasks' gradients on the whole encoder along joint training; below zero they pull against "
        f"each other.{only} Thin lines: seeds ({counted(counts, 'seeds')}); thick: their mean; dashed: the mean of the "
        f"baseline {study.baseline}. No interval is drawn and no test is made here.{failure_words(study)}"
    )
    return Drawing(figure, title, caption)


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
