"""What tagging has: given words, a tag for each, and mentions of entities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.kinds.token_classification.tags import parse
from maskbench.kinds.traits import Traits

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Traits(Traits):
    words_given = True
    per_token = True
    mentions = True
    classes_called = "tags of entities"

    def classes(self, labels: Sequence[str]) -> list[int]:
        """Return the entity types, in alphabetical order; O has none."""
        entities = [parse(label)[1] for label in labels]
        kinds = sorted({entity for entity in entities if entity})
        return [kinds.index(entity) if entity else -1 for entity in entities]

    def types(self, labels: Sequence[str]) -> tuple[list[int], list[bool]]:
        """Return the entity types, in alphabetical order from 1, and the tags that begin with B-."""
        parsed = [parse(label) for label in labels]
        types = sorted({entity for _, entity in parsed})  # that of O is empty, so it comes first
        if types[:1] != [""]:
            types.insert(0, "")
        return [types.index(entity) for _, entity in parsed], [prefix == "B" for prefix, _ in parsed]


PART = _Traits()
