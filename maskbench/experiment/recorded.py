"""The reference study's record in this checkout, which the pages of other studies rest on, too."""

from __future__ import annotations

from pathlib import Path

from maskbench.io.code import ROOT
from maskbench.io.gzipped import present

NAME = "reference"
"""Name of the reference study: its record is committed, in results/reference."""

RECORD = ROOT / "results" / NAME
"""Folder of the record in this checkout."""

NEEDED = (
    "verdicts.csv",
    "analysis/pairs.csv",
    "analysis/gates.csv",
    "analysis/sensitivity.csv",
    "analysis/claims.json",
)
"""What a page reads of the record."""

TUNED = tuple(f"tuning/{name}" for name in NEEDED)
"""The same at tuned learning rates."""


def record_files(study: str, record: Path = RECORD) -> list[Path]:
    """Return the files that the page of a study reads of the reference study's record.

    None for the page of the reference study itself, and where no record is committed. Of what is gzipped, the form
    that is read.
    """
    if study == NAME or not (record / NEEDED[0]).is_file():
        return []
    tuned = TUNED if (record / TUNED[0]).is_file() else ()
    return [present(record / name) for name in (*NEEDED, *tuned)]
