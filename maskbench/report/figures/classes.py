"""Single classes: their F1, and what they are taken for."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from maskbench.config.measures import pair, sides
from maskbench.report import text
from maskbench.report.figures.drawing import Drawing, Nothing, failure_words, in_lines, t_interval, wrapped
from maskbench.report.figures.profile import heat
from maskbench.report.style import GREY, INK, fit, legible, uneven

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes

    from maskbench.analysis.metrics import Array
    from maskbench.report.blocks import Block
    from maskbench.report.study import Study

COMMON = 10
"""Confusions that are compared between strategies: the most frequent ones of the baseline."""

MOST_CLASSES = 20
"""Most classes that are shown; beyond, the first ones of the file."""

CELL, ROW, MATRIX = 0.62, 0.27, 0.37
"""Width of a column of classes or confusions, height of a strategy's row, side of a cell of a matrix, in inches."""

LEVEL_NAMES = 9
"""Longest name of a class, in letters, that stands level below its column; longer ones are written aslant."""

LONGEST, LONGEST_ROW = 24, 34
"""Most letters of the name of a class, and of a line of the name of a strategy."""

_ASLANT: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor", "fontsize": 8.5}


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
    names = {block: [name for name in study.strategies_of(block) if name != study.baseline] for block in blocks}
    blocks = [block for block in blocks if names[block]]
    if not blocks:
        return Nothing(title, f"Only {study.baseline} was run; the F1 of its classes is in the table of classes.")
    labels = {block: known[block.task][:MOST_CLASSES] for block in blocks}
    widths = [max(CELL * len(labels[block]), 1.2) for block in blocks]
    lines = in_lines([names[block] for block in blocks], widths, max(CELL * MOST_CLASSES, *widths))
    rows = [[name for name in study.others if any(name in names[blocks[i]] for i in line)] for line in lines]
    sizes = [[(widths[i], ROW * len(found)) for i in line] for line, found in zip(lines, rows, strict=True)]
    figure, grid = uneven(sizes)
    for line, axes, found in zip(lines, grid, rows, strict=True):
        for place, (panel, block) in enumerate(zip(axes, (blocks[i] for i in line), strict=True)):
            values, bold = _class_changes(study, block, found, labels[block])
            heat(panel, values, 5.0, bold)
            panel.set_title(study.title(block, blocks))
            panel.set_yticks(range(len(found)), ["" if place else wrapped(name, LONGEST_ROW) for name in found])
            _class_names(panel, study, block, labels[block])
    fit(figure, grid)
    caption = (
        f"F1 of each class on the test split (tagging: of whole entities), of {study.main_words}. Below each column: "
        f"the class and its F1 under {study.baseline}, the mean over seeds. Cells: strategy minus {study.baseline} in "
        f"points, paired by seed ({study.count(blocks)} completed runs); blue is better, colours end at 5 points; a "
        f"dot: not run. Bold: the {100 * study.confidence:g} % t interval over seeds leaves out zero (from 3 seeds "
        "on), not adjusted; no test is made here."
        f"{_cut_words([known[block.task] for block in blocks])}{failure_words(study)}"
    )
    return Drawing(figure, title, caption)


def _cut_words(labels: Iterable[Sequence[str]]) -> str:
    """Say that not all classes are shown, where that is so."""
    cut = any(len(names) > MOST_CLASSES for names in labels)
    return f" Of more than {MOST_CLASSES} classes the first are shown." if cut else ""


def _class_names(axes: Axes, study: Study, block: Block, labels: list[str]) -> None:
    """Write each class below its column, with its F1 under the baseline; long names aslant."""
    found = [study.values(block, study.baseline, "test", f"f1:{label}") for label in labels]
    scores = [f"{text.plain(100 * values.mean(), 1)} %" if len(values) else text.DASH for values in found]
    if max(map(len, labels)) <= LEVEL_NAMES:
        marks, look = [f"{_short(label)}\n{score}" for label, score in zip(labels, scores, strict=True)], {}
    else:
        marks, look = [f"{_short(label)}: {score}" for label, score in zip(labels, scores, strict=True)], _ASLANT
    axes.set_xticks(range(len(labels)), marks, **look)


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
    """Draw the baseline's confusion matrices, and how much every strategy changes its most frequent confusions."""
    title, known = "What classes are taken for", _parts(study, "confusion")
    every = {block: _rates(study, block, study.baseline) for block in study.main_blocks if block.task in known}
    found = {block: rates for block, rates in every.items() if not rates.empty}
    if not found:
        return Nothing(title, "No confusions were recorded.")
    blocks, order = list(found), _parts(study, "f1")
    labels = {block: _labels(rates, order.get(block.task, [])) for block, rates in found.items()}
    names = {block: [name for name in study.strategies_of(block) if name != study.baseline] for block in blocks}
    changed = [block for block in blocks if names[block]]
    above = [max(MATRIX * min(len(labels[block]), MOST_CLASSES), 1.2) for block in blocks]
    below = [max(CELL * len(_common(found[block])), 1.2) for block in changed]
    room = max([CELL * MOST_CLASSES, *above, *below])
    first = in_lines([[study.baseline]] * len(blocks), above, room)
    second = in_lines([names[block] for block in changed], below, room)
    rows = [[name for name in study.others if any(name in names[changed[i]] for i in line)] for line in second]
    matrices = [[(above[i], above[i]) for i in line] for line in first]
    changes = [[(below[i], ROW * len(lines)) for i in line] for line, lines in zip(second, rows, strict=True)]
    figure, grid = uneven(matrices + changes)
    for axes, line in zip(grid, first, strict=False):
        for panel, block in zip(axes, (blocks[i] for i in line), strict=True):
            _matrix(panel, found[block], labels[block])
            panel.set_title(f"{study.title(block, blocks)}: {study.baseline}")
    for axes, line, lines in zip(grid[len(first) :], second, rows, strict=True):
        for place, (panel, block) in enumerate(zip(axes, (changed[i] for i in line), strict=True)):
            _changes(panel, study, block, found[block], lines)
            panel.set_yticks(range(len(lines)), ["" if place else wrapped(name, LONGEST_ROW) for name in lines])
            panel.set_title(f"{study.title(block, blocks)}: changes")
    fit(figure, grid)
    caption = (
        f"Of {study.main_words}. Above: of the texts (tagging: words) of each true class, the share that "
        f"{study.baseline} gives each class, in per cent of the row, the mean over seeds. Below: the baseline's most "
        "frequent confusions, true → predicted, and by how many percentage points each strategy lowers them, paired "
        f"by seed ({study.count(blocks)} completed runs); blue is fewer confusions, colours end at 3; a dot: not run. "
        f"Bold: the {100 * study.confidence:g} % t interval over seeds leaves out zero (from 3 seeds on), not "
        f"adjusted; no test is made here.{_cut_words(labels.values())}{failure_words(study)}"
    )
    return Drawing(figure, title, caption)


def _labels(rates: pd.DataFrame, order: Sequence[str]) -> list[str]:
    """Return all classes, true or predicted: in the order of their F1, then in that of the file, O last."""
    found = dict.fromkeys(part for name in rates.columns for part in sides(name))
    known = [*(name for name in order if name in found), *(name for name in found if name not in order)]
    return sorted(known, key=lambda name: name == "O")


def _short(name: str) -> str:
    """Write the name of a class on one line."""
    name = legible(name)
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _matrix(axes: Axes, rates: pd.DataFrame, every: list[str]) -> None:
    """Draw the share of each true class that gets each prediction."""
    means, labels = rates.mean(), every[:MOST_CLASSES]
    cells = np.array([[means.get(pair(true, given), 0.0) for given in labels] for true in labels])
    axes.imshow(cells, cmap="Greys", vmin=0, vmax=140, aspect="auto", interpolation="nearest")
    for (row, column), value in np.ndenumerate(cells):
        words = "·" if value == 0 else text.plain(value, 0) if value >= 9.95 else text.plain(value, 1)
        axes.text(column, row, words, ha="center", va="center", fontsize=8, color=GREY if value == 0 else INK)
    names = [_short(name) for name in labels]
    axes.set_xticks(range(len(labels)), names, **(_ASLANT if max(map(len, names)) > 4 else {}))
    axes.set_yticks(range(len(labels)), names)
    axes.tick_params(length=0)
    axes.grid(False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")


def _common(rates: pd.DataFrame) -> list[str]:
    """Return the most frequent confusions."""
    means = rates.mean()
    wrong = means[[true != given for true, given in map(sides, means.index)]]
    return list(wrong.sort_values(ascending=False, kind="stable").index[:COMMON])


def _changes(axes: Axes, study: Study, block: Block, rates: pd.DataFrame, names: list[str]) -> None:
    """Draw the change of the most frequent confusions under every strategy."""
    common = _common(rates)
    shape = (len(names), len(common))
    values, bold = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
    for row, name in enumerate(names):
        own = _rates(study, block, name)
        for column, part in enumerate(common):
            if not own.empty:
                arm = own[part] if part in own else pd.Series(0.0, index=own.index)
                _fill(values, bold, (row, column), rates[part].sub(arm).dropna(), study.confidence)
    heat(axes, values, 3.0, bold)
    marks = [f"{_short(true)} → {_short(given)}" for true, given in map(sides, common)]
    axes.set_xticks(range(len(common)), marks, **_ASLANT)
