"""What is compared: the arms of a contrast, how their runs become one number for each seed, and on which measures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from maskbench.config.block import ConfigBlock, Count, Name, Positive, Rate
from maskbench.config.conditions import Condition
from maskbench.config.factorial import effects
from maskbench.config.measures import measure

ContrastKind = Literal[
    "paired", "trend", "combination", "factorial", "curve", "by-size", "labels", "interaction", "models", "property"
]
"""paired: one arm against another; trend: a slope over doses; combination: a weighted sum over strategies; factorial:
the effect of each of several factors and of two together; curve: the mean height of the score over log(train size);
by-size: the effect at the smallest train size less that at the largest, on a line over log(train size); labels: how
many labelled texts either arm takes for one score; interaction: a task's effect against that of the other tasks;
models: one pretraining recipe against another, paired by pretraining seed; property: a number of each run that must be
within a bound."""
Test = Literal["superior", "non-inferior", "either"]
"""superior: the first arm is better; non-inferior: it is worse by less than δ; either: there is a difference."""
RegimeKind = Literal["single", "after-*", "with-*"]
NonEmptyText = Annotated[str, StringConstraints(min_length=1)]
Pattern = Annotated[str, StringConstraints(pattern=r"^[a-z0-9*]+(-[a-z0-9*]+)*$")]
"""Name of a strategy; in a gate `*` stands for anything."""

PLAIN = "none"
"""Name of the strategy of plain fine-tuning."""

RATIOS = ("ms", "s", "MiB", "updates", "examples/s", "ratio", "labels")
"""Units whose values are compared as ratios: on the log scale, reported in per cent."""
UNITS = ("points", "nats", "per cent", "coefficient")
"""Units in which differences are reported; coefficients are of several kinds, so that each has a margin of its own."""


def unit_of(name: str) -> str:
    """Return the unit in which differences of a measure are reported: points for fractions, per cent for ratios."""
    unit = measure(name).unit
    return {"fraction": "points", **dict.fromkeys(RATIOS, "per cent")}.get(unit, unit)


def _measure(name: str) -> str:
    """Refuse what is no measure, or has no paired difference that could be an improvement."""
    try:
        entry = measure(name)
    except KeyError:
        raise PydanticCustomError("measure", "expected a measure of docs/measures.md") from None
    if entry.of == "cell":
        raise PydanticCustomError(
            "measure",
            "{name} is of all seeds of a cell together: it has no paired difference",
            {"name": entry.name},
        )
    return name


def _directed(name: str) -> str:
    """Refuse a measure of which neither direction is an improvement."""
    if measure(name).better == "neither":
        raise PydanticCustomError("measure", "expected a measure of which more or less is better")
    return name


def _condition(value: str) -> str:
    """Accept a kind of condition, or one condition as a configuration writes it."""
    return value if value in ("clean", "cue", "noise") else str(Condition.model_validate(value))


MeasureName = Annotated[str, AfterValidator(_measure)]
Directed = Annotated[MeasureName, AfterValidator(_directed)]


class Arm(ConfigBlock):
    """The runs on one side of a contrast; a name alone stands for the strategy."""

    strategy: Pattern = PLAIN
    """Name of the strategy of the runs, in a gate a pattern; only an arm that names a model may leave it out, and is
    about plain fine-tuning then."""
    model: Name | None = None
    """models: the pretraining recipe, which is the name of its models without their seed, or the name of a model that
    was not pretrained here."""
    regime: RegimeKind | None = None
    """Kind of regime; null: where the measure is at home."""
    condition: Annotated[str, AfterValidator(_condition)] | None = None
    """`clean`, `cue`, `noise` (any rate), or one such as `cue:0.95`; null: where the measure is at home."""

    def __str__(self) -> str:
        strategy = None if self.model and self.strategy == PLAIN else self.strategy
        return " ".join(part for part in (self.model, strategy, self.regime, self.condition) if part)

    @model_validator(mode="after")
    def _names_runs(self) -> Self:
        if self.model is None and "strategy" not in self.model_fields_set:
            raise ValueError("expected the name of a strategy, or of a model")
        return self

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"strategy": value} if isinstance(value, str) else value


def _arm(name: str) -> Arm:
    """Return the runs of a strategy."""
    return Arm(strategy=name)


Weight = Annotated[float, Field(allow_inf_nan=False)]


class Contrast(ConfigBlock):
    """What is compared; above 0 always means that `of` (the low doses of a trend) is better."""

    name: NonEmptyText
    """Name in tables, such as ``random vs none``."""
    of: Arm | None = None
    """The arm that the claim is in favour of."""
    against: Arm | None = None
    """What it is compared with; in gates null compares with 0."""
    doses: dict[Name, Rate] | None = None
    """trend: the dose of each strategy; those that the study has are used, at least three."""
    weights: dict[Name, Weight] | None = None
    """combination: the weight of each strategy's value; they add up to 0."""
    factors: Annotated[dict[NonEmptyText, Annotated[list[Name], Field(min_length=1)]], Field(min_length=1)] | None = (
        None
    )
    """factorial: by name of each factor, the strategies in which it is at work; in `against` none of them is."""
    at: Count | None = None
    """labels: the train size at which the score of `against` is the fixed one, neither the smallest nor the largest of
    the study; null: the middle one of its sizes."""
    bound: Positive | None = None
    """property: the most that the measure may be in any run of `of`, in its own unit."""
    kind: ContrastKind | None = None
    """null: that of the claim."""
    measures: Annotated[list[Directed], Field(min_length=1)] | None = None
    """null: those of the claim."""
    test: Test | None = None
    """null: that of the claim."""

    @property
    def arms(self) -> list[Arm]:
        """All arms; those of a trend by dose."""
        given = sorted(self.doses, key=self.doses.__getitem__) if self.doses else list(self.weights or {})
        if self.factors is not None:
            given = list(dict.fromkeys(name for names in self.factors.values() for name in names))
        return [*map(_arm, given), *(arm for arm in (self.of, self.against) if arm is not None)]

    @property
    def sides(self) -> tuple[str, str]:
        """What to call the runs with a weight above 0, and the others."""
        if self.doses is not None:
            return "the lower doses", "the higher doses"
        if self.weights is None:
            return str(self.arms[0]), str(self.arms[-1])  # of a property there is one
        one, vs, other = self.name.partition(" vs ")
        return (one, other) if vs else ("the strategies that count for it", "those that count against it")

    @model_validator(mode="after")
    def _has_arms(self) -> Self:
        given = [self.of, self.doses, self.weights, self.factors]
        if sum(one is not None for one in given) != 1:
            raise ValueError("expected `of` (and `against`), `doses`, `weights` or `factors`")
        if self.doses is not None and len(set(self.doses.values())) < 3:
            raise ValueError("doses: expected at least three different ones")
        if self.weights is not None and (len(self.weights) < 2 or abs(sum(self.weights.values())) > 1e-9):
            raise ValueError("weights: expected those of at least two strategies, which add up to 0")
        if self.factors is not None and self.against is not None:
            effects(self.factors, self.against.strategy)
        return self

    def effects(self) -> Iterator[Contrast]:
        """Yield the contrasts that it stands for: itself, or of a factorial design one for each effect."""
        if self.factors is None or self.against is None:
            yield self
            return
        for effect in effects(self.factors, self.against.strategy):
            update: dict[str, Any] = {"name": effect.name, "weights": effect.weights, "kind": "combination"}
            update |= {"factors": None, "against": None, "test": self.test if effect.main else "either"}
            yield self.model_copy(update=update)


def of_its_kind(contrast: Contrast, kind: ContrastKind, measures: list[str]) -> str | None:
    """Say which key a contrast has, or lacks, or which measure does not fit its kind; None if all do."""
    keys: tuple[tuple[str, ContrastKind], ...] = (
        ("doses", "trend"),
        ("weights", "combination"),
        ("factors", "factorial"),
        ("bound", "property"),
    )
    for key, own in keys:
        if (kind == own) != (getattr(contrast, key) is not None):
            return f"{key} and the kind {own} go together"
    for name in measures:
        if (kind == "labels") != (measure(name).curve_of is not None):
            return f"{name}: only the kind labels has measures that are read off a learning curve, and no others"
    if contrast.at is not None and kind != "labels":
        return "at: expected the kind labels"
    if kind == "property":
        return "expected the arm `of` alone" if contrast.of is None or contrast.against is not None else None
    if kind in ("trend", "combination"):
        return "against: expected none, since all arms have a weight" if contrast.against is not None else None
    if contrast.against is None:
        return "expected the arm `against`, and runs to compare"
    if kind == "factorial" and contrast.against != Arm(strategy=contrast.against.strategy):
        return "against: expected the name of a strategy"
    return None


def of_models(contrast: Contrast, kind: ContrastKind, measures: list[str]) -> str | None:
    """Say what is wrong with the models that a contrast names; None if nothing is."""
    named = [arm.model for arm in contrast.arms]
    if kind != "models":
        return "only arms of the kind models name a model" if any(named) else None
    if None in named:
        return "expected a model in both arms, as its kind is models"
    of, against = contrast.arms
    if of.model == against.model or of.model_copy(update={"model": against.model}) != against:
        return "arms of the kind models differ in their model, and in nothing else"
    if matched := [name for name in measures if measure(name).at_matched_score]:
        return (
            f"{matched[0]}: the matched score is that of each model's own baseline, and two models have none in common"
        )
    return None
