"""What models are refused, when and in which line; and docs/models.md, a sample of which is tried out here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers.models.auto import modeling_auto

from maskbench.config.training import Training
from maskbench.errors import InputError
from maskbench.experiment.load import load
from maskbench.masks import Strategy
from maskbench.models import families as facts
from maskbench.models.loading import takes_sdpa
from maskbench.models.refusals import refusals
from maskbench.slots import device as devices
from maskbench.slots.device import Device, attention_of, choose
from maskbench.training.run import Inputs, run_cell
from tests.helpers import families_page as models
from tests.helpers.families import FAMILIES, HEADS, NO_TAGGING, make_family
from tests.helpers.models import make_cell, make_encoded, make_gpt2, make_model

CLASSIFY, TAG = HEADS
SDPA = {"xlnet", "deberta", "deberta-v2", "mpnet", "funnel", "big_bird", "longformer", "gemma2", "bloom", "convbert"}
SDPA |= {"squeezebert"}
"""Families without it."""


# --- the facts are transformers'


def test_heads_for_tagging_are_those_of_transformers() -> None:
    classify = set(modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)
    assert classify - set(modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES) == facts.NO_TOKEN_HEAD
    assert {name for name in FAMILIES if name in facts.NO_TOKEN_HEAD} == NO_TAGGING


@pytest.mark.parametrize("name", FAMILIES)
def test_checkpointing_and_sdpa_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        model = HEADS[CLASSIFY].from_config(FAMILIES[name].configuration(50))
    assert model.supports_gradient_checkpointing == (name not in facts.NO_CHECKPOINTING)
    assert model._supports_sdpa == (name not in SDPA)
    assert model.config.is_encoder_decoder == (name in facts.READ_TWICE)
    model.config.save_pretrained(tmp_path)
    assert takes_sdpa(tmp_path) == (name not in SDPA)


# --- what is asked of a model that it cannot do

STRATEGY = {
    "window": {"attention": "window"},
    "consistency": {"input": "random", "objective": "consistency"},
    "auxiliary": {"objective": "mlm-auxiliary"},
    "attention": {"input": {"kind": "adaptive", "place": "attention"}},
    "copied": {"objective": {"kind": "augment", "mask": {"kind": "adaptive", "place": "attention"}}},
    "twin": {"input": {"kind": "rate-twin", "of": {"kind": "adaptive", "place": "attention"}}},
    "adalora": {"parameter": "adalora"},
    "lora": {"parameter": "lora"},
    "learned-weights": {"parameter": "learned-weights"},
    "none": {},
}
REFUSED = [
    ("opt", TAG, "none", "kind: transformers has no head for tagging on a model of type opt"),
    ("bart", TAG, "none", "kind: transformers has no head for tagging on a model of type bart"),
    ("t5", CLASSIFY, "consistency", r"strategies \(x\)\.objective: consistency compares hidden states"),
    ("bart", CLASSIFY, "consistency", r"strategies \(x\)\.objective: consistency compares hidden states"),
    ("bart", CLASSIFY, "auxiliary", r"strategies \(x\)\.objective: mlm-auxiliary compares hidden states"),
    ("t5", CLASSIFY, "attention", r"strategies \(x\): adaptive with place attention needs one attention weight"),
    ("big_bird", CLASSIFY, "attention", r"strategies \(x\): adaptive with place attention needs one attention weight"),
    ("big_bird", CLASSIFY, "twin", r"strategies \(x\): adaptive with place attention needs one attention weight"),
    ("longformer", TAG, "copied", r"strategies \(x\): adaptive with place attention needs one attention weight"),
    ("longformer", TAG, "adalora", r"strategies \(x\)\.parameter: adalora needs a gradient at every linear map"),
    (
        "longformer",
        TAG,
        "window",
        r"strategies \(x\)\.attention: nothing can be hidden from a model of type longformer",
    ),
    ("t5", CLASSIFY, "window", r"strategies \(x\)\.attention: nothing can be hidden .* it reads its text twice"),
    ("squeezebert", TAG, "lora", r"strategies \(x\)\.parameter: lora needs linear maps, and squeezebert has none"),
    ("squeezebert", TAG, "learned-weights", r"strategies \(x\)\.parameter: learned-weights needs linear"),
]


def strategy_of(name: str) -> Strategy:
    return Strategy.model_validate({"name": "x", **STRATEGY[name]})


@pytest.mark.parametrize(("name", "kind", "strategy", "line"), REFUSED, ids=[f"{n}-{s}" for n, _, s, _ in REFUSED])
def test_what_a_model_cannot_do_is_one_line(name: str, kind: Any, strategy: str, line: str) -> None:
    found = list(refusals({"model_type": name}, kind, strategy_of(strategy), Training()))
    assert len(found) == 1
    assert re.match(line, found[0])


@pytest.mark.parametrize("name", ["xlnet", "albert", "mpnet", "funnel"])
def test_checkpointing_that_transformers_lacks_is_refused(name: str) -> None:
    training = Training(gradient_checkpointing=True)
    (line,) = refusals({"model_type": name}, TAG, strategy_of("none"), training)
    assert line == f"training.gradient_checkpointing: transformers has none for the type {name}; expected false"
    assert not list(refusals({"model_type": "bert"}, TAG, strategy_of("none"), training))


@pytest.mark.parametrize("name", ["bert", "xlnet", "gpt2", "a-type-of-the-future"])
def test_nothing_is_refused_for_the_articles_models(name: str) -> None:
    for kind in HEADS:
        for strategy in STRATEGY:
            assert not list(refusals({"model_type": name}, kind, strategy_of(strategy), Training()))


def test_it_is_refused_by_the_configuration_where_the_model_is_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local model's config.json is there, and any other's once it was fetched for the study."""
    monkeypatch.chdir(tmp_path)
    config = {
        "study": "mine",
        "tasks": ["conll2003"],
        "models": ["minilm-l6"],
        "seeds": [1],
        "strategies": ["none", {"name": "w", "attention": "window"}],
    }
    load(config)
    fetched = tmp_path / "results/mine/data/models/minilm-l6"
    for folder in (fetched, tmp_path / "local"):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"model_type": "longformer"}))
    line = r"strategies \(w\)\.attention: nothing can be hidden from a model of type longformer: it attends within"
    with pytest.raises(InputError, match=rf"^configuration: models\[0\] \(minilm-l6\): {line}"):
        load(config)
    local = {"name": "mine", "source": {"local": "local"}, "masked_lm": False}
    with pytest.raises(InputError, match=rf"^configuration: models\[0\] \(mine\): {line}"):
        load(config | {"models": [local]})


def test_a_refused_cell_is_no_crashed_run(tmp_path: Path) -> None:
    """It was recorded as crashed, and counted among the failed runs."""
    model = make_family(tmp_path / "model", "albert")
    encoded = make_encoded(tmp_path / "data", model, CLASSIFY, count=24)
    cell = make_cell(model="albert", training={"gradient_checkpointing": True})
    with pytest.raises(InputError, match=r"^model albert: training.gradient_checkpointing: transformers has none"):
        run_cell(cell, Inputs(encoded, model, tmp_path / "work"), choose(cell.training), code="c", command="x")
    assert not (tmp_path / "work").exists()


# --- tokenizers


@pytest.mark.parametrize("name", ["opt", "bart"])
def test_tagging_without_a_head_is_refused_when_it_is_encoded(name: str, tmp_path: Path) -> None:
    model = make_family(tmp_path / "model", name)
    with pytest.raises(InputError, match=rf"model/config.json: transformers has no head for tagging on .* type {name}"):
        make_encoded(tmp_path / "data", model, TAG, count=24)


def test_a_tokenizer_that_cannot_pad_is_refused_when_it_is_encoded(tmp_path: Path) -> None:
    model = make_gpt2(tmp_path / "model")
    path = model / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token": None, "bos_token": None}))
    (model / "source.json").unlink()
    with pytest.raises(InputError, match=r"tokenizer_config.json: expected a pad_token or an eos_token to pad texts"):
        make_encoded(tmp_path / "data", model, CLASSIFY, count=24)


def test_holes_among_the_token_ids_are_refused_when_it_is_encoded(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    path = model / "tokenizer.json"
    tokens = json.loads(path.read_text())
    del tokens["model"]["vocab"]["film"]
    path.write_text(json.dumps(tokens))
    (model / "source.json").unlink()
    with pytest.raises(InputError, match=r"tokenizer.json: expected a token for every id, found none for \d+$"):
        make_encoded(tmp_path / "data", model, CLASSIFY, count=24)


# --- attention on a card, and one process


@pytest.mark.parametrize("name", ["xlnet", "bert"])
def test_auto_is_eager_where_a_model_has_no_sdpa(name: str, tmp_path: Path) -> None:
    FAMILIES[name].configuration(50).save_pretrained(tmp_path)
    for kind in ("cuda", "mps"):
        attention, notes = attention_of("auto", kind, tmp_path)
        assert (attention, bool(notes)) == (("eager", True) if name == "xlnet" else ("sdpa", False))
        assert attention_of("eager", kind, tmp_path) == ("eager", ())
    assert attention_of("auto", "cpu", tmp_path) == ("eager", ())
    if name == "xlnet":
        with pytest.raises(InputError, match=r"^training.attention: the model in .* has no sdpa in transformers"):
            attention_of("sdpa", "cpu", tmp_path)


def test_a_model_has_an_attention_of_its_own() -> None:
    config: Any = {"study": "mine", "tasks": ["conll2003"], "strategies": ["none"], "seeds": [1]}
    config["models"] = [{"preset": "minilm-l6", "training": {"attention": "sdpa"}}, "bert-base-uncased"]
    from maskbench.experiment.cell import cells

    found = {cell.model: cell.training.attention for cell in cells(load(config))}
    assert found["minilm-l6"] == "sdpa"
    assert set(found.values()) == {"sdpa", "auto"}


def test_the_record_says_that_attention_fell_back(tmp_path: Path) -> None:
    model = make_family(tmp_path / "model", "xlnet")
    encoded = make_encoded(tmp_path / "data", model, CLASSIFY, count=24)
    attention, notes = attention_of("auto", "cuda", model)
    cell = make_cell(model="xlnet", training={"epochs": 1})
    device = Device("cpu", "fp32", attention, 1, notes)
    record, _ = run_cell(cell, Inputs(encoded, model, tmp_path / "work"), device, code="c", command="x")
    assert (record.status, record.environment.attention) == ("completed", "eager")
    assert "attention is eager, since the model has no sdpa in transformers" in record.notes


@pytest.mark.parametrize("key", ["num_hidden_layers", "n_layer", "n_layers"])
@pytest.mark.parametrize(
    ("mask", "line"),
    [
        ({"kind": "freeze", "layers": 3}, "freeze: layers is 3, but the model has 2"),
        ({"kind": "step-twin", "of": {"kind": "freeze", "layers": 3}}, "freeze: layers is 3, but the model has 2"),
        ({"kind": "learned-weights", "from_layer": 2}, "learned-weights: from_layer is 2, but the model has layers 0"),
    ],
)
def test_layers_that_a_model_lacks_are_told_by_the_plan(key: str, mask: dict[str, Any], line: str) -> None:
    asked = Strategy.model_validate({"name": "x", "parameter": mask})
    (found,) = refusals({"model_type": "bert", key: 2}, CLASSIFY, asked, Training())
    assert found.startswith(f"strategies (x).parameter: {line}")
    assert not list(refusals({"model_type": "bert", key: 3}, CLASSIFY, asked, Training()))
    assert not list(refusals({"model_type": "bert"}, CLASSIFY, asked, Training()))


@pytest.mark.parametrize("name", ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE"])
def test_several_processes_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under torchrun each of two processes would take a whole batch: it doubled silently."""
    monkeypatch.setenv(name, "1")
    choose(Training())
    monkeypatch.setenv(name, "2")
    with pytest.raises(InputError, match=rf"^{name} is 2: expected one process for a cell"):
        choose(Training())


@pytest.mark.parametrize(
    ("name", "value", "neutral"),
    [
        ("ACCELERATE_MIXED_PRECISION", "bf16", "no"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "1"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "NO"),
        ("ACCELERATE_USE_FSDP", "true", "false"),
    ],
)
def test_what_accelerate_would_take_from_the_environment_is_refused(
    name: str, value: str, neutral: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell of precision fp32 was trained in bf16, and its record said fp32."""
    monkeypatch.setenv(name, neutral)
    choose(Training())
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=rf"^{name} is {value}: expected it unset, [^\n]*$"):
        choose(Training())


def test_several_cards_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Trainer would multiply the batch by their number."""
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(devices.torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match=r"^expected one visible card for a cell, found 2: set MASKBENCH_GPUS"):
        choose(Training())


# --- docs/models.md

KINDS, NAMES = list(HEADS), list(models.STRATEGIES)
SAMPLE = [(name, KINDS[place % 2], NAMES[place // 2 % len(NAMES)]) for place, name in enumerate(FAMILIES)]
SAMPLE += [("xlnet", TAG, "window"), ("gpt2", CLASSIFY, "learned"), ("albert", TAG, "freeze")]


@pytest.mark.parametrize(("name", "kind", "strategy"), SAMPLE, ids=["-".join(item) for item in SAMPLE])
def test_a_sample_of_every_family_does_what_the_page_says(name: str, kind: str, strategy: str, tmp_path: Path) -> None:
    """Encoded, θ₀ measured, trained and probed; or refused in the line that stands there."""
    with models.quiet():
        found = models.outcomes(name, kind, [strategy], tmp_path)
    assert found[strategy] == models.documented()[name, kind][strategy]


@pytest.mark.long
def test_the_page_is_what_all_families_do() -> None:
    assert models.page(models.table(list(FAMILIES))) == models.DOCUMENT.read_text(encoding="utf-8")


def test_the_page_has_every_family_with_both_heads() -> None:
    assert list(models.documented()) == [(name, kind) for name in FAMILIES for kind in HEADS]
    assert len(FAMILIES) >= 25
    assert transformers.__version__ == "5.23.0", "write docs/models.md anew for another version of transformers"
