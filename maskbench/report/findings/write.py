"""Write docs/findings.md, the answer in README.md and its figure from the record of the reference study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.errors import InputError
from maskbench.io.files import write_text
from maskbench.report.findings.further import read_further, with_tuned
from maskbench.report.findings.page import NOTHING, page
from maskbench.report.findings.places import Book, MisfitError
from maskbench.report.findings.readme import NOTHING as NO_ANSWER
from maskbench.report.findings.readme import in_a_few_sentences, with_answer
from maskbench.report.findings.record import Record, recorded
from maskbench.report.findings.source import Source

if TYPE_CHECKING:
    from pathlib import Path

PAGE, SOURCE, README, FIGURE = "docs/findings.md", "docs/findings.yaml", "README.md", "docs/images/answer"
"""What is written and read, in the checkout; the figure without its ending."""


def texts(checkout: Path, record: Path) -> dict[str, str]:
    """Return what docs/findings.md and README.md are to be, by name.

    Parameters
    ----------
    checkout
        Folder at the top of the repository.
    record
        Folder with the record of the reference study; it may have no verdicts yet.

    Raises
    ------
    InputError
        If the record or the source is not valid, or a sentence does not fit the record.
    """
    source, readme = Source.read(checkout / SOURCE), _readme(checkout / README)
    if not recorded(record):
        return {PAGE: NOTHING, README: with_answer(readme, NO_ANSWER, README)}
    others = read_further(source, record.parent)
    book = Book(with_tuned(source, Record.read(record), others), others)
    try:
        said = in_a_few_sentences(source, book, f"{FIGURE}.png")
        content = page(source, book, f"{FIGURE}.png".removeprefix("docs/"))
    except MisfitError as error:
        raise InputError(*(f"{checkout / SOURCE}: {line}" for line in error.args)) from None
    return {PAGE: content, README: with_answer(readme, said, README)}


def _readme(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text in UTF-8 ({error.reason} at byte {error.start})") from None


def draw(record: Path, folder: Path, name: str) -> None:
    """Draw the figure of the answer, as SVG and PNG."""
    from maskbench.report.findings.figure import figure
    from maskbench.report.style import save, style

    with style():
        picture = figure(Record.read(record))
    save(picture, folder, name)


def write(checkout: Path, record: Path) -> list[str]:
    """Write all, and return the names of the files that were written."""
    found = texts(checkout, record)
    for name, content in found.items():
        write_text(checkout / name, content)
    if not recorded(record):
        return list(found)
    folder, _, name = FIGURE.rpartition("/")
    draw(record, checkout / folder, name)
    return [*found, f"{FIGURE}.png", f"{FIGURE}.svg"]
