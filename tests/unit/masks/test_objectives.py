"""Objectives: what they add to the loss, what gets a gradient, and that they change nothing where they must not."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import transformers
from pydantic import ValidationError
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForMaskedLM, AutoTokenizer

from maskbench.errors import InputError
from maskbench.experiment.load import load
from maskbench.masks import Strategy, passes
from maskbench.masks.objective.augment import Augment
from maskbench.masks.objective.consistency import Consistency
from maskbench.masks.objective.mlm_auxiliary import MaskedLMAuxiliary
from maskbench.models.masked_lm import MaskedLMHead
from maskbench.slots.device import choose
from maskbench.training.run import Inputs, Run, run_cell
from tests.helpers.models import make_cell, make_encoded, make_gpt2, make_model, same

KINDS = ["sequence-classification", "token-classification"]
HALF = {"kind": "random", "rate": 0.5}
AUGMENT_OWN = {"kind": "augment", "mask": None}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("tiny")
    model = make_model(base / "model", head=True)
    return {"model": model} | {kind: make_encoded(base / kind, model, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def train(folders, tmp_path_factory):
    """Train a cell once, and return its weights."""
    made = {}

    def call(kind, strategy=None, **training):
        cell = make_cell(kind, strategy, training={"epochs": 1, **training})
        key = hashlib.sha256(cell.model_dump_json().encode()).hexdigest()
        if key not in made:
            base = tmp_path_factory.mktemp("run")
            inputs = Inputs(folders[kind], folders["model"], base / "work", base / "kept")
            record, _ = run_cell(cell, inputs, choose(cell.training), code="c", command="x")
            assert record.status == "completed", record.error
            made[key] = load_file(base / "kept/model.safetensors")
        return made[key]

    return call


@pytest.fixture
def prepared(folders, tmp_path):
    """Return a fitted run's model, objective and first batch, masked by its strategy and seen by its model."""

    def call(strategy, kind=KINDS[0], model=None, **training):
        model = model or folders["model"]
        cell = make_cell(kind, {"name": "mine", **strategy}, training={"dropout": 0.0, **training})
        run = Run(cell, Inputs(folders[kind], model, tmp_path / "work"), choose(cell.training))
        trainer = run.prepare(AutoTokenizer.from_pretrained(model))
        clean, _ = trainer._batch(next(iter(trainer.get_train_dataloader())))
        masked = trainer.masking.corrupt(clean)
        trainer.model.train()
        outputs = passes.forward(trainer.model, masked, hidden=True)
        masked = replace(masked, hidden=outputs.hidden_states[-1])
        return SimpleNamespace(
            trainer=trainer, model=trainer.model, mask=trainer.masking.strategy.objective, clean=clean, masked=masked
        )

    return call


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


# --- consistency


def test_consistency_is_the_mean_square_over_real_tokens(prepared):
    run = prepared({"objective": {"kind": "consistency", "mask": HALF, "weight": 3.0}})
    penalty = run.mask.penalty(run.model, run.clean, run.masked)
    copy = run.mask._copy(run.clean)
    assert copy.hit.any()
    assert not run.clean.padding.all()
    moved = passes.forward(run.model, copy, hidden=True).hidden_states[-1]
    real = run.clean.padding
    expected = 3 * (moved[real] - run.masked.hidden[real]).square().mean()
    assert penalty.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("own", [True, False])
def test_the_clean_hidden_states_get_no_gradient(prepared, own):
    strategy = (
        {"objective": {"kind": "consistency", "mask": HALF}} if own else {"input": HALF, "objective": "consistency"}
    )
    run = prepared(strategy)
    found = gradients(run.model, run.mask.penalty(run.model, run.clean, run.masked))
    clean = passes.forward(run.model, run.clean, hidden=True).hidden_states[-1]
    copy = run.mask._copy(run.clean) if own else run.masked
    moved = passes.forward(run.model, copy, hidden=True).hidden_states[-1]
    real = run.clean.padding
    held = gradients(run.model, (moved - clean.detach())[real].square().mean())
    for name, gradient in held.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-7)
    clean = passes.forward(run.model, run.clean, hidden=True).hidden_states[-1]
    moved = passes.forward(run.model, copy, hidden=True).hidden_states[-1]
    both = gradients(run.model, (moved - clean)[real].square().mean())
    assert any((found[name] - both[name]).abs().max() > 1e-4 for name in both)


def test_dropout_is_shared_so_only_the_mask_makes_a_distance(prepared):
    for rate, some in ((0.0, False), (0.5, True)):
        objective = {"kind": "consistency", "mask": {"kind": "random", "rate": rate}}
        run = prepared({"objective": objective}, dropout=0.3)
        outputs = passes.forward(run.model, run.masked, hidden=True)
        assert torch.equal(outputs.hidden_states[-1], run.masked.hidden)
        assert bool(run.mask.penalty(run.model, run.clean, run.masked) > 0) == some


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "objective",
    [
        {"kind": "consistency", "mask": HALF, "apply": False},
        {"kind": "consistency", "mask": {"kind": "random", "rate": 0.0}, "weight": 5.0},
        {"kind": "mlm-auxiliary", "mask": {"kind": "random", "rate": 0.0}, "weight": 5.0},
    ],
    ids=lambda objective: f"{objective['kind']}-{objective.get('apply', 'rate-0')}",
)
def test_without_effect_an_objective_is_bit_identical_to_none(train, kind, objective):
    assert same(train(kind), train(kind, {"name": "x", "objective": objective}))


@pytest.mark.parametrize("objective", ["consistency", "mlm-auxiliary", "augment"])
def test_with_effect_it_is_not(train, objective):
    assert not same(train(KINDS[0]), train(KINDS[0], {"name": "x", "objective": {"kind": objective, "mask": HALF}}))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("training", "objectives"),
    [
        ({"gradient_accumulation": 3, "batch_size": 9}, ["augment"]),
        ({"precision": "bf16"}, ["augment", "mlm-auxiliary"]),
    ],
    ids=["parts", "bf16"],
)
def test_rate_0_stays_bit_identical_with_parts_of_updates_and_in_bf16(train, kind, training, objectives):
    """The copies' losses are shares of the update as the task's is, also where micro-batches have unequal labels."""
    nothing = {"kind": "random", "rate": 0.0}
    for objective in objectives:
        strategy = {"name": "x", "objective": {"kind": objective, "mask": nothing}}
        assert same(train(kind, **training), train(kind, strategy, **training)), objective


# --- masked LM as an auxiliary loss


def test_the_auxiliary_loss_is_that_of_the_pretrained_masked_lm(prepared, folders):
    run = prepared({"objective": {"kind": "mlm-auxiliary", "weight": 2.0}})
    penalty = run.mask.penalty(run.model, run.clean, run.masked)
    copy = run.mask._copy(run.clean)
    reference = AutoModelForMaskedLM.from_pretrained(folders["model"]).eval()
    logits = reference(**copy.inputs()).logits
    expected = 2 * cross_entropy(logits[copy.hit], run.clean.input_ids[copy.hit])
    assert penalty.item() == pytest.approx(expected.item(), rel=1e-5)


def test_encoder_embeddings_and_head_are_trained_by_it(prepared):
    run = prepared({"objective": "mlm-auxiliary"})
    head = run.mask.modules()["head"]
    found = gradients(run.model, run.mask.penalty(run.model, run.clean, run.masked))
    assert {name for name, value in found.items() if value.abs().sum() == 0 and "classifier" not in name} <= {
        name for name in found if "pooler" in name
    }
    # every row of the tied decoder has a gradient, of the embeddings only those in the text would
    assert (found["bert.embeddings.word_embeddings.weight"].abs().sum(1) > 0).all()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in head.parameters())
    shared = {id(value) for value in run.model.parameters()}
    assert not any(id(value) in shared for value in head.parameters())


def test_the_strategys_own_hits_can_be_predicted(prepared):
    run = prepared({"input": HALF, "objective": {"kind": "mlm-auxiliary", "mask": None}})
    hit = run.masked.hit
    logits = run.mask.modules()["head"](run.masked.hidden[hit])
    expected = cross_entropy(logits, run.clean.input_ids[hit])
    assert run.mask.penalty(run.model, run.clean, run.masked).item() == pytest.approx(expected.item(), rel=1e-5)
    nothing = replace(run.masked, hit=None)
    assert run.mask.penalty(run.model, run.clean, nothing).item() == 0


def test_the_head_is_trained_with_the_model(prepared):
    run = prepared({"objective": "mlm-auxiliary"}, epochs=1)
    before = {name: value.clone() for name, value in run.mask.modules()["head"].state_dict().items()}
    run.trainer.train()
    after = run.mask.modules()["head"].state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_the_auxiliary_loss_can_be_learnt(prepared):
    run = prepared({"objective": "mlm-auxiliary"})
    optimizer = torch.optim.Adam([*run.model.parameters(), *run.mask.modules()["head"].parameters()], lr=1e-2)
    losses = []
    for _ in range(20):
        losses.append(run.mask.penalty(run.model, run.clean, run.masked))
        gradients(run.model, losses[-1])
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.5 * losses[0]


SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
CONFIGS = [
    transformers.BertConfig(vocab_size=50, **SIZES),
    transformers.BertConfig(vocab_size=50, tie_word_embeddings=False, **SIZES),
    transformers.RobertaConfig(vocab_size=50, **SIZES, **IDS),
    transformers.DistilBertConfig(vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=32),
    transformers.ElectraConfig(vocab_size=50, embedding_size=8, **SIZES),
    transformers.ModernBertConfig(vocab_size=50, **SIZES, **IDS, cls_token_id=1, sep_token_id=2),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.model_type}-{config.tie_word_embeddings}")
def test_heads_of_other_models_come_apart_too(config):
    torch.manual_seed(0)
    whole = AutoModelForMaskedLM.from_config(config).eval()
    trained = transformers.AutoModelForSequenceClassification.from_config(config)
    trained.base_model.load_state_dict(whole.base_model.state_dict(), strict=False)
    ids = torch.randint(3, 50, (2, 7))
    with torch.no_grad():
        outputs = whole(input_ids=ids, output_hidden_states=True)
        head = MaskedLMHead(whole, trained).eval()
        found = head(outputs.hidden_states[-1].flatten(0, 1))
    torch.testing.assert_close(found, outputs.logits.flatten(0, 1))
    tied = config.tie_word_embeddings
    assert any(value.shape[0] == 50 and value.dim() == 2 for value in head.parameters()) != tied
    found = head(outputs.hidden_states[-1].flatten(0, 1)).sum()
    found.backward()
    assert (trained.get_input_embeddings().weight.grad is not None) == tied


def test_a_file_without_a_head_is_one_clear_line(prepared, tmp_path, folders):
    bare = make_model(tmp_path / "bare")
    with pytest.raises(InputError, match=r"bare: expected the weights of a masked-LM head, found none of cls\.pred"):
        prepared({"objective": "mlm-auxiliary"}, model=bare)
    with pytest.raises(InputError, match=r"gpt2: expected a model with a masked-LM head; one of type gpt2 has none"):
        prepared({"objective": "mlm-auxiliary"}, model=make_gpt2(tmp_path / "gpt2"))


# --- augmentation


def test_augmentation_is_the_weighted_mean_of_two_losses(prepared):
    for weight in (1.0, 3.0):
        run = prepared({"objective": {"kind": "augment", "mask": HALF, "weight": weight}})
        penalty = run.mask.penalty(run.model, run.clean, run.masked)
        copy = run.mask._copy(run.clean)
        task, other = (
            cross_entropy(passes.forward(run.model, batch).logits, batch.labels) for batch in (run.clean, copy)
        )
        assert not torch.equal(task, other)
        found = run.mask.combine(task, penalty, 1).item()
        assert found == pytest.approx(((task + weight * other) / (1 + weight)).item(), rel=1e-5)


def test_the_compute_twin_passes_each_text_twice_without_masks(train, prepared):
    twins = {"twins": ["compute-twin"], "name": "x"}
    for entry in ({"objective": {"kind": "augment", "mask": HALF}}, {"input": HALF, "objective": AUGMENT_OWN}):
        twin = list(Strategy.model_validate({**entry, **twins}).expanded())[1]
        assert twin.input is None
        assert twin.objective == Augment(mask={"kind": "random", "rate": 0.0}, dropout="own")
    given = twin.model_dump(mode="json", exclude={"twin", "twin_of", "twins"})
    # with dropout the second pass is another look at the text, without it is the same
    assert not same(train(KINDS[0]), train(KINDS[0], given))
    assert same(train(KINDS[0], dropout=0.0), train(KINDS[0], given, dropout=0.0))
    other = list(Strategy.model_validate({"objective": {"kind": "consistency", "mask": HALF}, **twins}).expanded())[1]
    assert not other.objective.apply


def test_the_copys_own_dropout_is_drawn_for_itself_and_again_in_the_same_way(prepared):
    run = prepared({"objective": {"kind": "augment", "mask": {"kind": "random", "rate": 0.0}}}, dropout=0.3)
    clean = replace(run.clean, noise=7)
    same_, own, again = (
        run.mask.model_copy(update={"dropout": dropout}).penalty(run.model, clean, clean).item()
        for dropout in ("same", "own", "own")
    )
    task = cross_entropy(passes.forward(run.model, clean).logits, clean.labels).item()
    assert same_ == pytest.approx(task, rel=1e-6)
    assert own == again != same_


def test_the_copy_may_be_the_strategys_own(prepared):
    run = prepared({"input": HALF, "objective": {"kind": "augment", "mask": None}})
    clean = cross_entropy(passes.forward(run.model, run.clean).logits, run.clean.labels)
    assert run.mask.penalty(run.model, run.clean, run.masked).item() == pytest.approx(clean.item(), rel=1e-5)


# --- masks inside objectives


def test_an_objective_without_anything_to_mask_is_refused():
    line = "consistency: expected a mask in the objective or an input mask, got none"
    config = {"study": "s", "tasks": ["conll2003"], "models": ["minilm-l6"], "seeds": [1]}
    with pytest.raises(InputError) as error:
        load(config | {"strategies": ["none", {"name": "x", "objective": "consistency"}]})
    assert str(error.value) == f"configuration: strategies[1] (x): {line}"
    for kind in ("mlm-auxiliary", "augment"):
        with pytest.raises(ValidationError, match=f"{kind}: expected a mask"):
            Strategy.model_validate({"name": "x", "objective": {"kind": kind, "mask": None}})
    assert Strategy.model_validate({"name": "x", "input": "random", "objective": "consistency"}).objective.mask is None


def test_needs_of_the_inner_mask_are_the_objectives():
    assert Consistency(mask={"kind": "generated"}).needs() == {"a masked-LM head"}
    assert Consistency(mask={"kind": "generated", "by": "unigram"}).needs() == frozenset()
    assert Consistency().needs() == frozenset()
    assert MaskedLMAuxiliary().needs() == {"a masked-LM head"}
    assert Augment().needs() == frozenset()


def test_an_inner_mask_is_fitted_trained_and_told_the_loss(prepared):
    gate = {"kind": "learned", "rate": 0.4, "learning_rate": 0.05}
    run = prepared({"objective": {"kind": "mlm-auxiliary", "mask": gate}}, learning_rate=1e-3)
    assert set(run.mask.modules()) == {"gate", "head"}
    before = run.mask.modules()["gate"].outer.clone()
    run.trainer.train()
    assert not torch.equal(before, run.mask.modules()["gate"].outer)
    rates = {group["initial_lr"] for group in run.trainer.optimizer.param_groups}
    assert rates == {1e-3, 0.05}
    run = prepared({"objective": {"kind": "augment", "mask": "adaptive"}})
    run.trainer.train()
    assert run.mask.state()["mask"]["means"].isfinite().all()
    assert run.mask.state()["mask"]["spent"][0] > 0


def test_inner_and_outer_masks_have_draws_of_their_own(prepared):
    run = prepared({"input": HALF, "objective": {"kind": "augment", "mask": HALF}})
    assert not torch.equal(run.mask._copy(run.clean).hit, run.masked.hit)


def test_an_inner_mask_that_is_not_applied_leaves_the_text(prepared):
    run = prepared({"objective": {"kind": "augment", "mask": HALF | {"apply": False}}})
    assert torch.equal(run.mask._copy(run.clean).input_ids, run.clean.input_ids)


def test_the_realised_rate_of_the_copy_is_recorded(folders, tmp_path):
    rates = {}
    for name, entry in (
        ("copy", {"mask": HALF}),
        ("own", {"mask": None}),
        ("still", {"mask": HALF | {"apply": False}}),
    ):
        strategy = {"input": "random", "objective": {"kind": "consistency", **entry}}
        cell = make_cell(strategy={"name": "mine", **strategy}, training={"epochs": 1})
        inputs = Inputs(folders[KINDS[0]], folders["model"], tmp_path / "work")
        record, _ = run_cell(cell, inputs, choose(cell.training), code="c", command="x")
        rates[name] = [item.value for item in record.metrics if item.measure == "objective_mask_rate"]
    assert rates["copy"] == [pytest.approx(0.5, abs=0.08)]
    assert rates["own"] == rates["still"] == []
