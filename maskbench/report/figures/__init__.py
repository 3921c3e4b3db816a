"""The figures of a study: every seed is shown, the baseline is marked, and what cannot be said is written there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.io.files import write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from maskbench.report.figures.drawing import Drawing, Nothing
    from maskbench.report.study import Study

FIGURES = {
    "claims": "The answer",
    "profile": "The answer",
    "differences": "Scores",
    "scores": "Scores",
    "gaps": "Scores",
    "rates": "Doses and curves",
    "dynamic": "Doses and curves",
    "learning": "Doses and curves",
    "tuning": "Doses and curves",
    "robustness": "Doses and curves",
    "forgetting": "Two tasks",
    "conflict": "Two tasks",
    "layers": "Two tasks",
    "classes": "Scores",
    "confusions": "Scores",
    "cost": "Cost",
}
"""All figures by the name of their files, in the order of the page, each with its group in Snakemake's own report.

The rules read this list at every call of Snakemake, so nothing that draws is imported with it.
"""


def functions() -> dict[str, Callable[[Study], Drawing | Nothing]]:
    """Return the function that draws each figure; its name is that of the figure."""
    from maskbench.report.figures.classes import classes, confusions
    from maskbench.report.figures.contrasts import cost, differences
    from maskbench.report.figures.curves import dynamic, learning, rates
    from maskbench.report.figures.profile import profile
    from maskbench.report.figures.robustness import robustness
    from maskbench.report.figures.runs import gaps, scores
    from maskbench.report.figures.tasks import conflict, forgetting, layers
    from maskbench.report.figures.tuning import tuning
    from maskbench.report.figures.verdicts import claims

    every: list[Callable[[Study], Drawing | Nothing]] = [
        *(claims, profile, differences, scores, gaps, rates, dynamic, learning, tuning, robustness),
        *(forgetting, conflict, layers, classes, confusions, cost),
    ]
    return {draw.__name__: draw for draw in every}


def write_figures(study: Study, folder: Path) -> None:
    """Write every figure as SVG and PNG, its caption for Snakemake's report, and all captions as captions.json.

    A figure that the study has no data for is a picture of one line that says why; in captions.json it has `why`
    instead of `caption`.
    """
    from maskbench.report.figures.drawing import Drawing, line
    from maskbench.report.formats import rst
    from maskbench.report.style import save, style

    captions = {}
    draw = functions()
    for name in FIGURES:
        with style():
            drawing = draw[name](study)
            figure = drawing.figure if isinstance(drawing, Drawing) else line(drawing)
        save(figure, folder, name)
        words = {"caption": drawing.caption} if isinstance(drawing, Drawing) else {"why": drawing.why}
        captions[name] = {"title": drawing.title, **words}
        write_text(folder / f"{name}.rst", rst(f"{drawing.title}. {next(iter(words.values()))}"))
    write_json(folder / "captions.json", captions)
