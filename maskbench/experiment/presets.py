"""Entries that a configuration may use by name."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from maskbench.config.block import ConfigBlock

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue


@cache
def presets() -> dict[str, dict[str, dict[str, Any]]]:
    """Return the tasks, models, corpora, lexicons and strategies that a configuration may use by name."""
    text = files("maskbench.config").joinpath("presets.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)  # type: ignore[no-any-return]


class Preset:
    """Expand ``name`` and ``{preset: name, ...}`` to the preset's entry, with the given keys replaced.

    Of `training` single hyperparameters are replaced: another weight decay does not take a preset's learning rate away.
    """

    def __init__(self, kind: Literal["tasks", "models", "corpora", "lexicons", "strategies"]) -> None:
        self.kind = kind

    def expand(self, value: Any) -> Any:
        """Return the entry in full."""
        entry = {"preset": value} if isinstance(value, str) else value
        if not isinstance(entry, dict):
            raise PydanticCustomError("not_an_entry", "expected the name of a preset, or a mapping")
        if "preset" not in entry:
            return entry
        known = presets()[self.kind]
        name = entry["preset"]
        if not isinstance(name, str) or name not in known:
            raise PydanticCustomError(
                "unknown_preset", "expected one of the presets {known}", {"known": ", ".join(sorted(known))}
            )
        own, given = known[name].get("training"), entry.get("training")
        merged = {"training": own | given} if isinstance(own, dict) and isinstance(given, dict) else {}
        return {"name": name, **known[name], **{key: item for key, item in entry.items() if key != "preset"}, **merged}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # an entry that is a Task already (a Cell is made of them) needs no expanding
        return core_schema.no_info_before_validator_function(
            lambda value: value if isinstance(value, ConfigBlock) else self.expand(value), handler(source)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        full = handler(schema)
        keys = handler.resolve_ref_schema(full)["properties"]
        names = sorted(presets()[self.kind])
        preset = {"description": "Name of the preset that the other keys change.", "enum": names}
        changed = {
            "type": "object",
            "additionalProperties": False,
            "required": ["preset"],
            "properties": {"preset": preset, **keys},
        }
        return {"anyOf": [{"enum": names}, changed, full]}


class FetchedPreset:
    """Expand the name of a preset of a fetched model to its name and source."""

    def expand(self, value: Any) -> Any:
        """Return the entry in full."""
        if not isinstance(value, str):
            return value
        if value not in fetched_presets():
            known = ", ".join(fetched_presets())
            raise PydanticCustomError(
                "unknown_preset",
                "expected one of the presets {known}, or a mapping of name and source",
                {"known": known},
            )
        return {"name": value, "source": presets()["models"][value]["source"]}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.expand, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"enum": fetched_presets()}, handler(schema)]}


def fetched_presets() -> list[str]:
    """Return the names of the models that are fetched, sorted."""
    return sorted(name for name, entry in presets()["models"].items() if "source" in entry)
