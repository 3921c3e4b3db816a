"""The forest of the claims: every tested contrast in multiples of its margin, with its verdict."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from maskbench.analysis.findings import AT_A_PRICE, POOLED, VERDICTS, whole
from maskbench.config.measures import measure
from maskbench.config.science import CONFIDENCE
from maskbench.report import text
from maskbench.report.claims import ANSWERS, PROPERTIES, VERDICT_SYMBOLS, records, refused
from maskbench.report.figures.drawing import DASHED, Drawing, Nothing, counted, legend
from maskbench.report.style import BLUE, GREEN, GREY, INK, PURPLE, VERMILION, beside, canvas, legible

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from maskbench.report.study import Study

STYLES = {
    "supported": (GREEN, "D", GREEN),
    "contradicted": (VERMILION, "X", VERMILION),
    "equivalent": (BLUE, "s", BLUE),
    "inconclusive": (GREY, "o", "white"),
    "invalid": (PURPLE, "P", PURPLE),
    AT_A_PRICE: (PURPLE, "v", "white"),
}
"""Colour, shape and fill of each verdict; shape and word tell them apart as well."""

SHORT_WORDS = {AT_A_PRICE: "at a price"}
"""Short form of a long verdict, written at the right; the legend has it in full."""

FARTHEST = 8.0
"""Multiples of the margin at which the axis ends; what lies beyond is an arrow, with its number at the right."""


def _rows(study: Study) -> pd.DataFrame:
    """Return the first measure with an estimate of each contrast of each claim, of all tasks together."""
    table = study.evidence.verdicts
    table = table[whole(table["scope"]) & table["estimate"].notna() & (table["delta"] > 0)]
    table = table[~table["verdict"].isin(PROPERTIES)]  # their number is no difference
    return table.drop_duplicates(["claim", "contrast", "scope"])


def _first(study: Study, rows: pd.DataFrame) -> bool:
    """Tell whether every row is on the measure that its contrast names first."""
    table = study.evidence.verdicts
    firsts = table[whole(table["scope"]) & ~table["verdict"].isin(PROPERTIES)]
    firsts = firsts.drop_duplicates(["claim", "contrast", "scope"])
    return set(rows.index) <= set(firsts.index)


def claims(study: Study) -> Drawing | Nothing:
    """Draw the effect of each contrast that was tested, divided by its margin."""
    title, rows = "Claims and their verdicts", _rows(study)
    if rows.empty:
        return Nothing(title, "No claim was tested in this study.")
    figure, (axes,) = canvas((11.5, 1.5 + 0.3 * max(len(rows), 3)), 1, 1)
    ends = rows[["estimate", "ci_low", "ci_high"]].div(rows["delta"], axis=0).abs().to_numpy()
    far = min(FARTHEST, max(2.0, 1.08 * float(ends[~(ends != ends)].max())))
    axes.axvspan(-1, 1, color="#E1EDF4", linewidth=0, zorder=0)
    axes.axvline(0, color=GREY, linewidth=1.3, linestyle=DASHED, zorder=1)
    axes.set_xlim(-far, far)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    for line, row in enumerate(records(rows)):
        forest_row(axes, line, row, far)
    _names(axes, rows)
    axes.set_xlabel("effect in multiples of its margin δ; to the right: as the claim says")
    present = [verdict for verdict in VERDICTS if verdict in set(rows["verdict"])]
    not_judged = [row for row in records(rows) if refused(row)]
    marks = [
        Line2D(
            *([], []),
            linestyle="",
            marker=STYLES[name][1],
            color=STYLES[name][0],
            mfc=STYLES[name][2],
            label=f"{name}, or refused" if name == "inconclusive" and not_judged else name,
        )
        for name in present
    ]
    band = Patch(facecolor="#D5E6F0", label="±δ: too small to matter")
    legend(figure, [*marks, band])
    table = study.evidence.verdicts
    known = {*rows["claim"], *table["claim"][table["verdict"].isin(PROPERTIES)]}
    untested = [claim["id"] for claim in study.evidence.claims if claim["id"] not in known]
    seeds = counted([int(number) for number in rows["n_seeds"].dropna()] or [0], "seeds")
    caption = (
        "Every contrast of every claim that this study tests, on its first measure"
        + ("" if _first(study, rows) else " that has an estimate")
        + ", pooled over the tasks (each counts the same), divided by its margin δ: right of zero is what the claim "
        f"says, inside the band is too small to matter. Line: {100 * CONFIDENCE:g} % interval over seeds and, where "
        "they are at hand, test examples (t quantiles); an arrow: it goes on, and a mark that touches an arrow lies "
        f"beyond the axis. At the right: effect, interval and verdict. {seeds}. Test: permutation of the signs of "
        "whole seeds, Holm's correction within a claim."
        + (" Where a claim says only that there is a difference, either side supports it." if _either(rows) else "")
        + (
            " Refused: the runs allow no verdict, whatever the interval; the notes in verdicts.csv say why."
            if not_judged
            else ""
        )
        + (" °: unguarded, a control of the measure was not run or is undecided." if _bare(rows) else "")
        + (f" Not shown, since there is no estimate: {text.listed(untested)}." if untested else "")
    )
    return Drawing(figure, title, caption)


def _either(rows: pd.DataFrame) -> bool:
    """Tell whether an effect supports a claim from the left: the claim names no direction."""
    return bool(((rows["verdict"] == "supported") & (rows["estimate"] < 0)).any())


def _bare(rows: pd.DataFrame) -> bool:
    """Tell whether an answer has controls that were not passed."""
    return bool((rows["verdict"].isin(ANSWERS) & (rows["unguarded"] != "")).any())


def forest_row(axes: Axes, line: int, row: dict[str, Any], far: float) -> None:
    """Draw one contrast: interval, mark and words at the right."""
    colour, shape, fill = STYLES[row["verdict"]]
    value, low, high = (row[name] / row["delta"] for name in ("estimate", "ci_low", "ci_high"))
    if not math.isnan(low):
        axes.plot([max(low, -far), min(high, far)], [line, line], color=colour, linewidth=2, zorder=3)
        for end, side in ((low, -1), (high, 1)):
            if side * end > far:
                _arrow(axes, side * far, line, side, colour)
    if math.isnan(low) and abs(value) > far:
        _arrow(axes, math.copysign(far, value), line, 1 if value > 0 else -1, colour)
    else:  # an estimate beyond the end stands before the arrow there, so that its side is seen
        place = value
        if abs(value) > far:
            place = math.copysign(0.94 * far, value)
            axes.plot([place, math.copysign(far, value)], [line, line], color=colour, linewidth=2, zorder=3)
        look: dict[str, Any] = {"c": fill, "edgecolors": colour, "linewidths": 1.3, "clip_on": False, "zorder": 6}
        axes.scatter([place], [line], marker=shape, s=48, **look)
    words = text.difference(row["estimate"], row["ci_low"], row["ci_high"], row["unit"])
    bare = "°" if row["unguarded"] and row["verdict"] in ANSWERS else ""
    verdict = "refused" if refused(row) else SHORT_WORDS.get(row["verdict"], row["verdict"])
    beside(axes, line, f"{VERDICT_SYMBOLS[row['verdict']]} {verdict}{bare}", colour, bold=True)
    beside(axes, line, words, points=90.0)


def _arrow(axes: Axes, place: float, line: int, side: int, colour: str) -> None:
    axes.scatter([place], [line], marker=">" if side > 0 else "<", s=34, color=colour, clip_on=False, zorder=5)


def _names(axes: Axes, rows: pd.DataFrame) -> None:
    """Name each row at the left: the claim's id once, the contrast, the measure; a line between claims."""
    labels, last = [], None
    for line, row in enumerate(rows.to_dict("records")):
        entry = measure(row["measure"])
        mark = row["claim"] if row["claim"] != last else ""
        if last not in (None, row["claim"]):
            axes.axhline(line - 0.5, color="#D5D9DC", linewidth=0.8, zorder=0)
        last = row["claim"]
        where = "" if row["scope"] == POOLED else f", {row['scope']}"
        labels.append(f"{legible(mark)}  {_cut(legible(row['contrast'] + where))} · {entry.label}".strip())
    axes.set_yticks(range(len(rows)), labels)
    axes.tick_params(axis="y", length=0, labelsize=8.5, labelcolor=INK, pad=9)
    for side in ("left", "top", "right"):
        axes.spines[side].set_visible(False)


def _cut(words: str, width: int = 56) -> str:
    return words if len(words) <= width else f"{words[: width - 1]}…"
