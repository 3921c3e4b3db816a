"""Applies the recipes of the registry: of which streams of outcomes.parquet a measure of a run is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.config.measures import measure
from maskbench.config.measures.recipes import DOCUMENT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from maskbench.config.measures.recipes import Recipe, Summand


def documents_of(texts: str) -> str:
    """Return the stream that says the document of each example of a set, if its texts come in documents."""
    return f"{texts}:{DOCUMENT}"


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
