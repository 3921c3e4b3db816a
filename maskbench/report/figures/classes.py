"""Single classes: their F1, and what they are taken for."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from maskbench.config.measures import pair, sides
from maskbench.report import text
from maskbench.report.figures.drawing import Drawing, Nothing, failure_words, t_interval, wrapped
from maskbench.report.figures.profile import heat
from maskbench.report.style import GREY, INK, canvas, legible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from maskbench.analysis.metrics import Array
    from maskbench.report.blocks import Block
    from maskbench.report.study import Study

COMMON = 10
"""Confusions that are compared between strategies: the most frequent ones of the baseline."""

MOST_CLASSES = 12
"""Most classes that are shown; beyond, the first ones of the file."""


def _parts(study: Study, stem: str) -> dict[str, list[str]]:
    """Return, by task, what stands behind the colon of a measure."""
    rows = study.metrics[study.metrics["measure"].str.startswith(f"{stem}:") & (study.metrics["split"] == "test")]
    pairs = rows[["task", "measure"]].drop_duplicates()
    return {
        str(task): [name.partition(":")[2] for name in group]
        for task, group in pairs.groupby("task", sort=False)["measure"]
    }


def classes(study: Study) -> Drawing | Nothing:
    """Draw the F1 of every class under the baseline, and how much every strategy changes it."""
    title, known = "Score of each class", _parts(study, "f1")
    blocks = [block for block in study.main_blocks if block.task in known]
    if not blocks:
        return Nothing(title, "No score of single classes was recorded.")
    names = study.others or [study.baseline]
    labels = {block: known[block.task][:MOST_CLASSES] for block in blocks}
    most = max(map(len, labels.values()))
    columns = min(len(blocks), 2)
    lines = -(-len(blocks) // columns)
    size = (1.9 + columns * (0.9 + 0.85 * most), lines * (1.35 + 0.3 * len(names)) + 0.4)
    figure, axes = canvas(size, lines, columns)
    for spare in axes[len(blocks) :]:
        spare.set_axis_off()
    for place, (panel, block) in enumerate(zip(axes, blocks, strict=False)):
        values, bold = _class_changes(study, block, names, labels[block])
        heat(panel, values, 5.0, bold)
        panel.set_title(study.title(block))
        panel.set_yticks(range(len(names)), [wrapped(name) if place % columns == 0 else "" for name in names])
        base = [study.values(block, study.baseline, "test", f"f1:{label}") for label in labels[block]]
        marks = [
            f"{wrapped(label, 12)}\n{text.plain(100 * found.mean(), 1) if len(found) else text.DASH} %"
            for label, found in zip(labels[block], base, strict=True)
        ]
        panel.set_xticks(range(len(marks)), marks)
    cut = (
        f" Of more than {MOST_CLASSES} classes the first are shown."
        if any(len(known[block.task]) > MOST_CLASSES for block in blocks)
        else ""
    )
    caption = (
        f"F1 of each class on the test split (tagging: of whole entities), of {study.main_words}. Below each column: "
        f"the class and its F1 under {study.baseline}, the mean over seeds. Cells: strategy minus {study.baseline} in "
        f"points, paired by seed ({study.count(blocks)} completed runs); blue is better, colours end at 5 points. "
        f"Bold: the {100 * study.confidence:g} % t interval over seeds leaves out zero (from 3 seeds on), not "
        f"adjusted; no test is made here.{cut}{failure_words(study)}"
    )
    if not study.others:
        return Nothing(title, f"Only {study.baseline} was run; the F1 of its classes is in the table of classes.")
    return Drawing(figure, title, caption)


def _class_changes(study: Study, block: Block, names: list[str], labels: list[str]) -> tuple[Array, Array]:
    """Return the mean paired differences in F1 (points) by strategy and class, and whether they stand out."""
    shape = (len(names), len(labels))
    values, bold = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
    for (row, name), (column, label) in product(enumerate(names), enumerate(labels)):
        arms = [study.values(block, arm, "test", f"f1:{label}") for arm in (name, study.baseline)]
        _fill(values, bold, (row, column), 100 * arms[0].sub(arms[1]).dropna(), study.confidence)
    return values, bold


def _fill(values: Array, bold: Array, place: tuple[int, int], by_seed: pd.Series[float], confidence: float) -> None:
    """Put a mean into its cell, and mark it if its interval leaves out zero."""
    if len(by_seed):
        values[place] = by_seed.mean()
        interval = t_interval(by_seed, confidence)
        bold[place] = interval is not None and not interval[0] <= 0 <= interval[1]


def _rates(study: Study, block: Block, strategy: str) -> pd.DataFrame:
    """Return, by seed, which share of each true class got which prediction, in per cent; columns as of `pair`."""
    names = [f"confusion:{part}" for part in _parts(study, "confusion").get(block.task, [])]
    found = {name.partition(":")[2]: study.values(block, strategy, "test", name) for name in names}
    counts = pd.DataFrame({name: values for name, values in found.items() if len(values)}).fillna(0.0)
    truth = [sides(name)[0] for name in counts.columns]
    totals = counts.T.groupby(truth).transform("sum").T
    return 100 * counts.div(totals.to_numpy())


def confusions(study: Study) -> Drawing | Nothing:
    """Draw the baseline's confusion matrix, and how much every strategy changes its most frequent confusions."""
    title, known = "What classes are taken for", _parts(study, "confusion")
    found = {block: _rates(study, block, study.baseline) for block in study.main_blocks if block.task in known}
    found = {block: rates for block, rates in found.items() if not rates.empty}
    if not found:
        return Nothing(title, "No confusions were recorded.")
    names = study.others
    labels = {block: _labels(rates) for block, rates in found.items()}
    most = max(map(len, labels.values()))
    heights = [max(0.36 * len(labels[block]) + 1.2, 0.27 * len(names) + 1.6) for block in found]
    figure, axes = canvas(
        (2.6 + 0.5 * most + (2.4 + 0.55 * COMMON if names else 0), sum(heights) + 0.2),
        len(found),
        2 if names else 1,
        widths=[0.5 * most + 1, 0.55 * COMMON + 1.4] if names else None,
        heights=heights,
    )
    for line, (block, rates) in enumerate(found.items()):
        _matrix(axes[line * (2 if names else 1)], study, block, rates, labels[block])
        if names:
            _changes(axes[2 * line + 1], study, block, rates, names)
    caption = (
        f"Of {study.main_words}. Left: of the texts (tagging: words) of each true class, the share that "
        f"{study.baseline} gives each class, in per cent of the row, the mean over seeds. Right: the baseline's most "
        "frequent confusions, true → predicted, and by how many percentage points each strategy changes them, paired "
        f"by seed ({study.count(list(found))} completed runs); blue is fewer confusions, colours end at 3. Bold: the "
        f"{100 * study.confidence:g} % t interval over seeds leaves out zero (from 3 seeds on), not adjusted; no test "
        f"is made here.{failure_words(study)}"
    )
    return Drawing(figure, title, caption)


def _labels(rates: pd.DataFrame) -> list[str]:
    """Return all classes, true or predicted, in the order of the file, O last."""
    found = [part for name in rates.columns for part in sides(name)]
    return sorted(dict.fromkeys(found), key=lambda name: name == "O")[:MOST_CLASSES]


def _matrix(axes: Axes, study: Study, block: Block, rates: pd.DataFrame, labels: list[str]) -> None:
    """Draw the share of each true class that gets each prediction."""
    means = rates.mean()
    cells = np.array([[means.get(pair(true, given), 0.0) for given in labels] for true in labels])
    axes.imshow(cells, cmap="Greys", vmin=0, vmax=140, aspect="auto", interpolation="nearest")
    for (row, column), value in np.ndenumerate(cells):
        words = "·" if value == 0 else text.plain(value, 0) if value >= 9.95 else text.plain(value, 1)
        axes.text(column, row, words, ha="center", va="center", fontsize=8, color=GREY if value == 0 else INK)
    axes.set_xticks(range(len(labels)), [wrapped(name, 14) for name in labels])
    if max(map(len, labels)) > (8 if len(labels) < 4 else 5):
        axes.tick_params(axis="x", rotation=40)
    axes.set_yticks(range(len(labels)), [wrapped(name, 14) for name in labels])
    axes.tick_params(length=0)
    axes.grid(False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"{study.title(block)}: {study.baseline}")


def _changes(axes: Axes, study: Study, block: Block, rates: pd.DataFrame, names: list[str]) -> None:
    """Draw the change of the most frequent confusions under every strategy."""
    means = rates.mean()
    wrong = means[[true != given for true, given in map(sides, means.index)]]
    common = list(wrong.sort_values(ascending=False, kind="stable").index[:COMMON])
    shape = (len(names), len(common))
    values, bold = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
    for row, name in enumerate(names):
        own = _rates(study, block, name)
        for column, part in enumerate(common):
            if not own.empty:
                arm = own[part] if part in own else pd.Series(0.0, index=own.index)
                _fill(values, bold, (row, column), rates[part].sub(arm).dropna(), study.confidence)
    heat(axes, values, 3.0, bold)
    axes.set_xlim(-0.5, COMMON - 0.5)
    axes.set_yticks(range(len(names)), [wrapped(name) for name in names])
    marks = [f"{legible(true)} → {legible(given)}" for true, given in map(sides, common)]
    axes.set_xticks(range(len(common)), marks, rotation=40, ha="right", rotation_mode="anchor", fontsize=8.5)
    axes.set_title(f"fewer confusions than {study.baseline} (percentage points)", fontsize=9.5)
