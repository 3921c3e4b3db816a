"""The list of numbers that keep random draws apart: none is given twice, and none stands anywhere else."""

from __future__ import annotations

import ast
from enum import IntEnum
from typing import TYPE_CHECKING

import pytest

from maskbench import channels
from maskbench.masks.base import FAMILIES
from maskbench.training.masking import _STREAMS

if TYPE_CHECKING:
    from pathlib import Path

GROUPS = [item for item in vars(channels).values() if isinstance(item, type) and issubclass(item, IntEnum)]
GROUPS.remove(IntEnum)
AS_RECORDED = {
    "Channel": {"BUDGET": 0, "PLACE": 1, "LENGTH": 2, "WHICH": 101, "TOKEN": 102, "TWIN_PLACE": 201},
    "Stream": {"INPUT": 0, "ATTENTION": 1, "PARAMETER": 2, "OBJECTIVE": 3, "HOLES": 7},
    "Purpose": {"ORDER": 1, "NOISE": 2, "SUBSET": 11, "CONFLICT": 12, "CUT": 23},
    "Fixed": {"VARIANTS": 0, "DRIFT_PLACES": 12, "HOLES": 20250},
    "Shift": {"AMOUNT": 0, "ORDER": 1, "OFFSET": 2},
}
"""Values that recorded runs were drawn with."""


@pytest.mark.parametrize("group", GROUPS)
def test_no_two_numbers_of_a_group_are_equal(group: type[IntEnum]) -> None:
    names = group.__members__
    assert len(names) >= 3
    assert len(set(map(int, names.values()))) == len(names)


def test_numbers_stay_what_runs_were_drawn_with() -> None:
    found = {group.__name__: {name: int(item) for name, item in group.__members__.items()} for group in GROUPS}
    assert found.keys() == AS_RECORDED.keys()
    for group, values in AS_RECORDED.items():
        assert found[group].items() >= values.items()


def test_shifted_sets_have_room_for_their_channels() -> None:
    assert max(channels.Shift) < 4  # data/draws.py gives four to each place


def test_each_family_of_masks_has_a_stream_of_its_own() -> None:
    assert list(_STREAMS) == list(FAMILIES)
    assert len(set(_STREAMS.values())) == len(FAMILIES)


def test_no_draw_names_a_number_of_its_own(root: Path) -> None:
    """Of ``channel=``, of seeds that are lists (``default_rng([seed, 11])``) and of derived seeds."""
    bare = []
    for file in (root / "maskbench").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func).rpartition(".")[2]
            given = [item.value for item in node.keywords if item.arg == "channel"]
            given += node.args[1:] if name in ("derived", "Draws") else []
            if name == "default_rng" and node.args and isinstance(node.args[0], ast.List):
                given += node.args[0].elts
            bare += [f"{file.name}:{node.lineno}" for item in given if isinstance(item, ast.Constant)]
    assert bare == []
