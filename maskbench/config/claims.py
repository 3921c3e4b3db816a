"""The claims under test: contrasts, measures, margins and gates, all stated before the data are seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from maskbench.config.block import ConfigBlock, Count, Name, Positive, Rate
from maskbench.config.contrast import (
    UNITS,
    Contrast,
    ContrastKind,
    Directed,
    MeasureName,
    NonEmptyText,
    Test,
    of_its_kind,
    of_models,
    unit_of,
)
from maskbench.config.kinds import TaskKind
from maskbench.config.measures import MEASURES, measure


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
        names = [effect.name for contrast in self.contrasts for effect in contrast.effects()]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"contrasts: expected each name once, found {min(twice)} twice")
        for contrast in self.contrasts:
            if not (contrast.measures or self.measures):
                raise ValueError(f"contrast {contrast.name}: expected measures")
            kind = contrast.kind or self.kind
            if problem := of_its_kind(contrast, kind, contrast.measures or self.measures):
                raise ValueError(f"contrast {contrast.name}: {problem}")
            if problem := of_models(contrast, kind, contrast.measures or self.measures):
                raise ValueError(f"contrast {contrast.name}: {problem}")
        return self

    def resolved(self) -> Iterator[Contrast]:
        """Yield the contrasts with kind, measures and test filled in; of a factorial design one for each effect."""
        for contrast in (effect for item in self.contrasts for effect in item.effects()):
            update = {key: getattr(contrast, key) or getattr(self, key) for key in ("kind", "measures", "test")}
            yield contrast.model_copy(update=update)


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
        if any(contrast.factors is not None for contrast in self.contrasts):
            raise ValueError("expected a control to compare two arms, not factors")
        kinds = [contrast.kind for contrast in self.contrasts if contrast.kind in ("labels", "property")]
        if kinds or any(measure(name).curve_of is not None for name in self.measures):
            raise ValueError(f"expected a control to compare runs, which the kind {(kinds or ['labels'])[0]} does not")
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
