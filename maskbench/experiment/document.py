"""What is generated from the typed configuration: its JSON schema, the documented default and the reference page."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic_core import to_jsonable_python

from maskbench.config.analysis import Analysis
from maskbench.config.block import ConfigBlock
from maskbench.config.conditions import Cue
from maskbench.config.corpora import Corpus
from maskbench.config.cutting import Cut, GroupFile
from maskbench.config.lexicons import Lexicon
from maskbench.config.measures import MEASURES, MeasureFamily
from maskbench.config.models import FetchedModel
from maskbench.config.probes import Probes
from maskbench.config.resources import Resources
from maskbench.config.sources import HubSource, LocalSource, PackageSource, SyntheticSource
from maskbench.config.tasks import OutOfDomain, Task
from maskbench.config.training import Training, TrainingOverrides, TrainingPlan
from maskbench.config.tuning import Multiple, Tune
from maskbench.experiment.catalogue import masks, twins
from maskbench.experiment.experiment import Experiment
from maskbench.experiment.load import load_file, read_yaml
from maskbench.experiment.model import Model
from maskbench.experiment.presets import presets
from maskbench.experiment.pretraining import Pretrain
from maskbench.io.files import write_text
from maskbench.masks import Strategy
from maskbench.masks.base import Family, Mask
from maskbench.masks.registry import find
from maskbench.masks.schedule import Schedule

WIDTH = 118

_HEADER = """\
# yaml-language-server: $schema=config.schema.json
#
# The default experiment: real text and a real pretrained model from the package index, five minutes on two plain cores.
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


def _doc(block: type[ConfigBlock], key: str) -> str:
    """Return a key's docstring as one line."""
    text = block.model_fields[key].description
    if not text:
        raise ValueError(f"key {block.__name__}.{key} has no docstring")
    return " ".join(text.split())


def _flow(value: Any) -> str:
    """Write a value as YAML in one line."""
    text = yaml.safe_dump(
        to_jsonable_python(value), default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _entry(key: str, value: Any) -> str:
    """Write a key and its value; a list that is too long for a line gets a line for each of its entries."""
    line = f"{key}: {_flow(value)}"
    if len(line) <= WIDTH or not isinstance(value, list):
        return line
    return "\n".join([f"{key}:", *(f"  - {_flow(item)}" for item in value)])


def _lines(block: type[ConfigBlock], values: dict[str, Any]) -> Iterator[str]:
    """Yield, for each key of a block, its docstring as a comment and its value, or its default as a comment."""
    for key, field in block.model_fields.items():
        yield textwrap.fill(_doc(block, key), WIDTH, initial_indent="# ", subsequent_indent="# ")
        inner = field.annotation
        if inspect.isclass(inner) and issubclass(inner, ConfigBlock):
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


# --- docs/config.md


def _number(entry: dict[str, Any]) -> str:
    """Return a number's type and bounds in words."""
    words = "whole number" if entry["type"] == "integer" else "number"
    bounds = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    # the largest Count and Seed are there to catch slips, not to be read
    stated = [f"{sign} {entry[key]:g}" for key, sign in bounds if key in entry and entry[key] < 10**9]
    return f"{words} {', '.join(stated)}".strip()


@cache
def _places() -> dict[str, str]:
    """Return where the docs describe a class of the schema, as a link from docs/config.md."""
    blocks = {block.__name__: f"#{block.__name__.lower()}" for block in (*_BLOCKS, *_LAST_BLOCKS)}
    kinds = {find(entry.family, entry.kind).__name__: f"masks.md#{entry.kind}" for entry in masks()}
    return blocks | kinds | {"Condition": "data.md#conditions"}


def _type(entry: dict[str, Any]) -> str:
    """Return the type of a key of the JSON schema in words."""
    if "$ref" in entry:
        name = entry["$ref"].rsplit("/", 1)[-1]
        place = _places().get(name)
        return f"[{name}]({place})" if place else name
    if "const" in entry:
        return f"`{entry['const']}`"
    if "enum" in entry:
        return " · ".join(f"`{item}`" for item in entry["enum"])
    if options := entry.get("anyOf") or entry.get("oneOf"):
        return " or ".join(_type(option) for option in options)
    match entry["type"]:
        case "array":
            return f"list of {_type(entry.get('items') or entry['prefixItems'][0])}"
        case "object" if entry.get("required") == ["preset"]:
            return "`{preset: ..., changes}`"
        case "object" if "kind" in entry.get("properties", {}):
            return "a mask"
        case "object":
            keys = _type({"type": "string"} | entry.get("propertyNames", {}))
            values = entry.get("additionalProperties") or next(iter(entry["patternProperties"].values()))
            return f"mapping of {keys} to {_type(values)}"
        case "integer" | "number":
            return _number(entry)
        case "string":
            return "text"
        case "boolean":
            return "true or false"
    return str(entry["type"])


def _table(block: type[ConfigBlock], content: dict[str, Any]) -> Iterator[str]:
    """Yield a Markdown table of a block's keys."""
    properties = content["$defs"].get(block.__name__, content)["properties"]
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    for key, field in block.model_fields.items():
        if issubclass(block, Mask) and key in Mask.model_fields:
            continue  # kind is the heading, apply is on top of the page
        entry = properties[key]
        default = field.get_default(call_default_factory=True)
        shown = (
            "(required)"
            if field.is_required()
            else "(its own)"
            if isinstance(default, ConfigBlock)
            else f"`{_flow(default)}`"
        )
        kind, text = _type(entry), " ".join(entry["description"].split())
        if issubclass(block, Mask):  # on a page of its own
            kind = kind.replace("](#", "](config.md#").replace("](masks.md#", "](#")
        cells = (f"`{key}`", kind, shown, text)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


# --- docs/masks.md

_FAMILIES: dict[Family, str] = {
    "input": "Input masks replace tokens of the training text; evaluation never sees them. `replacement` says what "
    "stands there instead: `mask` ([MASK]), `bert` (80 % [MASK], 10 % a random token, 10 % unchanged yet counted) or "
    "`noise` (random tokens). Special tokens and padding are never hit, and the record has the realised rate.",
    "attention": "Attention masks hide tokens from each other, on top of padding and of what the model itself hides. "
    "`at: train` leaves evaluation alone; `at: always` makes the mask part of the model, and the record says so.",
    "parameter": "Parameter masks choose the weights that move. Masked weights keep every bit of the pretrained ones, "
    "whatever momentum and weight decay want.",
    "objective": "Objectives add a term to the task loss.",
}


def masks_page() -> str:
    """Return the page that lists every mask and every twin."""
    content = json.loads(schema())
    lines = [
        "# Masks",
        "Written by `make schema` from the classes in maskbench/masks; `python -m maskbench masks` prints the list.",
        "[add-a-mask.md](add-a-mask.md) walks through a new one, [exhibits.md](exhibits.md) shows what goes wrong when",
        "masks are written as the articles do.",
        "",
        "A strategy is a name and at most one mask of each family:",
        "",
        "```yaml",
        "strategies:",
        "  - none                                             # a preset",
        "  - {name: random-30, input: {kind: random, rate: 0.3}}",
        "  - name: span-and-freeze",
        "    input: {kind: span, rate: 0.15}",
        "    parameter: {kind: freeze, layers: 3}",
        "    twins: [noise-twin, rate-twin]                   # controls, each a strategy of its own",
        "```",
        "",
        "Every mask has `apply` (true); with `apply: false` all the work is done and nothing is changed, so the run",
        "must equal one without the mask bit for bit. Masks draw from their own counter-based generator, addressed by",
        "seed, pass, example and place: a mask does not depend on the batch, the device or the order of the examples.",
        "",
        "## Twins",
        "Controls of a strategy, asked for by `twins: [...]`; each runs as the strategy `<name>-<twin>`.",
        "",
        "| twin | what it does |",
        "|---|---|",
        *(f"| `{twin}` | {doc} |" for twin, doc in twins()),
    ]
    for family, introduction in _FAMILIES.items():
        lines += [f"\n## {family.capitalize()}", introduction, "", "| kind | what it does |", "|---|---|"]
        members = [entry for entry in masks() if entry.family == family]
        lines += [f"| [`{entry.kind}`](#{entry.kind}) | {entry.summary} |" for entry in members]
        for entry in members:
            lines += [f"\n### {entry.kind}", entry.description, "", f"Source: {entry.source}", ""]
            lines += _table(find(family, entry.kind), content)
    return "\n".join(lines) + "\n"


# --- docs/measures.md

_MEASURE_FAMILIES: dict[MeasureFamily, tuple[str, str]] = {
    "score": ("Score", "How well the task is solved."),
    "fit": ("Interference: fit", "What is learned of the training set that does not hold elsewhere."),
    "input": ("Interference: input", "What parts of a text that should not matter do to the answer."),
    "task": ("Interference: task", "What two tasks do to each other, trained one after the other or together."),
    "knowledge": ("Interference: knowledge", "What is left of the pretrained model."),
    "cost": ("Cost", "Time, memory and updates. Times compare only between runs on one device under equal load."),
    "run": ("Run", "Facts about a run."),
}
_SIGNS = {"higher": "↑", "lower": "↓", "neither": "–"}


def measures_page() -> str:
    """Return the page that defines every measure."""
    lines = [
        "# Measures",
        "Written by `make schema` from the registry in maskbench/config/measures; `python -m maskbench measures`",
        "prints the list. The names are those of the column `measure` of metrics.csv; the column `split` says what a",
        "number was measured on (`run`: the run itself). θ₀ is the pretrained model, θ the fine-tuned one. Everything",
        "is measured on unmasked input in eval mode. Points are 100 × fraction. A value is empty, and never 0, where",
        "the number cannot be computed. A block is a task, model, regime, condition and train size; a cell is a block",
        "and a strategy.",
        "",
        "↓ lower is better, ↑ higher is better, – neither. `f1[:class]` is written `f1:PER` for one class, and",
        "`f1` for all of them, where there is such a number. Without a source, a measure is what everybody means by",
        "the word, or this project's own.",
        "",
        "`matched_*` is a measure that under-fitting flatters, at the moment at which the run had learned as much as",
        "[claims.md](claims.md) says. The probe `trajectory` has to be among the probes for it: under the weights of",
        "each evaluation of the training, it calls the other probes of interference again that are among them, and",
        "measures drift and the generalisation gap in any case, all on the fixed texts of the probes (`examples`). It",
        "costs as much as these probes once more for each evaluation.",
    ]
    for family, (title, introduction) in _MEASURE_FAMILIES.items():
        lines += [
            f"\n## {title}",
            introduction,
            "",
            "| measure | unit | | definition | source |",
            "|---|---|---|---|---|",
        ]
        for entry in (item for item in MEASURES.values() if item.family == family):
            name = f"{entry.name}[:{entry.by}]" if entry.by else entry.name
            text = f"**{entry.title}**: {entry.definition}".replace("|", "\\|")
            lines.append(f"| `{name}` | {entry.unit} | {_SIGNS[entry.better]} | {text} | {entry.source or ''} |")
    return "\n".join(lines) + "\n"


_BLOCKS: tuple[type[ConfigBlock], ...] = (
    Task,
    Cut,
    GroupFile,
    OutOfDomain,
    PackageSource,
    LocalSource,
    HubSource,
    SyntheticSource,
    Model,
    Pretrain,
    Corpus,
    FetchedModel,
    Lexicon,
    Schedule,
    TrainingPlan,
    TrainingOverrides,
    Strategy,
)
_LAST_BLOCKS: tuple[type[ConfigBlock], ...] = (Cue, Tune, Multiple, Probes, Analysis, Resources)


def _section(block: type[ConfigBlock], content: dict[str, Any]) -> Iterator[str]:
    """Yield a heading, the block's docstring and its keys."""
    yield from (f"\n## {block.__name__}", inspect.cleandoc(block.__doc__ or ""), "", *_table(block, content))


def reference() -> str:
    """Return the page that lists every block, key, mask and preset."""
    content = json.loads(schema())
    lines = [
        "# Configuration",
        "Written by `make schema` from the types and docstrings in maskbench/config, maskbench/experiment and",
        "maskbench/masks; a test fails when this page, config.schema.json or the comments in config.yaml differ from",
        "them. `python -m maskbench validate FILE` checks a file without starting anything. The masks are in",
        "[masks.md](masks.md), what is measured in [measures.md](measures.md).",
        "",
        "## Experiment",
        "The keys at the top of a file.",
        "",
        *_table(Experiment, content),
    ]
    for block in _BLOCKS:
        lines += _section(block, content)
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
    "docs/masks.md": lambda _: masks_page(),
    "docs/measures.md": lambda _: measures_page(),
}
"""Generated files, relative to the top of the repository, and what makes their text."""


def outdated(root: Path) -> list[str]:
    """Return the generated files whose text differs from what the code says now."""
    return [name for name, make in GENERATED.items() if _text(root / name) != make(root)]


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def write(root: Path) -> None:
    """Write all files that are generated from the typed configuration: schema, documents, comments of config.yaml."""
    for name, make in GENERATED.items():
        write_text(root / name, make(root))
