"""Properties of models and masks: measured in every run of a study, and judged by their worst value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from maskbench.analysis.contrasts import lacking
from maskbench.analysis.findings import POOLED
from maskbench.config.measures import measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from maskbench.analysis.values import Values
    from maskbench.config.claims import Claim
    from maskbench.config.contrast import Contrast


@dataclass
class Property:
    """What a study measured of a property: by run, a number that must not be above a bound."""

    claim: Claim
    contrast: Contrast
    measure: str
    runs: pd.DataFrame
    """The runs that have a number, with the columns of `Values.runs` and `value`."""
    without: pd.DataFrame
    """The completed runs that have none, with the columns of `Values.runs`: nothing is said about them."""

    @property
    def holds(self) -> bool:
        """Whether every run is within the bound."""
        assert self.contrast.bound is not None
        return bool((self.runs["value"] <= self.contrast.bound).all())

    def _note(self) -> str:
        """Say how large the number is, by model and strategy."""
        found = self.runs.groupby(["model", "strategy"], sort=False)["value"]
        parts = [f"{model} {strategy} {_span(float(own.min()), float(own.max()))}" for (model, strategy), own in found]
        most = 8
        more = f", and {len(parts) - most} more" if len(parts) > most else ""
        what = "The largest of" if self.holds else f"The bound is {self.contrast.bound:.0e}; the largest of"
        largest = f"{what} {len(self.runs)} runs is {self.runs['value'].max():.2g}"
        within = f", within the bound of {self.contrast.bound:.0e}" if self.holds else ""
        lacking = ""
        if len(self.without):
            models = ", ".join(self.without["model"].unique())
            lacking = f" Nothing is said about {len(self.without)} runs without such a number ({models})."
        return f"{largest}{within}. By model and strategy: {', '.join(parts[:most])}{more}.{lacking}"

    def entry(self) -> dict[str, Any]:
        """Return a row of verdicts.csv; its estimate is the largest number of any run, its delta the bound."""
        head = {"claim": self.claim.id, "contrast": self.contrast.name, "measure": self.measure, "scope": POOLED}
        return head | {
            "estimate": float(self.runs["value"].max()),
            "delta": self.contrast.bound,
            "n_seeds": self.runs["seed"].nunique(),
            "verdict": "holds" if self.holds else "false",
            "note": self._note(),
            "unit": "fraction",
            "unguarded": "",
        }


def _span(low: float, high: float) -> str:
    """Write a range of numbers, or the one that it is."""
    one, other = f"{low:.2g}", f"{high:.2g}"
    return one if one == other else f"{one} to {other}"


def judged(claim: Claim, values: Values, contrast: Contrast, name: str, tasks: Sequence[str]) -> Property | str:
    """Return what a study measured of a property, or a sentence that says what it lacks for it.

    Parameters
    ----------
    claim, contrast, name
        The claim, its contrast of the kind property, and the measure.
    values
        Of the study.
    tasks
        The study's tasks that the claim is about.
    """
    if sentence := lacking(values.runs, contrast, name, tasks):
        return sentence
    assert contrast.of is not None
    runs = values.select(contrast.of, measure(name).home, tasks)
    runs = runs.assign(value=values.of(name).reindex(runs.index))
    known = runs.dropna(subset=["value"])
    without = runs[runs["value"].isna() & (runs["status"] == "completed")]
    return Property(claim, contrast, name, known, without) if len(known) else f"No run has a number of {name}."
