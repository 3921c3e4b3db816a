"""Draws: uniform, independent, and a function of their address alone."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from maskbench import splitmix
from maskbench.kinds import draws as data_draws
from maskbench.masks.batch import Batch
from maskbench.masks.draws import Draws

WORD = 2**64


def batch_of(examples: list[int], width: int, *, epoch: int = 0, device: str = "cpu") -> Batch:
    shape = (len(examples), width)
    return Batch(
        input_ids=torch.full(shape, 7, device=device),
        padding=torch.ones(shape, dtype=torch.bool, device=device),
        words=torch.arange(width, device=device).expand(shape),
        examples=torch.tensor(examples, device=device),
        epoch=epoch,
        mask_id=3,
    )


def big_mix(value: int) -> int:
    """SplitMix64's finaliser in Python's own integers."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) % WORD
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) % WORD
    return value ^ (value >> 31)


def big_uniform(seed: int, stream: int, channel: int, time: int, example: int, position: int) -> float:
    """The draw at one address, in Python's own integers."""
    key = 0
    for index in (seed, stream, channel, time + 1, example, position):
        key = big_mix((key + (index + 1) * 0x9E3779B97F4A7C15) % WORD)
    return (key >> 40) / 2**24


@pytest.mark.parametrize("make", [torch.arange, np.arange])
def test_the_finaliser_is_that_of_splitmix64(make: object) -> None:
    """First outputs for seed 0 of the reference implementation (Vigna, splitmix64.c)."""
    states = make(1, 4) * splitmix.GOLDEN  # type: ignore[operator]
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [int(value) % WORD for value in splitmix.mixed(states)] == expected


@given(st.lists(st.tuples(st.integers(0, WORD - 1), st.integers(0, 10**6)), min_size=1), st.integers(0, 3))
def test_draws_for_variants_of_a_task_are_those_of_exact_arithmetic(rows: list[tuple[int, int]], channel: int) -> None:
    keys, places = zip(*rows, strict=True)
    drawn = data_draws.uniform(np.array(keys, dtype=np.uint64), np.array(places, dtype=np.int64), channel)
    expected = [
        (big_mix((key + (4 * place + channel + 1) * 0x9E3779B97F4A7C15) % WORD) >> 11) / 2**53 for key, place in rows
    ]
    assert drawn.tolist() == expected


def test_the_finaliser_stands_in_one_place() -> None:
    """Its constants are told once, in either notation."""
    package = Path(splitmix.__file__).parent
    for constant in (splitmix.GOLDEN, splitmix._FIRST, splitmix._SECOND):
        spellings = (str(constant), f"0x{constant % WORD:X}")
        found = {
            path.name for path in package.rglob("*.py") if any(spelling in path.read_text() for spelling in spellings)
        }
        assert found == {"splitmix.py"}


addresses = st.tuples(
    st.integers(0, 2**32 - 1),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 10**6),
    st.lists(st.integers(0, 2**40), min_size=1, max_size=5, unique=True),
)


@given(addresses, st.none() | st.integers(0, 10))
def test_every_draw_is_the_one_of_exact_arithmetic(
    address: tuple[int, int, int, int, list[int]], fixed: int | None
) -> None:
    seed, stream, channel, epoch, examples = address
    drawn = Draws(seed, stream).uniform(batch_of(examples, 4, epoch=epoch), time=fixed, channel=channel)
    assert drawn.dtype == torch.float32
    assert drawn.shape == (len(examples), 4)
    time = epoch if fixed is None else fixed
    expected = [[big_uniform(seed, stream, channel, time, example, k) for k in range(4)] for example in examples]
    assert drawn.tolist() == expected


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=8, unique=True),
    st.integers(1, 40),
    st.integers(0, 40),
    st.randoms(use_true_random=False),
)
def test_neighbours_order_and_padding_do_not_matter(
    seed: int, examples: list[int], width: int, padding: int, random: object
) -> None:
    draws = Draws(seed)
    together = draws.uniform(batch_of(examples, width + padding))
    for row, example in enumerate(examples):
        alone = draws.uniform(batch_of([example], width))
        assert torch.equal(together[row, :width], alone[0])
    order = list(range(len(examples)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = draws.uniform(batch_of([examples[index] for index in order], width + padding))
    assert torch.equal(shuffled, together[order])


def test_draws_do_not_depend_on_earlier_draws_nor_on_torchs_generator() -> None:
    draws, batch = Draws(1), batch_of([4, 5], 9)
    torch.manual_seed(0)
    first = draws.uniform(batch)
    state = torch.get_rng_state()
    draws.uniform(batch_of([9], 3, epoch=8))
    torch.manual_seed(99)
    assert torch.equal(draws.uniform(batch), first)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


def test_fixed_draws_stay_and_others_change_with_the_pass() -> None:
    draws = Draws(1)
    passes = [batch_of([4, 5], 50, epoch=epoch) for epoch in range(3)]
    fixed = [draws.uniform(batch, time=1) for batch in passes]
    fresh = [draws.uniform(batch) for batch in passes]
    assert all(torch.equal(fixed[0], other) for other in fixed[1:])
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert not torch.isclose(fresh[one], fresh[other]).all()
    assert [torch.equal(fixed[0], other) for other in fresh] == [False, True, False]


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 12), min_size=1, max_size=6),
    st.integers(0, 5),
    st.booleans(),
)
def test_positions_are_counted_among_the_real_tokens(seed: int, lengths: list[int], more: int, left: bool) -> None:
    """Padding on either side, of any width, changes no draw."""
    width = max(lengths) + more
    batch = batch_of(list(range(len(lengths))), width)
    place = torch.arange(width).expand(len(lengths), width)
    size = torch.tensor(lengths)[:, None]
    batch = replace(batch, padding=place >= width - size if left else place < size)
    drawn = Draws(seed).uniform(batch)
    for row, length in enumerate(lengths):
        alone = Draws(seed).uniform(batch_of([row], length))
        assert torch.equal(drawn[row][batch.padding[row]], alone[0])


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(-1, 6), min_size=1, max_size=12))
def test_equal_places_of_an_example_share_a_number(seed: int, places: list[int]) -> None:
    batch = batch_of([3, 9], len(places))
    drawn = Draws(seed).uniform(batch, torch.tensor([places, places]))
    expected = [[big_uniform(seed, 0, 0, 0, example, place) for place in places] for example in (3, 9)]
    assert drawn.tolist() == expected


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 6))
def test_pairs_of_places_have_a_number_each(seed: int, rows: int, columns: int) -> None:
    drawn = Draws(seed).uniform(
        batch_of([4, 7], 2), torch.arange(rows)[None, :, None], torch.arange(columns)[None, None, :]
    )
    assert drawn.shape == (2, rows, columns)
    assert len(drawn.unique()) > 0.9 * drawn.numel()
    again = Draws(seed).uniform(batch_of([4], 2), torch.tensor([[[rows - 1]]]), torch.tensor([[[columns - 1]]]))
    assert drawn[0, -1, -1] == again[0, 0, 0]


SIZE = 1000 * 200


def sample(seed: int = 0, stream: int = 0, channel: int = 0, epoch: int = 0, first: int = 0) -> np.ndarray:
    batch = batch_of(list(range(first, first + 1000)), 200, epoch=epoch)
    return Draws(seed, stream).uniform(batch, channel=channel).numpy().ravel().astype(float)


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_draws_are_uniform(seed: int) -> None:
    """The seeds are fixed, so this cannot fail by chance from run to run; p < 1e-3 would mean a bad generator."""
    drawn = sample(seed)
    assert 0.0 <= drawn.min() < 1e-4
    assert 1 - 1e-4 < drawn.max() < 1.0
    assert stats.kstest(drawn, "uniform").pvalue > 1e-3
    for bins in (2, 10, 256):
        counts = np.bincount((drawn * bins).astype(int), minlength=bins)
        assert stats.chisquare(counts).pvalue > 1e-3
    low_bits = (drawn * 2**24).astype(int) % 256
    assert stats.chisquare(np.bincount(low_bits, minlength=256)).pvalue > 1e-3


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_neighbouring_draws_are_independent(seed: int) -> None:
    """Pairs along positions, along examples and along passes fill a square evenly."""
    drawn = sample(seed).reshape(1000, 200)
    pairs = {
        "positions": (drawn[:, :-1], drawn[:, 1:]),
        "examples": (drawn[:-1], drawn[1:]),
        "passes": (drawn, sample(seed, epoch=1).reshape(1000, 200)),
    }
    for one, other in pairs.values():
        cells = (one * 16).astype(int) * 16 + (other * 16).astype(int)
        assert stats.chisquare(np.bincount(cells.ravel(), minlength=256)).pvalue > 1e-3


@pytest.mark.parametrize("other", [{"seed": 1}, {"stream": 1}, {"channel": 1}, {"epoch": 1}, {"first": 1000}])
def test_other_addresses_give_other_numbers(other: dict[str, int]) -> None:
    one, two = sample(), sample(**other)
    assert abs(np.corrcoef(one, two)[0, 1]) < 4 / math.sqrt(SIZE)
    # equal only as often as two independent draws of 24 bits
    assert (one == two).sum() <= stats.poisson.ppf(1 - 1e-6, SIZE / 2**24)


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_every_device_gives_the_same_bits(device: str) -> None:
    if not getattr(torch, device).is_available():
        pytest.skip(f"no {device} device here")
    examples = list(range(0, 3000, 7))
    for time in (None, 0):
        here = Draws(5, 2).uniform(batch_of(examples, 64, epoch=3), time=time, channel=1)
        there = Draws(5, 2).uniform(batch_of(examples, 64, epoch=3, device=device), time=time, channel=1)
        assert there.device.type == device
        assert torch.equal(here, there.cpu())
