"""Fields that hold any mask of a family: built by its `kind`, described in the JSON schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, GetJsonSchemaHandler, SerializeAsAny
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from maskbench.masks import registry
from maskbench.masks.base import AttentionMask, Family, InputMask, Mask, Objective, ParameterMask

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic.json_schema import JsonSchemaValue


def _known(family: Family) -> Callable[[Any], Any]:
    """Return a validator that builds the mask that `kind` names."""

    def build(value: Any) -> Any:
        if value is None or isinstance(value, Mask):
            return value
        entry = {"kind": value} if isinstance(value, str) else value
        kind = entry.get("kind") if isinstance(entry, dict) else None
        if not isinstance(kind, str) or kind not in registry.kinds(family):
            raise PydanticCustomError(
                "unknown_mask",
                "expected kind to be one of the {family} masks {known}",
                {"family": family, "known": ", ".join(registry.kinds(family))},
            )
        return registry.find(family, kind).model_validate(entry)

    return build


class _AnyMask:
    """JSON schema of a slot: one of the masks that the family has, or just its kind."""

    def __init__(self, family: Family) -> None:
        self.family = family

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        known = registry.known(self.family)
        # a union of one, since pydantic makes references only for members of unions
        full = [handler(core_schema.union_schema([mask.__pydantic_core_schema__])) for mask in known.values()]
        for reference in full:
            # `kind` has a default in code, but a configuration has to say it
            handler.resolve_ref_schema(reference)["required"] = ["kind"]
        return {"anyOf": [{"enum": list(known)}, *full, {"type": "null"}]}


class _Inner:
    """JSON schema of a mask in a mask: its kind alone is described, or the description would never end."""

    def __init__(self, family: Family) -> None:
        self.family = family

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        kinds = {"enum": registry.kinds(self.family)}
        entry = {"type": "object", "required": ["kind"], "properties": {"kind": kinds}}
        return {"anyOf": [kinds, entry, {"type": "null"}]}


_INPUT, _PARAMETER = BeforeValidator(_known("input")), BeforeValidator(_known("parameter"))
_ATTENTION, _OBJECTIVE = BeforeValidator(_known("attention")), BeforeValidator(_known("objective"))

InputSlot = Annotated[SerializeAsAny[InputMask], _INPUT, _AnyMask("input")]
AttentionSlot = Annotated[SerializeAsAny[AttentionMask], _ATTENTION, _AnyMask("attention")]
ParameterSlot = Annotated[SerializeAsAny[ParameterMask], _PARAMETER, _AnyMask("parameter")]
ObjectiveSlot = Annotated[SerializeAsAny[Objective], _OBJECTIVE, _AnyMask("objective")]
InnerInput = Annotated[SerializeAsAny[InputMask], _INPUT, _Inner("input")]
"""An input mask inside another mask."""
InnerParameter = Annotated[SerializeAsAny[ParameterMask], _PARAMETER, _Inner("parameter")]
"""A parameter mask inside another mask."""
