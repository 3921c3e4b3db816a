"""Twins: controls that a configuration asks for by name."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from maskbench.errors import InputError
from maskbench.experiment.load import load
from maskbench.masks import Strategy
from maskbench.masks.strategy import TWINS

CONFIG = {"study": "s", "tasks": ["conll2003"], "models": ["minilm-l6"], "seeds": [1]}
MIX = {
    "name": "mix",
    "input": {"kind": "random", "rate": 0.3},
    "parameter": {"kind": "child-f", "share": 0.3},
    "objective": {"kind": "consistency", "mask": {"kind": "span", "rate": 0.2, "schedule": "linear"}},
}


def expanded(entry):
    return {strategy.name: strategy for strategy in Strategy.model_validate(entry).expanded()}


def test_every_twin_is_a_strategy_of_its_own_behind_the_one_it_is_made_of():
    strategies = load(CONFIG | {"strategies": ["none", MIX | {"twins": list(TWINS)}, "static"]}).strategies
    assert [strategy.name for strategy in strategies] == ["none", "mix", *(f"mix-{twin}" for twin in TWINS), "static"]
    assert all(strategy.twins == [] for strategy in strategies)
    assert {strategy.twin_of for strategy in strategies if strategy.twin} == {"mix"}


def test_what_twins_change_and_what_they_keep():
    found = expanded(MIX | {"twins": list(TWINS)})
    mix = found["mix"]

    def changed(twin):
        other = found[f"mix-{twin}"]
        return {
            family for family in ("input", "parameter", "objective") if getattr(mix, family) != getattr(other, family)
        }

    assert {twin: changed(twin) for twin in TWINS} == {
        "noise-twin": {"input"},
        "rate-twin": {"input"},
        "constant-rate-twin": {"objective"},
        "compute-twin": {"objective"},
        "step-twin": {"parameter"},
        "drawn-not-applied": {"input", "parameter", "objective"},
        "rate-zero": {"input", "objective"},
        "all": {"input", "objective"},
    }
    assert (found["mix-noise-twin"].input.replacement, found["mix-noise-twin"].input.rate) == ("noise", 0.3)
    assert found["mix-rate-twin"].input.of == mix.input
    assert found["mix-step-twin"].parameter.of == mix.parameter
    assert not found["mix-compute-twin"].objective.apply
    assert (found["mix-all"].input.rate, found["mix-all"].objective.mask.rate) == (1.0, 1.0)
    assert (found["mix-rate-zero"].input.rate, found["mix-rate-zero"].objective.mask.rate) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("twin", "lacks"),
    [
        ("noise-twin", "an input mask"),
        ("rate-twin", "an input mask"),
        ("constant-rate-twin", "a mask whose rate has a schedule"),
        ("compute-twin", "an objective"),
        ("step-twin", "a parameter mask"),
        ("drawn-not-applied", "a mask"),
        ("rate-zero", "a mask with a rate"),
        ("all", "a mask with a rate"),
    ],
)
def test_a_twin_that_makes_no_sense_is_one_clear_line(twin, lacks):
    with pytest.raises(InputError) as error:
        load(CONFIG | {"strategies": ["none", {"name": "x", "twins": [twin]}]})
    assert str(error.value) == (f"configuration: strategies[1] (x): twins: {twin} of x makes no sense without {lacks}")


def test_an_unknown_or_repeated_twin_is_refused():
    with pytest.raises(ValidationError, match="noise-twin"):
        Strategy.model_validate({"name": "x", "input": "random", "twins": ["noise"]})
    with pytest.raises(ValidationError, match="each twin once"):
        Strategy.model_validate({"name": "x", "input": "random", "twins": ["all", "all"]})


def test_a_resolved_experiment_is_not_expanded_again():
    experiment = load(CONFIG | {"strategies": ["none", MIX | {"twins": ["noise-twin"]}]})
    again = load(experiment.model_dump(mode="json"))
    assert again == experiment
