"""What every configuration block shares: strict types, no unknown keys, safe names."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError


class Block(BaseModel):
    """A frozen configuration block that refuses unknown keys and silent type conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _keys_are_known(cls, value: Any) -> Any:
        """Name the keys that could have been meant, which pydantic's own message leaves out."""
        if isinstance(value, dict):
            for key in value:
                if key not in cls.model_fields:
                    near = get_close_matches(str(key), cls.model_fields, n=1)
                    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(cls.model_fields)}"
                    raise PydanticCustomError("unknown_key", "unknown key {key}; {hint}", {"key": key, "hint": hint})
        return value


def _number(value: Any) -> Any:
    """Accept ``5e-5``, which YAML 1.1 reads as a string, and leave the rest to the strict type."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Name = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=40),
]
"""Lower-case letters, digits and single hyphens: safe as part of a path, a wildcard and a run id."""

Float = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
"""A finite number; ``5e-5`` works although YAML 1.1 takes it for a string."""

Rate = Annotated[Float, Field(ge=0.0, le=1.0)]
"""A share between 0 and 1."""

Positive = Annotated[Float, Field(gt=0.0)]
"""A number above 0."""

NonNegative = Annotated[Float, Field(ge=0.0)]
"""A number of at least 0."""

Count = Annotated[int, Field(ge=1)]
"""A whole number of at least 1."""
