"""What every configuration block shares: strict types, no unknown keys, safe names."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError


def _word(key: Any) -> str:
    """Return a key as text that can be encoded; YAML lets it be a half surrogate or a number of any length."""
    try:
        return str(key).encode("utf-8", "backslashreplace").decode()
    except ValueError:
        return f"({type(key).__name__})"


def first_mistake(error: ValidationError, top: str = "(top level)") -> str:
    """Return the first mistake of a file that the program itself wrote: the place, and what was expected.

    Configurations, which people write, are explained more fully (experiment/load.py).

    Parameters
    ----------
    top
        Name of the place if it is the whole file.
    """
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or top
    return f"{place}: {first['msg']}"


class ConfigBlock(BaseModel):
    """A frozen configuration block that refuses unknown keys and silent type conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    def as_argument(self, *, exclude: set[str] | None = None) -> str:
        """Return the block as JSON of plain ASCII, which every shell and every locale hands on as it is."""
        return self.model_dump_json(exclude=exclude, ensure_ascii=True)

    @model_validator(mode="before")
    @classmethod
    def _keys_are_known(cls, value: Any) -> Any:
        """Name the keys that could have been meant, which pydantic's own message leaves out."""
        if isinstance(value, dict):
            for key in value:
                if key not in cls.model_fields:
                    near = get_close_matches(_word(key), cls.model_fields, n=1)
                    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(cls.model_fields)}"
                    raise PydanticCustomError(
                        "unknown_key", "unknown key {key}; {hint}", {"key": _word(key), "hint": hint}
                    )
        return value


_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", re.ASCII)


def _number(value: Any) -> Any:
    """Accept ``5e-5``, which YAML 1.1 reads as a string, and leave the rest to the strict type."""
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


NAME_PATTERN = r"^[a-z0-9]+(-[a-z0-9]+)*$"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=40)]
"""Lower-case letters, digits and single hyphens: safe as part of a path, a wildcard and a run id."""

# The bounds stand before the validator: after it, pydantic leaves them out of the JSON schema.
_FromText = BeforeValidator(_number)

Float = Annotated[float, Field(allow_inf_nan=False), _FromText]
"""A finite number; ``5e-5`` works although YAML 1.1 takes it for a string."""

Rate = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False), _FromText]
"""A share between 0 and 1, both included."""

Share = Annotated[float, Field(gt=0.0, lt=1.0, allow_inf_nan=False), _FromText]
"""A share between 0 and 1, both excluded."""

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False), _FromText]
"""A finite number above 0."""

NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False), _FromText]
"""A number of at least 0."""

Count = Annotated[int, Field(ge=1, le=10**9)]
"""A whole number from 1 to a billion."""

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""A seed that every generator accepts (NumPy's takes 32 bits)."""
