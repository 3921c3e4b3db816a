"""Training passes on a CPU with less work compute what the ordinary ones do."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertForTokenClassification

from maskbench.masks.visibility import showing
from maskbench.models import packing
from maskbench.models.last_layer import first_token_first
from maskbench.models.packing import packed
from maskbench.training import dropout
from maskbench.training.quick import quick


@pytest.fixture(autouse=True)
def _models_are_wide_enough(monkeypatch):
    monkeypatch.setattr(packing, "NARROWEST", 16)


def model_of(kind=BertForSequenceClassification, attention="eager", rate=0.0):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, hidden_dropout_prob=rate, attention_probs_dropout_prob=rate,
        attn_implementation=attention,
    )  # fmt: skip
    return kind(config).train()


def inputs_of():
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 40, (3, 9), generator=generator)
    return {"input_ids": ids, "attention_mask": (torch.arange(9) < torch.tensor([[9], [4], [7]])).long()}


def read(logits):
    """Return the logits of texts, or those of their real tokens."""
    return logits[inputs_of()["attention_mask"].bool()] if logits.dim() == 3 else logits


def passed(model, context, seed=3, **keys):
    """Return the outputs, and all gradients of a loss of the logits."""
    model.zero_grad()
    torch.manual_seed(seed)
    with context:
        outputs = model(**inputs_of(), **keys)
    read(outputs.logits).square().sum().backward()
    return outputs, {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("alone", [True, False])
def test_the_first_token_by_itself_is_what_it_is_among_the_others(attention, alone):
    model = model_of(attention=attention)
    plain, wanted = passed(model, nullcontext(), output_hidden_states=True)
    found, gradients = passed(model, first_token_first(model, alone=alone), output_hidden_states=True)
    torch.testing.assert_close(found.logits, plain.logits)
    assert gradients.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-6)
    if not alone:
        torch.testing.assert_close(found.hidden_states[-1], plain.hidden_states[-1])
    assert "forward" not in vars(model.bert.encoder.layer[-1])


def test_what_the_classifier_reads_has_the_same_bits_with_and_without_the_other_tokens():
    model = model_of(rate=0.3)
    (alone, one), (among, other) = (passed(model, quick(model, "cpu", states=states)) for states in (False, True))
    assert torch.equal(alone.logits, among.logits)
    assert all(torch.equal(gradient, other[name]) for name, gradient in one.items())


def test_other_models_evaluations_and_devices_are_left_alone():
    tagger, evaluated, model = model_of(BertForTokenClassification), model_of().eval(), model_of(rate=0.3)
    for left in (tagger, evaluated):
        with first_token_first(left, alone=True):
            assert "forward" not in vars(left.bert.encoder.layer[-1])
    before = torch.nn.functional.dropout
    with quick(model, "cuda", states=False):
        assert torch.nn.functional.dropout is before
        assert "forward" not in vars(model.bert.encoder.layer[-1])


# --- padding


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", [BertForSequenceClassification, BertForTokenClassification])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_without_padding_real_tokens_are_what_they_are_with_it(kind, attention, checkpointing):
    model, real = model_of(kind, attention), inputs_of()["attention_mask"].bool()
    if checkpointing:
        model.gradient_checkpointing_enable()
    visible = torch.rand(3, 1, 9, 9, generator=torch.Generator().manual_seed(2)) < 0.5
    for shown in (nullcontext, partial(showing, model, visible)):
        with shown():
            plain, wanted = passed(model, nullcontext(), output_hidden_states=True)
        with shown():
            found, gradients = passed(model, packed(model), output_hidden_states=True)
        torch.testing.assert_close(read(found.logits), read(plain.logits))
        assert gradients.keys() == wanted.keys()
        for name, gradient in wanted.items():
            torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-6)
        for one, other in zip(found.hidden_states[1:], plain.hidden_states[1:], strict=True):
            torch.testing.assert_close(one[real], other[real])
            assert not one[~real].any()
    assert not any("forward" in vars(layer) for layer in model.bert.encoder.layer)
    assert not model.bert._forward_pre_hooks


def test_linear_layers_are_given_real_tokens_alone():
    model, seen = model_of(BertForTokenClassification, rate=0.3), []
    for layer in model.bert.encoder.layer:
        layer.intermediate.dense.register_forward_hook(lambda _, given, __: seen.append(tuple(given[0].shape)))
    passed(model, quick(model, "cpu", states=False))
    assert seen == [(9 + 4 + 7, 16)] * 2
    seen.clear()
    with quick(model.eval(), "cpu", states=False):
        model(**inputs_of())
    assert seen == [(3, 9, 16)] * 2


def test_a_narrow_model_computes_its_padding_since_that_costs_less(monkeypatch):
    monkeypatch.setattr(packing, "NARROWEST", 17)
    model, seen = model_of(BertForTokenClassification), []
    model.bert.encoder.layer[0].intermediate.dense.register_forward_hook(
        lambda _, given, __: seen.append(given[0].shape)
    )
    passed(model, quick(model, "cpu", states=False))
    assert seen == [(3, 9, 16)]


# --- dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5, 2**-17, 0.97])
def test_draws_have_the_distribution_of_dropout(dtype, p):
    torch.manual_seed(5)
    drawn = dropout.noise(torch.Size((300, 1001)), dtype, p)
    assert drawn.dtype == dtype
    wins = min(max(round((1 - p) * 2**16), 1), 2**16)
    assert set(drawn.unique().tolist()) <= {0.0, float(torch.tensor(2**16 / wins, dtype=dtype))}
    count, share = drawn.numel(), float((drawn == 0).double().mean())
    q = 1 - wins / 2**16
    assert abs(q - p) <= 2**-17
    assert abs(share - q) <= 5 * np.sqrt(q * (1 - q) / count)
    lagged = (drawn[:, 1:] == 0) & (drawn[:, :-1] == 0)
    assert abs(float(lagged.double().mean()) - q * q) <= 6 * np.sqrt(q * q / count) + 1e-9


def test_dropout_follows_torchs_seed_and_leaves_the_rest_to_torch():
    x = torch.randn(50, 7, requires_grad=True)
    with dropout.quick():
        torch.manual_seed(1)
        one = torch.nn.functional.dropout(x, 0.4)
        more = torch.nn.functional.dropout(x, 0.4)
        torch.manual_seed(1)
        again = torch.nn.functional.dropout(x, 0.4)
        assert torch.nn.functional.dropout(x, 0.4, training=False) is x
        assert torch.equal(torch.nn.functional.dropout(x, 1.0), torch.zeros_like(x))
    assert torch.equal(one, again)
    assert not torch.equal(one, more)
    one.sum().backward()
    kept = one.detach() != 0
    assert torch.equal(x.grad != 0, kept)
    assert float(x.grad[kept].mean()) == pytest.approx(1 / 0.6, abs=1e-4)
