"""Read a configuration, or say in one line for each mistake what is wrong with it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from maskbench.config.sources import LocalSource
from maskbench.errors import InputError
from maskbench.experiment.experiment import Experiment


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key that stands twice in one mapping is an error, not a silent override."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"key {key!r} stands twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Read one YAML file.

    Raises
    ------
    InputError
        If it is not there, is not YAML, or has a key twice in one mapping.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError(f"{path}: line {mark.line + 1 if mark else '?'}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def _place(config: Any, location: Sequence[str | int]) -> str:
    """Write a pydantic location as a path of keys, without the tags of unions, with names beside indices."""
    place, here = "", config
    for item in location:
        if isinstance(item, int) and isinstance(here, list) and item < len(here):
            here = here[item]
            name = here if isinstance(here, str) else here.get("name", here.get("preset")) if isinstance(here, dict) else None
            place += f"[{item}]" + (f" ({name})" if isinstance(name, str) else "")
        elif isinstance(here, dict) and item in here:
            here = here[item]
            place += f".{item}" if place else str(item)
        elif isinstance(here, dict) and item == location[-1]:
            place += f".{item}" if place else str(item)
    return place or "(top level)"


_EXPECTED = {
    "missing": "this key is missing",
    "string_type": "expected text",
    "int_type": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "bool_type": "expected true or false",
    "list_type": "expected a list",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
    "too_short": "expected at least one entry",
}


def _expectation(error: Any) -> str:
    """Say in words what was expected."""
    context = error.get("ctx", {})
    match error["type"]:
        case "string_pattern_mismatch" if "a-z0-9" in context["pattern"] and "{" not in context["pattern"]:
            return "expected lower-case letters, digits and single hyphens"
        case "string_pattern_mismatch" if "{40}" in context["pattern"]:
            return "expected a commit hash of 40 hexadecimal digits"
        case "string_pattern_mismatch" if "{64}" in context["pattern"]:
            return "expected a SHA-256 of 64 hexadecimal digits"
        case "value_error":
            return str(context["error"])
    return _EXPECTED.get(error["type"]) or str(error["msg"]).replace("Input should be", "expected")


def explain(error: ValidationError, config: Any, source: str) -> list[str]:
    """Return one line for each mistake: where, what was expected, what was found."""
    lines = []
    for item in error.errors(include_url=False):
        line = f"{source}: {_place(config, item['loc'])}: {_expectation(item)}"
        if item["type"] not in ("missing", "value_error", "unknown_key", "duplicate", "too_short"):
            found = repr(item["input"])
            line += f", got {found if len(found) <= 60 else found[:57] + '...'}"
        lines.append(line)
    return lines


def _missing_paths(experiment: Experiment, source: str) -> list[str]:
    """Return one line for each local file that the experiment names and that does not exist."""
    lines = []
    for kind, items in (("tasks", experiment.tasks), ("models", experiment.models)):
        for index, item in enumerate(items):
            if not isinstance(item.source, LocalSource):
                continue
            folder = Path(item.source.local)
            wanted = [folder / name for name in getattr(item, "files", {}).values()] if folder.is_dir() else [folder]
            if kind == "models":
                wanted = [folder / "config.json"]
            lines += [
                f"{source}: {kind}[{index}] ({item.name}).source.local: expected an existing file, "
                f"{path} does not exist (looked from {Path.cwd()})"
                for path in wanted
                if not path.exists()
            ]
    return lines


def load(config: Mapping[str, Any], files: Sequence[str | Path] = ()) -> Experiment:
    """Validate a configuration.

    Parameters
    ----------
    config
        The merged configuration.
    files
        The files that it came from; they are read again to find keys that stand twice, and named in messages.

    Raises
    ------
    InputError
        With one line for each mistake: file, key, what was expected, what was found.
    """
    for path in files:
        if Path(path).suffix in (".yaml", ".yml"):
            read_yaml(Path(path))
    source = ", ".join(str(path) for path in files) or "configuration"
    try:
        experiment = Experiment.model_validate(dict(config))
    except ValidationError as error:
        raise InputError("\n".join(explain(error, config, source))) from None
    if missing := _missing_paths(experiment, source):
        raise InputError("\n".join(missing))
    return experiment


def load_file(path: str | Path) -> Experiment:
    """Read and validate one configuration file."""
    config = read_yaml(Path(path))
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected a mapping of keys, found {type(config).__name__}")
    return load(config, [path])
