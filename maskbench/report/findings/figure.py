"""The headline figure: every reason to mask in one line, with its effect in margins and its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from maskbench.analysis.findings import VERDICTS
from maskbench.config.measures import measure
from maskbench.report.claims import PROPERTIES
from maskbench.report.figures.drawing import DASHED, legend
from maskbench.report.figures.verdicts import FARTHEST, STYLES, forest_row
from maskbench.report.reasons import reasons
from maskbench.report.style import GREY, INK, canvas, legible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from maskbench.report.findings.record import Record


def lines(record: Record) -> list[tuple[str, str, dict[str, Any] | None]]:
    """Return what stands on each line: kind of masks, words, row of the verdicts (None: there is nothing to draw)."""
    half, words = record.reference.shared, {claim["id"]: claim["claim"] for claim in record.claims}
    found: list[tuple[str, str, dict[str, Any] | None]] = []
    for group in reasons():
        for reason in group.reasons:
            if words.get(reason.id) != reason.claim:
                continue
            row = half.head(reason.id)
            drawn = row["estimate"] == row["estimate"] and row["delta"] > 0 and row["verdict"] not in PROPERTIES
            what = measure(row["measure"]).label
            label = f"{reason.reason}  {reason.id}\n{what}"
            found.append((group.masks, label, row if drawn else None))
    return found


def figure(record: Record) -> Figure:
    """Draw the figure of the answer."""
    every = lines(record)
    drawn = [(masks, label, row) for masks, label, row in every if row is not None]
    picture, (axes,) = canvas((11.5, 1.9 + 0.43 * max(len(drawn), 3)), 1, 1)
    axes.axvspan(-1, 1, color="#E1EDF4", linewidth=0, zorder=0)
    axes.axvline(0, color=GREY, linewidth=1.3, linestyle=DASHED, zorder=1)
    far = FARTHEST
    axes.set_xlim(-far, far)
    axes.set_xticks(range(-int(far), int(far) + 1, 2))
    places = _rows(axes, drawn, far)
    axes.set_ylim(max(places, default=0) + 0.6, -1.4)
    axes.set_title("Should I mask? What the reference study found")
    axes.set_xlabel(
        "effect in multiples of the smallest difference that matters (δ); to the right: masking pays\n"
        "a mark at an arrow lies beyond the axis"
    )
    present = [verdict for verdict in VERDICTS if verdict in {row["verdict"] for _, _, row in drawn}]
    marks = [
        Line2D(
            [], [], linestyle="", marker=STYLES[name][1], color=STYLES[name][0], mfc=STYLES[name][2], label=_label(name)
        )
        for name in present
    ]
    legend(picture, [*marks, Patch(facecolor="#D5E6F0", label="±δ: too small to matter")])
    return picture


def _label(verdict: str) -> str:
    """Return what the legend says of a verdict; what was refused has the same mark as what is undecided."""
    return "inconclusive, or refused: its runs allow no verdict" if verdict == "inconclusive" else verdict


def _rows(axes: Axes, drawn: list[tuple[str, str, dict[str, Any]]], far: float) -> list[int]:
    """Draw a line for each reason, below the name of its kind of masks; return where they are."""
    labels, places, last, at = [], [], None, -1
    for masks, label, row in drawn:
        if masks != last:
            at += 1 if last is None else 2
            axes.text(
                -0.01, at - 0.85, masks, transform=axes.get_yaxis_transform(), ha="right", va="center", weight="bold"
            )
            last = masks
        else:
            at += 1
        forest_row(axes, at, row, far)
        labels.append("\n".join(legible(part) for part in label.split("\n")))
        places.append(at)
    axes.set_yticks(places, labels)
    axes.tick_params(axis="y", length=0, labelsize=9, labelcolor=INK)
    for side in ("left", "top", "right"):
        axes.spines[side].set_visible(False)
    return places
