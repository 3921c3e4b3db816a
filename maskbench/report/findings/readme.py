"""The answer in README.md, between two markers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from maskbench.errors import InputError
from maskbench.report import text
from maskbench.report.findings.answer import both, extent, short
from maskbench.report.findings.source import in_short

if TYPE_CHECKING:
    from maskbench.report.findings.places import Book
    from maskbench.report.findings.source import Source

BEGIN, END = "<!-- answer -->", "<!-- /answer -->"

NOTHING = (
    "No reference study is recorded yet, so there is no answer here: [docs/findings.md](docs/findings.md) will have it."
)
"""What stands there as long as there is no record."""


def in_a_few_sentences(source: Source, book: Book, image: str) -> str:
    """Return the answer in a few sentences and the figure, in Markdown.

    Parameters
    ----------
    source, book
        What people wrote, and the records.
    image
        Where the figure is, seen from README.md.
    """
    kinds = " ".join(short(side) for side in both(book.own))
    said = in_short(source, book) or f"**Should I mask? {kinds}**"
    beside = [text.count(other.done, "run") + f" of {name}" for name, other in book.others.items() if other]
    more = f"; beside it {text.listed(beside)}" if beside else ""
    return (
        f"{said}\n- **Evidence**: {extent(book.own)}{more}. [docs/findings.md](docs/findings.md) has every claim with "
        "its verdict, what each mask costs, and what is undecided.\n\n"
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
