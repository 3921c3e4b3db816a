"""Masks on every family of models: what they reach, what they hide, and what is refused (docs/models.md)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from maskbench.config.training import Training
from maskbench.errors import InputError
from maskbench.masks import Strategy
from maskbench.masks.parameter.freeze import Freeze
from maskbench.masks.passes import mixing, require_mixing
from maskbench.masks.shared.importance import attention_received
from maskbench.masks.visibility import require_reach, showing
from maskbench.models.anatomy import base_of, embeddings_of, layers_of, mark_fresh, states_of
from maskbench.models.families import NO_ATTENTIONS, READ_TWICE
from maskbench.models.refusals import refusals
from tests.helpers.families import BOTH, DECODERS, LAYERS, NEARBY, build, texts

CLASSIFY, TAG = "sequence-classification", "token-classification"
EVERY = pytest.mark.parametrize(("name", "kind"), BOTH, ids=[f"{name}-{kind[:3]}" for name, kind in BOTH])

# --- anatomy

BESIDE_THE_STACK = {
    "albert": ["encoder.embedding_hidden_mapping_in.weight", "encoder.embedding_hidden_mapping_in.bias"],
    "deberta": ["encoder.rel_embeddings.weight"],
    "deberta-v2": ["encoder.rel_embeddings.weight", "encoder.LayerNorm.weight", "encoder.LayerNorm.bias"],
    "mpnet": ["encoder.relative_attention_bias.weight"],
    "convbert": ["embeddings_project.weight", "embeddings_project.bias"],
    "electra": ["embeddings_project.weight", "embeddings_project.bias"],
    "opt": ["decoder.embed_tokens.weight", "decoder.embed_positions.weight", "decoder.project_in.weight"],
    "bloom": ["word_embeddings.weight", "word_embeddings_layernorm.weight", "word_embeddings_layernorm.bias"],
    "xlnet": ["mask_emb", "word_embedding.weight"],
    "gpt2": ["wte.weight", "wpe.weight"],
    "t5": ["shared.weight"],
    "bart": [
        "shared.weight",
        *(
            f"{half}.{part}"
            for half in ("encoder", "decoder")
            for part in ("embed_positions.weight", "layernorm_embedding.weight", "layernorm_embedding.bias")
        ),
    ],
}


@EVERY
def test_embeddings_are_what_makes_the_layers_input(name: str, kind: str) -> None:
    """By hand: not OPT's last norm, not NomicBERT's pooler, but DeBERTa's and MPNet's tables of relative positions."""
    model = build(name, kind)
    names = {id(parameter): own for own, parameter in base_of(model).named_parameters()}
    found = [names[id(parameter)] for parameter in embeddings_of(model)]
    beside = set(BESIDE_THE_STACK.get(name, []))
    inside = {own for own in names.values() if own.startswith(("embeddings.", "embed_tokens.", "embed_in."))}
    assert set(found) == beside | inside
    assert len(found) == len(set(found))


@EVERY
def test_layers_are_found_in_every_family(name: str, kind: str) -> None:
    counts = {
        "albert": 1,
        "bart": 2 * LAYERS,
        "t5": 2 * LAYERS if kind == CLASSIFY else LAYERS,
        "funnel": LAYERS + (kind == TAG),
    }
    assert len(layers_of(build(name, kind))) == counts.get(name, LAYERS)


def test_a_frozen_bottom_leaves_what_follows_the_layers() -> None:
    """OPT registers its last norm before its layers, NomicBERT a pooler that its pretrained file lacks."""
    for name, moves in (("opt", "model.decoder.final_layer_norm.weight"), ("nomic_bert", "pooler.dense.weight")):
        model = build(name, CLASSIFY)
        mark_fresh(model, ["nomic_bert.pooler.dense.weight"])
        frozen = {id(parameter) for parameter in Freeze(layers=1).select(model)}
        left = [own for own, parameter in model.named_parameters() if id(parameter) not in frozen]
        assert any(own.endswith(moves) for own in left), left


# --- embeddings that are mixed with that of [MASK]


@EVERY
@pytest.mark.parametrize("lengths", [(12, 9, 5), (8,) * 8], ids=["B<T", "B=T"])
def test_full_mixing_is_a_mask_token(name: str, kind: str, lengths: tuple[int, ...]) -> None:
    """In every family, for weights that differ from text to text, and where there are as many texts as tokens."""
    model, batch = build(name, kind), texts(name, lengths)
    hit = batch.maskable & (torch.rand(batch.input_ids.shape, generator=torch.Generator().manual_seed(1)) < 0.5)
    fed = batch.corrupted(hit, batch.mask_id)
    with torch.no_grad():
        wanted, plain = model(**fed.inputs()).logits, model(**batch.inputs()).logits
        with mixing(model, replace(batch, mix=hit.float())):
            found = model(**batch.inputs()).logits
        with mixing(model, replace(batch, mix=torch.zeros(hit.shape))):
            none = model(**batch.inputs()).logits
    assert torch.allclose(found, wanted, atol=1e-5)
    assert torch.equal(none, plain)
    assert not torch.allclose(wanted, plain, atol=1e-4)
    require_mixing(model, batch)


@EVERY
def test_mixing_has_a_gradient_at_every_token_that_it_may_hit(name: str, kind: str) -> None:
    model, batch = build(name, kind), texts(name)
    mix = torch.zeros(batch.input_ids.shape, requires_grad=True)
    with mixing(model, replace(batch, mix=mix)):
        logits = model(**batch.inputs()).logits
    (slope,) = torch.autograd.grad(logits.square().sum(), mix)
    assert (slope[batch.maskable] != 0).all()


def test_mixing_that_does_something_else_is_refused() -> None:
    """A model that rescales its embeddings outside of its table, as one without a hook would."""
    model, batch = build("bert", CLASSIFY), texts("bert")
    table = model.get_input_embeddings()
    table.register_forward_hook(lambda _, __, out: 2 * out)  # type: ignore[union-attr]
    with pytest.raises(InputError, match="BertForSequenceClassification computes something else"):
        require_mixing(model, batch)
    other = build("bert", CLASSIFY)
    model.get_input_embeddings = other.get_input_embeddings  # type: ignore[method-assign]
    with pytest.raises(InputError, match="looks up none of its tokens in its table of embeddings"):
        require_mixing(model, batch)


# --- attention masks

LEAKING = {
    "longformer": "hides from a token what the mask shows it",
    "convbert": "does not hide what the mask hides",
    "mobilebert": "does not hide what the mask hides",
    "funnel": "does not build its attention mask",
    "bart": "reads its text twice",
    "t5": "reads its text twice",
}


def leaks(name: str, kind: str) -> bool:
    """T5 tags with its encoder alone."""
    return name in LEAKING and (name, kind) != ("t5", TAG)


@EVERY
def test_hidden_is_hidden_or_refused(name: str, kind: str) -> None:
    """Tokens at even places must not notice what stands at odd places, in any layer."""
    model, batch = build(name, kind), texts(name, (12,))
    if leaks(name, kind):
        with pytest.raises(InputError, match=f"^attention mask: .*{LEAKING[name]}"):
            require_reach(model, batch.inputs())
        return
    require_reach(model, batch.inputs())
    place = torch.arange(12)
    odd = place % 2 == 1
    changed = replace(batch, input_ids=torch.where(odd & batch.maskable, batch.mask_id, batch.input_ids))
    visible = ((place[:, None] - place) % 2 == 0)[None, None]
    tally = torch.zeros(2, dtype=torch.int64)
    states = []
    with torch.no_grad():
        for one in (batch, changed):
            with showing(model, visible, tally):
                states.append(states_of(model(**one.inputs(), output_hidden_states=True))[-1])
        free = states_of(model(**changed.inputs(), output_hidden_states=True))[-1]
    assert torch.equal(states[0][:, ~odd], states[1][:, ~odd])
    assert not torch.equal(states[0][:, odd], states[1][:, odd])
    assert not torch.allclose(free[:, ~odd], states[0][:, ~odd], atol=1e-3)
    if name not in NEARBY:  # of 12 · 11 pairs, or of those with an earlier key, the ones of odd distance are hidden
        assert tally.tolist() == ([2 * 36, 2 * 66] if name in DECODERS else [2 * 72, 2 * 132])


def test_padding_stays_hidden_from_xlnet_and_deberta() -> None:
    """They get their masks in ways of their own: what stands in the padding changes nothing, masked or not."""
    for name in ("xlnet", "deberta", "deberta-v2"):
        model, batch = build(name, TAG), texts(name)
        other = replace(batch, input_ids=torch.where(batch.padding, batch.input_ids, batch.mask_id))
        everything = torch.ones((1, 1, 12, 12), dtype=torch.bool)
        with torch.no_grad():
            plain = model(**batch.inputs()).logits[batch.padding]
            for one in (batch, other):
                with showing(model, everything):
                    assert torch.allclose(model(**one.inputs()).logits[batch.padding], plain, atol=1e-5)


@EVERY
def test_attention_that_tokens_receive_is_a_share_or_refused(name: str, kind: str) -> None:
    """`adaptive` with place attention: what the tokens of a text receive sums to 1, in every family that is let in."""
    if name in NO_ATTENTIONS or (name in READ_TWICE and kind == CLASSIFY):
        strategy = Strategy.model_validate({"name": "x", "input": {"kind": "adaptive", "place": "attention"}})
        assert list(refusals({"model_type": name}, kind, strategy, Training()))  # type: ignore[arg-type]
        return
    batch = texts(name)
    received = attention_received(build(name, kind), batch)
    assert received.shape == batch.input_ids.shape
    assert torch.allclose(received.sum(1), torch.ones(len(received)), atol=1e-4)
    assert (received[batch.maskable] > 0).all()
    assert (received[~batch.padding] < 1e-4).all()
