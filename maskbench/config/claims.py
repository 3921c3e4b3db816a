"""The claims under test: contrasts, measures, margins and gates, all stated before the data are seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from maskbench.config.block import ConfigBlock, Count, Name, Positive, Rate
from maskbench.config.conditions import Condition
from maskbench.config.kinds import TaskKind
from maskbench.config.measures import MEASURES, measure

ContrastKind = Literal["paired", "trend", "curve", "by-size", "interaction", "models", "property"]
"""paired: one arm against another; trend: a slope over doses; curve: the mean height of the score over log(train size);
by-size: the effect at the smallest train size less that at the largest, on a line over log(train size); interaction: a
task's effect against that of the other tasks; models: one pretraining recipe against another, paired by pretraining
seed; property: proved by tests, not by runs."""
Test = Literal["superior", "non-inferior", "either"]
"""superior: the first arm is better; non-inferior: it is worse by less than δ; either: there is a difference."""
RegimeKind = Literal["single", "after-*", "with-*"]
NonEmptyText = Annotated[str, StringConstraints(min_length=1)]
Pattern = Annotated[str, StringConstraints(pattern=r"^[a-z0-9*]+(-[a-z0-9*]+)*$")]
"""Name of a strategy; in a gate `*` stands for anything."""

PLAIN = "none"
"""Name of the strategy of plain fine-tuning."""

RATIOS = ("ms", "s", "MiB", "updates", "examples/s", "ratio")
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
    kind: ContrastKind | None = None
    """null: that of the claim."""
    measures: Annotated[list[Directed], Field(min_length=1)] | None = None
    """null: those of the claim."""
    test: Test | None = None
    """null: that of the claim."""

    @property
    def arms(self) -> list[Arm]:
        """All arms; those of a trend by dose."""
        given = [Arm(strategy=name) for name in sorted(self.doses, key=self.doses.__getitem__)] if self.doses else []
        return given or [arm for arm in (self.of, self.against) if arm is not None]

    @model_validator(mode="after")
    def _has_arms(self) -> Self:
        if (self.doses is None) == (self.of is None):
            raise ValueError("expected `of` (and `against`), or `doses`")
        if self.doses is not None and len(set(self.doses.values())) < 3:
            raise ValueError("doses: expected at least three different ones")
        return self


class Margin(ConfigBlock):
    """The smallest difference that matters, δ; a number alone holds for both."""

    pooled: Positive
    """Of the mean over tasks."""
    task: Positive
    """Smallest difference that matters, of one task."""

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"pooled": value, "task": value}


class Claim(ConfigBlock):
    """One assertion, and how it is put to the test."""

    id: Annotated[str, StringConstraints(pattern=r"^[A-Z][0-9]{2,3}$")]
    """Short name, such as C01."""
    claim: NonEmptyText
    """The assertion, in one sentence."""
    kind: ContrastKind = "paired"
    """How the runs of the contrasts become one number for each seed."""
    contrasts: list[Contrast] = []
    """Comparisons that put the claim to the test."""
    measures: list[Directed] = []
    """On which measures; the first is the primary one."""
    tasks: Literal["all"] | TaskKind | list[Name] = "all"
    """On which tasks: all, those of one kind, or some by name."""
    test: Test = "superior"
    """What is asked of a difference."""
    delta: dict[Directed, Margin] = {}
    """Margins of measures that differ from those of their unit."""
    expectation: str = "–"
    """What published work leads one to expect."""
    source: str = "the articles under test"
    """Who claims it, or where the contrast is from."""
    why: str | None = None
    """Why it is not tested by runs, and where it is proved instead; only for claims without contrasts."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if (self.why is None) == (not self.contrasts):
            raise ValueError("expected contrasts, or `why` there are none")
        if self.why is not None and not self.measures:
            raise ValueError("expected measures, also of a claim that is not tested")
        names = [contrast.name for contrast in self.contrasts]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"contrasts: expected each name once, found {min(twice)} twice")
        for contrast in self.contrasts:
            if not (contrast.measures or self.measures):
                raise ValueError(f"contrast {contrast.name}: expected measures")
            kind = contrast.kind or self.kind
            if (kind == "trend") != (contrast.doses is not None):
                raise ValueError(f"contrast {contrast.name}: doses and the kind trend go together")
            if kind == "property" or (kind != "trend" and contrast.against is None):
                raise ValueError(f"contrast {contrast.name}: expected the arm `against`, and runs to compare")
            if problem := _of_models(contrast, kind, contrast.measures or self.measures):
                raise ValueError(f"contrast {contrast.name}: {problem}")
        return self

    def resolved(self) -> Iterator[Contrast]:
        """Yield the contrasts with kind, measures and test filled in."""
        for contrast in self.contrasts:
            update = {key: getattr(contrast, key) or getattr(self, key) for key in ("kind", "measures", "test")}
            yield contrast.model_copy(update=update)


def _of_models(contrast: Contrast, kind: ContrastKind, measures: list[str]) -> str | None:
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


class Control(ConfigBlock):
    """A control; if it fails, the verdicts of the measures that it guards are invalid."""

    gate: Name
    """Short name, for tables and notes."""
    sentence: NonEmptyText
    """What must hold, as one sentence."""
    kind: Literal["identical", "null", "positive"]
    """identical: every difference is exactly 0; null: halves of one strategy's seeds do not differ; positive: the
    difference is above 0."""
    contrasts: Annotated[list[Contrast], Field(min_length=1)]
    """What is compared; strategies may be patterns such as `*-rate-zero`."""
    measures: Annotated[list[MeasureName], Field(min_length=1)]
    """Measures on which the arms are compared."""
    guards: Annotated[list[MeasureName], Field(min_length=1)] | Literal["all"]
    """Measures whose verdicts rest on it."""

    @model_validator(mode="after")
    def _is_of_strategies(self) -> Self:
        if any(arm.model or contrast.kind == "models" for contrast in self.contrasts for arm in contrast.arms):
            raise ValueError("expected a control to compare strategies, not models")
        return self

    def guarded(self, name: str) -> bool:
        """Tell whether the verdicts on a measure rest on this gate; those at its matched score do as well."""
        base = name.partition(":")[0]
        plain = [entry.name for entry in MEASURES.values() if entry.matched == base]
        return self.guards == "all" or not {name, base, *plain}.isdisjoint(self.guards)


def _margin_of(margins: dict[str, Margin], name: str) -> Margin | None:
    """Return the margin of a measure: its own, that of the measure that it is the matched one of, or of its unit."""
    base = name.partition(":")[0]
    plain = [entry.name for entry in MEASURES.values() if entry.matched == base]
    return next((margins[key] for key in (base, *plain, unit_of(base)) if key in margins), None)


def _defaults(margins: dict[str, Margin]) -> dict[str, Margin]:
    """Refuse margins that belong to no known unit or measure, and measures without a margin."""
    directed = [entry.name for entry in MEASURES.values() if entry.better != "neither"]
    missing = {unit_of(name) if unit_of(name) != "coefficient" else name for name in directed}
    if missing := {
        name for name in missing if name not in margins and not (name in MEASURES and _margin_of(margins, name))
    }:
        raise PydanticCustomError(
            "margins",
            "expected a margin for each unit and each coefficient, {missing} missing",
            {"missing": ", ".join(sorted(missing))},
        )
    if unknown := [name for name in margins if name not in (*UNITS, *directed)]:
        raise PydanticCustomError(
            "margins",
            "expected units ({units}) or measures of which more or less is better, got {unknown}",
            {"units": ", ".join(UNITS), "unknown": ", ".join(unknown)},
        )
    return margins


class Decision(ConfigBlock):
    """What refuses a verdict: too much that is missing, or a control that failed by its own test."""

    most_missing: Rate = 0.2
    """Share of the seeds that may be missing, or lack the outcomes of their texts; beyond it there is no verdict."""
    most_uneven: Count = 2
    """If one arm has at least so many failed runs more than the other, it cannot win."""
    control_level: Annotated[float, Field(ge=0.001, le=0.1, allow_inf_nan=False)] = 0.01
    """Level of the test of halves: equal halves fail it so often, and then all verdicts that they guard are invalid."""


class Claims(ConfigBlock):
    """The content of claims.yaml: claims, margins, what refuses a verdict, and controls."""

    margins: Annotated[dict[str, Margin], AfterValidator(_defaults)]
    """δ by the unit in which differences are reported (points, nats, per cent), or by measure: each coefficient has its
    own, since 1 − CKA and a cosine are not of one kind. That of a measure holds at the matched score, too."""
    price: Margin = Margin(pooled=1.0, task=2.0)
    """By how many points the score of an arm may be lower, at most, if less interference is to count for it: its
    interval must be above minus this."""
    decision: Decision = Decision()
    """What refuses a verdict, whatever the numbers are."""
    claims: Annotated[list[Claim], Field(min_length=1)]
    """The claims, in the order of the report."""
    gates: list[Control] = []
    """The controls that guard the verdicts."""

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        for what, names in (
            ("claims", [item.id for item in self.claims]),
            ("gates", [item.gate for item in self.gates]),
        ):
            if twice := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"{what}: expected each once, found {min(twice)} twice")
        return self

    def margin(self, name: str) -> Margin:
        """Return the margin of a measure where no claim names another."""
        found = _margin_of(self.margins, name)
        assert found is not None  # `_defaults` has looked
        return found

    def delta(self, claim: Claim, name: str, *, pooled: bool) -> float:
        """Return the margin of a measure, in the unit in which its differences are reported."""
        margin = claim.delta.get(name) or self.margin(name)
        return margin.pooled if pooled else margin.task
