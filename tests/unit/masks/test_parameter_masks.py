"""Parameter masks: what they hold keeps every bit, what they choose is what they say, and a model comes out plain."""

from __future__ import annotations

import hashlib
import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
import transformers
from pydantic import ValidationError
from safetensors.torch import load_file
from scipy import stats
from torch.nn.functional import cross_entropy
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback, XLNetConfig, pipeline

from maskbench.errors import InputError
from maskbench.masks import Strategy
from maskbench.masks.draws import Draws
from maskbench.masks.parameter.adalora import AdaLora
from maskbench.masks.parameter.bias_only import BiasOnly
from maskbench.masks.parameter.child_d import ChildD
from maskbench.masks.parameter.child_f import ChildF
from maskbench.masks.parameter.freeze import Freeze
from maskbench.masks.parameter.head_only import HeadOnly
from maskbench.masks.parameter.learned_weights import LearnedWeights
from maskbench.masks.parameter.lora import Lora
from maskbench.masks.shared.binary import BinaryMask, bake, density, mask
from maskbench.masks.shared.chance import Chance
from maskbench.masks.shared.fisher import information, largest, sample
from maskbench.masks.shared.steps import Steps
from maskbench.models.anatomy import layers_of, linears_of, mark_fresh, pretrained_of
from maskbench.slots.device import choose
from maskbench.training.run import Inputs, Run, run_cell
from maskbench.training.trainer import MaskedTrainer
from tests.helpers.models import make_cell, make_encoded, make_model, same
from tests.unit.masks.test_masks import HEADS, Model

KINDS = ["sequence-classification", "token-classification"]
MODELS = ["bert", "roberta", "distilbert", "electra", "modernbert", "gpt2"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("tiny")
    model = make_model(base / "model")
    return {"model": model} | {kind: make_encoded(base / kind, model, kind) for kind in KINDS}


@pytest.fixture
def train(folders, tmp_path):
    """Train a cell and return its record and the kept model."""

    def call(parameter=None, kind=KINDS[0], **training):
        strategy = {"name": "x", "parameter": parameter}
        cell = make_cell(kind, strategy, training={"weight_decay": 0.1, "warmup": 0.0} | training)
        kept = tmp_path / hashlib.sha256(cell.model_dump_json().encode()).hexdigest()[:8]
        inputs = Inputs(folders[kind], folders["model"], tmp_path / "work", kept)
        record, outcome = run_cell(cell, inputs, choose(cell.training), code="c", command="x")
        assert record.status == "completed", record.error
        sizes = {item.measure: item.value for item in record.metrics if item.measure.endswith("parameters")}
        return SimpleNamespace(
            outcome=outcome, weights=load_file(kept / "model.safetensors"), folder=kept, sizes=sizes, record=record
        )

    return call


class Watch(TrainerCallback):
    """Keeps the weights after every update."""

    def __init__(self):
        self.weights = []

    def on_step_end(self, args, state, control, model=None, **_):
        self.weights.append({name: value.detach().clone() for name, value in model.state_dict().items()})


@pytest.fixture
def prepare(folders, tmp_path):
    """Return a Trainer whose masks are fitted, its first weights, and a watch on it."""

    def call(parameter=None, kind=KINDS[0], *, seed=1, work="work", **training):
        cell = make_cell(
            kind,
            {"name": "x", "parameter": parameter},
            seed=seed,
            training={"weight_decay": 0.1, "warmup": 0.0} | training,
        )
        run = Run(cell, Inputs(folders[kind], folders["model"], tmp_path / work), choose(cell.training))
        trainer = run.prepare(AutoTokenizer.from_pretrained(folders["model"]))
        watch = Watch()
        trainer.add_callback(watch)
        first = {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}
        setting = run.setting(trainer.model, AutoTokenizer.from_pretrained(folders["model"]))
        return SimpleNamespace(
            run=run, trainer=trainer, model=trainer.model, watch=watch, first=first, setting=setting,
            mask=trainer.masking.strategy.parameter,
        )  # fmt: skip

    return call


def head_of(model):
    pretrained = {id(parameter) for _, parameter in pretrained_of(model)}
    return [parameter for parameter in model.parameters() if id(parameter) not in pretrained]


# --- what is held keeps every bit


@pytest.mark.parametrize(
    ("parameter", "kind"),
    [
        ("freeze", KINDS[0]),
        ("head-only", KINDS[1]),
        ("bias-only", KINDS[1]),
        ("child-d", KINDS[0]),
        ("child-d", KINDS[1]),
    ],
)
def test_masked_weights_are_bit_equal_after_training(prepare, parameter, kind):
    entry = {"kind": "freeze", "layers": 1} if parameter == "freeze" else {"kind": parameter}
    given = prepare(entry, kind)
    given.trainer.train()
    last = given.watch.weights[-1]
    moved = {name: last[name] != old for name, old in given.first.items()}
    held = {
        "freeze": lambda name: ".embeddings." in name or ".layer.0." in name,
        "head-only": lambda name: not name.startswith("classifier"),
        "bias-only": lambda name: not name.startswith("classifier") and not name.endswith("bias"),
        "child-d": lambda name: False,
    }[parameter]
    for name, changes in moved.items():
        if held(name):
            assert not changes.any(), name
        elif parameter == "child-d" and ".layer." in name:
            assert not changes[given.mask._moving[name] == 0].any(), name
    assert moved["classifier.weight"].all()
    free = sum(int(changes.sum()) for changes in moved.values())
    counted = given.run.trained_parameters
    assert free <= counted
    if parameter != "child-d":  # which weights that were never seen may move, Fisher leaves open
        seen = sum(m.numel() for name, m in moved.items() if not held(name) and ("weight" in name or "bias" in name))
        assert counted == seen
    assert free > 0.5 * counted


def test_a_share_is_above_0_and_at_most_1():
    for share in (0.0, 1.1, -0.1):
        with pytest.raises(ValidationError):
            ChildF(share=share)
    assert ChildF(share=1 / 256).share == 1 / 256
    with pytest.raises(ValidationError, match=r"greater than or equal to 0\.00390625"):
        ChildF(share=0.003)
    assert ChildD(share=0.003).share == 0.003


# --- freezing


@pytest.mark.parametrize("name", MODELS)
def test_top_and_random_freeze_as_many_layers(name):
    model = Model.known[name].build(HEADS[0])
    layers = [[id(parameter) for parameter in layer.parameters()] for layer in layers_of(model)]
    setting = SimpleNamespace(model=model)

    def frozen(mask, seed=1):
        mask.fit(setting, Draws(seed, 2))
        chosen = {id(parameter) for parameter in mask.select(model)}
        assert chosen <= {number for layer in layers for number in layer}
        return {place for place, layer in enumerate(layers) if chosen.issuperset(layer)}

    assert frozen(Freeze(layers=2, embeddings=False, which="top")) == {1, 2}
    assert frozen(Freeze(layers=2, embeddings=False)) == {0, 1}
    found = {frozenset(frozen(Freeze(layers=2, embeddings=False, which="random"), seed)) for seed in range(20)}
    assert found == {frozenset({0, 1}), frozenset({0, 2}), frozenset({1, 2})}
    for seed in range(5):
        one, two = (frozen(Freeze(layers=n, embeddings=False, which="random"), seed) for n in (1, 2))
        assert one < two


@pytest.mark.parametrize("head", HEADS, ids=["sequence", "tokens"])
@pytest.mark.parametrize("name", MODELS)
def test_head_only_and_bias_only_select_the_rest(name, head):
    model = Model.known[name].build(head)
    heads = {"classifier", "score", "pre_classifier", "head"}
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    frozen = {names[id(parameter)] for parameter in HeadOnly().select(model)}
    assert {key for key in names.values() if key.split(".")[0] not in heads} == frozen
    if name == "modernbert":
        with pytest.raises(InputError, match=r"bias-only: ModernBert.* has no bias terms"):
            BiasOnly().select(model)
        return
    biases = {key for key in frozen if key.endswith("bias")}
    assert {names[id(parameter)] for parameter in BiasOnly().select(model)} == frozen - biases
    assert len(biases) > 5


def test_a_pooler_that_is_not_pretrained_belongs_to_the_head():
    model = Model.known["bert"].build(HEADS[0])
    before = {name for name, _ in pretrained_of(model)}
    mark_fresh(model, ["bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "gone"])
    assert before - {name for name, _ in pretrained_of(model)} == {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}


def test_the_run_knows_what_is_fresh(prepare, folders, tmp_path):
    assert {name.split(".")[0] for name, _ in pretrained_of(prepare().model)} == {"bert"}
    folders = {"model": make_model(tmp_path / "headed", head=True)} | {KINDS[0]: folders[KINDS[0]]}
    cell = make_cell(strategy={"name": "x", "parameter": "head-only"})
    run = Run(cell, Inputs(folders[KINDS[0]], folders["model"], tmp_path / "w"), choose(cell.training))
    model = run.prepare(AutoTokenizer.from_pretrained(folders["model"])).model
    moving = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert moving == {f"{part}.{what}" for part in ("bert.pooler.dense", "classifier") for what in ("weight", "bias")}


# --- Child-Tuning-F


def test_child_f_moves_what_it_draws_and_nothing_else(prepare, monkeypatch):
    drawn = []
    original = ChildF.gate

    def spy(self, gradients, step, rng):
        before = {name: gradient.clone() for name, gradient in gradients.items()}
        moves = original(self, gradients, step, rng)
        for name, gradient in gradients.items():
            expected = before[name] * moves[name] * 256 / 102 if name in moves else before[name]
            torch.testing.assert_close(gradient, expected)
        drawn.append({name: moving.bool() for name, moving in moves.items()})
        return moves

    monkeypatch.setattr(ChildF, "gate", spy)
    given = prepare({"kind": "child-f", "share": 0.4})
    given.trainer.train()
    states = [given.first, *given.watch.weights]
    assert len(drawn) == len(states) - 1 > 5
    for old, new, moves in zip(states, states[1:], drawn, strict=False):
        assert moves.keys() == {name for name in old if name.startswith("bert.") and "position_ids" not in name}
        for name, moving in moves.items():
            assert not (old[name] != new[name])[~moving].any(), name
        weight = "bert.encoder.layer.0.intermediate.dense.weight"
        assert (old[weight] != new[weight])[moves[weight]].float().mean() > 0.9
        assert (old["classifier.weight"] != new["classifier.weight"]).all()
    total = sum(moving.numel() for moves in drawn for moving in moves.values())
    hits = sum(int(moving.sum()) for moves in drawn for moving in moves.values())
    assert stats.binomtest(hits, total, 102 / 256).pvalue > 1e-3


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9])
def test_the_share_that_moves_is_binomial(share):
    chance = Chance({"a": torch.Size([301, 300]), "b": torch.Size([7])}, share, CPU)
    for step in range(3):
        drawn = chance.draw(Draws(1, 2), step)
        assert set(drawn["a"].unique().tolist()) == {0.0, 1.0}
        assert stats.binomtest(int(drawn["a"].sum()), 301 * 300, chance.probability).pvalue > 1e-3
        # neighbours share a random word: they must be independent all the same
        both = (drawn["a"].flatten()[:-1] * drawn["a"].flatten()[1:]).mean()
        assert abs(both - chance.probability**2) < 5 * math.sqrt(share**2 / (301 * 300))


@pytest.mark.parametrize(
    ("share", "sides"), [(1 / 256, 1), (0.005, 1), (0.3, 77), (0.5, 128), (0.997, 255), (0.9999, 255)]
)
def test_a_share_is_rounded_to_the_sides_of_a_die(share, sides):
    chance = Chance({"a": torch.Size([2**18 + 3])}, share, CPU)
    assert chance.probability == sides / 256
    drawn = chance.draw(Draws(1, 2), 0)["a"]
    assert stats.binomtest(int(drawn.sum()), len(drawn), sides / 256).pvalue > 1e-3


def test_draws_depend_on_seed_and_step_alone():
    shapes = {"b": torch.Size([40, 3]), "a": torch.Size([5]), "c": torch.Size([9, 9])}

    def draw(shapes, seed=1, step=3):
        drawn = Chance(shapes, 0.5, CPU).draw(Draws(seed, 2), step)
        return {name: drawn[name].clone() for name in sorted(drawn)}

    one = draw(shapes)
    assert {name: part.shape for name, part in one.items()} == {name: shapes[name] for name in sorted(shapes)}
    assert same(one, draw(dict(reversed(shapes.items()))))
    assert not same(one, draw(shapes, seed=2))
    assert not same(one, draw(shapes, step=4))
    before = torch.get_rng_state()
    draw(shapes)
    assert torch.equal(before, torch.get_rng_state())


# --- Child-Tuning-D


def plain_information(setting, places):
    """The definition, by loops: the mean over examples of the squared gradient of -log p(all labels of the text)."""
    model = setting.model.eval()
    found = {name: torch.zeros_like(weight) for name, weight in pretrained_of(model)}
    batches = list(setting.batches(1))
    for place in places:
        labels = batches[place].pop("labels")
        logits = model(**batches[place]).logits
        model.zero_grad()
        cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="sum", ignore_index=-100).backward()
        for name, weight in pretrained_of(model):
            if weight.grad is not None:
                found[name] += weight.grad**2 / len(places)
    model.zero_grad()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_fisher_information_is_what_its_definition_says(prepare, kind):
    given = prepare(None, kind)
    given.model.train()
    state, places = torch.get_rng_state(), {0, 3, 4, 11}
    found = information(given.setting, places)
    assert torch.equal(state, torch.get_rng_state())
    assert given.model.training
    assert all(parameter.grad is None for parameter in given.model.parameters())
    assert same(given.first, given.model.state_dict())
    expected = plain_information(given.setting, sorted(places))
    assert found.keys() == expected.keys()
    for name, values in found.items():
        torch.testing.assert_close(values, expected[name], rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize("over", ["layers", "all"])
def test_child_d_takes_the_weights_with_the_largest_information(prepare, over):
    given = prepare({"kind": "child-d", "share": 0.2, "examples": 8, "over": over})
    places = sample(len(given.setting.train), 8, Draws(1, 2))
    assert len(places) == 8
    expected = plain_information(given.setting, sorted(places))
    if over == "layers":
        expected = {name: values for name, values in expected.items() if ".layer." in name}
    moving = given.mask._moving
    assert moving.keys() == expected.keys()
    chosen = torch.cat([moving[name].flatten() for name in expected]).bool()
    values = torch.cat([values.flatten() for values in expected.values()])
    assert int(chosen.sum()) == round(0.2 * len(chosen))
    assert values[chosen].min() >= values[~chosen].max() * (1 - 1e-3)
    free = sum(weight.numel() for name, weight in given.model.named_parameters() if name not in moving)
    assert given.run.trained_parameters == int(chosen.sum()) + free
    assert (free > sum(weight.numel() for weight in head_of(given.model))) == (over == "layers")


def test_the_budget_may_be_spent_in_each_layer_apart(prepare):
    whole, apart = (
        prepare({"kind": "child-d", "share": 0.2, "examples": 8, "over": over}) for over in ("layers", "each-layer")
    )
    assert apart.mask._moving.keys() == whole.mask._moving.keys()

    def shares(given):
        moving = given.mask._moving
        parts = [[part for name, part in moving.items() if f".layer.{layer}." in name] for layer in range(2)]
        return [sum(float(part.sum()) for part in own) / sum(part.numel() for part in own) for own in parts]

    assert shares(apart) == pytest.approx([0.2, 0.2], abs=1e-3)
    assert sum(shares(whole)) == pytest.approx(0.4, abs=1e-3)
    assert abs(shares(whole)[0] - shares(whole)[1]) > 0.01
    assert apart.run.trained_parameters == whole.run.trained_parameters
    for layer in range(2):  # in each layer those with most information
        names = [name for name in apart.mask._moving if f".layer.{layer}." in name]
        found = information(apart.setting, sample(len(apart.setting.train), 8, Draws(1, 2)), layers=True)
        own = largest({name: found[name] for name in names}, 0.2)
        assert all(torch.equal(own[name], apart.mask._moving[name]) for name in names)


def test_child_d_holds_weights_of_layers_alone(prepare):
    """As the authors' code: embeddings, pooler and head always move, and a share of the layers' weights does."""
    given = prepare({"kind": "child-d"}, learning_rate=1e-2)
    given.trainer.train()
    last = given.watch.weights[-1]
    layers = [name for name in given.first if ".layer." in name]
    moved = sum(int((last[name] != given.first[name]).sum()) for name in layers)
    assert moved / sum(given.first[name].numel() for name in layers) == pytest.approx(0.3, abs=0.01)
    for name in ("embeddings.position_embeddings.weight", "embeddings.LayerNorm.weight", "pooler.dense.weight"):
        assert (last[f"bert.{name}"] != given.first[f"bert.{name}"]).any(), name
    words = "bert.embeddings.word_embeddings.weight"
    seen = given.setting.train.with_format("numpy")["input_ids"]
    assert (last[words] != given.first[words]).any(1)[list({int(token) for row in seen for token in row})].all()


def test_the_budget_over_all_takes_less_of_the_embeddings(prepare):
    moving = prepare({"kind": "child-d", "examples": 8, "over": "all"}).mask._moving
    shares = {name: float(part.mean()) for name, part in moving.items()}
    assert shares["bert.embeddings.word_embeddings.weight"] < 0.3
    assert "bert.pooler.dense.weight" in shares


@pytest.mark.parametrize("mask", [Lora(), AdaLora(), LearnedWeights(from_layer=0)])
def test_what_is_not_reached_is_said(mask):
    """XLNet keeps the maps of its attention as bare parameters, which neither PEFT nor learned weights know."""
    tall = XLNetConfig(vocab_size=50, d_model=16, n_layer=2, n_head=2, d_inner=32, num_labels=2)
    models = {
        "q, k, v, o, r": AutoModelForSequenceClassification.from_config(tall),
        "": Model.known["gpt2"].build(HEADS[0]),
    }
    for names, model in models.items():
        own = mask.model_copy()
        own.fit(SimpleNamespace(updates=50), Draws(1, 2))
        list(own.select(model))
        said = f"{own.kind}: {names} of each layer are bare parameters, not linear modules: it does not reach them"
        assert own.notes() == ([said] if names else [])


def test_alpha_is_relative_to_the_first_rank_of_adalora():
    """PEFT divides by the rank that adapters begin with, also when ranks have shrunk."""
    model = Model.known["bert"].build(HEADS[0]).eval()
    mask = AdaLora(alpha=6, initial_rank=3, target_rank=1, warm_up=0.0, final=0.1)
    mask.fit(SimpleNamespace(updates=50), Draws(1, 2))
    mask.select(model)
    layer = next(part for part in model.modules() if hasattr(part, "lora_E"))
    with torch.no_grad():
        for part in (layer.lora_A, layer.lora_B, layer.lora_E):
            part["default"].normal_(generator=torch.Generator().manual_seed(0))
        layer.lora_E["default"][1:] = 0  # ranks that were dropped
    a, b, e = (part["default"].detach() for part in (layer.lora_A, layer.lora_B, layer.lora_E))
    # PEFT adds 1e-5 to the rank
    torch.testing.assert_close(layer.get_delta_weight("default"), (b @ (a * e)) * 6 / 3, rtol=1e-4, atol=1e-4)


def test_examples_are_drawn_by_the_seed():
    assert sample(50, None, Draws(1)) == set(range(50)) == sample(50, 80, Draws(1))
    assert sample(50, 10, Draws(1)) == sample(50, 10, Draws(1)) != sample(50, 10, Draws(2))


def test_ties_do_not_change_how_many_are_chosen():
    flat = {"b": torch.zeros(50), "a": torch.tensor([[0.0, 5.0, 0.0], [2.0, 2.0, 2.0]])}
    for share, count in ((0.02, 1), (0.04, 2), (0.5, 28), (1.0, 56)):
        chosen = largest(flat, share)
        assert sum(int(part.sum()) for part in chosen.values()) == count
        assert chosen["a"][0, 1] == 1
    assert largest(flat, 3 / 56)["a"].tolist() == [[0.0, 1.0, 0.0], [1.0, 1.0, 0.0]]


# --- learned binary masks on weights

LEARNED = {"kind": "learned-weights", "from_layer": 1, "spread": 0.02}


def test_scores_get_the_gradient_of_the_mask():
    weight, scores = torch.randn(4, 3), torch.tensor([[0.1, -0.1, 0.2]] * 4, requires_grad=True)
    masked = BinaryMask(scores.detach())
    masked.scores.data.copy_(scores)
    out = masked(weight)
    assert torch.equal(out, torch.where(scores > 0, weight, 0.0))
    (out * torch.arange(12.0).view(4, 3)).sum().backward()
    torch.testing.assert_close(masked.scores.grad, torch.arange(12.0).view(4, 3) * weight)


@pytest.mark.parametrize("sparsity", [0.0, 0.05, 0.5, 1.0])
def test_the_initial_sparsity_is_as_asked(sparsity):
    module = torch.nn.Linear(200, 150)
    weight = module.weight.detach().clone()
    mask(module, sparsity, 0.01, torch.Generator().manual_seed(1))
    zeros = int((module.weight == 0).sum())
    assert stats.binomtest(zeros, weight.numel(), sparsity).pvalue > 1e-3
    scores = module.parametrizations.weight[0].scores
    assert 0.0099 < scores.max() - scores.min() <= 0.01
    bake(module)
    assert torch.equal(module.weight, torch.where(scores > 0, weight, 0.0))
    assert type(module) is torch.nn.Linear


def test_learned_masks_turn_over_and_frozen_weights_do_not_move(prepare):
    given = prepare(LEARNED)
    masked = [name for name, _ in linears_of(given.model, 1)]
    assert len(masked) == 6
    given.trainer.train()
    last = given.watch.weights[-1]
    start = "{}.parametrizations.weight.{}"
    turned = 0
    for name, old in given.first.items():
        if name.endswith("scores"):
            turned += int(((old > 0) != (last[name] > 0)).sum())
        elif not name.startswith("classifier"):
            assert torch.equal(last[name], old), name
    assert turned > 10
    plain = transformers.AutoModelForSequenceClassification.from_config(given.model.config)
    state = {name: value for name, value in given.model.state_dict().items() if "parametrizations" not in name}
    for name in masked:
        weight, scores = (given.model.state_dict()[start.format(name, part)] for part in ("original", "0.scores"))
        state[f"{name}.weight"] = weight * (scores > 0)
    plain.load_state_dict(state)
    batch = next(given.setting.batches(8))
    batch.pop("labels")
    before = given.model.eval()(**batch).logits
    assert torch.equal(before, plain.eval()(**batch).logits)
    given.trainer.masking.finish(given.model)
    assert torch.equal(before, given.model(**batch).logits)
    assert given.model.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize("chosen", ["top", "random"])
def test_the_number_of_weights_that_are_used_may_stay(prepare, chosen):
    """Learned and random masks of one density, which start from the same draw."""
    entry = LEARNED | {"initial_sparsity": 0.3}
    free, held = prepare(entry), prepare(entry | {"chosen": chosen}, work=chosen, selection="last")
    names = [name for name, _ in linears_of(held.model, 1)]
    start = "{}.parametrizations.weight.0.{}"
    first = {name: held.first[start.format(name, "used")].bool() for name in names}
    for name in names:
        assert torch.equal(first[name], free.first[start.format(name, "scores")] > 0)
    for given in (free, held):
        given.trainer.train()
    state = held.model.state_dict()
    last = {name: state[start.format(name, "used")].bool() for name in names}
    moved = sum(int((last[name] != first[name]).sum()) for name in names)
    assert all(int(last[name].sum()) == int(first[name].sum()) for name in names)
    assert (moved > 0) == (chosen == "top")
    used, total = density(held.model)
    assert used == sum(int(part.sum()) for part in last.values())
    assert total == sum(part.numel() for part in last.values())
    assert held.trainer.masking.ending(held.model) == [
        f"learned-weights: {100 * used / total:.2f} % of the {total} weights of masked maps are used"
    ]
    assert density(free.model)[0] != used
    scored = [weight for name, weight in held.model.named_parameters() if name.endswith("scores")]
    assert (len(scored) > 0) == (chosen == "top")
    for name in names if chosen == "top" else ():
        scores = state[start.format(name, "scores")]
        assert scores[last[name]].min() >= scores[~last[name]].max()
    original = "{}.parametrizations.weight.original"
    wanted = {name: state[original.format(name)] * last[name] for name in names}
    held.trainer.masking.finish(held.model)
    assert all(torch.equal(held.model.get_parameter(f"{name}.weight"), wanted[name]) for name in names)


def test_weight_decay_alone_turns_no_mask_over():
    scores = torch.nn.Parameter(torch.rand(1000) - 0.3)
    used = scores.detach() > 0
    optimizer = torch.optim.AdamW([scores], lr=0.1, weight_decay=0.5)
    for _ in range(20):
        scores.grad = torch.zeros_like(scores)
        optimizer.step()
    assert torch.equal(scores > 0, used)
    assert scores.abs().max() < 0.3


def test_too_low_a_stack_for_learned_weights_is_a_clear_line(prepare):
    with pytest.raises(InputError, match="learned-weights: from_layer is 2, but the model has layers 0 to 1"):
        prepare({"kind": "learned-weights"})


# --- adapters

ADALORA = {"kind": "adalora", "initial_rank": 4, "target_rank": 2}
ADAPTERS = [{"kind": "lora", "rank": 4}, ADALORA]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("entry", ADAPTERS, ids=["lora", "adalora"])
def test_adapters_leave_the_weights_alone_until_they_are_merged(prepare, entry, kind):
    given = prepare(entry, kind, learning_rate=1e-2)
    pretrained = {name for name, _ in pretrained_of(prepare(None, kind).model)}
    assert not any(
        parameter.requires_grad for name, parameter in given.model.named_parameters() if "base_layer" in name
    )
    given.trainer.train()
    last = given.watch.weights[-1]
    for name, old in given.first.items():
        if name.replace(".base_layer", "") in pretrained:
            assert torch.equal(last[name], old), name
        elif "lora_A" in name or "lora_B" in name or "classifier" in name:
            assert not torch.equal(last[name], old), name
    batch = next(given.setting.batches(8))
    batch.pop("labels")
    before = given.model.eval()(**batch).logits
    given.trainer.masking.finish(given.model)
    torch.testing.assert_close(given.model(**batch).logits, before, rtol=1e-4, atol=1e-4)
    plain = prepare(None, kind).model
    assert given.model.state_dict().keys() == plain.state_dict().keys()
    assert {type(part) for part in given.model.modules()} == {type(part) for part in plain.modules()}


def test_the_adapters_are_counted_and_the_rest_is_not(train, prepare):
    layer = 4 * (16 + 16) + 2 * (16 + 32)  # in + out of each linear map: attention's four, then two
    head = 16 * 2 + 2
    assert prepare(ADAPTERS[0]).run.trained_parameters == 4 * 2 * layer + head
    assert prepare(ADALORA).run.trained_parameters == 4 * 2 * layer + 4 * 2 * 6 + head
    assert prepare(LEARNED).run.trained_parameters == 4 * 16 * 16 + 2 * 16 * 32 + head
    whole = sum(parameter.numel() for parameter in prepare().model.parameters())
    assert train(ADAPTERS[0]).sizes == {"parameters": whole, "trained_parameters": 4 * 2 * layer + head}


def test_ranks_shrink_to_their_target(prepare):
    given = prepare(ADALORA | {"warm_up": 0.2, "final": 0.3}, epochs=4)
    given.trainer.train()
    ranks = [
        sum(int((value != 0).sum()) for name, value in state.items() if "lora_E" in name)
        for state in given.watch.weights
    ]
    updates = len(ranks)
    assert updates == given.setting.updates
    matrices = 2 * 6
    assert set(ranks[: int(0.2 * updates)]) == {4 * matrices}
    assert ranks == sorted(ranks, reverse=True)
    assert set(ranks[-int(0.3 * updates) :]) == {2 * matrices}


def test_adalora_keeps_its_vectors_orthogonal_by_a_term_in_the_loss(prepare):
    given = prepare(ADALORA)
    distances = []
    for name, matrix in given.model.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            rows = matrix if "lora_A" in name else matrix.T
            distances.append(float((rows @ rows.T - torch.eye(4)).detach().norm()))
    term = given.mask.regularisation(given.model).detach()
    assert float(term) == pytest.approx(0.5 * sum(distances) / len(distances), rel=1e-5)
    given.trainer.train()
    assert given.mask.regularisation(given.model) < term


@pytest.mark.parametrize("head", HEADS, ids=["sequence", "tokens"])
@pytest.mark.parametrize("entry", [Lora(rank=2), AdaLora(initial_rank=3, target_rank=2), LearnedWeights(from_layer=1)])
@pytest.mark.parametrize("name", MODELS)
def test_masks_that_change_the_model_work_on_all_of_them(name, entry, head):
    model, mask = Model.known[name].build(head), entry.model_copy(deep=True)
    names = sorted(model.state_dict())
    heads = {id(parameter) for parameter in head_of(model)}
    mask.fit(SimpleNamespace(model=model, updates=20), Draws(1, 2))
    state = torch.get_rng_state()
    for parameter in mask.select(model):
        parameter.requires_grad_(False)
    assert torch.equal(state, torch.get_rng_state())
    assert all(parameter.requires_grad for parameter in model.parameters() if id(parameter) in heads)
    ids = torch.randint(3, 50, (2, 7))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    for step in range(2):
        loss = model(**inputs).logits.square().sum()
        term = mask.regularisation(model)
        (loss if term is None else loss + term).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter -= 0.01 * parameter.grad.sign()
        mask.updated(model, step)
    changed = [key for key, parameter in model.named_parameters() if parameter.requires_grad]
    layers = {key.split(".layer")[-1].split(".h.")[-1] for key in changed if "lora_" in key or "scores" in key}
    assert len(layers) >= 4
    before = model.eval()(**inputs).logits
    mask.finish(model)
    assert sorted(model.state_dict()) == names
    torch.testing.assert_close(model(**inputs).logits, before, rtol=1e-4, atol=1e-4)


def test_adapters_start_from_the_runs_seed_and_change_nothing_yet(prepare):
    one, again, other = prepare({"kind": "lora"}), prepare({"kind": "lora"}), prepare({"kind": "lora"}, seed=2)
    name = next(name for name in one.first if "lora_A" in name)
    assert torch.equal(one.first[name], again.first[name])
    assert not torch.equal(one.first[name], other.first[name])
    batch = next(one.setting.batches(8))
    batch.pop("labels")
    assert torch.equal(one.model.eval()(**batch).logits, prepare().model.eval()(**batch).logits)


def test_adapters_can_be_put_on_some_modules_alone(prepare):
    given = prepare({"kind": "lora", "targets": ["query", "value"]})
    found = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in given.first if "lora_A" in name}
    assert found == {"query", "value"}
    with pytest.raises(InputError, match="lora: targets: no linear module is called so; there are dense, key, query"):
        prepare({"kind": "lora", "targets": ["q_proj"]})


def test_a_schedule_that_leaves_no_time_is_refused(prepare):
    with pytest.raises(ValidationError, match="target_rank below initial_rank"):
        AdaLora(initial_rank=4, target_rank=4)
    with pytest.raises(ValidationError, match="a sum below 1"):
        AdaLora(warm_up=0.5, final=0.5)
    with pytest.raises(InputError, match=r"adalora: \d+ updates are too few"):
        prepare(ADALORA | {"warm_up": 0.4, "final": 0.59})


# --- a plain model comes out, the best checkpoint's


@pytest.mark.parametrize("entry", [LEARNED, *ADAPTERS], ids=["learned-weights", "lora", "adalora"])
def test_the_best_checkpoint_is_scored_and_kept_as_a_plain_model(train, monkeypatch, entry):
    scores = iter([0.1, 0.9, 0.2, 0.3])
    monkeypatch.setattr(Run, "validate", lambda self, trainer: {"score": next(scores), "nll": 1.0})
    seen = {}

    class Keep(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **_):
            seen[state.global_step] = {name: value.clone() for name, value in model.state_dict().items()}

    build = MaskedTrainer.__init__

    def init(self, *args, **kwargs):
        build(self, *args, **kwargs)
        self.add_callback(Keep())

    monkeypatch.setattr(MaskedTrainer, "__init__", init)
    run = train(entry, epochs=2, evaluations_per_epoch=2)
    assert [row.score for row in run.record.history] == [0.1, 0.9, 0.2, 0.3]
    best = seen[run.record.history[1].step]
    assert torch.equal(run.weights["classifier.weight"], best["classifier.weight"])
    assert not torch.equal(run.weights["classifier.weight"], seen[max(seen)]["classifier.weight"])
    texts = pipeline("text-classification", model=str(run.folder))("the film was great")
    assert texts[0]["label"] in ("up", "down")
    model, info = transformers.AutoModelForSequenceClassification.from_pretrained(run.folder, output_loading_info=True)
    assert not any(info.values())
    assert set(model.state_dict()) == set(run.weights)


# --- resuming


# --- the twin


@pytest.mark.parametrize("of", ["child-f", "child-d", "head-only", "bias-only", {"kind": "freeze", "layers": 1}])
def test_steps_are_as_long_as_what_the_mask_would_let_through(prepare, monkeypatch, of):
    raw, moving = [], []
    before, after = Steps.before, Steps.after

    def keep(self, moves):
        moving.append({name: value.clone() for name, value in moves.items()})
        before(self, moves)

    def spy(self):
        raw.append({name: value.detach().clone() for name, value in self._weights.items()})
        after(self)

    monkeypatch.setattr(Steps, "before", keep)
    monkeypatch.setattr(Steps, "after", spy)
    given = prepare({"kind": "step-twin", "of": of}, learning_rate=1e-2)
    frozen = {id(parameter) for parameter in given.mask.of.select(given.model)}
    frozen = {name for name, parameter in given.model.named_parameters() if id(parameter) in frozen}
    given.trainer.train()
    states = [given.first, *given.watch.weights]
    names = [name for name, _ in given.model.named_parameters()]
    assert len(raw) == len(states) - 1 > 5
    for old, wanted, new, moves in zip(states, raw, states[1:], moving, strict=False):
        step = torch.cat([(new[name] - old[name]).flatten() for name in names]).double()
        full = torch.cat([(wanted[name] - old[name]).flatten() for name in names]).double()
        ones = {name: torch.full_like(old[name], float(name not in frozen)) for name in names} | moves
        part = full * torch.cat([ones[name].flatten() for name in names])
        assert float(step.norm()) == pytest.approx(float(part.norm()), rel=1e-4)
        assert float(step @ full) == pytest.approx(float(step.norm() * full.norm()), rel=1e-5)
        assert 0 < float(part.norm()) < float(full.norm())


def test_all_parameters_move_in_the_twin(prepare):
    given = prepare({"kind": "step-twin", "of": "head-only"}, learning_rate=1e-2)
    given.trainer.train()
    last = given.watch.weights[-1]
    assert (last["bert.encoder.layer.0.attention.self.query.weight"] != given.first[
        "bert.encoder.layer.0.attention.self.query.weight"]).float().mean() > 0.9  # fmt: skip
    assert given.run.trained_parameters == sum(parameter.numel() for parameter in given.model.parameters())


def test_a_first_step_of_length_0_stays_one(prepare):
    given = prepare({"kind": "step-twin", "of": "child-f"}, warmup=0.3)
    given.trainer.train()
    assert all(torch.isfinite(value).all() for value in given.watch.weights[-1].values())
    assert not same(given.watch.weights[-1], given.first)


def test_only_masks_that_have_a_step_have_a_twin():
    for kind in ("freeze", "head-only", "bias-only", "child-f", "child-d"):
        made = list(Strategy.model_validate({"name": "x", "parameter": kind, "twins": ["step-twin"]}).expanded())[1]
        assert (made.name, made.parameter.kind, made.parameter.of.kind) == ("x-step-twin", "step-twin", kind)
    for kind in ("lora", "adalora", "learned-weights", {"kind": "step-twin", "of": "child-f"}):
        with pytest.raises(
            ValidationError, match="expected of to be a mask that freezes parameters or masks gradients"
        ):
            Strategy.model_validate({"name": "x", "parameter": {"kind": "step-twin", "of": kind}})
    found = Strategy.model_validate(
        {"name": "x", "parameter": "child-d", "twins": ["step-twin", "drawn-not-applied"]}
    ).expanded()
    assert [strategy.name for strategy in found] == ["x", "x-step-twin", "x-drawn-not-applied"]


# --- what a test's own mask may return


def test_moves_may_be_boolean_and_change_from_update_to_update(prepare, monkeypatch):
    def gate(self, gradients, step, rng):
        return {name: torch.rand(value.shape) < 0.5 for name, value in gradients.items() if step % 2}

    monkeypatch.setattr(HeadOnly, "gate", gate)
    monkeypatch.setattr(HeadOnly, "select", lambda self, model: ())
    given = prepare("head-only")
    given.trainer.train()
    states = [given.first, *given.watch.weights]
    name = "bert.encoder.layer.0.output.dense.weight"
    changed = [float((old[name] != new[name]).float().mean()) for old, new in pairwise(states)]
    assert all(share > 0.9 for share in changed[::2])
    assert all(0.3 < share < 0.6 for share in changed[1::2])


def test_child_d_copies_its_held_weights_once(prepare, monkeypatch):
    calls = []
    original = torch._foreach_copy_
    monkeypatch.setattr(torch, "_foreach_copy_", lambda *args: (calls.append(1), original(*args)))
    prepare({"kind": "child-d", "examples": 4}).trainer.train()
    assert len(calls) == 1
    assert ChildD.fixed
    assert not ChildF.fixed
