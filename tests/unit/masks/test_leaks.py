"""What is measured of hidden keys: nothing where they are hidden, and all that a wrong mask leaves to them."""

from __future__ import annotations

import pytest
import torch
import transformers
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from maskbench.masks.attention.causal import Causal
from maskbench.masks.attention.random_attention import RandomAttention
from maskbench.masks.draws import Draws
from maskbench.masks.leaks import leaks
from maskbench.masks.visibility import overridden
from tests.helpers.families import FAMILIES, texts
from tests.helpers.families import build as build_family
from tests.unit.masks.test_attention_masks import CONFIGS, build, in_every_model, text_batch, under_both

BOUND = 1e-6


@in_every_model
@under_both
def test_padding_and_masks_leave_nothing_in_any_model(name, attention):
    model = build(name, attention, head=transformers.AutoModelForSequenceClassification)
    model.train()
    before, state = {key: value.clone() for key, value in model.state_dict().items()}, torch.get_rng_state()
    batch = text_batch(lengths=(10, 4))
    for visible in (None, Causal().attend(batch, Draws(1))):
        found = leaks(model, batch, visible)
        assert 0 <= found.mass <= BOUND
        assert 0 <= found.gradient <= BOUND
        assert 0.1 < found.multiplied < 0.9
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


MIXING = {"convbert", "mobilebert", "funnel", "longformer"}
"""Families that mix tokens outside of attention, pool them or fill texts up: masks are refused on them."""


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in ("bart", "t5")])
def test_padding_is_measured_in_every_family(name):
    """Families with an attention of their own have a gradient alone; no family stops a run."""
    found = leaks(build_family(name, "sequence-classification"), texts(name))
    if name not in MIXING:
        assert found.gradient <= BOUND
        assert found.mass is None or found.mass <= BOUND


def test_a_convolution_reads_padding_and_the_gradient_tells():
    found = leaks(build_family("convbert", "sequence-classification"), texts("convbert"))
    assert found.gradient > BOUND


def test_a_mask_that_is_added_as_true_and_false_leaks_and_both_numbers_tell():
    """The trap of boolean masks under eager attention: +1 where a key is shown, +0 where it should be hidden."""
    model, original = build("bert", "eager"), ALL_MASK_ATTENTION_FUNCTIONS["eager"]
    with overridden(ALL_MASK_ATTENTION_FUNCTIONS, "eager", lambda **keys: (original(**keys) == 0).float()):
        found = leaks(model, text_batch(lengths=(10, 4)))
    assert found.mass > 0.1
    assert found.gradient > 0.01


def test_where_nothing_is_hidden_there_is_no_number():
    batch = text_batch(lengths=(10, 10))
    found = leaks(build("bert", "eager"), batch)
    assert (found.mass, found.gradient) == (None, None)
    assert found.multiplied is not None
    # all is reached in the end, through other tokens: only the weights of single layers can be looked at
    found = leaks(build("bert", "sdpa"), batch, RandomAttention(rate=0.3).attend(batch, Draws(1)))
    assert found.mass <= BOUND
    assert found.gradient is None


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_multiplying_equal_scores_with_0_changes_nothing(attention):
    """With all scores 0, every key keeps its share: of ten keys, five are every second one."""
    model = transformers.AutoModel.from_config(CONFIGS["bert"], attn_implementation=attention)
    for layer in model.encoder.layer:
        torch.nn.init.zeros_(layer.attention.self.query.weight)
    assert leaks(model, text_batch(lengths=(10, 4))).multiplied == pytest.approx(0.5)
