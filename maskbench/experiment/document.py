"""What is generated from the typed configuration: its JSON schema, the documented default and the reference page."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from maskbench.config.analysis import Analysis
from maskbench.config.block import Block
from maskbench.config.models import Model
from maskbench.config.resources import Resources
from maskbench.config.sources import HubSource, LocalSource, PackageSource
from maskbench.config.tasks import Cut, Task
from maskbench.config.training import Training, TrainingOverrides
from maskbench.experiment.experiment import Experiment, presets
from maskbench.experiment.load import load_file, read_yaml
from maskbench.io.files import write_text
from maskbench.masks import Strategy
from maskbench.masks.base import Family, Mask

WIDTH = 118

_HEADER = """\
# yaml-language-server: $schema=config.schema.json
#
# The default experiment: real text and a real pretrained model from the package index, about ten minutes on two cores.
# Every key is here; one that is commented out shows its default. docs/config.md has all blocks and presets.
# `make schema` writes the comments anew from the docstrings in maskbench/ and keeps the values.
"""


# --- config.schema.json


def schema() -> str:
    """Return the JSON schema that editors check a configuration against."""
    content = Experiment.model_json_schema()
    overrides = content["$defs"]["TrainingOverrides"]["properties"]
    for key, entry in overrides.items():
        entry["description"] = _doc(Training, key)
    content = {"$schema": "https://json-schema.org/draft/2020-12/schema", **content, "title": "maskbench experiment"}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


# --- config.yaml


def _doc(block: type[Block], key: str) -> str:
    """Return a key's docstring as one line."""
    text = block.model_fields[key].description
    if not text:
        raise ValueError(f"key {block.__name__}.{key} has no docstring")
    return " ".join(text.split())


def _flow(value: Any) -> str:
    """Write a value as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _entry(key: str, value: Any) -> str:
    """Write a key and its value; a list that is too long for a line gets a line for each of its entries."""
    line = f"{key}: {_flow(value)}"
    if len(line) <= WIDTH or not isinstance(value, list):
        return line
    return "\n".join([f"{key}:", *(f"  - {_flow(item)}" for item in value)])


def _lines(block: type[Block], values: dict[str, Any]) -> Iterator[str]:
    """Yield, for each key of a block, its docstring as a comment and its value, or its default as a comment."""
    for key, field in block.model_fields.items():
        yield textwrap.fill(_doc(block, key), WIDTH, initial_indent="# ", subsequent_indent="# ")
        inner = field.annotation
        if inspect.isclass(inner) and issubclass(inner, Block):
            yield f"{key}:"
            yield textwrap.indent("\n".join(_lines(inner, values.get(key) or {})), "  ")
        elif key in values:
            yield _entry(key, values[key])
        else:
            yield f"# {_entry(key, field.get_default(call_default_factory=True))}"
        if block is Experiment:
            yield ""


def default_config(values: dict[str, Any]) -> str:
    """Return the documented default.

    Parameters
    ----------
    values
        The keys that are set, as YAML gives them; the other keys show their default behind a comment sign.
    """
    return f"{_HEADER}\n" + "\n".join(_lines(Experiment, values)).rstrip() + "\n"


# --- masks


@dataclass(frozen=True)
class Entry:
    """What the registry tells about one mask."""

    family: Family
    kind: str
    parameters: dict[str, Any]
    """Defaults by name."""
    summary: str
    """First line of the docstring."""
    source: str
    """Its references, in one line."""


def masks() -> Iterator[Entry]:
    """Yield all masks of the registry, by family and name."""
    for family, known in Mask.registry.items():
        for kind, mask in sorted(known.items()):
            text, _, references = inspect.cleandoc(mask.__doc__ or "").partition("References\n----------\n")
            parameters = {key: field.default for key, field in mask.model_fields.items() if key != "kind"}
            summary = " ".join(text.split("\n\n")[0].split())
            yield Entry(family, kind, parameters, summary, " ".join(references.split()))


# --- docs/config.md


def _number(entry: dict[str, Any]) -> str:
    """Return a number's type and bounds in words."""
    words = "whole number" if entry["type"] == "integer" else "number"
    bounds = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    # the largest Count and Seed are there to catch slips, not to be read
    stated = [f"{sign} {entry[key]:g}" for key, sign in bounds if key in entry and entry[key] < 10**9]
    return f"{words} {', '.join(stated)}".strip()


def _type(entry: dict[str, Any]) -> str:
    """Return the type of a key of the JSON schema in words."""
    if "$ref" in entry:
        name = entry["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "const" in entry:
        return f"`{entry['const']}`"
    if "enum" in entry:
        return " · ".join(f"`{item}`" for item in entry["enum"])
    if options := entry.get("anyOf") or entry.get("oneOf"):
        return " or ".join(_type(option) for option in options)
    match entry["type"]:
        case "array":
            return f"list of {_type(entry['items'])}"
        case "object" if entry.get("required") == ["preset"]:
            return "`{preset: ..., changes}`"
        case "object":
            keys = _type(entry.get("propertyNames", {"type": "string"}))
            return f"mapping of {keys} to {_type(entry['additionalProperties'])}"
        case "integer" | "number":
            return _number(entry)
        case "string":
            return "text"
        case "boolean":
            return "true or false"
    return str(entry["type"])


def _table(block: type[Block], content: dict[str, Any]) -> Iterator[str]:
    """Yield a Markdown table of a block's keys."""
    properties = content["$defs"].get(block.__name__, content)["properties"]
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    for key, field in block.model_fields.items():
        if key == "kind" and issubclass(block, Mask):
            continue
        entry = properties[key]
        default = field.get_default(call_default_factory=True)
        shown = (
            "(required)"
            if field.is_required()
            else "(its own)"
            if isinstance(default, Block)
            else f"`{_flow(default)}`"
        )
        cells = (f"`{key}`", _type(entry), shown, " ".join(entry["description"].split()))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


_BLOCKS: tuple[type[Block], ...] = (
    Task,
    Cut,
    PackageSource,
    LocalSource,
    HubSource,
    Model,
    Training,
    TrainingOverrides,
    Strategy,
)
_LAST_BLOCKS: tuple[type[Block], ...] = (Analysis, Resources)


def _section(block: type[Block], content: dict[str, Any]) -> Iterator[str]:
    """Yield a heading, the block's docstring and its keys."""
    yield from (f"\n## {block.__name__}", inspect.cleandoc(block.__doc__ or ""), "", *_table(block, content))


def reference() -> str:
    """Return the page that lists every block, key, mask and preset."""
    content = json.loads(schema())
    lines = [
        "# Configuration",
        "Written by `make schema` from the types and docstrings in maskbench/config, maskbench/experiment and",
        "maskbench/masks; a test fails when this page, config.schema.json or the comments in config.yaml differ from",
        "them. `python -m maskbench validate FILE` checks a file without starting anything.",
        "",
        "## Experiment",
        "The keys at the top of a file.",
        "",
        *_table(Experiment, content),
    ]
    for block in _BLOCKS:
        lines += _section(block, content)
    for entry in masks():
        mask = Mask.registry[entry.family][entry.kind]
        lines += [f"\n### {mask.__name__}", f"`{entry.family}: {{kind: {entry.kind}}}`. {entry.summary}"]
        lines += [f"Source: {entry.source}", ""]
        lines += _table(mask, content)
    for block in _LAST_BLOCKS:
        lines += _section(block, content)
    lines += ["\n## Presets", "Names that stand for a full entry (maskbench/config/presets.yaml).", ""]
    for kind, known in presets().items():
        lines.append(f"- {kind}: " + ", ".join(f"`{name}`" for name in sorted(known)))
    return "\n".join(lines) + "\n"


# --- all of them


def _default_again(root: Path) -> str:
    """Return config.yaml with its values kept and its comments written anew."""
    load_file(root / "config.yaml")
    return default_config(read_yaml(root / "config.yaml"))


GENERATED: dict[str, Callable[[Path], str]] = {
    "config.schema.json": lambda _: schema(),
    "config.yaml": _default_again,
    "docs/config.md": lambda _: reference(),
}
"""Generated files, relative to the top of the repository, and what makes their text."""


def outdated(root: Path) -> list[str]:
    """Return the generated files whose text differs from what the code says now."""
    return [name for name, make in GENERATED.items() if _text(root / name) != make(root)]


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def write(root: Path) -> None:
    """Write all generated files."""
    for name, make in GENERATED.items():
        write_text(root / name, make(root))
