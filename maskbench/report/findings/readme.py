"""The answer in README.md, between two markers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from maskbench.errors import InputError
from maskbench.report import text
from maskbench.report.findings.answer import both, extent, short
from maskbench.report.findings.claims import rows_on_tasks
from maskbench.report.findings.source import address
from maskbench.report.reference import effect, seeds, verdict_word

if TYPE_CHECKING:
    from maskbench.report.findings.record import Record
    from maskbench.report.findings.source import Source

BEGIN, END = "<!-- answer -->", "<!-- /answer -->"

NOTHING = (
    "No reference study is recorded yet, so there is no answer here: [docs/findings.md](docs/findings.md) will have it."
)
"""What stands there as long as there is no record."""

NAMED = 3
"""How many rows of the answer are said with their numbers."""


def three_sentences(source: Source, record: Record, image: str) -> str:
    """Return the answer in three sentences and the figure, in Markdown.

    Parameters
    ----------
    source, record
        What people wrote, and the record of the reference study.
    image
        Where the figure is, seen from README.md.
    """
    first, *others = [short(side).rstrip(".") for side in both(record)] or ["nothing is known"]
    kinds = "; ".join([first, *(f"{other[:1].lower()}{other[1:]}" for other in others)])
    parts = []
    for index, item in enumerate(source.answer[:NAMED]):
        half, row = address(record, item.row, f"answer[{index}].row")
        behind = half.behind(row)
        number = f"{effect(row)}, " if effect(row) else ""
        runs = f", {seeds(row)}, {text.count(behind.runs, 'run')}" if behind.runs else ""
        tasks = [f"{one['scope']} {verdict_word(one)}" for one in rows_on_tasks(half, row)]
        alone = f"; alone: {', '.join(tasks)}" if tasks else ""
        parts.append(f"{item.title.lower()}: {verdict_word(row)} ({number}{row['contrast']}{runs}{alone})")
    return (
        f"**Should I mask? {kinds}.** Random masks against plain fine-tuning: {'; '.join(parts)}. The reference study "
        f"so far: {extent(record)}; [docs/findings.md](docs/findings.md) has every claim with its evidence, and what "
        "is undecided.\n\n"
        f"![Reasons to mask: effects in multiples of the margin, with verdicts]({image})"
    )


def with_answer(readme: str, said: str, place: str) -> str:
    """Return README.md with something else between the markers.

    Raises
    ------
    InputError
        If the markers are not there, each once and in their order.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise InputError(f"{place}: expected {BEGIN} and then {END}, each once")
    return re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: f"{BEGIN}\n{said}\n{END}", readme, flags=re.DOTALL)
