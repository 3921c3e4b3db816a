"""Input masks: how often they hit, where, and what they put there."""

from __future__ import annotations

import math
import random as stdlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from pydantic import ValidationError
from scipy import stats
from sklearn.feature_extraction.text import TfidfVectorizer

from maskbench.errors import InputError
from maskbench.masks import Strategy
from maskbench.masks.base import InputMask
from maskbench.masks.draws import Draws
from maskbench.masks.input.entity import Entity
from maskbench.masks.input.fixed_positions import FixedPositions
from maskbench.masks.input.generated import Generated
from maskbench.masks.input.keyword import Keyword
from maskbench.masks.input.oracle_cue import OracleCue
from maskbench.masks.input.random import Random
from maskbench.masks.input.rate_twin import RateTwin
from maskbench.masks.input.semantic import Semantic
from maskbench.masks.input.span import Span
from maskbench.masks.input.static import Static
from maskbench.masks.input.tail import Tail
from maskbench.masks.registry import find
from maskbench.masks.replacement import random_tokens
from maskbench.masks.shared.budget import first
from maskbench.masks.shared.words import PRIOR, Corpus, WordScores, key_of
from tests.helpers.texts import MASK, SPECIAL, VOCABULARY, Text, batch_of, rows_of, setting_of

if TYPE_CHECKING:
    from maskbench.masks.batch import Batch

CHANCE = [Random, Static]
WHOLE = {"whole_words": True}


def text_batch(rows: int, width: int, *, epoch: int = 0) -> Batch:
    """Texts of different lengths, in words of two subwords and perhaps a last one of one."""
    made = []
    for row in range(rows):
        count = width - row % (width // 2) - 2
        tokens = [SPECIAL + (row + place) % (VOCABULARY - SPECIAL) for place in range(count)]
        made.append(Text([tokens[start : start + 2] for start in range(0, count, 2)]))
    return batch_of(rows_of(made), epoch=epoch)


def hits(mask: InputMask, batch: Batch, *, seed: int = 1, stream: int = 0) -> torch.Tensor:
    hit = mask.corrupt(batch, Draws(seed, stream)).hit
    assert hit is not None
    return hit


def hit_words(mask: InputMask, batch: Batch, **keys: Any) -> list[set[int]]:
    """Return the words of each text of which a subword is hit."""
    hit = hits(mask, batch, **keys)
    return [set(words[row].tolist()) for words, row in zip(batch.words, hit, strict=True)]


def fit(mask: InputMask, setting: Any) -> InputMask:
    mask.fit(setting, Draws(0))
    return mask


# --- random and static


@pytest.mark.parametrize("mask", CHANCE)
@pytest.mark.parametrize("rate", [0.05, 0.15, 0.5, 0.9])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_realised_rate_is_binomial(mask: type[Random] | type[Static], rate: float, seed: int) -> None:
    """Exact test of the count of masked tokens against Binomial(maskable, rate); the draws are fixed by the seed."""
    batch = text_batch(600, 64)
    hit = hits(mask(rate=rate), batch, seed=seed)
    maskable = int(batch.maskable.sum())
    assert maskable > 20_000
    assert stats.binomtest(int(hit.sum()), maskable, rate).pvalue > 1e-3
    # spread evenly over positions, too, not only in total
    assert (hit.float().mean(0)[1:30] - rate).abs().max() < 5 * math.sqrt(rate * (1 - rate) / 600)


@pytest.mark.parametrize("mask", CHANCE)
@pytest.mark.parametrize("rate", [0.05, 0.15, 0.5, 0.9])
def test_the_realised_rate_of_words_is_binomial(mask: type[Random] | type[Static], rate: float) -> None:
    batch = text_batch(600, 64)
    hit = hits(mask(rate=rate, **WHOLE), batch)
    start = (batch.words != batch.words.roll(1, 1)) & batch.maskable
    assert stats.binomtest(int((hit & start).sum()), int(start.sum()), rate).pvalue > 1e-3
    second = batch.maskable & ~start
    assert torch.equal(hit[second], hit.roll(1, 1)[second])


def test_random_is_drawn_anew_in_every_pass_and_static_once() -> None:
    for keys in ({}, WHOLE):
        passes = [text_batch(50, 40, epoch=epoch) for epoch in range(4)]
        dynamic = [hits(Random(rate=0.3, **keys), batch) for batch in passes]
        assert all(not torch.equal(dynamic[0], other) for other in dynamic[1:])
        static = [hits(Static(rate=0.3, **keys), batch) for batch in passes]
        assert all(torch.equal(static[0], other) for other in static[1:])
        assert torch.equal(static[0], dynamic[0])


def test_duplicates_are_the_first_passes_of_random_in_turn() -> None:
    for epoch in range(7):
        static = hits(Static(rate=0.3, duplicates=3), text_batch(50, 40, epoch=epoch))
        assert torch.equal(static, hits(Random(rate=0.3), text_batch(50, 40, epoch=epoch % 3)))


@pytest.mark.parametrize("replacement", ["mask", "bert", "noise"])
@pytest.mark.parametrize("keys", [{}, WHOLE])
def test_what_static_puts_in_its_places_is_kept_too(replacement: str, keys: dict[str, Any]) -> None:
    """With `bert` 34.5 % and with `noise` 99.8 % of the hit ids differed between two passes."""
    made = {"rate": 0.3, "replacement": replacement, "duplicates": 2, **keys}
    mask = fit(Static.model_validate(made), setting_of(rows_of([Text([[5]])])))
    first, other, again, last = (
        mask.corrupt(text_batch(50, 40, epoch=epoch), Draws(1)).input_ids for epoch in (0, 1, 2, 7)
    )
    assert torch.equal(first, again)
    assert torch.equal(other, last)
    assert not torch.equal(first, other)


def test_the_noise_twin_of_a_static_mask_is_static() -> None:
    strategy = Strategy.model_validate({"name": "x", "input": {"kind": "static"}, "twins": ["noise-twin"]})
    twin = list(strategy.expanded())[1].input
    assert isinstance(twin, InputMask)
    fit(twin, setting_of(rows_of([Text([[5]])])))
    passes = [twin.corrupt(text_batch(50, 40, epoch=epoch), Draws(1)).input_ids for epoch in range(3)]
    assert torch.equal(passes[0], passes[1])
    assert torch.equal(passes[0], passes[2])


@pytest.mark.parametrize("replacement", ["bert", "noise"])
def test_random_replacements_are_drawn_anew(replacement: str) -> None:
    mask = fit(Random.model_validate({"rate": 1.0, "replacement": replacement}), setting_of(rows_of([Text([[5]])])))
    first, other = (mask.corrupt(text_batch(50, 40, epoch=epoch), Draws(1)).input_ids for epoch in (0, 1))
    assert not torch.equal(first, other)


@pytest.mark.parametrize("mask", CHANCE)
def test_seed_and_stream_change_the_mask(mask: type[Random] | type[Static]) -> None:
    batch = text_batch(50, 40)
    one = hits(mask(rate=0.3), batch)
    assert torch.equal(one, hits(mask(rate=0.3), batch))
    assert not torch.equal(one, hits(mask(rate=0.3), batch, seed=2))
    assert not torch.equal(one, hits(mask(rate=0.3), batch, stream=1))


# --- replacement


def test_the_clean_batch_is_not_changed() -> None:
    clean = text_batch(10, 20)
    before = clean.input_ids.clone()
    masked = Random(rate=1.0).corrupt(clean, Draws(1))
    assert torch.equal(clean.input_ids, before)
    assert clean.hit is None
    assert masked.input_ids.dtype == clean.input_ids.dtype
    assert masked.examples is clean.examples
    assert torch.equal(masked.input_ids == MASK, clean.maskable)


def test_replacements_may_differ_by_position() -> None:
    clean = text_batch(3, 10)
    other = torch.arange(clean.input_ids.numel()).view_as(clean.input_ids) + 1000
    masked = clean.corrupted(torch.ones_like(clean.padding), other)
    assert torch.equal(masked.input_ids, torch.where(clean.maskable, other, clean.input_ids))


@pytest.mark.parametrize("kind", ["random", "static"])
def test_berts_replacement_is_80_10_10(kind: str) -> None:
    """Of the hit tokens, exactly tested; a random token may be the one that stood there."""
    mask = find("input", kind).model_validate({"rate": 0.5, "replacement": "bert"})
    assert isinstance(mask, InputMask)
    fit(mask, setting_of(rows_of([Text([[5]])])))
    clean = text_batch(600, 64)
    masked = mask.corrupt(clean, Draws(3))
    assert masked.hit is not None
    assert torch.equal(masked.hit, hits(mask.model_copy(update={"replacement": "mask"}), clean, seed=3))
    new, old = masked.input_ids[masked.hit], clean.input_ids[masked.hit]
    size = VOCABULARY - SPECIAL
    shares = {
        0.8: new == MASK,
        0.1 * (1 - 1 / size): (new != MASK) & (new != old),
        0.1 + 0.1 / size: (new != MASK) & (new == old),
    }
    for share, counted in shares.items():
        assert stats.binomtest(int(counted.sum()), len(new), share).pvalue > 1e-3


def test_noise_is_uniform_over_ordinary_tokens() -> None:
    mask = fit(Random(rate=1.0, replacement="noise"), setting_of(rows_of([Text([[5]])])))
    clean = text_batch(600, 64)
    new = mask.corrupt(clean, Draws(1)).input_ids[clean.maskable]
    counts = new.bincount(minlength=VOCABULARY)
    assert counts[:SPECIAL].sum() == 0
    assert stats.chisquare(counts[SPECIAL:].numpy()).pvalue > 1e-3


def test_the_greatest_draw_is_still_in_the_vocabulary() -> None:
    class Greatest(Draws):
        def uniform(self, batch: Batch, *places: Any, **keys: Any) -> torch.Tensor:
            return torch.full(batch.input_ids.shape, 1 - 2.0**-24)

    sizes = [1, 2, 3, 28_996, 30_522, 32_767, 32_768, 32_769, 50_265, 65_537, 128_100, 250_002, 262_145, 2**20 + 1]
    batch = text_batch(1, 4)
    for size in sizes:
        assert random_tokens(batch, Greatest(0), torch.arange(size)).max() == size - 1


# --- budgets


def test_the_first_are_counted_among_what_may_be_masked() -> None:
    batch = batch_of(rows_of([Text([[5, 6], [7], [8]])]), left=True, multiple=10)
    order = torch.zeros(batch.input_ids.shape)
    assert first(batch, order, torch.tensor([3])).nonzero()[:, 1].tolist() == [5, 6, 7]
    order[0, 5] = torch.inf
    assert first(batch, order, torch.tensor([4])).sum() == 4
    order[0, 8] = -1
    assert first(batch, order, torch.tensor([1])).nonzero()[:, 1].tolist() == [8]


# --- span


def test_span_lengths_are_geometric_and_cut() -> None:
    batch = text_batch(400, 64)
    place = torch.arange(batch.words.shape[1])[None]
    for p, longest in ((0.2, 10), (0.5, 3), (0.01, 30), (0.9, 2)):
        lengths = Span(p=p, longest=longest)._lengths(batch, Draws(1), place).flatten().long()
        weights = torch.tensor([p * (1 - p) ** k for k in range(longest)], dtype=torch.float64)
        expected = weights / weights.sum() * len(lengths)
        assert lengths.min() >= 1
        assert lengths.max() <= longest
        assert stats.chisquare(lengths.bincount(minlength=longest + 1)[1:], expected).pvalue > 1e-3
    assert (Span(longest=1)._lengths(batch, Draws(1), place) == 1).all()
    lengths = Span()._lengths(batch, Draws(1), place)
    assert abs(lengths.mean() - 3.8) < 0.05, "Joshi et al. (2020), SpanBERT, section 3.1"


def spans_one_by_one(mask: Span, words: list[int], ranks: list[float], lengths: list[int], budget: int) -> set[int]:
    """Return the tokens hit, as the paper tells it: span after span until the budget is spent."""
    tokens: dict[int, list[int]] = {}
    for place, word in enumerate(words):
        if word >= 0:
            tokens.setdefault(word, []).append(place)
    hit: list[int] = []
    for start in sorted(tokens, key=lambda word: ranks[word]):
        for word in range(start, start + lengths[start]):
            hit += [place for place in tokens.get(word, []) if place not in hit]
    return set(hit[:budget])


@pytest.mark.parametrize("rate", [0.15, 0.5])
def test_spans_are_those_of_the_sequential_procedure(rate: float) -> None:
    mask, batch, draws = Span(rate=rate), text_batch(60, 40, epoch=2), Draws(4)
    place = torch.arange(batch.words.shape[1])[None]
    ranks, lengths = draws.uniform(batch, place, channel=1), mask._lengths(batch, draws, place).int()
    hit, budget = hits(mask, batch, seed=4), hits(Random(rate=rate), batch, seed=4).sum(1)
    for row in range(60):
        expected = spans_one_by_one(
            mask, batch.words[row].tolist(), ranks[row].tolist(), lengths[row].tolist(), int(budget[row])
        )
        assert set(hit[row].nonzero().flatten().tolist()) == expected


def test_spans_are_runs() -> None:
    """Fewer and longer runs than random tokens make, at the same number of hits."""
    batch = text_batch(300, 64)
    runs = [
        int((hit & ~hit.roll(1, 1)).sum()) for hit in (hits(Span(rate=0.15), batch), hits(Random(rate=0.15), batch))
    ]
    assert runs[0] < runs[1] / 3


# --- places


def test_fixed_positions_count_what_may_be_masked() -> None:
    batch = batch_of(rows_of([Text([[5, 6], [7], [8], [9, 10]]), Text([[5]])]), left=True)
    for positions, expected in {(0, 2, -1): [[0, 2, 5], [0]], (-2, 9): [[4], []], (-7,): [[], []]}.items():
        hit = hits(FixedPositions(positions=list(positions)), batch)
        for row, places in enumerate(expected):
            assert hit[row][batch.maskable[row]].nonzero().flatten().tolist() == places
    for every, offset, expected in ((2, 0, [0, 2, 4]), (2, 1, [1, 3, 5]), (3, 4, [4]), (1, 0, [0, 1, 2, 3, 4, 5])):
        hit = hits(FixedPositions(every=every, offset=offset), batch)
        assert hit[0][batch.maskable[0]].nonzero().flatten().tolist() == expected


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "expected either positions or every"),
        ({"positions": [1], "every": 2}, "expected either positions or every"),
        ({"positions": [1], "offset": 2}, "offset goes with every"),
        ({"positions": []}, "at least 1 item"),
        ({"every": 0}, "greater than or equal to 1"),
    ],
)
def test_fixed_positions_are_given_in_one_way(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FixedPositions.model_validate(entry)


def test_the_tail_begins_after_whole_words() -> None:
    batch = batch_of(rows_of([Text([[5, 6], [7], [8]]), Text([[5]]), Text([])]))
    assert hit_words(Tail(), batch) == [{1, 2}, set(), set()]
    assert hit_words(Tail(keep=2), batch) == [{2}, set(), set()]
    assert torch.equal(hits(Tail(keep=0), batch), batch.maskable)


# --- words and their scores


def planted(count: int = 200, seed: int = 0) -> list[Text]:
    """Texts of random words in which [10, 11] tells the class up and [11, 10] the class down."""
    draw = stdlib.Random(seed)
    made = []
    for number in range(count):
        words = [[draw.randint(20, 40)] for _ in range(draw.randint(4, 9))]
        words.insert(draw.randint(0, len(words)), [10, 11] if number % 2 else [11, 10])
        made.append(Text(words, label=number % 2))
    return made


def scores_of(scores: WordScores, *words: list[int]) -> list[float]:
    batch = batch_of(rows_of([Text(list(words))]))
    start = [1 + sum(len(word) for word in words[:index]) for index in range(len(words))]
    return scores.of(batch)[0, start].tolist()


def test_log_odds_are_those_of_the_formula() -> None:
    """Three classes; counted and computed in plain Python."""
    draw = stdlib.Random(2)
    texts = [Text([[draw.randint(5, 12)] for _ in range(9)], label=draw.randrange(3)) for _ in range(30)]
    scores = WordScores.fit(setting_of(rows_of(texts, False), False, labels=("a", "b", "c")), "log-odds")
    total = 9 * 30
    for word in range(5, 13):
        count = [sum(w == [word] for text in texts if text.label == c for w in text.words) for c in range(3)]
        size = [sum(9 for text in texts if text.label == c) for c in range(3)]
        prior = PRIOR * sum(count) / total
        found = []
        for c in range(3):
            y, n = count[c] + prior, size[c] + PRIOR
            other, rest = sum(count) - count[c] + prior, total - size[c] + PRIOR
            delta = math.log(y / (n - y)) - math.log(other / (rest - other))
            found.append(delta / math.sqrt(1 / y + 1 / other))
        assert scores_of(scores, [word])[0] == pytest.approx(max(found), rel=1e-5)


def test_tf_idf_is_that_of_scikit_learn() -> None:
    draw = stdlib.Random(3)
    texts = [Text([[draw.randint(5, 12)] for _ in range(9)]) for _ in range(30)]
    scores = WordScores.fit(setting_of(rows_of(texts)), "tf-idf")
    lines = [" ".join(str(word[0]) for word in text.words) for text in texts]
    vectors = TfidfVectorizer(norm=None, token_pattern=r"\d+").fit(lines)
    expected = vectors.transform(lines).toarray()
    batch = batch_of(rows_of(texts))
    for row, text in enumerate(texts):
        own = [expected[row, vectors.vocabulary_[str(word[0])]] for word in text.words]
        assert scores.of(batch)[row, 1:10].tolist() == pytest.approx(own, rel=1e-5)


def test_unknown_words_and_what_is_no_word_score_lowest() -> None:
    rows = rows_of(planted(), False)
    for statistic in ("log-odds", "tf-idf"):
        scores = WordScores.fit(setting_of(rows, False), statistic)  # type: ignore[arg-type]
        batch = batch_of(rows_of([Text([[10, 11], [10, 12], [20], [10]]), Text([])]))
        found = scores.of(batch)
        lowest = found[1, 0]
        unknown = (batch.words == 1) | (batch.words == 3) | ~batch.maskable
        assert (found[unknown] == lowest).all()
        assert (found[~unknown] > lowest).all()
        assert found.isfinite().all()


def test_the_corpus_is_the_part_of_the_split_that_is_trained_on() -> None:
    rows = rows_of([Text([[5], [6, 7]], label=0), Text([[8]], label=1), Text([[5], [5]], label=1)], False)
    setting = setting_of(rows, False)
    part = Corpus.of(replace(setting, train=setting.train.select([2, 0])))
    assert part.keys.tolist() == sorted([key_of([5]), key_of([6, 7])])
    assert [part.keys[kind].item() for kind in part.types] == [key_of(word) for word in ([5], [5], [5], [6, 7])]
    assert part.texts.tolist() == [0, 0, 1, 1]
    assert part.labels.tolist() == [1, 1, 0, 0]


def test_words_of_neighbouring_texts_are_not_joined() -> None:
    """Models such as GPT-2 put no special token between them."""
    rows = [
        {"input_ids": [5, 6], "words": [0, 0], "labels": 0, "example": 0, "length": 2, "capitals": [False] * 2},
        {"input_ids": [7], "words": [0], "labels": 1, "example": 1, "length": 1, "capitals": [False]},
    ]
    assert set(Corpus.of(setting_of(rows, False)).keys.tolist()) == {key_of([5, 6]), key_of([7])}


# --- keyword


def test_keywords_are_the_words_that_tell_the_label() -> None:
    mask = fit(Keyword(rate=0.15), setting_of(rows_of(planted(), False), False))
    unseen = planted(60, seed=9)
    batch = batch_of(rows_of(unseen, False))
    places = [next(i for i, word in enumerate(text.words) if len(word) == 2) for text in unseen]
    found, counts = hit_words(mask, batch), hits(mask, batch).sum(1)
    assert int((counts > 0).sum()) > 30
    for words, place, count in zip(found, places, counts.tolist(), strict=True):
        assert (place in words) == (count > 0)


def test_keywords_know_the_labels_of_the_training_split_alone() -> None:
    setting = setting_of(rows_of(planted(), False), False)
    batch = batch_of(rows_of(planted(60, seed=9), False))
    assert batch.labels is not None
    flipped = replace(batch, labels=1 - batch.labels)
    mask = fit(Keyword(rate=0.3), setting)
    assert torch.equal(hits(mask, batch), hits(mask, flipped))
    assert torch.equal(hits(mask, batch), hits(mask, replace(batch, labels=None)))
    blind = fit(Keyword(rate=0.3), setting_of(rows_of([replace(t, label=0) for t in planted()], False), False))
    assert not torch.equal(hits(blind, batch), hits(mask, batch))


def test_keywords_of_tagging_are_words_of_entities() -> None:
    """A word that is never in an entity tells nothing, however frequent it is."""
    texts = [Text([[20], [20], [30 + n % 5], [10], [20]], [0, 0, 0, 1 + 2 * (n % 2), 0]) for n in range(60)]
    scores = WordScores.fit(setting_of(rows_of(texts)), "log-odds")
    often, seldom, entity = scores_of(scores, [20], [30], [10])
    assert entity > seldom
    assert entity > often
    with pytest.raises(InputError, match=r"^log-odds: expected tags of entities to compare words by, found O$"):
        WordScores.fit(setting_of(rows_of([Text([[5]])]), labels=("O",)), "log-odds")


def test_words_of_equal_score_come_in_random_order() -> None:
    texts = [Text([[5 + place] for place in range(20)]) for _ in range(400)]
    mask = fit(Keyword(rate=0.3, statistic="tf-idf"), setting_of(rows_of(texts)))
    batch = batch_of(rows_of(texts))
    counts = hits(mask, batch)[:, 1:-1].sum(0)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


# --- entity

NAMES = Text([[5], [6, 7], [8], [9], [10], [11], [12, 13]], [0, 1, 2, 1, 3, 0, 4])
"""O | B-PER I-PER | B-PER | B-LOC | O | I-LOC: four mentions and one that lost its beginning."""
MENTIONS = [{1, 2}, {3}, {4}, {6}]


def test_mentions_are_hit_at_the_rate_each_for_itself_and_anew() -> None:
    mask = fit(Entity(rate=0.3), setting_of(rows_of([NAMES])))
    copies = rows_of([NAMES] * 500)
    passes = [hit_words(mask, batch_of(copies, epoch=epoch)) for epoch in range(2)]
    assert passes[0] != passes[1]
    for found in passes:
        assert set().union(*found) == set().union(*MENTIONS)
        for words in found:
            assert all(words >= mention or not words & mention for mention in MENTIONS)
        for mention in MENTIONS:
            assert stats.binomtest(sum(words >= mention for words in found), 500, 0.3).pvalue > 1e-3
        together = sum(words >= {1, 2, 3} for words in found)
        assert stats.binomtest(together, 500, 0.09).pvalue > 1e-3
    assert hit_words(mask.model_copy(update={"rate": 1.0}), batch_of(copies[:1])) == [{1, 2, 3, 4, 6}]
    assert hit_words(mask.model_copy(update={"rate": 0.0}), batch_of(copies[:1])) == [set()]


def test_labels_stay_when_mentions_are_hit() -> None:
    mask = fit(Entity(rate=1.0), setting_of(rows_of([NAMES])))
    clean = batch_of(rows_of([NAMES] * 3))
    assert clean.labels is not None
    before = clean.labels.clone()
    masked = mask.corrupt(clean, Draws(0))
    assert masked.labels is not None
    assert torch.equal(masked.labels, before)
    assert (masked.input_ids == MASK).any()


def test_runs_of_capitals_are_mentions_too() -> None:
    text = Text([[5], [6, 7], [8], [9], [10]], capitals=[False, True, True, False, True])
    mask = fit(Entity(rate=0.4, by="capitals"), setting_of(rows_of([text], False), False))
    found = hit_words(mask, batch_of(rows_of([text] * 200, False)))
    assert {frozenset(words) for words in found} == {frozenset(s) for s in (set(), {1, 2}, {4}, {1, 2, 4})}


def test_tasks_without_mentions_are_refused() -> None:
    assert Entity().needs() == {"gold mentions"}
    assert Entity(by="capitals").needs() == frozenset()
    setting = setting_of(rows_of([Text([[5]])], False), False)
    with pytest.raises(
        InputError,
        match=r"^entity: by: gold: expected a token-classification task, found sequence-classification$",
    ):
        fit(Entity(), setting)
    with pytest.raises(InputError, match=r"^entity: by: capitals: expected capitals in the training text"):
        fit(Entity(by="capitals"), setting)


# --- semantic


def test_related_words_are_hit_together() -> None:
    """Embeddings in three tight clusters; two words of a text are of one cluster, the others far away."""
    setting = setting_of(rows_of([Text([[5]])]))
    table = setting.model.get_input_embeddings().weight  # type: ignore[operator]
    with torch.no_grad():
        for cluster in (10, 20, 30):
            table[cluster : cluster + 3] = table[cluster] + 0.01 * torch.randn(3, 16)
    text = Text([[10], [20], [30], [21], [31, 32], [11]])
    groups = [{0, 5}, {1, 3}, {2, 4}]
    mask = fit(Semantic(rate=0.3, neighbours=1), setting)
    batch = batch_of(rows_of([text] * 300))
    counts = hits(mask, batch).sum(1)
    for words, count in zip(hit_words(mask, batch), counts.tolist(), strict=True):
        if count == 2:
            assert words in [*groups, {4}], "the two subwords of a word may use up the budget"
    alone = [words for words in hit_words(mask, batch) if len(words) == 1]
    assert set().union(*alone) == set(range(6)), "a group that is cut begins with its anchor, which is any word"


def test_a_text_of_one_word_has_no_neighbours() -> None:
    mask = fit(Semantic(rate=1.0, neighbours=5), setting_of(rows_of([Text([[5]])])))
    batch = batch_of(rows_of([Text([[5, 6]]), Text([]), Text([[7], [7], [7]])]))
    assert torch.equal(hits(mask, batch), batch.maskable)


def test_nearness_is_that_of_the_pretrained_embeddings() -> None:
    setting = setting_of(rows_of([Text([[5]])]))
    mask = fit(Semantic(rate=0.4), setting)
    batch = text_batch(30, 30)
    before = hits(mask, batch)
    with torch.no_grad():
        setting.model.get_input_embeddings().weight.normal_()  # type: ignore[operator]
    assert torch.equal(hits(mask, batch), before)
    assert not torch.equal(hits(fit(Semantic(rate=0.4), setting), batch), before)


# --- oracle cue


def test_exactly_the_cue_is_hit() -> None:
    text = Text([[10], [30], [10, 11], [11, 10], [31, 11], [10]])  # 30 and 31 are 10 and 11 after a space
    setting = setting_of(rows_of([text]))
    batch = batch_of(rows_of([text, Text([[5], [10]]), Text([[7]])]))
    assert hit_words(fit(OracleCue(cues=["10"]), setting), batch) == [{0, 1, 5}, {1}, set()]
    assert hit_words(fit(OracleCue(cues=["11-10", "10-11"]), setting), batch) == [{2, 3}, set(), set()]
    assert hit_words(fit(OracleCue(cues=["11-11"]), setting_of(rows_of([Text([[31, 11]])]))), batch) == [
        {4},
        set(),
        set(),
    ]


def test_a_cue_that_the_training_text_lacks_hits_nothing() -> None:
    rows = rows_of([Text([[10], [11]]), Text([[13]])])
    mask = fit(OracleCue(cues=["12-13", "14-15"]), setting_of(rows))
    assert hit_words(mask, batch_of(rows)) == [set(), set()]
    assert hit_words(mask, batch_of(rows_of([Text([[12, 13], [11], [14, 15]])]))) == [{0, 2}]


def test_a_cue_that_cannot_be_spelled_is_an_error() -> None:
    setting = setting_of(rows_of([Text([[10], [11]])]))
    with pytest.raises(InputError, match=r"^oracle-cue: cues: '4': expected a word that the tokenizer can spell"):
        fit(OracleCue(cues=[str(SPECIAL)]), setting)
    for cues in ([], [""]):
        with pytest.raises(ValidationError):
            OracleCue(cues=cues)


def test_cues_whose_number_of_masks_would_tell_them_apart_are_an_error() -> None:
    # as measured on real text: with 3 and 4 masks in the place of the cues, a model learnt nothing but their number
    setting = setting_of(rows_of([Text([[10], [11, 12]])]))
    with pytest.raises(InputError, match=r"equally many pieces.* makes 1 of '10' and 2 of '11-12'$"):
        fit(OracleCue(cues=["10", "11-12"]), setting)


# --- twins


def test_twins_of_a_strategy_are_made_of_its_mask() -> None:
    entry = {
        "name": "x",
        "input": "span",
        "twins": ["rate-twin", "noise-twin", "drawn-not-applied", "rate-zero", "all"],
    }
    made = {strategy.name: strategy.input for strategy in Strategy.model_validate(entry).expanded()}
    assert made == {
        "x": Span(),
        "x-rate-twin": RateTwin(of=Span()),
        "x-noise-twin": Span(replacement="noise"),
        "x-drawn-not-applied": Span(apply=False),
        "x-rate-zero": Span(rate=0.0),
        "x-all": Span(rate=1.0),
    }
    for strategy in Strategy.model_validate(entry).expanded():
        assert Strategy.model_validate_json(strategy.model_dump_json()) == strategy


def test_a_twin_has_its_own_places_in_each_pass() -> None:
    texts = [Text([[5 + place % 40] for place in range(30)]) for _ in range(200)]
    batch = batch_of(rows_of(texts))
    hit = hits(RateTwin(of=Tail(keep=20)), batch)
    assert (hit.sum(1) == 10).all()
    assert stats.chisquare(hit[:, 1:-1].sum(0).numpy()).pvalue > 1e-3
    assert not torch.equal(hit, hits(RateTwin(of=Tail(keep=20)), replace(batch, epoch=1)))


def test_a_twin_replaces_as_the_other_mask_unless_told() -> None:
    assert RateTwin(of=Span(replacement="bert")).replacement == "bert"
    assert RateTwin.model_validate({"of": {"kind": "span", "replacement": "noise"}}).replacement == "noise"
    assert RateTwin.model_validate({"of": "span"}).replacement == "mask"
    assert RateTwin(of=Span(replacement="bert"), replacement="mask").replacement == "mask"
    assert RateTwin(of=Generated(by="unigram")).replacement == "mask"


def test_a_twin_needs_a_mask_that_says_where_it_hits() -> None:
    with pytest.raises(ValidationError, match="rate-twin: expected a mask that says where it hits, got odd"):
        RateTwin(of=InputMask(kind="odd"))


def test_a_twin_passes_everything_on() -> None:
    class Watching(Random):
        kind: Any = 0  # not in the registry
        _seen: Any = None

        def observe(self, loss: torch.Tensor) -> None:
            self._seen = loss

        def modules(self) -> dict[str, torch.nn.Module]:
            return {"gate": torch.nn.Linear(1, 1)}

        def state(self) -> dict[str, Any]:
            return {"seen": self._seen}

        def restore(self, state: dict[str, Any]) -> None:
            self._seen = state["seen"]

    inner = Watching(kind="watching")
    twin = RateTwin(of=inner)
    twin.observe(torch.tensor(2.0))
    assert twin.state() == {"seen": torch.tensor(2.0)}
    twin.restore({"seen": 1})
    assert inner.state() == {"seen": 1}
    assert set(twin.modules()) == {"gate"}
    assert RateTwin(of=Entity()).needs() == {"gold mentions"}
    with pytest.raises(InputError, match="entity: by: gold"):
        fit(RateTwin(of=Entity()), setting_of(rows_of([Text([[5]])], False), False))
