"""Applies the recipes of the registry: of which streams of outcomes.parquet a measure of a run is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.analysis.metrics import TEST
from maskbench.config.measures import measure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from maskbench.config.measures.recipes import Recipe, Summand

DOCUMENT = f"{TEST}:document"
"""Stream whose hit is the document of each test example: where texts come in documents, documents are resampled."""


def recipe(name: str, streams: Iterable[str]) -> tuple[Recipe, list[Summand]] | None:
    """Return how a measure is made of the streams that a run has; None where it is not, or a stream is not there.

    Parameters
    ----------
    name
        The measure, with or without a part.
    streams
        Streams of a run.
    """
    found, known = measure(name).made_of, list(streams)
    parts = found.make(name.partition(":")[2], known) if found else []
    if found is None or not parts or any(one not in known for item in parts for one, _ in item.streams):
        return None
    return found, parts
