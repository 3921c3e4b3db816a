"""Attention masks: what they hide is hidden, in every model, and from training alone."""

from __future__ import annotations

import contextlib
import hashlib
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from safetensors.torch import load_file
from scipy import stats
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from maskbench.data.encode import load_encoded
from maskbench.errors import InputError
from maskbench.masks import Strategy
from maskbench.masks.attention.block_keyword import BlockKeyword
from maskbench.masks.attention.causal import Causal
from maskbench.masks.attention.random_attention import RandomAttention
from maskbench.masks.attention.window import Window
from maskbench.masks.base import AttentionMask, Objective
from maskbench.masks.batch import Batch
from maskbench.masks.draws import Draws
from maskbench.masks.passes import forward
from maskbench.masks.visibility import require_reach, showing
from maskbench.slots.device import choose
from maskbench.training.collate import Collator
from maskbench.training.masking import Masking
from maskbench.training.run import Inputs, run_cell
from tests.helpers.models import BAD, GOOD, make_cell, make_encoded, make_model, same

KINDS = ["sequence-classification", "token-classification"]
TOLERANCE = 1e-6
LEFT = ("padding_mass", "padding_gradient", "hidden_mass", "hidden_gradient", "multiplied_mass")
NEAR = 2  # how far ModernBERT's second layer sees

# weights large enough that a leak would show
SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "initializer_range": 0.3,
}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
CONFIGS = {
    "bert": transformers.BertConfig(**SIZES),
    "roberta": transformers.RobertaConfig(**SIZES, **SPECIAL),
    "distilbert": transformers.DistilBertConfig(
        vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=32, initializer_range=0.3
    ),
    "electra": transformers.ElectraConfig(**SIZES, embedding_size=8),
    "modernbert": transformers.ModernBertConfig(
        **SIZES,
        **SPECIAL,
        cls_token_id=1,
        sep_token_id=2,
        local_attention=2 * NEAR,
        layer_types=["full_attention", "sliding_attention"],
        classifier_pooling="mean",
    ),
    "gpt2": transformers.GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, initializer_range=0.3, **SPECIAL),
}
PRECISIONS = ["fp32", "autocast", "bf16"]
in_every_model = pytest.mark.parametrize("name", list(CONFIGS))
under_both = pytest.mark.parametrize("attention", ["eager", "sdpa"])
in_all_precisions = pytest.mark.parametrize("precision", PRECISIONS)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Threads cost more than they save at these sizes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(name, attention, precision="fp32", head=transformers.AutoModel):
    torch.manual_seed(0)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return head.from_config(CONFIGS[name], attn_implementation=attention, dtype=dtype).eval()


def computing(precision):
    """What the Trainer computes in on a CPU with bf16."""
    return torch.autocast("cpu", torch.bfloat16) if precision == "autocast" else contextlib.nullcontext()


def text_batch(left=False, lengths=(10, 7, 4), width=10, first=0, epoch=0):
    """[CLS] words of two subwords [SEP], padded on either side."""
    rows = [
        {
            "input_ids": [1, *(3 + (7 * row + 5 * place) % 47 for place in range(length - 2)), 2],
            "words": [-1, *(place // 2 for place in range(length - 2)), -1],
        }
        for row, length in enumerate(lengths)
    ]
    shape = (len(lengths), width)
    ids, words, real = torch.zeros(shape, dtype=torch.long), torch.full(shape, -1), torch.zeros(shape, dtype=torch.bool)
    for number, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        places = slice(width - length, width) if left else slice(0, length)
        ids[number, places], words[number, places] = torch.tensor(row["input_ids"]), torch.tensor(row["words"])
        real[number, places] = True
    return Batch(ids, real, words, torch.arange(first, first + len(lengths)), epoch=epoch, mask_id=4)


def scored(mask):
    """A block-keyword mask that takes the largest token ids for the words that tell most."""
    mask._scores = SimpleNamespace(of=lambda batch: batch.input_ids.float())
    return mask


MASKS = {
    "causal": Causal(),
    "window": Window(width=2),
    "window-alone": Window(width=1, special=False),
    "random-attention": RandomAttention(rate=0.6),
    "block-keyword": scored(BlockKeyword(rate=0.4)),
}
everything = torch.ones((1, 1, 10, 10), dtype=torch.bool)


def views(name, visible, batch):
    """Return for each layer (B, T, T) bool: what a query may see, by the definition of model and mask."""
    place = torch.arange(batch.input_ids.shape[1])
    apart = place[:, None] - place
    own = torch.eye(len(place), dtype=torch.bool)
    seen = visible[:, 0] & batch.padding[:, None, :]
    if name == "gpt2":
        seen = seen & (apart >= 0)
    near = seen & (apart.abs() <= NEAR)
    return [seen | own, (near if name == "modernbert" else seen) | own]


def reach(name, visible, batch):
    """Return (B, T, T) bool: whose input a query's output may depend on after all layers."""
    bottom, top = (view.float() for view in views(name, visible, batch))
    return (top @ bottom) > 0


def shown(model, visible):
    return contextlib.nullcontext() if visible is None else showing(model, visible)


def sensitivity(model, batch, visible, precision):
    """Return (B, T, T): the norm of d(output of a query)/d(embedding of a key), along a random direction."""
    rows, width = batch.input_ids.shape
    # a copy of the batch for each query, so that one backward pass is enough
    embedded = model.get_input_embeddings()(batch.input_ids).detach().repeat(width, 1, 1).requires_grad_()
    if visible is not None:
        visible = visible.expand(rows, -1, -1, -1).repeat(width, 1, 1, 1)
    with shown(model, visible), computing(precision):
        out = model(inputs_embeds=embedded, attention_mask=batch.padding.long().repeat(width, 1)).last_hidden_state
    assert torch.isfinite(out).all()
    direction = torch.randn(out.shape[-1], generator=torch.Generator().manual_seed(0))
    along = (out.float() @ direction).unflatten(0, (width, rows))
    (gradient,) = torch.autograd.grad(along.diagonal(dim1=0, dim2=2).sum(), embedded)
    return gradient.float().norm(dim=-1).unflatten(0, (width, rows)).transpose(0, 1)


# --- nothing gets through


@in_every_model
@under_both
@in_all_precisions
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_no_gradient_reaches_a_hidden_input(name, attention, precision, left):
    model, batch = build(name, attention, precision), text_batch(left)
    open_to = sensitivity(model, batch, None, precision)
    for kind, mask in MASKS.items():
        visible = mask.attend(batch, Draws(1))
        reached = reach(name, visible, batch)
        found = sensitivity(model, batch, visible, precision)
        assert found[~reached].max() <= TOLERANCE, kind
        # the test can fail: what is reached shows, and without the mask what it hides shows
        real = batch.padding[:, :, None] & batch.padding[:, None, :]
        assert (found[reached & real] > TOLERANCE).float().mean() > 0.95, kind
        hidden = reach(name, everything, batch) & ~reached & real
        assert not hidden.any() or (open_to[hidden] > TOLERANCE).float().mean() > 0.95, kind


@in_every_model
@in_all_precisions
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_no_attention_mass_on_hidden_pairs(name, precision, left):
    model, batch = build(name, "eager", precision), text_batch(left)
    for kind, mask in MASKS.items():
        visible = mask.attend(batch, Draws(1))
        with showing(model, visible), computing(precision), torch.no_grad():
            layers = model(**batch.inputs(), output_attentions=True).attentions
        for weights, view in zip(layers, views(name, visible, batch), strict=True):
            hidden = weights.float().masked_fill(view[:, None], 0).sum(-1)
            assert hidden.max() <= TOLERANCE, kind
            assert torch.allclose(weights.float().sum(-1), torch.tensor(1.0), atol=2e-2), kind


@in_every_model
@under_both
@in_all_precisions
def test_hidden_tokens_do_not_matter(name, attention, precision):
    """What a query cannot reach is replaced: its output keeps every bit; what it reaches is replaced: it does not.

    Without padding transformers builds no mask at all, unless it has to.
    """
    model, batch = build(name, attention, precision), text_batch(lengths=(10, 10, 10))
    for kind, mask in MASKS.items():
        visible = mask.attend(batch, Draws(1))
        reached = reach(name, visible, batch)

        def output(ids, visible=visible):
            with showing(model, visible), computing(precision), torch.no_grad():
                return model(input_ids=ids, attention_mask=batch.padding.long()).last_hidden_state

        before, other = output(batch.input_ids), 3 + (batch.input_ids + 11) % 47
        for query in (0, 2, 3):  # real in every text
            hidden = ~reached[:, query]
            assert torch.equal(output(torch.where(hidden, other, batch.input_ids))[:, query], before[:, query]), kind
            seen = output(torch.where(hidden, batch.input_ids, other))[:, query]
            assert not torch.equal(seen, before[:, query]), kind


@in_every_model
@under_both
@in_all_precisions
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_padding_alone_is_hidden_in_the_plain_model(name, attention, precision, left):
    model, batch = build(name, attention, precision), text_batch(left)
    found = sensitivity(model, batch, None, precision)
    queries, keys = batch.padding[:, :, None], ~batch.padding[:, None, :]
    assert found[queries & keys].max() <= TOLERANCE
    if attention == "eager":
        with computing(precision), torch.no_grad():
            layers = model(**batch.inputs(), output_attentions=True).attentions
        for weights in layers:
            assert (weights.float().masked_fill(~keys[:, None], 0).sum(-1)[batch.padding[:, None].expand(-1, 2, -1)]
                    .max() <= TOLERANCE)  # fmt: skip


@in_every_model
@under_both
@in_all_precisions
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_a_query_that_sees_nothing_else_sees_itself(name, attention, precision, left):
    model, batch = build(name, attention, precision), text_batch(left)
    own = torch.eye(10, dtype=torch.bool).expand(3, -1, -1)
    found = sensitivity(model, batch, ~everything, precision)
    assert torch.isfinite(found).all()
    assert found[~own].max() <= TOLERANCE
    assert found[own].min() > TOLERANCE


@in_every_model
@under_both
@pytest.mark.parametrize(
    "head", [transformers.AutoModelForSequenceClassification, transformers.AutoModelForTokenClassification]
)
def test_a_mask_that_hides_nothing_changes_nothing(name, attention, head):
    """GPT-2 keeps its causality, ModernBERT its windows and its pooling over the real tokens."""
    model, batch = build(name, attention, head=head), text_batch()
    with torch.no_grad():
        plain = model(**batch.inputs()).logits
        with showing(model, everything):
            same = model(**batch.inputs()).logits
        with showing(model, Window(width=1, special=False).attend(batch, Draws(0))):
            masked = model(**batch.inputs()).logits
    judged = batch.padding if plain.dim() == 3 else slice(None)
    torch.testing.assert_close(same[judged], plain[judged], rtol=1e-5, atol=1e-5)
    assert (masked - plain)[judged].abs().max() > 1e-2


@in_every_model
def test_eager_and_sdpa_agree(name):
    batch = text_batch()
    for mask in MASKS.values():
        visible, outputs = mask.attend(batch, Draws(1)), []
        for attention in ("eager", "sdpa"):
            model = build(name, attention)
            with showing(model, visible), torch.no_grad():
                outputs.append(model(**batch.inputs()).last_hidden_state)
        torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-4)


# --- why it is done like this


@in_every_model
def test_boolean_4d_masks_leak_under_eager(name):
    """They are added to the scores, so "hidden" is worth 1 less than "visible"; if this fails, transformers changed."""
    batch = text_batch(lengths=(10, 10, 10))
    visible = torch.ones(10, 10, dtype=torch.bool).tril().expand(3, 1, -1, -1)
    with torch.no_grad():
        layers = build(name, "eager")(input_ids=batch.input_ids, attention_mask=visible, output_attentions=True)
    mass = torch.stack([weights.masked_fill(visible, 0).sum(-1).mean() for weights in layers.attentions])
    assert mass.max() > 0.05


@under_both
@pytest.mark.parametrize("name", ["gpt2", "modernbert"])
def test_additive_4d_masks_replace_what_the_model_hides_itself(name, attention):
    """A mask that hides nothing opens GPT-2's future and ModernBERT's far tokens."""
    model, batch = build(name, attention), text_batch(lengths=(10,))
    nothing = torch.zeros(1, 1, 10, 10)
    embedded = model.get_input_embeddings()(batch.input_ids).detach().requires_grad_()
    mask = {"full_attention": nothing, "sliding_attention": nothing} if name == "modernbert" else nothing
    out = model(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
    assert torch.autograd.grad(out[:, 0].square().sum(), embedded)[0][0, -1].norm() > TOLERANCE
    if name == "gpt2":
        assert sensitivity(model, batch, None, "fp32")[0, 0, -1] == 0


# --- the interface


def registered():
    return {name: ALL_MASK_ATTENTION_FUNCTIONS[name] for name in ("eager", "sdpa")}


@under_both
def test_the_interface_is_as_it_was_afterwards(attention):
    before, model, batch = registered(), build("bert", attention), text_batch()
    with showing(model, everything):
        inner = registered()
        assert inner != before
        with showing(model, ~everything):
            model(**batch.inputs())
        assert registered() == inner
        model(**batch.inputs())
    assert registered() == before
    with pytest.raises(KeyError), showing(model, everything):
        raise KeyError
    assert registered() == before
    assert not ALL_MASK_ATTENTION_FUNCTIONS._local_mapping


def inputs_of(batch):
    return batch.inputs() | {"labels": torch.zeros(len(batch.examples), dtype=torch.long)}


@in_every_model
@under_both
def test_every_model_can_be_reached(name, attention):
    model = build(name, attention, head=transformers.AutoModelForSequenceClassification)
    model.train()
    state = torch.get_rng_state()
    require_reach(model, inputs_of(text_batch()))
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert model.config.problem_type is None  # what a pass with labels would set


def test_models_that_cannot_be_reached_are_refused():
    config = transformers.FunnelConfig(
        vocab_size=50, block_sizes=[1, 1], num_decoder_layers=1, d_model=16, n_head=2, d_head=8, d_inner=32
    )
    model = transformers.AutoModelForTokenClassification.from_config(config, attn_implementation="eager")
    batch = text_batch()
    batches = {(1,): inputs_of(batch)}  # that of the longest text
    setting = SimpleNamespace(
        model=model, train={"length": [4, 10]}, batches=lambda size, rows: iter([batches[tuple(rows)]])
    )
    strategy = Strategy.model_validate({"name": "c", "attention": "causal"})
    expected = "^attention mask: FunnelForTokenClassification does not build its attention mask through transformers"
    with pytest.raises(InputError, match=expected):
        Masking(strategy, 1).fit(setting)


def test_unknown_implementations_are_refused():
    model = build("bert", "eager")
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(InputError, match="expected an attention implementation of eager, sdpa, found flash_attention"):
        require_reach(model, text_batch().inputs())


def test_a_visibility_of_another_width_is_an_error():
    model = build("bert", "eager")
    expected = r"\(1, 1, 9, 9\) is shown in a pass with masks of \(3, 1, 10, 10\)"
    with pytest.raises(ValueError, match=expected), showing(model, everything[..., :9, :9]):
        model(**text_batch().inputs())


# --- what is hidden


def expected_window(batch, width, special):
    rows = []
    for real, words in zip(batch.padding.tolist(), batch.words.tolist(), strict=True):
        alone = [is_real and word < 0 and special for is_real, word in zip(real, words, strict=True)]
        rows.append([[abs(i - j) <= width or alone[i] or alone[j] for j in range(len(real))] for i in range(len(real))])
    return torch.tensor(rows)[:, None]


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("width", [0, 2, 50])
@pytest.mark.parametrize("special", [False, True])
def test_windows(left, width, special):
    batch = text_batch(left)
    visible = Window(width=width, special=special).attend(batch, Draws(0)).expand(3, -1, -1, -1)
    assert torch.equal(visible, expected_window(batch, width, special))


def test_causal_is_the_lower_triangle():
    visible = Causal().attend(text_batch(), Draws(0))
    assert visible.shape == (1, 1, 10, 10)
    assert all(bool(visible[0, 0, i, j]) == (j <= i) for i in range(10) for j in range(10))


@pytest.mark.parametrize("rate", [0.05, 0.15, 0.5, 0.9])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_realised_rate_of_random_attention_is_binomial(rate, seed):
    """Exact test of the count of hidden pairs; and it is the share that the tally gives."""
    batch = text_batch(lengths=tuple(4 + row % 37 for row in range(200)), width=40)
    visible = RandomAttention(rate=rate).attend(batch, Draws(seed))
    real = batch.padding[:, None, :, None] & batch.padding[:, None, None, :]
    pairs = real & ~torch.eye(40, dtype=torch.bool)
    hidden = int((pairs & ~visible).sum())
    assert stats.binomtest(hidden, int(pairs.sum()), rate).pvalue > 1e-3
    tally = torch.zeros(2, dtype=torch.int64)
    model = build("bert", "eager")
    with showing(model, visible, tally=tally), torch.no_grad():
        model(**batch.inputs())
        model(**batch.inputs())  # a second pass of the same draw does not count
    assert tally.tolist() == [hidden, int(pairs.sum())]


@under_both
def test_pairs_that_the_model_hides_itself_do_not_count(attention):
    batch = text_batch(left=True)
    for name, hidden in (("gpt2", 0), ("bert", 45 + 21 + 6)):
        model, tally = build(name, attention), torch.zeros(2, dtype=torch.int64)
        with showing(model, Causal().attend(batch, Draws(0)), tally=tally), torch.no_grad():
            model(**batch.inputs())
        assert tally.tolist() == [hidden, (45 + 21 + 6) * (1 if name == "gpt2" else 2)]


def test_random_attention_is_drawn_anew_and_its_rates_are_nested():
    def visible(rate=0.3, seed=1, **keys):
        return RandomAttention(rate=rate).attend(text_batch(**keys), Draws(seed))

    assert torch.equal(visible(), visible())
    for other in (visible(epoch=1), visible(seed=2), visible(first=3)):
        assert not torch.equal(visible(), other)
    assert (visible(rate=0.3) | ~visible(rate=0.6)).all()
    assert not torch.equal(visible(), visible().transpose(-1, -2))  # a pair has a direction
    assert RandomAttention(rate=0.0).attend(text_batch(), Draws(1)) is None
    assert not visible(rate=1.0).any()


@pytest.mark.parametrize("kind", list(MASKS))
@pytest.mark.parametrize("left", [False, True])
def test_a_text_is_masked_alike_in_any_batch(kind, left):
    lengths = (10, 7, 4, 9)
    batch = text_batch(lengths=lengths)
    whole = MASKS[kind].attend(batch, Draws(1)).expand(4, -1, -1, -1)
    wide = text_batch(left, lengths, width=15)
    again = MASKS[kind].attend(wide, Draws(1)).expand(4, -1, -1, -1)
    for row, length in enumerate(lengths):
        places = slice(15 - length, 15) if left else slice(0, length)
        expected = whole[row, 0, :length, :length]
        assert torch.equal(again[row, 0, places, places], expected)
        alone = Batch(
            *(part[row : row + 1] for part in (batch.input_ids, batch.padding, batch.words, batch.examples)),
            epoch=0,
            mask_id=4,
        )
        assert torch.equal(MASKS[kind].attend(alone, Draws(1))[0, 0, :length, :length], expected)


# --- in training


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("tiny")
    model = make_model(base / "model")
    trained = transformers.AutoModel.from_pretrained(model)
    with torch.no_grad():
        for weight in trained.parameters():
            if weight.dim() > 1:  # a fresh BERT's attention is nearly uniform, whatever is hidden
                weight.mul_(10)
    trained.save_pretrained(model)
    return {"model": model} | {kind: make_encoded(base / kind, model, kind) for kind in KINDS}


@pytest.fixture
def train(folders, tmp_path):
    def call(mask=None, kind=KINDS[0], objective=None, **training):
        strategy = {"name": "a", "attention": mask, "objective": objective}
        cell = make_cell(kind, strategy, training={"epochs": 1} | training)
        kept = tmp_path / hashlib.sha256(cell.model_dump_json().encode()).hexdigest()[:8]
        inputs = Inputs(folders[kind], folders["model"], tmp_path / "work", kept)
        record, outcome = run_cell(cell, inputs, choose(cell.training), code="c", command="x")
        assert record.status == "completed", record.error
        return SimpleNamespace(
            record=record, table=outcome.table, weights=load_file(kept / "model.safetensors"), folder=kept
        )

    return call


def rate_of(run):
    return next((item.value for item in run.record.metrics if item.measure == "attention_mask_rate"), None)


@pytest.mark.parametrize("kind", KINDS)
@under_both
def test_a_mask_that_hides_nothing_is_bit_identical_to_none(train, kind, attention):
    none = train(None, kind, attention=attention)
    entries = [
        {"kind": "random-attention", "rate": 0},
        {"kind": "random-attention", "rate": 0.5, "apply": False},
        {"kind": "block-keyword", "rate": 0},
        {"kind": "block-keyword", "rate": 0.5, "apply": False, "at": "always"},
    ]
    if attention == "eager" and kind == KINDS[0]:  # the rest of the kinds, once
        entries += [
            {"kind": "causal", "apply": False},
            {"kind": "window", "width": 1, "apply": False},
        ]
    for entry in entries:
        other = train(entry, kind, attention=attention)
        assert same(none.weights, other.weights), entry
        pd.testing.assert_frame_equal(none.table, other.table)
        assert rate_of(other) is None
        assert other.record.notes == none.record.notes
    assert not same(none.weights, train({"kind": "random-attention", "rate": 0.5}, kind, attention=attention).weights)


def scores_of(folder, encoded, visible_of=None):
    """Return the loss of each test text of a kept model, in a plain pass."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    rows = load_encoded(encoded)["test"]
    batch = Collator(0)([rows[index] for index in range(len(rows))])
    width = batch["input_ids"].shape[1]
    visible = torch.ones(1, 1, width, width, dtype=torch.bool)
    if visible_of is not None:
        given = Batch(
            batch["input_ids"], batch["attention_mask"].bool(), batch["words"], batch["examples"], epoch=0, mask_id=4
        )
        visible = visible_of.attend(given, Draws(0))
    keys = [key for key in ("input_ids", "attention_mask", "token_type_ids") if key in batch]
    with torch.no_grad(), showing(model, visible):
        logits = model(**{key: batch[key] for key in keys}).logits
    return torch.nn.functional.cross_entropy(logits, batch["labels"], reduction="none").numpy()


def test_evaluation_sees_the_mask_only_if_it_is_always_there(train, folders):
    """One update's weights are the same with both; what is scored is the model without the mask, or with it."""
    mask = Window(width=0, special=False)
    entry = {"kind": "window", "width": 0, "special": False}
    trained, always = train(entry), train(entry | {"at": "always"})
    assert same(trained.weights, always.weights)
    plain = scores_of(trained.folder, folders[KINDS[0]])
    masked = scores_of(trained.folder, folders[KINDS[0]], mask)
    assert np.abs(plain - masked).max() > 1e-4
    np.testing.assert_allclose(trained.table["nll"], plain, atol=1e-6)
    np.testing.assert_allclose(always.table["nll"], masked, atol=1e-6)
    assert not any("attention mask" in note for note in trained.record.notes)
    assert any("evaluated with its attention mask (at: always)" in note for note in always.record.notes)


def test_masks_are_shown_in_training_alone(train, monkeypatch):
    seen = []

    def spy(model, visible, tally):
        seen.append((model.training, tally is not None))
        return showing(model, visible, tally)

    monkeypatch.setattr("maskbench.training.masking.showing", spy)
    train("causal")
    assert set(seen) == {(True, True)}
    seen.clear()
    train({"kind": "causal", "at": "always"})
    assert set(seen) == {(True, True), (False, False)}


def test_a_random_mask_that_is_always_there_is_the_same_in_every_evaluation(train):
    entry = {"kind": "random-attention", "rate": 0.5, "at": "always"}
    short, long = (train(entry, epochs=epochs, learning_rate=1e-30) for epochs in (1, 3))
    np.testing.assert_allclose(short.table["nll"], long.table["nll"], atol=1e-7)
    assert np.abs(short.table["nll"] - train(learning_rate=1e-30).table["nll"]).max() > 1e-6


def test_the_hidden_share_is_recorded(train):
    assert rate_of(train({"kind": "window", "width": 100})) == 0
    assert rate_of(train({"kind": "random-attention", "rate": 0.3})) == pytest.approx(0.3, abs=0.03)
    assert rate_of(train({"kind": "causal", "at": "always"})) == pytest.approx(0.5)


def test_what_is_left_on_hidden_keys_is_recorded(train):
    """Of padding in every run, of the attention mask where there is one; and what multiplying would leave."""

    def left(mask):
        return {item.measure: item.value for item in train(mask).record.metrics if item.measure in LEFT}

    plain, causal = left(None), left({"kind": "causal"})
    assert plain.keys() == {"padding_mass", "padding_gradient", "multiplied_mass"}
    assert causal.keys() == set(LEFT)
    assert all(value <= TOLERANCE for name, value in (plain | causal).items() if name != "multiplied_mass")
    assert 0.3 < plain["multiplied_mass"] < 0.7
    assert plain["multiplied_mass"] == causal["multiplied_mass"]  # of the same model, before it is trained
    assert left({"kind": "causal", "apply": False}) == plain


def test_a_resumed_run_goes_on_counting(tmp_path):
    strategy = Strategy.model_validate({"name": "c", "attention": "causal"})
    one, two = Masking(strategy, 1), Masking(strategy, 1)
    one.hidden += torch.tensor([3, 7])
    one.save(tmp_path / "masks.pt")
    two.load(tmp_path / "masks.pt")
    assert two.realised_attention_rate == 3 / 7


@under_both
def test_gradient_checkpointing_repeats_the_masked_attention(train, attention):
    entry = {"kind": "window", "width": 1}
    once, again = (train(entry, attention=attention, gradient_checkpointing=repeat) for repeat in (False, True))
    for name, weights in once.weights.items():
        torch.testing.assert_close(weights, again.weights[name], rtol=1e-4, atol=1e-6)


@under_both
def test_a_run_in_bf16_trains(train, attention):
    run = train("causal", attention=attention, precision="bf16")
    assert np.isfinite(run.table["nll"]).all()
    assert rate_of(run) == pytest.approx(0.5)


def test_an_objective_sees_what_the_task_sees(train, mask_kind):
    found = []

    class Again(Objective):
        kind: Literal["again"] = "again"

        def penalty(self, model, clean, masked):
            hidden = forward(model, masked, hidden=True).hidden_states[-1]
            found.append(torch.equal(hidden, masked.hidden))
            return hidden.sum() * 0

    train("causal", objective="again", dropout=0.0)
    assert found
    assert all(found)


def test_block_keyword_hides_the_words_that_tell(folders):
    """The label is told by one word: in classification its column goes first, whatever the budget."""
    splits = load_encoded(folders[KINDS[0]])
    setting = SimpleNamespace(
        kind=KINDS[0], labels=("down", "up"), train=splits["train"], model=SimpleNamespace(device="cpu")
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders["model"])
    telling = set(tokenizer.convert_tokens_to_ids([*GOOD, *BAD]))
    rows = Collator(0)([splits["train"][index] for index in range(30)])
    batch = Batch(rows["input_ids"], rows["attention_mask"].bool(), rows["words"], rows["examples"], epoch=0, mask_id=4)
    for statistic in ("log-odds", "tf-idf"):
        mask = BlockKeyword(rate=0.2, statistic=statistic)
        mask.fit(setting, Draws(0))
        visible = mask.attend(batch, Draws(1))
        blocked = ~visible[:, 0, 0]
        assert torch.equal(visible[:, 0], ~blocked[:, None].expand_as(visible[:, 0]))  # whole columns
        drawn = (Draws(1).uniform(batch) < 0.2) & batch.maskable
        assert torch.equal(blocked.sum(1), drawn.sum(1))
        assert not blocked[~batch.maskable].any()
        hidden = [set(ids[hit].tolist()) for ids, hit in zip(batch.input_ids, blocked, strict=True) if hit.any()]
        assert len(hidden) > 20
        if statistic == "log-odds":
            assert all(found & telling for found in hidden)


def test_an_attention_mask_says_what_it_lacks():
    with pytest.raises(NotImplementedError):
        AttentionMask(kind="x").attend(text_batch(), Draws(0))
