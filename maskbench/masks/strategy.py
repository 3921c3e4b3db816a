"""A strategy: at most one mask of each family, put together in the configuration, and its twins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, Self, get_args

from pydantic import Field, model_validator

from maskbench.config.block import ConfigBlock, Name
from maskbench.config.training import TrainingOverrides
from maskbench.masks import registry
from maskbench.masks.base import FAMILIES, Family, Mask
from maskbench.masks.schedule import Schedule, Scheduled
from maskbench.masks.slots import AttentionSlot, InputSlot, ObjectiveSlot, ParameterSlot
from maskbench.models.refusals import within

Twin = Literal[
    "noise-twin",
    "rate-twin",
    "constant-rate-twin",
    "compute-twin",
    "step-twin",
    "drawn-not-applied",
    "rate-zero",
    "all",
]
"""Controls that are made of a strategy; docs/masks.md says what each holds equal."""


class Strategy(ConfigBlock):
    """A named mix of masks; an empty one is plain fine-tuning."""

    name: Name
    """Name in results and figures."""
    input: InputSlot | None = None
    """What is masked in the training input."""
    attention: AttentionSlot | None = None
    """What is hidden from attention."""
    parameter: ParameterSlot | None = None
    """Which parameters move in training; null: all of them."""
    objective: ObjectiveSlot | None = None
    """What is added to the loss."""
    training: TrainingOverrides = Field(default_factory=TrainingOverrides)
    """Hyperparameters of this strategy that differ from those that its task and model have. Another batch size means
    other batches than the baseline's: runs of one seed are then paired by their start and their data alone."""
    twins: list[Twin] = []
    """Controls that are run beside it, each a strategy of its own called <name>-<twin>."""
    twin: Twin | None = None
    """Filled in by the program: which twin this is."""
    twin_of: Name | None = None
    """Filled in by the program: the strategy that this is a twin of."""

    def masks(self) -> Iterator[tuple[Family, Mask]]:
        """Yield the masks of the strategy with their families."""
        for family in FAMILIES:
            mask = getattr(self, family)
            if mask is not None:
                yield family, mask

    @property
    def lexicons(self) -> list[str]:
        """The names of the lexicons whose words its masks ask for, sorted."""
        masks = (inner for _, mask in self.masks() for inner in within(mask))
        return sorted({name for mask in masks if (name := mask.lexicon()) is not None})

    @model_validator(mode="after")
    def _objective_has_a_mask(self) -> Self:
        # an objective without a field `mask` needs no mask
        lacks = getattr(self.objective, "mask", self.objective) is None
        if self.objective is not None and lacks and self.input is None:
            raise ValueError(f"{self.objective.kind}: expected a mask in the objective or an input mask, got none")
        return self

    @model_validator(mode="after")
    def _twins_make_sense(self) -> Self:
        if len(set(self.twins)) < len(self.twins):
            raise ValueError("twins: expected each twin once")
        for twin in self.twins:
            TWINS[twin](self)
        return self

    def expanded(self) -> Iterator[Strategy]:
        """Yield the strategy, then its twins."""
        yield self.model_copy(update={"twins": []})
        for twin in self.twins:
            name = f"{self.name}-{twin}"
            update = {"name": name, "twins": [], "twin": twin, "twin_of": self.name}
            yield Strategy.model_validate(dict(TWINS[twin](self).model_copy(update=update)))


def _changed(strategy: Strategy, family: Family, **keys: Any) -> Strategy:
    """Return the strategy with keys of one of its masks changed."""
    return strategy.model_copy(update={family: getattr(strategy, family).model_copy(update=keys)})


def _require(strategy: Strategy, twin: str, condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f"twins: {twin} of {strategy.name} makes no sense without {what}")


def _replacements(strategy: Strategy) -> tuple[str, ...]:
    """Return what the input mask could put at the places that it hits."""
    return get_args(type(strategy.input).model_fields["replacement"].annotation) if strategy.input else ()


def _noise(strategy: Strategy) -> Strategy:
    """Return the twin that separates masking from noise: random tokens instead of [MASK], at the same places."""
    replaces = getattr(strategy.input, "replacement", "noise") != "noise" and "noise" in _replacements(strategy)
    _require(strategy, "noise-twin", strategy.input is not None, "an input mask")
    _require(strategy, "noise-twin", replaces, "a mask that could put random tokens in its places")
    return _changed(strategy, "input", replacement="noise")


def _rate(strategy: Strategy) -> Strategy:
    """Return the twin that separates the place from the amount: as many tokens of each text, at random places."""
    _require(strategy, "rate-twin", strategy.input is not None, "an input mask")
    _require(strategy, "rate-twin", "mask" in _replacements(strategy), "a mask that chooses its places")
    return strategy.model_copy(
        update={"input": registry.find("input", "rate-twin").model_validate({"of": strategy.input})}
    )


def _compute(strategy: Strategy) -> Strategy:
    """Return the twin that separates the objective from its compute: all of its passes, without its effect.

    Of `augment`: all of its passes, without masks.
    """
    _require(strategy, "compute-twin", strategy.objective is not None, "an objective")
    assert strategy.objective is not None
    twin = strategy.objective.compute_twin()
    # an input mask made the copy of an objective that has none; a twin that masks nothing does without it
    without = {"input": None} if twin.apply and getattr(strategy.objective, "mask", None) is None else {}
    return strategy.model_copy(update={"objective": twin, **without})


def _step(strategy: Strategy) -> Strategy:
    """Return the twin that separates the choice of parameters from the step size: all move, by equally long steps."""
    _require(strategy, "step-twin", strategy.parameter is not None, "a parameter mask")
    twin = registry.find("parameter", "step-twin").model_validate({"of": strategy.parameter})
    return strategy.model_copy(update={"parameter": twin})


def _drawn(strategy: Strategy) -> Strategy:
    """Return the twin that does all the work and changes nothing: it must be bit-identical to no mask."""
    families = [family for family, _ in strategy.masks()]
    _require(strategy, "drawn-not-applied", bool(families), "a mask")
    for family in families:
        strategy = _changed(strategy, family, apply=False)
    return strategy


def _everywhere(mask: Mask, change: Callable[[Mask], dict[str, Any]]) -> Mask:
    """Return a mask with some keys changed, in the masks inside it, too; the same object if nothing changes."""
    inner = {key: getattr(mask, key) for key in type(mask).model_fields}
    update = {
        key: changed
        for key, value in inner.items()
        if isinstance(value, Mask) and (changed := _everywhere(value, change)) is not value
    }
    update |= change(mask)
    return mask.model_copy(update=update) if update else mask


def _all_changed(strategy: Strategy, twin: str, change: Callable[[Mask], dict[str, Any]], needs: str) -> Strategy:
    """Return the strategy with all masks changed, of which one at least has to have what the change needs."""
    update: dict[str, Mask] = {family: _everywhere(mask, change) for family, mask in strategy.masks()}
    _require(strategy, twin, any(mask is not update[family] for family, mask in strategy.masks()), needs)
    return strategy.model_copy(update=update)


def _constant_rate(strategy: Strategy) -> Strategy:
    """Return the twin that separates a schedule from its mean rate: the mean over the training in every update."""

    def flat(mask: Mask) -> dict[str, Any]:
        if not isinstance(mask, Scheduled) or mask.schedule.kind == "constant":
            return {}
        return {"schedule": mask.schedule.model_copy(update={"flat": True})}

    return _all_changed(strategy, "constant-rate-twin", flat, "a mask whose rate has a schedule")


def _at_rate(rate: float, twin: str, doc: str) -> Callable[[Strategy], Strategy]:
    def at_rate(mask: Mask) -> dict[str, Any]:
        held = {"schedule": Schedule()} if isinstance(mask, Scheduled) else {}
        return {"rate": rate, **held} if "rate" in type(mask).model_fields else {}

    def change(strategy: Strategy) -> Strategy:
        return _all_changed(strategy, twin, at_rate, "a mask with a rate")

    change.__doc__ = doc
    return change


TWINS: dict[Twin, Callable[[Strategy], Strategy]] = {
    "noise-twin": _noise,
    "rate-twin": _rate,
    "constant-rate-twin": _constant_rate,
    "compute-twin": _compute,
    "step-twin": _step,
    "drawn-not-applied": _drawn,
    "rate-zero": _at_rate(0.0, "rate-zero", "Mask at rate 0: must be bit-identical to no mask."),
    "all": _at_rate(1.0, "all", "Mask at rate 1: a negative control that must hurt."),
}
"""All twins, and how each is made of a strategy."""
