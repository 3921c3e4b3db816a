"""Input masks on arbitrary texts: what they never touch, what they do not depend on, and their budgets."""

from __future__ import annotations

import random as stdlib
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskbench.masks.base import InputMask
from maskbench.masks.draws import Draws
from maskbench.masks.registry import find
from maskbench.masks.shared.words import key_of, per_subword, word_keys
from tests.helpers.texts import MASK, SPECIAL, TAGS, VOCABULARY, Text, batch_of, rows_of, setting_of

if TYPE_CHECKING:
    from maskbench.masks.batch import Batch

SAMPLES: dict[str, dict[str, Any]] = {
    "random": {"kind": "random", "rate": 0.4},
    "random words": {"kind": "random", "rate": 0.4, "whole_words": True},
    "static": {"kind": "static", "rate": 0.4, "duplicates": 2},
    "span": {"kind": "span", "rate": 0.4},
    "span of two": {"kind": "span", "rate": 0.4, "p": 0.5, "longest": 2},
    "fixed-positions": {"kind": "fixed-positions", "positions": [0, 3, -1]},
    "every third": {"kind": "fixed-positions", "every": 3, "offset": 1},
    "tail": {"kind": "tail"},
    "keyword": {"kind": "keyword", "rate": 0.4},
    "keyword of text": {"kind": "keyword", "rate": 0.4, "statistic": "tf-idf"},
    "entity": {"kind": "entity", "rate": 0.4},
    "entity by capitals": {"kind": "entity", "rate": 0.4, "by": "capitals"},
    "semantic": {"kind": "semantic", "rate": 0.4},
    "oracle-cue": {"kind": "oracle-cue", "cues": ["10", "11"]},
    "rate-twin": {"kind": "rate-twin", "of": {"kind": "entity", "rate": 0.4}},
    "bert": {"kind": "random", "rate": 0.4, "replacement": "bert"},
    "noise": {"kind": "semantic", "rate": 0.4, "replacement": "noise"},
}
BUDGETED = ["span", "span of two", "keyword", "keyword of text", "semantic"]
RATED = [name for name, entry in SAMPLES.items() if entry["kind"] in ("random", "static") or name in BUDGETED]

subwords = st.lists(st.integers(SPECIAL, 15), min_size=1, max_size=3)
tagged = st.tuples(subwords, st.integers(0, len(TAGS) - 1), st.booleans())
texts = st.lists(tagged, max_size=12).map(
    lambda words: Text(*(list(part) for part in zip(*words, strict=True))) if words else Text([])
)
corpora = st.lists(texts, min_size=1, max_size=6)


def training() -> list[dict[str, Any]]:
    """A fixed training split of short words with random tags."""
    draw = stdlib.Random(1)
    made = []
    for _ in range(40):
        words = [[draw.randint(SPECIAL, 15) for _ in range(draw.randint(1, 3))] for _ in range(draw.randint(1, 12))]
        tags = [draw.randrange(len(TAGS)) for _ in words]
        made.append(Text([*words, [10], [11, 12]], [*tags, 0, 1], [draw.random() < 0.3 for _ in [*words, 0, 0]]))
    return rows_of(made)


SETTING = setting_of(training())


def fitted(name: str, **keys: Any) -> InputMask:
    entry = SAMPLES[name] | keys
    mask = find("input", entry["kind"]).model_validate(entry)
    assert isinstance(mask, InputMask)
    mask.fit(SETTING, Draws(1))
    return mask


MASKS = {name: fitted(name) for name in SAMPLES}


def by_example(batch: Batch, value: torch.Tensor) -> dict[int, list[Any]]:
    """Return the values at the real tokens of each example, whatever stands around them."""
    rows = zip(batch.examples.tolist(), value, batch.padding, strict=True)
    return {example: row[real].tolist() for example, row, real in rows}


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=12)
@given(corpus=corpora, seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 3), left=st.booleans())
def test_special_tokens_and_padding_are_never_touched(
    name: str, corpus: list[Text], seed: int, epoch: int, left: bool
) -> None:
    clean = batch_of(rows_of(corpus), left=left, multiple=4, epoch=epoch)
    masked = MASKS[name].corrupt(clean, Draws(seed))
    assert masked.hit is not None
    assert not (masked.hit & ~clean.maskable).any()
    assert torch.equal(masked.input_ids[~masked.hit], clean.input_ids[~masked.hit])
    if MASKS[name].replacement == "mask":
        assert torch.equal(masked.input_ids == MASK, masked.hit)
    else:
        new = masked.input_ids[masked.hit]
        assert ((new == MASK) | ((new >= SPECIAL) & (new < VOCABULARY))).all()
    assert masked.labels is clean.labels


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=12)
@given(
    corpus=corpora,
    others=corpora,
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 3),
    left=st.booleans(),
    multiple=st.integers(1, 40),
    shuffle=st.randoms(use_true_random=False),
)
def test_a_mask_depends_on_the_example_alone(
    name: str,
    corpus: list[Text],
    others: list[Text],
    seed: int,
    epoch: int,
    left: bool,
    multiple: int,
    shuffle: stdlib.Random,
) -> None:
    """Whoever else is in the batch, in which order, and whichever side is padded by how much."""
    rows, draws = rows_of([*corpus, *others]), Draws(seed)
    alone = {}
    for row in rows[: len(corpus)]:
        batch = batch_of([row], epoch=epoch)
        alone |= by_example(batch, MASKS[name].corrupt(batch, draws).input_ids)
    shuffle.shuffle(rows)
    batch = batch_of(rows, left=left, multiple=multiple, epoch=epoch)
    together = by_example(batch, MASKS[name].corrupt(batch, draws).input_ids)
    assert {example: together[example] for example in alone} == alone


@pytest.mark.parametrize("name", BUDGETED)
@settings(max_examples=12)
@given(corpus=corpora, seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 3))
def test_a_budget_is_that_of_random_text_by_text(name: str, corpus: list[Text], seed: int, epoch: int) -> None:
    batch, draws = batch_of(rows_of(corpus), epoch=epoch), Draws(seed)
    hits, expected = (mask.corrupt(batch, draws).hit for mask in (MASKS[name], MASKS["random"]))
    assert hits is not None
    assert expected is not None
    assert torch.equal(hits.sum(1), expected.sum(1))


@pytest.mark.parametrize("name", ["span", "keyword", "keyword of text", "semantic"])
@settings(max_examples=12)
@given(corpus=corpora, seed=st.integers(0, 2**32 - 1))
def test_a_budget_cuts_one_word_at_most(name: str, corpus: list[Text], seed: int) -> None:
    batch = batch_of(rows_of(corpus))
    hit = MASKS[name].corrupt(batch, Draws(seed)).hit
    assert hit is not None
    for words, hits in zip(batch.words.tolist(), hit.tolist(), strict=True):
        shares = [[h for word, h in zip(words, hits, strict=True) if word == index] for index in set(words) - {-1}]
        assert sum(any(share) and not all(share) for share in shares) <= 1


@pytest.mark.parametrize("name", RATED)
@settings(max_examples=12)
@given(corpus=corpora, seed=st.integers(0, 2**32 - 1), rates=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_rates_are_nested_and_reach_from_nothing_to_everything(
    name: str, corpus: list[Text], seed: int, rates: tuple[float, float]
) -> None:
    batch, mask, draws = batch_of(rows_of(corpus)), MASKS[name], Draws(seed)
    none, low, high, every = (
        mask.model_copy(update={"rate": rate}).corrupt(batch, draws).hit for rate in (0.0, *sorted(rates), 1.0)
    )
    assert none is not None
    assert not none.any()
    assert (high | ~low).all()  # type: ignore[operator]
    assert torch.equal(every, batch.maskable)


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=12)
@given(corpus=corpora, seed=st.integers(0, 2**32 - 1))
def test_a_twin_hits_as_many_tokens_of_each_text(name: str, corpus: list[Text], seed: int) -> None:
    batch = batch_of(rows_of(corpus))
    twin = find("input", "rate-twin").model_validate({"of": MASKS[name]})
    assert isinstance(twin, InputMask)
    assert twin.replacement == MASKS[name].replacement
    twin.fit(SETTING, Draws(seed))
    hits, expected = (mask.corrupt(batch, Draws(seed)).hit for mask in (twin, MASKS[name]))
    assert hits is not None
    assert expected is not None
    assert torch.equal(hits.sum(1), expected.sum(1))


@given(corpus=corpora, seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 3), rate=st.floats(0, 1))
def test_mentions_are_hit_as_a_whole(corpus: list[Text], seed: int, epoch: int, rate: float) -> None:
    """Checked against a plain loop over words."""
    batch = batch_of(rows_of(corpus), epoch=epoch)
    for by in ("entity", "entity by capitals"):
        hit = MASKS[by].model_copy(update={"rate": rate}).corrupt(batch, Draws(seed)).hit
        assert hit is not None
        for row, text in enumerate(corpus):
            marks = [bool(hit[row, batch.words[row] == word].all()) for word in range(len(text.words))]
            assert sum(len(word) for word, mark in zip(text.words, marks, strict=True) if mark) == hit[row].sum()
            types = [TAGS[tag][2:] for tag in text.tags] if by == "entity" else ["X" * flag for flag in text.capitals]
            for word, kind in enumerate(types):
                if not kind:
                    assert not marks[word]
                elif word and types[word - 1] == kind and (by != "entity" or not TAGS[text.tags[word]].startswith("B")):
                    assert marks[word] == marks[word - 1]


@given(corpus=corpora)
def test_keys_tell_words_apart_by_their_subwords_and_order(corpus: list[Text]) -> None:
    batch = batch_of(rows_of(corpus), left=True, multiple=7)
    keys = per_subword(word_keys(batch.input_ids, batch.words), batch.words)
    seen: dict[int, tuple[int, ...]] = {}
    for row, text in enumerate(corpus):
        for index, word in enumerate(text.words):
            own = set(keys[row, batch.words[row] == index].tolist())
            assert own == {key_of(word)}
            assert seen.setdefault(own.pop(), tuple(word)) == tuple(word)
