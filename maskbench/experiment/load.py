"""Read a configuration, or say in one line for each mistake what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from maskbench.config.block import NAME_PATTERN
from maskbench.config.cutting import GroupFile
from maskbench.config.sources import REVISION_PATTERN, SHA256_PATTERN, SOURCE_KINDS, LocalSource, SyntheticSource
from maskbench.config.tasks import Task
from maskbench.data import counting
from maskbench.errors import InputError
from maskbench.experiment import corpora, kinds, lexicons, limits
from maskbench.experiment.cell import resolve
from maskbench.experiment.experiment import Experiment
from maskbench.experiment.models import beyond_the_models, headless
from maskbench.models.refusals import within


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key that stands twice, and a number that is not what it looks like, are errors."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Check the keys while their lines are known, and before `<<` merges other mappings in."""
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.composer.ComposerError(problem="a key must be plain text", problem_mark=key.start_mark)
            if (key.tag, key.value) in seen:
                raise yaml.composer.ComposerError(
                    problem=f"key {key.value!r} stands twice", problem_mark=key.start_mark
                )
            seen.add((key.tag, key.value))
        return node


def _plain_number(loader: _UniqueKeys, node: yaml.ScalarNode) -> int | float:
    """Read a number; in YAML 1.1 a leading zero means octal, and colons count minutes and hours."""
    whole = node.tag.endswith(":int")
    value: int | float = loader.construct_yaml_int(node) if whole else loader.construct_yaml_float(node)
    if re.fullmatch(r"[-+]?0[0-9_]+|.*:.*", node.value):
        raise yaml.constructor.ConstructorError(
            problem=f"{node.value} would be {value:g}; write a number without leading zeros or colons, text in quotes",
            problem_mark=node.start_mark,
        )
    return value


for _kind in ("int", "float"):
    _UniqueKeys.add_constructor(f"tag:yaml.org,2002:{_kind}", _plain_number)


def read_yaml(path: Path) -> Any:
    """Read one YAML file, or a JSON file if its name ends so.

    Raises
    ------
    InputError
        If it is not there, is not YAML (JSON), or has a key twice in one mapping.
    """
    parse = _parse_json if path.suffix == ".json" else parse_yaml
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected UTF-8 text") from None


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a mapping of JSON, in which a key may stand once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [key for key, _ in pairs]
        raise ValueError(f"key {max(names, key=names.count)!r} stands twice")
    return found


def _parse_json(text: str, source: str) -> Any:
    r"""Parse JSON, whose escapes (``\ud83d\ude00``) YAML reads otherwise; `source` is what messages call it."""
    try:
        return json.loads(text, object_pairs_hook=_unique_pairs)
    except json.JSONDecodeError as error:
        raise InputError(f"{source}: line {error.lineno}: not valid JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: not valid JSON: {error}") from None


def parse_yaml(text: str, source: str) -> Any:
    """Parse YAML; `source` is what messages call it."""
    try:
        return yaml.load(text, _UniqueKeys)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError(f"{source}: line {mark.line + 1 if mark else '?'}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise InputError(f"{source}: not valid YAML: nested too deeply") from None
    except ValueError as error:
        # PyYAML's own constructors fail so on a month 13 or on a number of 5,000 digits
        raise InputError(f"{source}: not valid YAML: a value cannot be read ({error})") from None
    except (LookupError, AttributeError, TypeError):
        # and so on `!!bool maybe`, `!!int ''` and `!!timestamp soon`
        raise InputError(f"{source}: not valid YAML: a value does not fit its tag (!!...)") from None


def show(value: Any) -> str:
    """Return a short form of what was found, in YAML's words."""
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    try:
        shown = repr(value)
    except (ValueError, RecursionError):
        return f"something unprintable ({type(value).__name__})"
    return _short(shown)


def _short(text: str) -> str:
    """Return the beginning of a text."""
    return text if len(text) <= 60 else text[:57] + "..."


def _steps(location: Sequence[str | int]) -> Iterator[str | int]:
    """Leave out the tag that pydantic puts after `source`; it looks like a key but tells the kind of source."""
    before: str | int | None = None
    for step in location:
        if before != "source" or step not in SOURCE_KINDS:
            yield step
        before = step


def _entry_name(entry: Any) -> str | None:
    """Return the name of an entry of a list, if it has one."""
    name = entry.get("name", entry.get("preset")) if isinstance(entry, dict) else entry
    return _short(name) if isinstance(name, str) else None


def _place(config: Any, location: Sequence[str | int]) -> str:
    """Write a pydantic location as a path of keys, with names beside indices."""
    place, here = "", config
    for step in _steps(location):
        if isinstance(here, list) and isinstance(step, int) and step < len(here):
            here = here[step]
            name = _entry_name(here)
            place += f"[{step}]" + (f" ({name})" if name else "")
        elif isinstance(here, dict) and (step in here or step == location[-1]):
            here = here.get(step)
            place += f".{step}" if place else str(step)
        elif isinstance(here, str) and step == location[-1] != "[key]":
            # a mask's kind alone, without a key that it needs
            place += f".{step}"
    return place or "(top level)"


_EXPECTED = {
    "missing": "this key is missing",
    "string_type": "expected text",
    "string_too_short": "expected text that is not empty",
    "string_too_long": "expected at most {max_length} characters",
    "int_type": "expected a whole number",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false",
    "list_type": "expected a list",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
    "too_short": "expected at least one entry",
    "literal_error": "expected {expected}",
    "greater_than": "expected a number above {gt}",
    "greater_than_equal": "expected a number of at least {ge}",
    "less_than": "expected a number below {lt}",
    "less_than_equal": "expected a number of at most {le}",
    "value_error": "{error}",
}
_PATTERNS = {
    NAME_PATTERN: "expected lower-case letters, digits and single hyphens",
    SHA256_PATTERN: "expected a SHA-256 of 64 hexadecimal digits",
    REVISION_PATTERN: "expected a commit hash of 40 hexadecimal digits",
}
_WITHOUT_INPUT = ("missing", "value_error", "unknown_key", "duplicate", "too_short")
"""Errors whose message already says what was found, or that found nothing."""


def _expectation(error: Any) -> str:
    """Say in words what was expected."""
    context = error.get("ctx", {})
    if error["type"] == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], f"expected text of the form {context['pattern']}")
    if error["type"] == "too_short" and context["min_length"] > 1:
        return f"expected at least {context['min_length']} entries"
    words = _EXPECTED.get(error["type"])
    return words.format(**context) if words else str(error["msg"])


def explain(error: ValidationError, config: Any) -> list[str]:
    """Return one line for each mistake: where, what was expected, what was found."""
    lines = []
    for item in error.errors(include_url=False):
        line = f"{_place(config, item['loc'])}: {_expectation(item)}"
        if item["type"] not in _WITHOUT_INPUT:
            line += f", got {show(item['input'])}"
        lines.append(line)
    return list(dict.fromkeys(lines))  # a key that several blocks share may be wrong in each


def _missing_paths(experiment: Experiment) -> Iterator[str]:
    """Yield one line for each local file that the experiment names and that does not exist or must not be named so."""
    wanted: list[tuple[str, Path]] = []
    for index, task in enumerate(experiment.tasks):
        place, group = f"tasks[{index}] ({task.name})", task.cut.group
        named = [(task.source, "source.local", f"files.{split}", name) for split, name in task.files.items()]
        if isinstance(group, GroupFile):
            named.append((group.source, "cut.group.source.local", "cut.group.file", group.file))
        for one in task.out_of_domain:
            key = f"out_of_domain ({one.name})"
            named += [(one.source, f"{key}.source.local", f"{key}.file", one.file)] if one.file else []
        for source, key, file_key, name in named:
            if isinstance(source, LocalSource):
                try:
                    path = source.file(name)[1] if source.path.exists() else source.path
                    wanted.append((f"{place}.{key}", path))
                except ValueError as error:
                    yield f"{place}.{file_key}: {error}"
    for index, model in enumerate(experiment.models):
        start = None if model.start is None else model.start.source
        for key, where in (("source", model.source), ("pretrain.continues.source", start)):
            if isinstance(where, LocalSource):
                wanted.append((f"models[{index}] ({model.name}).{key}.local", where.path / "config.json"))
    for place, path in dict.fromkeys(wanted):
        if not path.exists():
            yield f"{place}: expected an existing file, {path} does not exist (relative paths start at {Path.cwd()})"
        elif path.is_dir():
            yield f"{place}: expected a file, {path} is a folder"


def _most_texts(task: Task, wanted: int) -> tuple[int, int] | None:
    """Return how many training texts a task has at most, and how many others are cut off the same file.

    None if that is not known before anything is fetched. What is cut off is counted where less than `wanted` may be
    left.
    """
    if isinstance(task.source, SyntheticSource):
        return task.source.train, 0
    if not isinstance(task.source, LocalSource) or not (path := task.source.file(task.files["train"])[1]).is_file():
        return None
    if (rows := counting.most_rows(task, path)) is None:
        return None
    cut = counting.cut_off(task, path, wanted)
    return rows - cut, cut


def _impossible_sizes(experiment: Experiment) -> Iterator[str]:
    """Yield one line for each training size that a task cannot have."""
    sizes = [(index, int(size)) for index, size in enumerate(experiment.train_sizes) if size != "full"]
    tune = experiment.tune
    for task in experiment.tasks if sizes else ():
        # of whole groups, how many are set apart is not known before
        apart = tune.train_size + tune.validation_size if tune and task.cut.group is None else 0
        most, cut = _most_texts(task, max(size for _, size in sizes) + apart) or (None, 0)
        without = f" beside the {cut} that are cut off for splits without a file" if cut else ""
        without += f", of which {apart} are set apart for tuning" if apart else ""
        for index, size in sizes:
            if most is not None and size > most - apart:
                told = f"the task {task.name} has at most {most} training texts{without}"
                yield f"train_sizes[{index}]: {told}, got {size}"


def _impossible_training(experiment: Experiment) -> Iterator[str]:
    """Yield one line for each task, model and strategy whose own hyperparameters do not go with the shared ones."""
    for task, model in product(experiment.tasks, experiment.models):
        for strategy in (None, *experiment.strategies):
            try:
                resolve(experiment.training, model, task, strategy)
            except ValidationError as error:
                problem = _expectation(error.errors(include_url=False)[0])
                whose = f"task {task.name} and model {model.name}"
                yield f"training of {f'strategy {strategy.name}, {whose}' if strategy else whose} together: {problem}"
                if strategy is None:
                    break  # it is no strategy's doing


def _unmasked_cues(experiment: Experiment) -> Iterator[str]:
    """Yield one line for each mask of a planted cue that leaves out a word that the experiment plants."""
    if all(condition.kind != "cue" for condition in experiment.conditions):
        return
    for index, strategy in enumerate(experiment.strategies):
        for family, mask in ((family, inner) for family, outer in strategy.masks() for inner in within(outer)):
            missing = [word for word in experiment.cue.words if word not in getattr(mask, "cues", experiment.cue.words)]
            if missing:
                yield (
                    f"strategies[{index}] ({strategy.name}).{family}: {mask.kind} needs all of cue.words in its cues; "
                    f"expected {missing[0]!r} among them"
                )


def _missing_trackers(experiment: Experiment) -> Iterator[str]:
    """Yield one line for each experiment tracker whose package is not installed."""
    for index, tracker in enumerate(experiment.training.report_to):
        if find_spec(tracker) is None:
            yield f"training.report_to[{index}] ({tracker}): expected an installed package; pip install {tracker}"


def _named(problems: Sequence[str], source: str, given: Collection[str]) -> Iterator[str]:
    """Put what a mistake stands in before it: the file, or the option ``--config`` if it gave the key."""
    for problem in problems:
        key = re.match(r"\w*", problem)
        yield f"{'--config' if key and key.group() in given else source}: {problem}"


def load(
    config: Mapping[str, Any], files: Sequence[str | Path] = (), *, given: Collection[str] = (), runs_here: bool = True
) -> Experiment:
    """Validate a configuration.

    Parameters
    ----------
    config
        The merged configuration.
    files
        The files that it came from; they are read again to find keys that stand twice, and named in messages.
    given
        Keys that ``--config`` has replaced: messages name the option, and not the files.
    runs_here
        Also check that what training needs from this machine is there: local files, packages of trackers.

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
        raise InputError(*_named(explain(error, config), source, given)) from None
    problems = list(_impossible_training(experiment))
    # cells can be made only of a training that is possible
    problems += [*headless(experiment), *([] if problems else kinds.lacking(experiment))]
    problems += [*_unmasked_cues(experiment), *corpora.contradictory(experiment), *lexicons.unknown(experiment)]
    problems += [] if problems else limits.problems(experiment)
    if runs_here:
        missing = [*_missing_paths(experiment), *corpora.missing(experiment), *lexicons.missing(experiment)]
        problems += [*missing, *_missing_trackers(experiment), *beyond_the_models(experiment)]
        problems += [] if missing else _impossible_sizes(experiment)
    if problems:
        raise InputError(*_named(problems, source, given))
    return experiment


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a file that must hold a mapping of keys."""
    config = read_yaml(path)
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected a mapping of keys, found {show(config)}")
    return config


def load_file(path: str | Path) -> Experiment:
    """Read and validate one configuration file."""
    return load(read_mapping(Path(path)), [path])
