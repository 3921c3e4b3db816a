"""Whatever a configuration holds, it is either valid or gets clear lines: never another exception."""

from __future__ import annotations

import copy
import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from maskbench.errors import InputError
from maskbench.experiment.cell import Cell, cells
from maskbench.experiment.load import load, load_file

if TYPE_CHECKING:
    from pathlib import Path

FULL: dict[str, Any] = {
    "study": "full",
    "question": "Why?",
    "tasks": [
        "conll2003",
        {"preset": "rt-snippets", "name": "snippets", "max_length": 16, "training": {"epochs": 1.0}},
        {
            "name": "own",
            "kind": "sequence-classification",
            "source": {"hub": "a/b", "revision": "0" * 40, "splits": {"train": "train"}},
            "text": 0,
            "labels": ["a", "b"],
            "cut": {"validation": 0.2, "seed": 3},
        },
    ],
    "models": ["minilm-l6", {"name": "m", "source": {"package": "p", "version": "1.0", "sha256": "0" * 64}}],
    "strategies": [
        "none",
        {"name": "both", "input": {"kind": "random", "rate": 0.3}, "parameter": "freeze", "training": {"epochs": 2}},
    ],
    "baseline": "none",
    "train_sizes": [10, "full"],
    "seeds": [1, 2],
    "training": {"epochs": 1.0, "batch_size": 8, "report_to": ["tensorboard"]},
    "analysis": {"resamples": 100},
    "resources": {"minutes": 5},
    "cache": None,
}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**31, 2**32, 2**63, 2**64, 10**400, -1]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["none", "full", "1e5", "5e-5", "nan", "../x", "a\nb", "\x1b[31m", "\ud800", "{0}", "{key}"]),
    st.dates(),
    st.datetimes(),
    st.binary(max_size=5),
    st.sets(st.integers(), max_size=2),
    st.tuples(st.integers(), st.text(max_size=3)),
)
keys = st.one_of(
    st.sampled_from(
        [*FULL, "preset", "name", "kind", "source", "package", "local", "hub", "input", "files", "training"]
    ),
    scalars.filter(lambda value: getattr(type(value), "__hash__", None) is not None),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths to all parts of a configuration."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


PLACES = places(FULL)


def check(config: Any) -> None:
    """Load a configuration; a failure must be an InputError of printable lines that start with the file."""
    try:
        experiment = load(config)
    except InputError as error:
        for line in str(error).split("\n"):
            assert line.startswith("configuration: ")
            assert line.isprintable() or "\ud800" in line
            assert len(line) < 2000
        return
    for cell in islice(cells(experiment), 20):
        assert Cell.model_validate_json(cell.model_dump_json()) == cell


def test_the_full_configuration_is_valid() -> None:
    load(FULL)


@given(st.sampled_from(PLACES), values)
def test_any_part_replaced(place: tuple[Any, ...], value: Any) -> None:
    config = copy.deepcopy(FULL)
    if not place:
        config = value if isinstance(value, dict) else {}
    else:
        here = config
        for key in place[:-1]:
            here = here[key]
        here[place[-1]] = value
    check(config)


@given(st.sampled_from(PLACES), keys, values)
def test_any_key_added(place: tuple[Any, ...], key: Any, value: Any) -> None:
    config = copy.deepcopy(FULL)
    here = config
    for step in place:
        here = here[step]
    if isinstance(here, dict):
        here[key] = value
    elif isinstance(here, list):
        here.append(value)
    check(config)


PIECES = (
    *"[]{}:,-?!&*|>%@`'\"#\n\t \\~=<",
    *("&a ", "*a", "<<: *a\n", "- ", ": ", "? ", "---\n", "...\n", "study: again\n"),
    *("!!set ", "!!float ", "!!python/tuple ", "!!binary ", "!!timestamp ", "!!omap ", "!!int ", "!!null "),
    *("2020-13-45", "0x", "0b", "1:99", "9" * 50, "null", "yes", ".nan", "-.inf", "1e400"),
    *("\u2028", "\ufeff", "é", "\\ud800"),
)
TEXT = yaml.safe_dump(FULL, sort_keys=False)


@given(
    st.lists(st.tuples(st.integers(0, len(TEXT)), st.integers(0, 8), st.sampled_from(PIECES)), min_size=1, max_size=4)
)
@example([(0, 0, "&a [*a]\n")])
@example([(0, 0, "&a "), (len(TEXT), 0, "more: *a\n")])
@example([(0, len(TEXT), "study: &a {b: *a}")])
@example([(0, len(TEXT), "tasks: &a [*a]")])
@example([(0, len(TEXT), "tasks: &a [{name: x, source: *a, cut: *a}]")])
@example([(0, len(TEXT), "? !!python/tuple [a]\n: 1")])
@example([(0, len(TEXT), "study: !!timestamp x")])
@example([(0, len(TEXT), "study: !!int ''")])
@example([(0, len(TEXT), "study: !!binary é")])
@example([(0, len(TEXT), "seeds: [0x" + "f" * 9000 + "]")])
@example([(0, len(TEXT), "0x" + "f" * 9000 + ": 1")])
@example([(0, len(TEXT), "<<: 5")])
@example([(0, len(TEXT), "a: &a {<<: *a}")])
@example([(0, len(TEXT), "{" * 3000)])
@example([(0, len(TEXT), "- " * 3000)])
def test_any_text(tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int, str]]) -> None:
    text = TEXT
    for start, length, piece in edits:
        text = text[:start] + piece + text[start + length :]
    file = tmp_path_factory.getbasetemp() / "mangled.yaml"
    file.write_text(text)
    try:
        load_file(file)
    except InputError as error:
        for line in str(error).split("\n"):
            assert line.startswith(f"{file}: ")
            assert line.isprintable() or "\ud800" in line


@given(st.binary(max_size=200))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file: Path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    file.write_bytes(content)
    with pytest.raises(InputError):
        load_file(file)


def test_dates_are_not_text() -> None:
    with pytest.raises(InputError, match="study: expected text, got datetime"):
        load(FULL | {"study": datetime.date(2020, 1, 1)})
