"""What the registry tells about masks and twins: for the command line and the generated pages."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic.fields import FieldInfo

from maskbench.masks.base import FAMILIES, Family, Mask
from maskbench.masks.registry import known
from maskbench.masks.schedule import Schedule
from maskbench.masks.strategy import TWINS


@dataclass(frozen=True)
class MaskEntry:
    """What the registry tells about one mask."""

    family: Family
    kind: str
    parameters: dict[str, str]
    """Defaults by name, as a configuration would write them, without those that every mask has."""
    summary: str
    """First line of the docstring."""
    description: str
    """The whole docstring up to the references."""
    source: str
    """Its references, in one line."""


def _default(field: FieldInfo) -> str:
    """Write the default of a parameter."""
    value = field.get_default(call_default_factory=True)
    if field.is_required():
        return "(required)"
    return value.kind if isinstance(value, Mask | Schedule) else json.dumps(value).strip('"')


def masks() -> Iterator[MaskEntry]:
    """Yield all masks of the registry, by family and name."""
    for family in FAMILIES:
        for kind, mask in known(family).items():
            text, _, references = inspect.cleandoc(mask.__doc__ or "").partition("References\n----------\n")
            fields = {key: field for key, field in mask.model_fields.items() if key not in Mask.model_fields}
            yield MaskEntry(
                family=family,
                kind=kind,
                parameters={key: _default(field) for key, field in fields.items()},
                summary=" ".join(text.split("\n\n")[0].split()),
                description=text.strip(),
                source=" ".join(references.split()),
            )


def twins() -> Iterator[tuple[str, str]]:
    """Yield the name of each twin and what it does."""
    for name, change in TWINS.items():
        yield name, " ".join((change.__doc__ or "").split())
