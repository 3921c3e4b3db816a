"""Cutting by group, over all files: groups and equal texts stay whole, and every split has what it should have."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from maskbench.data.group_cutting import cut_groups, joined
from maskbench.errors import InputError
from maskbench.kinds.files import Place

ROWS = st.lists(
    st.tuples(st.integers(0, 60), st.lists(st.sampled_from("abcdefghijkl"), max_size=2), st.integers(0, 2)),
    min_size=3,
    max_size=80,
)
SHARES = st.sampled_from([{"test": 0.1, "validation": 0.1}, {"test": 0.3, "validation": 0.2}, {"validation": 0.25}])


def parts_of(rows, shares, seed, tagged=False):
    keys, names, labels = [str(row[0]) for row in rows], [tuple(row[1]) for row in rows], [row[2] for row in rows]
    types = [[label] if label else [] for label in labels] if tagged else None
    return cut_groups(keys, joined(keys, names), None if tagged else labels, shares, seed, Place("f"), types)


@given(ROWS, SHARES, st.integers(0, 3), st.booleans())
def test_no_group_and_no_text_stands_in_two_splits(rows, shares, seed, tagged):
    try:
        parts = parts_of(rows, shares, seed, tagged)
    except InputError:
        return
    assert sorted(position for part in parts.values() for position in part) == list(range(len(rows)))
    assert set(parts) == {"train", *shares}
    assert all(part == sorted(part) and part for part in parts.values())
    held = defaultdict(set)
    grouped = {row[0] for row in rows if row[1]}
    for split, part in parts.items():
        for position in part:
            text, names, _ = rows[position]
            for thing in (text, *names):
                held[thing].add(split)
            if text not in grouped:
                assert split == "train"
    assert all(len(splits) == 1 for splits in held.values())
    if not tagged:
        first = {text: label for text, _, label in reversed(rows)}
        for part in parts.values():
            assert {first[rows[position][0]] for position in part} == set(first.values())


@given(ROWS, SHARES, st.integers(0, 3))
def test_the_same_rows_are_cut_in_the_same_way(rows, shares, seed):
    try:
        parts = parts_of(rows, shares, seed)
    except InputError:
        return
    assert parts_of(rows, shares, seed) == parts


@settings(max_examples=20)
@given(st.integers(20, 40), st.integers(1, 4), SHARES, st.integers(0, 5))
def test_groups_of_one_size_are_cut_at_the_shares(groups, size, shares, seed):
    rows = [(number, [f"g{number // (2 * size)}"], number % 2) for number in range(2 * groups * size)]
    parts = parts_of(rows, shares, seed)
    for split, share in shares.items():
        assert abs(len(parts[split]) - share * len(rows)) <= 2 * size
        assert sum(rows[position][2] for position in parts[split]) * 2 == len(parts[split])


@given(ROWS)
def test_groups_that_share_a_text_have_one_number(rows):
    keys, names = [str(row[0]) for row in rows], [tuple(row[1]) for row in rows]
    found = joined(keys, names)
    texts = dict(zip(dict.fromkeys(keys), found.of_text, strict=True))
    for key, group in zip(keys, names, strict=True):
        assert {found.numbers[name] for name in group} <= {texts[key]}
    assert {number for number in found.of_text if number >= 0} == set(found.numbers.values())
    assert set(found.numbers.values()) == set(range(found.count))
