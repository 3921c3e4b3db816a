"""The exhibits: every mistake has one, the page shows their code as it is, and their claims hold."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from docs.exhibits import (
    EXHIBITS,
    MISTAKES,
    answers_in_sight,
    consistency_alone,
    empty_row,
    half_precision,
    ids_as_mask,
    infinity_in_integers,
    masked_evaluation,
    multiplicative,
    no_padding_mask,
    no_test_split,
    o_dominates,
    selected_on_test,
    specials_only,
    with_replacement,
)
from docs.exhibits.exhibit import anchor, code_block, section
from docs.exhibits.material import attention_on
from maskbench.kinds.encoding import IGNORED
from maskbench.masks.base import FAMILIES
from maskbench.masks.batch import Batch
from maskbench.masks.registry import known
from maskbench.slots.device import choose
from maskbench.training.checkpoints import Work
from maskbench.training.run import Inputs, Run
from tests.helpers.models import make_cell, make_encoded, make_model

CLS, SEP, MASK = 2, 3, 4
FIRST = 5
"""First ordinary token."""


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads that wait for each other take most of the time of models this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def text_batch(rows: int = 200, width: int = 40, pad_id: int = 0) -> Batch:
    """[CLS] words [SEP] [PAD]..., of lengths from 8 to 27."""
    lengths = 8 + torch.arange(rows)[:, None] % 20
    places = torch.arange(width)[None]
    ids = FIRST + (places * 7 + torch.arange(rows)[:, None]) % 90
    ids = torch.where(places == 0, CLS, torch.where(places == lengths - 1, SEP, ids))
    padding = places < lengths
    words = torch.where((places > 0) & (places < lengths - 1), places - 1, -1)
    return Batch(ids.masked_fill(~padding, pad_id), padding, words, torch.arange(rows), epoch=0, mask_id=MASK)


@pytest.fixture(scope="module")
def encoder() -> BertModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=100,
        hidden_size=24,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=32,
        attn_implementation="eager",
    )
    return BertModel(config).eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("tiny")
    model = make_model(base / "model")
    return SimpleNamespace(model=model, encoded=make_encoded(base / "task", model, "sequence-classification"))


# --- the page


@pytest.fixture(scope="module")
def page(root):
    return (root / "docs/exhibits.md").read_text(encoding="utf-8")


def test_every_mistake_has_an_exhibit():
    """Nothing but words that join is left of the list once what the exhibits show is taken out."""
    left = "\n".join(MISTAKES)
    for exhibit in EXHIBITS:
        for mistake in exhibit.mistakes:
            assert left.count(mistake) == 1, mistake
            left = left.replace(mistake, "")
    assert re.sub(r"\b(and|or)\b|[,;\s]", "", left) == ""


def test_the_list_is_that_of_the_claims(root):
    claims = root.parent / "shared/claims.md"
    if not claims.is_file():
        pytest.skip("claims.md is not beside the checkout")
    part = claims.read_text(encoding="utf-8").split("## 3.")[1].split("\nEach is worth")[0]
    assert tuple(" ".join(item.split()) for item in part.split("\n- ")[1:]) == MISTAKES


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda exhibit: exhibit.name)
def test_the_page_shows_the_code_as_it_is(page, exhibit):
    number = EXHIBITS.index(exhibit) + 1
    start = page.index(f"## {number}. {exhibit.title}")
    shown = page[start : page.find("\n## ", start + 1)] if number < len(EXHIBITS) else page[start:]
    assert code_block(exhibit.article) in shown
    assert code_block(exhibit.right) in shown
    assert all(mistake in shown for mistake in exhibit.mistakes)
    assert f"| {number} | [{exhibit.title}](#{anchor(exhibit)})" in page


def test_the_page_has_nothing_else(page):
    assert re.findall(r"^## (\d+)\. ", page, re.MULTILINE) == [str(number + 1) for number in range(len(EXHIBITS))]
    assert max(len(line) for line in page.splitlines() if not line.startswith("|")) <= 120


@pytest.mark.parametrize("module", [half_precision, empty_row])
def test_the_page_has_the_numbers_of_what_needs_no_model(page, module):
    number = EXHIBITS.index(module.EXHIBIT) + 1
    assert section(number, module.EXHIBIT, module.EXHIBIT.measure(None)) in page


def test_exhibits_add_no_mask_to_the_configuration():
    for family in FAMILIES:
        assert all(not mask.__module__.startswith("docs.") for mask in known(family).values())


# --- what is masked


def test_the_inverted_test_masks_the_special_tokens_alone(folders):
    batch, tokenizer = text_batch(), AutoTokenizer.from_pretrained(folders.model)
    assert specials_only.shares(specials_only.inverted(batch.input_ids, tokenizer), batch) == (0.0, 1.0)
    words, special = specials_only.shares(specials_only.right(batch, 1), batch)
    assert special == 0.0
    assert words == pytest.approx(0.15, abs=0.02)
    texts = ["a good film", "a dull play was cold"]
    assert torch.equal(
        specials_only.raw_strings(texts, tokenizer), tokenizer(texts, padding=True, return_tensors="pt").input_ids
    )


def test_positions_with_replacement_miss_words_and_rate():
    batch = text_batch()
    wrong = with_replacement.counts(with_replacement.article, [batch])
    proper = with_replacement.counts(with_replacement.right, [batch])
    assert wrong["wasted"] > 0.5
    assert min(wrong["special"], wrong["padding"]) > 0.1
    assert wrong["words"] < 0.145
    assert (proper["special"], proper["padding"], proper["wasted"]) == (0.0, 0.0, 0.0)
    assert proper["words"] == pytest.approx(0.15, abs=0.015)


def test_a_masked_lm_that_sees_its_answers():
    batch = text_batch()
    for way in (answers_in_sight.zero_one, answers_in_sight.unmasked):
        assert torch.equal(way(batch)[0], batch.input_ids)
    assert answers_in_sight.zero_one(batch)[1].unique().tolist() == [IGNORED, 0, 1]
    ids, targets = answers_in_sight.unmasked(batch)
    assert torch.equal(ids[targets != IGNORED], targets[targets != IGNORED])
    ids, targets = answers_in_sight.right(batch)
    assert (ids[targets != IGNORED] == MASK).all()
    assert torch.equal(targets[targets != IGNORED], batch.input_ids[ids == MASK])


def test_a_mask_in_evaluation_gives_another_answer_every_time():
    batch = text_batch()
    seen = []

    def model(input_ids, attention_mask):
        seen.append(input_ids)
        return SimpleNamespace(logits=input_ids)

    model.eval = lambda: None
    for _ in range(2):
        masked_evaluation.article(model, batch, 0.15)
        masked_evaluation.right(model, batch)
    assert not torch.equal(seen[0], seen[2])
    assert torch.equal(seen[1], batch.input_ids)
    assert torch.equal(seen[1], seen[3])


# --- what is hidden


def test_infinity_does_not_fit_and_a_cast_makes_it_visible(encoder):
    assert "int64_t without overflow" in infinity_in_integers.refusal()
    batch = text_batch(20)
    mask, hidden = batch.padding.long(), batch.maskable & (torch.arange(40) % 3 == 0)

    def mass(attention_mask):
        inputs = {"input_ids": batch.input_ids, "attention_mask": attention_mask}
        return attention_on(encoder, hidden, batch.padding, **inputs)

    assert mass(infinity_in_integers.cast(mask, hidden)) == mass(mask) > 0.2
    assert mass(infinity_in_integers.right(mask, hidden)) == 0.0


@pytest.mark.parametrize(("pad_id", "leaks"), [(0, False), (1, True)])
def test_token_ids_hide_padding_by_luck_alone(encoder, pad_id, leaks):
    batch = text_batch(20, pad_id=pad_id)
    ids = {"input_ids": batch.input_ids, "attention_mask": batch.input_ids}
    assert (attention_on(encoder, ~batch.padding, batch.padding, **ids) > 0.3) is leaks
    assert torch.equal(ids_as_mask.article(encoder, batch), ids_as_mask.right(encoder, batch)) is not leaks
    assert ids_as_mask.not_finite(batch.input_ids) == 1.0


def test_without_its_mask_a_model_reads_padding(encoder):
    def headed(**inputs):
        return SimpleNamespace(logits=encoder(**inputs).pooler_output)

    narrow, wide = text_batch(20, 27), text_batch(20, 60)
    moved = (no_padding_mask.article(headed, wide) - no_padding_mask.article(headed, narrow)).abs().max()
    still = (no_padding_mask.right(headed, wide) - no_padding_mask.right(headed, narrow)).abs().max()
    assert moved > 1e-3
    assert still < 1e-5


def test_a_product_hides_nothing(encoder):
    assert multiplicative.gaussian_leak(multiplicative.article) == pytest.approx(0.42, abs=0.01)
    assert multiplicative.gaussian_leak(multiplicative.right) == 0.0
    batch, future = text_batch(8), multiplicative.causal(40)[None, None]
    weights = multiplicative.in_a_model(encoder, batch, future)
    assert weights.shape == (6, 8, 12, 40, 40)
    assert multiplicative.hidden_share(weights, future).max() == 0.0
    leaked = multiplicative.hidden_share(multiplicative.article_in_a_model(encoder, batch, future), future)
    real = batch.padding[None, :, None].expand_as(leaked)
    assert leaked[real].mean() > 0.1
    # padding is another matter: the product leaves it hidden
    padded = multiplicative.article_in_a_model(encoder, batch, torch.ones_like(future))
    assert multiplicative.hidden_share(padded, batch.padding[:, None, None])[real].max() < 1e-6
    # the scores that the exhibit computes are those of the model
    torch.testing.assert_close(
        multiplicative.right(multiplicative.scores_of(encoder, batch)[0], batch.padding[:, None, None]),
        encoder(**batch.inputs(), output_attentions=True).attentions[0],
    )


def test_minus_a_billion_in_half_precision():
    half, single = torch.float16, torch.float32
    assert "Half without overflow" in half_precision.outcome(half_precision.filled, half)[0]
    assert half_precision.outcome(half_precision.added, half) == ("-inf", 1.0)
    assert half_precision.outcome(half_precision.added, single)[1] == 0.0
    assert half_precision.outcome(half_precision.added_twice, single)[1] == 0.125
    for dtype in (half, torch.bfloat16, single):
        assert half_precision.outcome(half_precision.right, dtype)[1] == 0.0


def test_an_empty_row_is_uniform_or_nan():
    assert torch.equal(empty_row.one_empty_row(empty_row.article_finite)[3], torch.full((16,), 1 / 16))
    assert empty_row.one_empty_row(empty_row.article_infinite)[3].isnan().all()
    assert empty_row.two_layers(empty_row.article_infinite) == (1.0, 1.0)
    assert empty_row.one_empty_row(empty_row.right)[3].tolist() == [float(key == 3) for key in range(16)]
    assert empty_row.two_layers(empty_row.right) == (0.0, 0.0)


# --- what is learned, and how it is scored


def test_consistency_alone_collapses(folders, tmp_path):
    """The hidden states of the tiny model lose their variance, and keep it where the task is there."""
    batch, spread = text_batch(20), {}
    batch = Batch(batch.input_ids % 20, batch.padding, batch.words, batch.examples, epoch=0, mask_id=MASK)
    for name, masks in {
        "article": consistency_alone.right() | {"objective": consistency_alone.Alone(kind="alone")},
        "right": consistency_alone.right(),
    }.items():
        cell = make_cell(strategy={"name": name, **masks}, training={"epochs": 10, "learning_rate": 2e-2})
        inputs = Inputs(folders.encoded, folders.model, tmp_path / f"{name}-work", tmp_path / name)
        run = Run(cell, inputs, choose(cell.training))
        run.fit(Work(inputs.work, {}, cell.training.gradient_accumulation))
        spread[name] = consistency_alone.variance(BertModel.from_pretrained(tmp_path / name).eval(), batch)
    start = consistency_alone.variance(BertModel.from_pretrained(folders.model).eval(), batch)
    assert spread["article"] < 0.1 * start
    assert spread["article"] < 0.5 * spread["right"]


def test_o_dominates_token_accuracy():
    gold = [["O"] * 8 + ["B-PER", "I-PER"], ["O"] * 9 + ["B-LOC"], ["O"] * 9 + ["B-LOC"]]
    nothing = [["O"] * 10] * 3
    assert o_dominates.article(nothing, gold) == pytest.approx(26 / 30)
    assert o_dominates.right(nothing, gold) == 0.0
    best = o_dominates.best_of_two_labels(gold)
    assert o_dominates.article(o_dominates.two_labels(best), o_dominates.two_labels(gold)) == 1.0
    assert o_dominates.right(best, gold) == pytest.approx(2 / 3)
    assert o_dominates.right(gold, gold) == 1.0


def test_a_model_that_is_chosen_on_test_looks_better_than_it_is():
    hits = (np.random.default_rng(0).random((8, 2000)) < 0.8).astype(float)
    seen = selected_on_test.optimism(hits, 100, 8, splits=300)
    assert seen["article"] > 0.03
    assert abs(seen["right"]) < 0.01
    assert selected_on_test.luck(8, 100) == pytest.approx(seen["article"], abs=0.02)


def test_a_file_is_cut_by_its_texts():
    made = no_test_split.both([f"a film of number {number}" for number in range(100)])
    assert no_test_split.overlap(made["articles"]) == 1.0
    assert no_test_split.overlap(made["right"]) == 0.0
    splits = made["right"]
    assert sum(len(texts) for texts in splits.values()) == 110
    assert len(set(splits["train"]) | set(splits["validation"]) | set(splits["test"])) == 100
