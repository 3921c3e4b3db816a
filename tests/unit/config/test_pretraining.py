"""Models that a study pretrains: what the configuration expands to, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from maskbench.errors import InputError
from maskbench.experiment.experiment import Experiment
from maskbench.experiment.load import load

TEXT: dict[str, Any] = {"corpora": ["tasks"]}
BASE: dict[str, Any] = {"study": "x", "tasks": ["rt-snippets"], "strategies": ["none"], "seeds": [1]}


def loaded(*models: Any) -> Experiment:
    """Return an experiment with these models."""
    return load(BASE | {"models": list(models)})


def test_a_recipe_becomes_a_model_for_each_pretraining_seed() -> None:
    recipe = {"name": "tiny-dynamic", "pretrain": {**TEXT, "continues": "bert-tiny", "seeds": [1, 3]}}
    experiment = loaded("bert-tiny", recipe, {"name": "alone", "pretrain": TEXT})
    found = [(model.name, model.recipe, model.pretraining_seed) for model in experiment.models]
    assert found == [
        ("bert-tiny", "bert-tiny", None),
        ("tiny-dynamic-p1", "tiny-dynamic", 1),
        ("tiny-dynamic-p3", "tiny-dynamic", 3),
        ("alone", "alone", 1),
    ]
    assert Experiment.model_validate_json(experiment.as_argument()) == experiment
    start = experiment.models[1].start
    assert start is not None
    assert start.id.startswith("bert-tiny-")


@pytest.mark.parametrize(
    ("model", "line"),
    {
        "neither": ({"name": "a"}, "expected either source or pretrain, got neither"),
        "both": (
            {"preset": "bert-tiny", "pretrain": TEXT},
            "expected either source or pretrain, got both",
        ),
        "two budgets": (
            {"name": "a", "pretrain": {**TEXT, "updates": 1, "epochs": 1.0}},
            "expected updates or epochs, got both",
        ),
        "size of another": (
            {"name": "a", "pretrain": {**TEXT, "continues": "bert-tiny", "size": "mini"}},
            "size: with `continues` it is that of bert-tiny; leave it out",
        ),
        "an architecture of another": (
            {"name": "a", "pretrain": {**TEXT, "continues": "bert-tiny", "architecture": "modernbert"}},
            "architecture: with `continues` it is that of bert-tiny; leave it out",
        ),
        "no such architecture": (
            {"name": "a", "pretrain": {**TEXT, "architecture": "roformer"}},
            "models[0] (a).pretrain.architecture: expected 'bert' or 'modernbert'",
        ),
        "no such size": (
            {"name": "a", "pretrain": {**TEXT, "size": "huge"}},
            "size: expected tiny, mini, or a mapping of fields of transformers' BertConfig or ModernBertConfig",
        ),
        "next sentences without a head": (
            {
                "name": "a",
                "pretrain": {**TEXT, "corpora": ["brown"], "architecture": "modernbert", "next_sentence": True},
            },
            "next_sentence: only a BERT has a head for it; leave it out, or expected architecture: bert",
        ),
        "a mask with labels": (
            {"name": "a", "pretrain": {**TEXT, "input": {"kind": "keyword"}}},
            "input: expected one of the masks random, static, span, fixed-positions, tail, got keyword",
        ),
        "a schedule without a rate": (
            {"name": "a", "pretrain": {**TEXT, "input": {"kind": "tail", "schedule": "linear"}}},
            "models[0] (a).pretrain.input: unknown key schedule; expected one of kind, apply, replacement, keep",
        ),
        "a schedule beside the mask": (
            {"name": "a", "pretrain": {**TEXT, "schedule": "linear"}},
            "unknown key schedule; it is a key of the mask: input: {kind: random, schedule: ...}",
        ),
        "no such model": (
            {"name": "a", "pretrain": {**TEXT, "continues": "bert-huge"}},
            "models[0] (a).pretrain.continues: expected one of the presets bert-base-uncased, bert-tiny, minilm-l6",
        ),
        "no such file": (
            {
                "name": "a",
                "pretrain": {**TEXT, "continues": {"name": "mine", "source": {"local": "/no/such"}}},
            },
            "models[0] (a).pretrain.continues.source.local: expected an existing file, /no/such/config.json does not",
        ),
        "no head": (
            {"name": "a", "pretrain": TEXT, "masked_lm": False},
            "masked_lm: a model that is pretrained has",
        ),
    }.values(),
)
def test_mistakes_get_a_line(model: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as error:
        loaded(model)
    assert line in str(error.value)
    assert len(str(error.value).splitlines()) == 1
