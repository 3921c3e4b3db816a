"""A strategy: at most one mask of each family, put together in the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, GetJsonSchemaHandler, SerializeAsAny
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from maskbench.config.block import Block, Name, Positive
from maskbench.masks.base import AttentionMask, Family, InputMask, Mask, Objective, ParameterMask

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic.json_schema import JsonSchemaValue


def _known(family: Family) -> Callable[[Any], Any]:
    """Return a validator that builds the mask that `kind` names."""

    def build(value: Any) -> Any:
        if value is None or isinstance(value, Mask):
            return value
        known = Mask.registry[family]
        entry = {"kind": value} if isinstance(value, str) else value
        kind = entry.get("kind") if isinstance(entry, dict) else None
        if not isinstance(kind, str) or kind not in known:
            raise PydanticCustomError(
                "unknown_mask",
                "expected kind to be one of the {family} masks {known}",
                {"family": family, "known": ", ".join(sorted(known)) or "(none yet)"},
            )
        return known[kind].model_validate(entry)

    return build


class _AnyMask:
    """JSON schema of a slot: one of the masks that the family has, or just its kind."""

    def __init__(self, family: Family) -> None:
        self.family = family

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        known = dict(sorted(Mask.registry[self.family].items()))
        if not known:
            return handler(core_schema.none_schema())
        # a union of one, since pydantic makes references of a union's members alone
        full = [handler(core_schema.union_schema([mask.__pydantic_core_schema__])) for mask in known.values()]
        for reference in full:
            # `kind` has a default in code, but a configuration has to say it
            handler.resolve_ref_schema(reference)["required"] = ["kind"]
        return {"anyOf": [{"enum": list(known)}, *full, {"type": "null"}]}


class Strategy(Block):
    """A named mix of masks; an empty one is plain fine-tuning."""

    name: Name
    """Name in results and figures."""
    input: Annotated[SerializeAsAny[InputMask] | None, BeforeValidator(_known("input")), _AnyMask("input")] = None
    """What is masked in the training input."""
    attention: Annotated[
        SerializeAsAny[AttentionMask] | None, BeforeValidator(_known("attention")), _AnyMask("attention")
    ] = None
    """What is hidden from attention."""
    parameter: Annotated[
        SerializeAsAny[ParameterMask] | None, BeforeValidator(_known("parameter")), _AnyMask("parameter")
    ] = None
    """Which parameters move."""
    objective: Annotated[
        SerializeAsAny[Objective] | None, BeforeValidator(_known("objective")), _AnyMask("objective")
    ] = None
    """What is added to the loss."""
    learning_rate: Positive | None = None
    """Peak learning rate of this strategy; null: the shared one."""
