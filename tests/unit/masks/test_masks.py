"""Masks: the registry, how strategies are put together, and what each mask touches."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pytest
import torch
import transformers
from pydantic import ValidationError

from maskbench.errors import InputError
from maskbench.experiment.load import load
from maskbench.experiment.presets import presets
from maskbench.masks import Strategy
from maskbench.masks.base import FAMILIES, AttentionMask, Family, InputMask, Mask, Objective, ParameterMask
from maskbench.masks.batch import Batch
from maskbench.masks.draws import Draws
from maskbench.masks.input.random import Random
from maskbench.masks.input.static import Static
from maskbench.masks.parameter.freeze import Freeze
from maskbench.masks.registry import find, known
from maskbench.models.anatomy import base_of, embeddings_of, layers_of

if TYPE_CHECKING:
    from pathlib import Path

    from torch.nn import Module

MASK, CLS, SEP, PAD = 103, 101, 102, 0
ORDINARY = 500


def text_batch(rows: int, width: int, *, epoch: int = 0, first: int = 0) -> Batch:
    """Rows of [CLS] words [SEP] [PAD]..., of different lengths."""
    ids = torch.full((rows, width), PAD)
    words = torch.full((rows, width), -1)
    padding = torch.zeros((rows, width), dtype=torch.bool)
    for row in range(rows):
        length = width - row % (width // 2)
        ids[row, :length] = ORDINARY + torch.arange(length)
        ids[row, 0], ids[row, length - 1] = CLS, SEP
        words[row, 1 : length - 1] = torch.arange(length - 2) // 2
        padding[row, :length] = True
    return Batch(ids, padding, words, torch.arange(first, first + rows), epoch=epoch, mask_id=MASK)


# --- the registry


def test_masks_are_known_by_family_and_kind() -> None:
    assert find("input", "random") is Random
    assert find("input", "static") is Static
    assert find("parameter", "freeze") is Freeze
    for family in FAMILIES:
        for kind, mask in known(family).items():
            assert mask.__module__ == f"maskbench.masks.{family}.{kind.replace('-', '_')}"
            assert (mask.family, mask.model_fields["kind"].default) == (family, kind)
    assert {"random", "static", "freeze"} <= set(presets()["strategies"])


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[Family, dict[str, type[Mask]]]:
    """A copy, so that masks which a test defines are gone after it."""
    copied = {family: dict(known) for family, known in Mask.registry.items()}
    monkeypatch.setattr(Mask, "registry", copied)
    return copied


def test_a_new_mask_is_usable_by_its_name_at_once(registry: dict[Family, dict[str, type[Mask]]]) -> None:
    class Every(InputMask):
        """Mask each n-th token."""

        kind: Literal["every"] = "every"
        nth: int = 2

        def corrupt(self, batch: Batch, rng: Draws) -> Batch:
            return batch.corrupted(torch.arange(batch.input_ids.shape[1]) % self.nth == 0, batch.mask_id)

    assert registry["input"]["every"] is Every
    strategy = Strategy.model_validate({"name": "x", "input": {"kind": "every", "nth": 3}})
    assert isinstance(strategy.input, Every)
    masked = strategy.input.corrupt(text_batch(2, 12), Draws(0))
    assert masked.input_ids[0, 3] == MASK
    assert masked.input_ids[0, 0] == CLS


def test_two_masks_of_one_family_cannot_share_a_name(registry: dict[Family, dict[str, type[Mask]]]) -> None:
    with pytest.raises(TypeError, match="two input masks are called 'random'"):

        class Another(InputMask):
            kind: Literal["random"] = "random"

    class Elsewhere(ParameterMask):
        kind: Literal["random"] = "random"

    assert registry["parameter"]["random"] is Elsewhere


def test_bases_are_not_in_the_registry() -> None:
    listed = {mask for family in FAMILIES for mask in known(family).values()}
    assert listed & {Mask, InputMask, AttentionMask, ParameterMask, Objective} == set()


LOADED = """
import sys
from maskbench.experiment.cell import cells
from maskbench.masks import Strategy
Strategy.model_validate({"name": "x", **json})
kinds = [name.split(".", 2)[2] for name in sys.modules if name.startswith("maskbench.masks.") and name.count(".") == 3]
print(*sorted(name for name in kinds if not name.startswith("shared.")), "torch" in sys.modules)
"""


@pytest.mark.parametrize(
    ("entry", "loaded"),
    [
        ({}, ""),
        ({"input": "random", "parameter": "freeze"}, "input.random parameter.freeze "),
        ({"input": "span", "twins": ["rate-twin"]}, "input.rate_twin input.span "),
    ],
    ids=["none", "two", "twin"],
)
def test_naming_masks_imports_their_modules_and_neither_others_nor_torch(
    root: Path, entry: object, loaded: str
) -> None:
    code = f"json = {entry!r}{LOADED}"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{loaded}False\n", done.stderr


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "none"),
        ('class Other(InputMask):\n    kind: Literal["other"] = "other"\n', "other"),
        (
            'class One(InputMask):\n    kind: Literal["misnamed"] = "misnamed"\n\n\n'
            'class Two(InputMask):\n    kind: Literal["two"] = "two"\n',
            "misnamed, two",
        ),
    ],
    ids=["nothing", "another name", "two"],
)
def test_a_module_defines_the_one_mask_that_its_name_promises(
    root: Path, tmp_path: Path, text: str, found: str
) -> None:
    shutil.copytree(root / "maskbench", tmp_path / "maskbench", ignore=shutil.ignore_patterns("__pycache__"))
    head = (
        "from __future__ import annotations\nfrom typing import Literal\nfrom maskbench.masks.base import InputMask\n"
    )
    (tmp_path / "maskbench/masks/input/misnamed.py").write_text(head + text)
    command = [sys.executable, "-m", "maskbench", "masks"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == (
        'maskbench/masks/input/misnamed.py: expected one input mask, with kind: Literal["misnamed"] = "misnamed", '
        f"found {found}\n"
    )


# --- strategies


def test_a_strategy_is_a_mix_of_masks() -> None:
    entry = {
        "name": "both",
        "input": {"kind": "random", "rate": 0.3},
        "parameter": {"kind": "freeze", "layers": 1, "embeddings": False},
        "training": {"learning_rate": "1e-4"},
    }
    strategy = Strategy.model_validate(entry)
    assert strategy.input == Random(rate=0.3)
    assert strategy.parameter == Freeze(layers=1, embeddings=False)
    assert strategy.attention is None
    assert strategy.objective is None
    assert strategy.training.learning_rate == 1e-4
    assert Strategy.model_validate_json(strategy.model_dump_json()) == strategy
    written = json.loads(strategy.model_dump_json())
    assert written["input"] == {
        "kind": "random",
        "apply": True,
        "replacement": "mask",
        "schedule": {"kind": "constant", "to": 0.0, "rates": None, "flat": False},
        "rate": 0.3,
        "whole_words": False,
    }


def test_a_kind_alone_has_its_defaults() -> None:
    assert Strategy.model_validate({"name": "x", "input": "static"}).input == Static(rate=0.15)


def test_a_mask_that_is_built_already_is_kept() -> None:
    assert Strategy(name="x", input=Random(rate=0.5)).input == Random(rate=0.5)
    with pytest.raises(ValidationError):
        Strategy.model_validate({"name": "x", "input": Freeze()})


def test_masks_are_strict_and_frozen() -> None:
    with pytest.raises(ValidationError):
        Random.model_validate({"rate": "0.5"})
    with pytest.raises(ValidationError):
        Random.model_validate({"kind": "static"})
    with pytest.raises(ValidationError):
        Random(rate=0.5).rate = 0.1  # type: ignore[misc]


@pytest.mark.parametrize("preset", ["none", "random", "static", "freeze"])
def test_presets_of_strategies(preset: str) -> None:
    config = {"study": "s", "tasks": ["conll2003"], "models": ["minilm-l6"], "seeds": [1]}
    strategies = load(config | {"strategies": [preset], "baseline": preset}).strategies
    filled = [slot for slot in ("input", "attention", "parameter", "objective") if getattr(strategies[0], slot)]
    assert filled == {"none": [], "random": ["input"], "static": ["input"], "freeze": ["parameter"]}[preset]


# --- where a model keeps its parts, and freezing

LAYERS = 3
SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


class Model:
    """A tiny random model, and what must be frozen at its bottom, by the beginnings of parameter names."""

    known: ClassVar[dict[str, Model]] = {}

    def __init__(self, config: transformers.PreTrainedConfig, layer: str, embeddings: list[str]) -> None:
        self.config, self.layer, self.embeddings = config, layer, embeddings
        Model.known[config.model_type] = self

    def build(self, head: Any) -> Module:
        torch.manual_seed(0)
        # a model keeps its configuration, and a test may change that of its own
        return head.from_config(copy.deepcopy(self.config))  # type: ignore[no-any-return]


Model(transformers.BertConfig(**SIZES), "bert.encoder.layer.", ["bert.embeddings."])
Model(transformers.RobertaConfig(**SIZES), "roberta.encoder.layer.", ["roberta.embeddings."])
Model(
    transformers.DistilBertConfig(vocab_size=50, dim=16, n_layers=LAYERS, n_heads=2, hidden_dim=32),
    "distilbert.transformer.layer.",
    ["distilbert.embeddings."],
)
Model(
    transformers.ElectraConfig(**SIZES, embedding_size=8),
    "electra.encoder.layer.",
    ["electra.embeddings.", "electra.embeddings_project."],
)
Model(
    transformers.GPT2Config(vocab_size=50, n_embd=16, n_layer=LAYERS, n_head=2, **SPECIAL),
    "transformer.h.",
    ["transformer.wte.", "transformer.wpe."],
)
Model(
    transformers.XLNetConfig(vocab_size=50, d_model=16, n_layer=LAYERS, n_head=2, d_inner=32),
    "transformer.layer.",
    ["transformer.mask_emb", "transformer.word_embedding."],
)
Model(
    transformers.ModernBertConfig(**SIZES, **SPECIAL, cls_token_id=1, sep_token_id=2),
    "model.layers.",
    ["model.embeddings."],
)
HEADS = [transformers.AutoModelForSequenceClassification, transformers.AutoModelForTokenClassification]


def names_of(model: Module, parameters: Any) -> set[str]:
    wanted = {id(parameter) for parameter in parameters}
    return {name for name, parameter in model.named_parameters() if id(parameter) in wanted}


@pytest.mark.parametrize("head", HEADS, ids=["sequence", "tokens"])
@pytest.mark.parametrize("name", list(Model.known))
@pytest.mark.parametrize(("layers", "embeddings"), [(0, True), (0, False), (1, True), (2, False), (LAYERS, True)])
def test_freeze_selects_the_bottom_and_nothing_else(name: str, head: Any, layers: int, embeddings: bool) -> None:
    known = Model.known[name]
    model = known.build(head)
    bottom = tuple(f"{known.layer}{index}." for index in range(layers))
    expected = {
        parameter
        for parameter, _ in model.named_parameters()
        if parameter.startswith(bottom + (tuple(known.embeddings) if embeddings else ()))
    }
    assert names_of(model, Freeze(layers=layers, embeddings=embeddings).select(model)) == expected
    assert bool(expected) == (layers > 0 or embeddings)


@pytest.mark.parametrize("name", list(Model.known))
def test_nothing_below_a_frozen_bottom_gets_a_gradient(name: str) -> None:
    """Checked by a backward pass: what still moves lies above the frozen layers."""
    known = Model.known[name]
    model = known.build(HEADS[0])
    for parameter in Freeze(layers=2, embeddings=True).select(model):
        parameter.requires_grad_(False)
    model.train()
    ids = torch.randint(3, 50, (2, 7))
    model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=torch.tensor([0, 1])).loss.backward()
    moving = {parameter for parameter, value in model.named_parameters() if value.grad is not None}
    assert any(parameter.startswith(f"{known.layer}{LAYERS - 1}.") for parameter in moving)
    below = (*known.embeddings, f"{known.layer}0.", f"{known.layer}1.")
    assert not any(parameter.startswith(below) for parameter in moving)


@pytest.mark.parametrize("name", list(Model.known))
def test_layers_are_the_same_with_and_without_a_head(name: str) -> None:
    model = Model.known[name].build(HEADS[0])
    assert len(layers_of(model)) == LAYERS
    assert layers_of(base_of(model)) == layers_of(model)
    assert names_of(base_of(model), embeddings_of(base_of(model)))


def test_more_layers_than_there_are_is_an_error() -> None:
    model = Model.known["bert"].build(HEADS[0])
    with pytest.raises(InputError, match="freeze: layers is 4, but the model has 3"):
        list(Freeze(layers=4).select(model))


def test_a_model_without_one_stack_is_an_error() -> None:
    model = Model.known["bert"].build(HEADS[0])
    model.config.num_hidden_layers = 7  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="expected one stack of 7 layers, found 0"):
        layers_of(model)


def test_hooks_that_a_mask_lacks_do_nothing_or_say_so() -> None:
    model, batch, draws = Model.known["bert"].build(HEADS[0]), text_batch(1, 8), Draws(0)
    assert list(ParameterMask(kind="x").select(model)) == []
    gradients = {"weight": torch.ones(3)}
    ParameterMask(kind="x").gate(gradients, 1, draws)
    assert torch.equal(gradients["weight"], torch.ones(3))
    with pytest.raises(NotImplementedError):
        InputMask(kind="x").corrupt(batch, draws)
    with pytest.raises(NotImplementedError):
        AttentionMask(kind="x").attend(batch, draws)
    with pytest.raises(NotImplementedError):
        Objective(kind="x").penalty(model, batch, batch)


def test_mistakes_in_a_mask_are_one_line() -> None:
    config = {"study": "s", "tasks": ["conll2003"], "models": ["minilm-l6"], "seeds": [1]}
    with pytest.raises(InputError, match=r"^configuration: strategies\[1\] \(x\)\.input\.rate: expected .* got 2$"):
        load(config | {"strategies": ["none", {"name": "x", "input": {"kind": "random", "rate": 2}}]})
