"""Input masks that a model decides: adaptive, generated, learned."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from scipy import stats
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, BertForTokenClassification

from maskbench.masks import Strategy
from maskbench.masks.draws import Draws
from maskbench.masks.input.adaptive import Adaptive
from maskbench.masks.input.generated import Generated
from maskbench.masks.input.learned import Learned
from maskbench.masks.input.random import Random
from maskbench.masks.passes import forward, mixing
from maskbench.masks.registry import find
from maskbench.masks.shared import budget, gates, importance
from maskbench.masks.shared.pace import Pace
from tests.helpers.texts import MASK, SPECIAL, VOCABULARY, Text, batch_of, rows_of, setting_of

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TEXTS = [
    Text([[4 + (7 * row + 3 * place) % 50, 4 + (row + place) % 50][: 1 + place % 2] for place in range(3 + row % 9)])
    for row in range(40)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random BERT with a masked-LM head; large weights, so that its distributions are far from uniform."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig(vocab_size=VOCABULARY, initializer_range=0.3, **SIZES))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(params=[True, False], ids=["tagging", "classification"])
def task(request, folder):
    """A setting and a batch of either kind."""
    return make(folder, request.param)


def make(folder, tagging, attention="eager"):
    kind = BertForTokenClassification if tagging else BertForSequenceClassification
    torch.manual_seed(1)
    model = kind.from_pretrained(folder, num_labels=5 if tagging else 2, attn_implementation=attention)
    rows = rows_of(
        [replace(text, tags=[1] * len(text.words), label=row % 2) for row, text in enumerate(TEXTS)], tagging
    )
    return setting_of(rows, tagging, model=model, folder=folder), batch_of(rows)


def fitted(mask, setting, draws=None):
    mask.fit(setting, draws or Draws(1))
    return mask


MODEL_MASKS = [
    Adaptive(rate=0.4, place="loss"),
    Adaptive(rate=0.4, place="attention", rate_by="constant"),
    Generated(rate=0.4),
    Generated(rate=0.4, by="unigram"),
    Learned(rate=0.4),
    Learned(rate=0.4, sampling="hard-concrete"),
]


@pytest.fixture(params=MODEL_MASKS, ids=lambda mask: "-".join(str(value) for value in dict(mask).values())[:60])
def mask(request):
    return request.param.model_copy(deep=True)


# --- what holds for all of them


def test_they_touch_words_alone_and_disturb_nothing(mask, task):
    setting, batch = task
    mask = fitted(mask, setting)
    setting.model.train()
    before = {name: value.clone() for name, value in setting.model.state_dict().items()}
    state = torch.get_rng_state()
    masked = mask.corrupt(batch, Draws(1))
    assert torch.equal(state, torch.get_rng_state())
    assert all(part.training for part in setting.model.modules())
    assert all(value.grad is None for value in setting.model.parameters())
    assert all(torch.equal(before[name], value) for name, value in setting.model.state_dict().items())
    assert 0 < masked.hit.sum() < batch.maskable.sum()
    assert not (masked.hit & ~batch.maskable).any()
    assert torch.equal(masked.input_ids[~masked.hit], batch.input_ids[~masked.hit])
    if masked.mix is not None:
        assert (masked.mix[~batch.maskable] == 0).all()


def test_a_text_is_masked_alike_in_any_batch(mask, task):
    setting, batch = task
    mask = fitted(mask, setting)
    whole = mask.corrupt(batch, Draws(1))
    alone = isinstance(mask, Learned) or mask == Generated(rate=0.4, by="unigram")
    for left in (False, True) if alone else (False,):  # positions of a BERT count from the left, padding included
        rows = [dict(row) for row in setting.train.select([5, 11])]
        some = mask.corrupt(batch_of(rows, left=left, multiple=8), Draws(1))
        for place, row in enumerate((5, 11)):
            for name in ("input_ids", "hit"):
                one, other = (getattr(part, name) for part in (whole, some))
                assert torch.equal(one[row][batch.padding[row]], other[place][some.padding[place]])


def test_passes_and_seeds_differ(mask, task):
    setting, batch = task
    mask = fitted(mask, setting)
    one = mask.corrupt(batch, Draws(1)).hit
    assert not torch.equal(one, mask.corrupt(replace(batch, epoch=1), Draws(1)).hit)
    assert not torch.equal(one, mask.corrupt(batch, Draws(2)).hit)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_the_ends_of_the_scale(mask, task, rate):
    setting, batch = task
    mask = fitted(mask.model_copy(update={"rate": rate}), setting)
    masked = mask.corrupt(batch, Draws(1))
    assert torch.equal(masked.hit, batch.maskable & bool(rate))
    if rate == 0:
        assert torch.equal(masked.input_ids, batch.input_ids)
    if masked.mix is not None:
        assert torch.equal(masked.mix, masked.hit.float())


@pytest.mark.parametrize("mask", [item for item in MODEL_MASKS if item.kind != "generated"], indirect=True)
def test_the_budget_is_that_of_random_text_by_text(mask, task):
    setting, batch = task
    counts = fitted(mask, setting).corrupt(batch, Draws(1)).hit.sum(1)
    random = Random(rate=0.4).corrupt(batch, Draws(1)).hit.sum(1)
    if getattr(mask, "sampling", "") == "hard-concrete":  # its budget holds on average
        assert abs(counts.sum() - random.sum()) < 5 * math.sqrt(0.24 * batch.maskable.sum())
    else:
        assert torch.equal(counts, random)


# --- adaptive: the rate

UPDATES = 400
STEPS = torch.arange(UPDATES) / UPDATES
NOISE = torch.randn(UPDATES, generator=torch.Generator().manual_seed(0))
CURVES = {
    "falling": 0.05 + 2.0 * torch.exp(-5 * STEPS),
    "falling, noisy": (0.1 + 1.5 * torch.exp(-6 * STEPS)) * torch.exp(0.5 * NOISE),
    "noise": torch.exp(NOISE),
    "rising": 0.1 + 3 * STEPS,
    "in steps": 1.0 / (1 + (5 * STEPS).floor()),
    "spikes": 0.2 + 5.0 * (torch.arange(UPDATES) % 50 == 0),
    "nothing left": torch.where(STEPS < 0.5, 1.0, 0.0),
}


@pytest.mark.parametrize("rate", [0.05, 0.15, 0.4, 0.9])
@pytest.mark.parametrize("curve", list(CURVES))
def test_the_mean_rate_is_kept_whatever_the_loss_does(curve, rate):
    pace = Pace(rate, 0.5, 4.0, 0.9, 0.99, 0.1, torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    hits = seen = 0
    rates = []
    for step, loss in enumerate(CURVES[curve]):
        now = pace.rate(step / UPDATES)
        maskable = torch.rand(32, 40, generator=generator) < torch.rand(32, 1, generator=generator)
        hit = (torch.rand(32, 40, generator=generator) < now) & maskable
        pace.spend(hit, maskable)
        pace.observe(loss)
        hits, seen = hits + int(hit.sum()), seen + int(maskable.sum())
        rates.append(now.item())
    assert hits / seen == pytest.approx(rate, rel=0.01)
    width = 0.5 * min(rate, 1 - rate)
    assert rate - width - 1e-6 <= min(rates)
    assert max(rates) <= rate + width + 1e-6
    assert max(rates) - min(rates) > 0.1 * width


def test_the_rate_rises_while_the_loss_falls():
    down, up = (Pace(0.3, 0.5, 4.0, 0.5, 0.95, 0.1, torch.device("cpu")) for _ in range(2))
    assert down.rate(0.0) == pytest.approx(0.3)
    for loss in (1.0, 0.8, 0.6, 0.5):
        down.observe(torch.tensor(loss))
        up.observe(torch.tensor(2 - loss))
    assert down.rate(0.0) > 0.32
    assert up.rate(0.0) < 0.28
    # F = S + ... by hand: both begin at the first loss
    fast = slow = 1.0
    for loss in (1.0, 0.8, 0.6, 0.5):
        fast, slow = 0.5 * fast + 0.5 * loss, 0.95 * slow + 0.05 * loss
    assert down.rate(0.0).item() == pytest.approx(0.3 + 0.15 * math.tanh(4 * (slow - fast) / slow))


def test_a_debt_is_settled_over_the_horizon():
    pace = Pace(0.3, 0.5, 4.0, 0.9, 0.99, 0.1, torch.device("cpu"))
    maskable = torch.ones(1, 1000, dtype=torch.bool)
    pace.spend(torch.arange(1000)[None] < 290, maskable)  # 10 too few of 300
    assert pace.rate(0.5).item() == pytest.approx(0.3 + 10 / 200)  # 1,000 tokens were half of the training
    assert pace.rate(0.95).item() == pytest.approx(0.45)  # more than the swing allows


def test_the_trainers_losses_arrive_and_the_slow_mean_is_the_slower_one(task):
    setting, batch = task
    mask = fitted(Adaptive(gain=100.0, fast=0.1), setting)
    first = mask.corrupt(batch, Draws(1)).hit
    for loss in (1.0, 0.1):
        mask.observe(torch.tensor(loss))
    assert mask.corrupt(batch, Draws(1)).hit.sum() > first.sum()
    with pytest.raises(ValidationError, match=r"expected fast below slow, got 0\.99 and 0\.9"):
        Adaptive(fast=0.99, slow=0.9)


# --- adaptive: the places


def test_places_are_drawn_in_proportion_to_their_weights():
    """The first place of a draw is a token with the probability of its share; the exponent sharpens it."""
    weights = torch.tensor([9.0, 4.0, 1.0, 0.0])
    draws = 20_000
    words = torch.arange(4).expand(draws, 4)
    real = torch.ones(draws, 4, dtype=torch.bool)
    batch = replace(batch_of(rows_of(TEXTS[:1])), words=words, padding=real, examples=torch.arange(draws))
    ones = torch.ones(draws, dtype=torch.int64)
    for sharpness in (0.0, 0.5, 1.0):
        order = importance.preferring(batch, weights.expand(draws, 4), sharpness, Draws(1).uniform(batch, channel=1))
        found = budget.first(batch, order, ones).sum(0)
        shares = weights.double().clamp(min=1e-6 * weights.mean()) ** sharpness
        kept = found > 0
        assert found[~kept].sum() == 0
        expected = (shares / shares.sum() * draws)[kept]
        assert stats.chisquare(found[kept], expected / expected.sum() * draws).pvalue > 1e-3


def test_attention_received_is_the_mean_over_real_queries_heads_and_layers(folder):
    setting, batch = make(folder, True)
    found = importance.attention_received(setting.model, batch)
    setting.model.eval()
    attentions = setting.model(**batch.inputs(), output_attentions=True).attentions
    for row in (0, 3):
        real = batch.padding[row]
        by_hand = torch.stack([layer[row][:, real].mean((0, 1)) for layer in attentions]).mean(0)
        torch.testing.assert_close(found[row], by_hand)
    torch.testing.assert_close(found.sum(1), torch.ones(len(found)))


def test_attention_is_found_under_sdpa_too_which_stays_in_force(folder):
    (eager, batch), (sdpa, _) = make(folder, False), make(folder, False, "sdpa")
    one, other = (importance.attention_received(setting.model, batch) for setting in (eager, sdpa))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert sdpa.model.config._attn_implementation == "sdpa"


def test_the_loss_of_a_word_is_that_of_its_first_subword(folder):
    setting, batch = make(folder, True)
    found = importance.word_losses(setting.model, batch)
    setting.model.eval()
    losses = cross_entropy(setting.model(**batch.inputs()).logits.movedim(-1, 1), batch.labels, reduction="none")
    for row in range(len(TEXTS)):
        for place, word in enumerate(batch.words[row].tolist()):
            first = batch.words[row].tolist().index(word)
            expected = losses[row, first] if word >= 0 else torch.tensor(0.0)
            torch.testing.assert_close(found[row, place], expected)


def test_saliency_is_the_slope_towards_the_mask_token(folder):
    """By finite differences: the loss with one embedding moved a little towards that of [MASK]."""
    setting, batch = make(folder, False)
    found = importance.saliency(setting.model, batch, setting.loss)
    model = setting.model.double().eval()

    def loss(mix):
        with torch.no_grad(), mixing(model, replace(batch, mix=mix)):
            return cross_entropy(model(**batch.inputs()).logits, batch.labels)  # in float64

    zeros = torch.zeros(batch.input_ids.shape, dtype=torch.float64)
    for row, place in [(0, 1), (3, 2), (8, 5)]:
        step = zeros.clone()
        step[row, place] = 1e-4
        slope = (loss(step) - loss(-step)) / 2e-4
        assert found[row, place].item() == pytest.approx(abs(slope.item()), rel=0.02, abs=1e-6)


def test_tokens_that_matter_are_hit_more_often(task):
    setting, batch = task
    for place in ("loss", "attention"):
        mask = fitted(Adaptive(place=place, rate_by="constant", sharpness=3.0, rate=0.3), setting)
        weights = mask._weights(batch)
        hit = torch.stack([mask.corrupt(replace(batch, epoch=epoch), Draws(1)).hit for epoch in range(40)])
        often = hit.float().mean(0)
        known = [
            stats.spearmanr(weights[row, real], often[row, real]).statistic
            for row, real in enumerate(batch.maskable)
            if real.sum() > 5
        ]
        assert sum(known) / len(known) > 0.6


# --- generated


def test_unigrams_come_as_often_as_in_the_training_split(task):
    setting, _ = task
    tokens = torch.tensor([token for text in TEXTS for word in text.words for token in word])
    for temperature in (1.0, 2.0):
        mask = fitted(Generated(by="unigram", temperature=temperature), setting)
        uniform = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
        found = torch.bincount(mask._sampler.sample(None, uniform), minlength=VOCABULARY)
        shares = torch.bincount(tokens, minlength=VOCABULARY).double() ** (1 / temperature)
        kept = shares > 0
        assert found[~kept].sum() == 0
        assert stats.chisquare(found[kept], shares[kept] / shares.sum() * 20_000).pvalue > 1e-3


def test_the_model_fills_holes_by_its_own_distribution(folder):
    """Many samples of one hole against the softmax of a masked LM that is asked in the ordinary way."""
    setting, _ = make(folder, True)
    count = 5000
    one = batch_of([dict(setting.train[8])])
    many = replace(one, **{name: getattr(one, name).expand(count, -1) for name in ("input_ids", "words", "padding")})
    hit = torch.zeros(count, one.words.shape[1], dtype=torch.bool)
    hit[:, 3] = True
    holes = many.corrupted(hit, MASK)
    uniform = torch.rand(count, generator=torch.Generator().manual_seed(0))[:, None].expand(hit.shape)
    model = BertForMaskedLM.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = model(input_ids=holes.input_ids[:1], attention_mask=one.padding.long()).logits[0, 3, SPECIAL:]
    for temperature in (1.0, 0.5):
        mask = fitted(Generated(temperature=temperature), setting)
        tokens = mask._sampler.sample(holes, uniform)[hit]
        found = torch.bincount(tokens - SPECIAL, minlength=VOCABULARY - SPECIAL)
        expected = (logits / temperature).softmax(-1) * count
        often = expected > 5
        counts = [*found[often].tolist(), found[~often].sum().item()]
        shares = torch.tensor([*expected[often].tolist(), expected[~often].sum().item()], dtype=torch.float64)
        assert len(shares) > 5
        assert stats.chisquare(counts, shares / shares.sum() * count).pvalue > 1e-3


def test_generated_places_are_those_of_random_and_special_tokens_never_come(task):
    setting, batch = task
    for by in ("model", "unigram"):
        masked = fitted(Generated(rate=0.5, by=by, temperature=5.0), setting).corrupt(batch, Draws(1))
        assert torch.equal(masked.hit, Random(rate=0.5).corrupt(batch, Draws(1)).hit)
        assert (masked.input_ids[masked.hit] >= SPECIAL).all()
        assert (masked.input_ids != batch.input_ids).any()


def test_the_generator_does_not_learn_with_the_task(folder):
    setting, batch = make(folder, True)
    mask = fitted(Generated(rate=0.5), setting)
    before = mask.corrupt(batch, Draws(1)).input_ids
    with torch.no_grad():
        for value in setting.model.parameters():
            value.add_(1.0)
    assert torch.equal(before, mask.corrupt(batch, Draws(1)).input_ids)
    assert mask.modules() == {}


# --- learned


def test_the_gate_learns_what_lowers_the_loss(task):
    """A task that gains from masking even tokens: the gate finds them, within the budget."""
    setting, batch = task
    even = (batch.input_ids % 2 == 0).float()
    for sampling in ("straight-through", "hard-concrete"):
        mask = fitted(Learned(rate=0.3, sampling=sampling), setting)
        optimizer = torch.optim.Adam(mask.modules()["gate"].parameters(), lr=1e-2)
        shares, rates = [], []
        for epoch in range(150):
            masked = mask.corrupt(replace(batch, epoch=epoch), Draws(1))
            (-(masked.mix * even).sum() / len(even)).backward()
            optimizer.step()
            optimizer.zero_grad()
            shares.append((even[masked.hit]).mean().item())
            rates.append((masked.hit.sum() / batch.maskable.sum()).item())
        assert sum(shares[:5]) / 5 < 0.7
        assert sum(shares[-20:]) / 20 > 0.85
        assert sum(rates) / len(rates) == pytest.approx(0.3, abs=0.01)


def test_the_task_loss_has_a_gradient_to_the_gate_and_straight_through_masks_wholly(task):
    setting, batch = task
    for sampling in ("straight-through", "hard-concrete"):
        mask = fitted(Learned(rate=0.3, sampling=sampling), setting)
        masked = mask.corrupt(batch, Draws(1))
        setting.model.zero_grad()
        setting.loss(forward(setting.model, masked), batch.labels).backward()
        gate = mask.modules()["gate"]
        assert gate.outer.grad.abs().sum() > 0
        assert torch.equal(masked.input_ids, batch.input_ids)
        if sampling == "straight-through":
            assert torch.equal(masked.mix, masked.hit.float())
            plain = replace(batch.corrupted(masked.hit, MASK), noise=0)
            setting.model.eval()
            one, other = (forward(setting.model, part).logits for part in (masked, plain))
            assert torch.equal(one, other)
            setting.model.train()


def test_weights_between_0_and_1_have_finite_gradients_everywhere(task):
    setting, batch = task
    for rate in (0.0, 0.01, 0.5, 1.0):
        for sampling in ("straight-through", "hard-concrete"):
            mask = fitted(Learned(rate=rate, sampling=sampling), setting)
            mask.corrupt(batch, Draws(1)).mix.sum().backward()
            assert all(value.grad.isfinite().all() for value in mask.modules()["gate"].parameters())


@pytest.mark.parametrize("rate", [0.01, 0.15, 0.5, 0.95])
def test_shifted_odds_have_the_wanted_mean(rate):
    odds = 5 * torch.randn(50, 30, generator=torch.Generator().manual_seed(0))
    maskable = torch.rand(50, 30, generator=torch.Generator().manual_seed(1)) < 0.6
    maskable[0] = False  # a text without words
    shift = gates.shift(odds, maskable, rate)
    assert shift.isfinite().all()
    mean = (torch.sigmoid(odds + shift) * maskable).sum(1) / maskable.sum(1)
    torch.testing.assert_close(mean[1:], torch.full((49,), rate), atol=1e-4, rtol=1e-3)


def test_hard_concrete_values_are_those_of_the_paper():
    """Louizos et al. (2018): most of the mass at 0 and 1, P(z ≥ ½) = sigmoid(log α), P(z = 0) in closed form."""
    rows = rows_of([Text([[4]] * 10)] * 4000)
    batch = batch_of(rows)
    noise = gates.logistic(Draws(1).uniform(batch, channel=1))
    for temperature in (0.4, 2 / 3):
        mix = gates.hard_concrete(batch, torch.zeros(batch.words.shape), noise, 0.3, temperature)[batch.maskable]
        count, odds = len(mix), math.log(0.3 / 0.7)
        closed = 1 / (1 + math.exp(odds - temperature * math.log(0.1 / 1.1)))
        assert stats.binomtest(int((mix >= 0.5).sum()), count, 0.3).pvalue > 1e-3
        assert stats.binomtest(int((mix == 0).sum()), count, closed).pvalue > 1e-3


def test_the_gate_is_drawn_from_the_masks_own_generator(task):
    setting, _ = task
    torch.manual_seed(0)
    state = torch.get_rng_state()
    one, two, three = (fitted(Learned(), setting, Draws(seed)).modules()["gate"].inner for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


# --- their twins


@pytest.mark.parametrize(
    ("entry", "twin", "lacks"),
    [
        ({"kind": "learned"}, "noise-twin", "a mask that could put random tokens in its places"),
        ({"kind": "generated", "replacement": "noise"}, "noise-twin", "a mask that could put random tokens"),
        ({"kind": "generated"}, "rate-twin", "a mask that chooses its places"),
    ],
)
def test_twins_that_make_no_sense_are_refused(entry, twin, lacks):
    with pytest.raises(ValidationError, match=f"{twin} of x makes no sense without {lacks}"):
        Strategy.model_validate({"name": "x", "input": entry, "twins": [twin]})


def test_twins_that_make_sense(task):
    setting, batch = task
    strategy = Strategy.model_validate({"name": "x", "input": {"kind": "generated"}, "twins": ["noise-twin"]})
    _, twin = strategy.expanded()
    assert torch.equal(
        fitted(twin.input, setting).corrupt(batch, Draws(1)).input_ids,
        fitted(Random(replacement="noise"), setting).corrupt(batch, Draws(1)).input_ids,
    )
    for entry in ({"kind": "adaptive", "place": "loss"}, {"kind": "learned", "rate": 0.4}):
        _, twin = Strategy.model_validate({"name": "x", "input": entry, "twins": ["rate-twin"]}).expanded()
        one = fitted(find("input", entry["kind"]).model_validate(entry), setting).corrupt(batch, Draws(1))
        other = fitted(twin.input, setting).corrupt(batch, Draws(1))
        assert torch.equal(one.hit.sum(1), other.hit.sum(1))
        assert not torch.equal(one.hit, other.hit)


def test_their_own_replacements_alone_are_accepted():
    for mask, wrong in ((Learned, "noise"), (Learned, "bert"), (Generated, "mask"), (Generated, "bert")):
        with pytest.raises(ValidationError, match="replacement"):
            mask.model_validate({"replacement": wrong})
