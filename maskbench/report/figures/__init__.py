"""The figures of a study: every seed is shown, the baseline is marked, and what cannot be said is written there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.io.files import write_json
from maskbench.report.figures.classes import classes, confusions
from maskbench.report.figures.contrasts import cost, differences
from maskbench.report.figures.curves import dynamic, learning, rates, robustness
from maskbench.report.figures.drawing import Drawing, Nothing
from maskbench.report.figures.profile import profile
from maskbench.report.figures.runs import gaps, scores
from maskbench.report.figures.tasks import conflict, forgetting, layers
from maskbench.report.figures.verdicts import claims
from maskbench.report.style import canvas, save, style

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.figure import Figure

    from maskbench.report.study import Study

FIGURES: dict[str, Callable[[Study], Drawing | Nothing]] = {
    "claims": claims,
    "profile": profile,
    "differences": differences,
    "scores": scores,
    "gaps": gaps,
    "rates": rates,
    "dynamic": dynamic,
    "learning": learning,
    "robustness": robustness,
    "forgetting": forgetting,
    "conflict": conflict,
    "layers": layers,
    "classes": classes,
    "confusions": confusions,
    "cost": cost,
}
"""All figures by the name of their files, in the order of the page."""


def _line(nothing: Nothing) -> Figure:
    """Return a picture of the line that says why there is none."""
    figure, (axes,) = canvas((9.0, 0.6), 1, 1)
    axes.set_axis_off()
    axes.text(0.5, 0.5, f"{nothing.title}: {nothing.why}", ha="center", va="center", fontsize=8.5)
    return figure


def write_figures(study: Study, folder: Path) -> None:
    """Write every figure as SVG and PNG, and all titles and captions as captions.json.

    A figure that the study has no data for is a picture of one line that says why; in captions.json it has `why`
    instead of `caption`.
    """
    captions = {}
    for name, draw in FIGURES.items():
        with style():
            drawing = draw(study)
            figure = drawing.figure if isinstance(drawing, Drawing) else _line(drawing)
        save(figure, folder, name)
        words = {"caption": drawing.caption} if isinstance(drawing, Drawing) else {"why": drawing.why}
        captions[name] = {"title": drawing.title, **words}
    write_json(folder / "captions.json", captions)
