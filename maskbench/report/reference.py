"""What the record of the reference study says of a claim, for pages of other studies and for docs/findings.md."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from maskbench.analysis.findings import OTHERS, whole
from maskbench.analysis.rates import DIFFER, FOLDER
from maskbench.config.measures import measure
from maskbench.report import text
from maskbench.report.blocks import size_number
from maskbench.report.claims import ANSWERS, headline, records, refused
from maskbench.report.verdicts import VerdictFiles, read_evidence

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

KEY = ["claim", "contrast", "measure", "scope"]
"""Columns that say which row of verdicts.csv a row is."""


class Behind(NamedTuple):
    """What a number of verdicts.csv rests on, as analysis/pairs.csv tells it."""

    runs: int
    tasks: list[str]
    models: list[str]
    sizes: list[str]


@dataclass(frozen=True)
class Half:
    """Verdicts of a study at one of the learning rates, and what they rest on."""

    evidence: VerdictFiles

    def rows(self, claim: str) -> pd.DataFrame:
        """Return all rows of a claim."""
        return self.evidence.verdicts[self.evidence.verdicts["claim"] == claim]

    def pooled(self, claim: str) -> list[dict[str, Any]]:
        """Return the rows of a claim that are about all tasks, in the order of the file."""
        own = self.rows(claim)
        return records(own[whole(own["scope"])])

    def row(self, claim: str, contrast: str, name: str, scope: str | None = None) -> dict[str, Any] | None:
        """Return one row; None if there is none. Without a scope, the first on all tasks."""
        own = self.rows(claim)
        there = whole(own["scope"]) if scope is None else own["scope"] == scope
        found = own[(own["contrast"] == contrast) & (own["measure"] == name) & there]
        return records(found)[0] if len(found) else None

    def head(self, claim: str) -> dict[str, Any]:
        """Return the row that stands for a claim, as on the page: its first contrast and measure that was tested."""
        return records(headline(self.rows(claim)).to_frame().T)[0]

    def behind(self, row: dict[str, Any]) -> Behind:
        """Return what a row rests on; of a property, which has no pairs, nothing.

        Of contrasts between strategies, seeds count that are complete in every block. A row without a seed, which was
        refused, rests on nothing.
        """
        if row["n_seeds"] == 0:
            return Behind(0, [], [], [])
        pairs = self.evidence.pairs
        own = pairs
        for column in KEY[:3]:
            own = own[own[column] == row[column]]
        if row["scope"] in set(own["task"]):
            own = own[own["task"] == row["scope"]]
        if row["kind"] != "models" and len(own):
            block = ["task", "model", "regime", "condition", "train_size"]
            counts = own.groupby("seed")["seed"].transform("size")
            own = own[counts == len(own.drop_duplicates(block))]
        sizes = {size for sizes in own["train_size"].unique() for size in sizes.split()}
        ordered = sorted(sizes, key=size_number)
        return Behind(len(_runs(own)), list(own["task"].unique()), list(own["model"].unique()), ordered)


@dataclass(frozen=True)
class Reference:
    """The record of the reference study, as far as others show it."""

    shared: Half
    tuned: Half | None
    """At tuned learning rates; None if nothing was tuned, or nothing was tested there yet."""

    @classmethod
    def read(cls, record: Path, runs: Collection[str] | None = None) -> Reference:
        """Read a record: verdicts.csv and analysis/, and the same in tuning/ if it is there.

        Parameters
        ----------
        record
            Its folder.
        runs
            Ids of all its runs; None: they are not at hand, and not compared.

        Raises
        ------
        InputError
            Naming the file and what is wrong.
        """
        tuned = record / FOLDER
        half = Half(read_evidence(tuned, runs)) if (tuned / "verdicts.csv").is_file() else None
        if half and set(half.evidence.verdicts["verdict"]) <= {"not tested"}:  # no cell at a tuned rate has run yet
            half = None
        return cls(Half(read_evidence(record, runs)), half)

    @property
    def claims(self) -> dict[str, dict[str, Any]]:
        """The claims as they stood, by id."""
        return {claim["id"]: claim for claim in self.shared.evidence.claims}

    @property
    def runs(self) -> int:
        """How many runs stand behind its verdicts, at all learning rates."""
        return sum(len(_runs(half.evidence.pairs)) for half in (self.shared, self.tuned) if half)

    @property
    def tasks(self) -> list[str]:
        """The tasks that its verdicts are about."""
        return list(self.shared.evidence.pairs["task"].unique())

    def same(self, claim: dict[str, Any]) -> bool:
        """Tell whether a claim of another study is the one that the reference study has under its id."""
        return bool(self.claims.get(claim["id"], {}).get("claim") == claim["claim"])

    def like(self, claim: dict[str, Any], row: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return the row to show beside a claim of another study; None if the reference study says nothing of it.

        Parameters
        ----------
        claim
            As analysis/claims.json has it.
        row
            The row that stands for the claim in the other study. Where the reference study has tested the same contrast
            on the same measure, that is the answer to it; else its own first row.
        """
        if not self.same(claim):
            return None
        found = row and self.twin(claim, row)
        if found is None or found["verdict"] == "not tested":
            found = self.shared.head(claim["id"])
        return None if found["verdict"] == "not tested" else found

    def twin(self, claim: dict[str, Any], row: dict[str, Any]) -> dict[str, Any] | None:
        """Return the same row of the reference study; None unless claim, contrast, measure and margin are the same."""
        if not self._states(claim, row):
            return None
        found = self.shared.row(claim["id"], row["contrast"], row["measure"])
        return found if _one_margin(row, found) else None

    def with_tuned(self, other: Half, study: str) -> Reference:
        """Return the record with rows at tuned rates of another study, where it tested nothing of a contrast itself.

        Parameters
        ----------
        other
            What the other study found at tuned rates; rows count whose claims are stated in the same way.
        study
            Its name, which stands in the column `study` of the rows that are taken.
        """
        theirs, pairs = other.evidence.verdicts, other.evidence.pairs
        claims = {claim["id"]: claim for claim in other.evidence.claims}
        theirs = theirs[
            [
                row["verdict"] != "not tested"
                and self._states(claims[row["claim"]], row)
                and _one_margin(row, self.shared.row(*(row[column] for column in KEY)))
                for row in records(theirs)
            ]
        ]
        own = self.tuned.evidence if self.tuned else replace(other.evidence, verdicts=theirs[:0], pairs=pairs[:0])
        mine = own.verdicts[(own.verdicts["verdict"] != "not tested") & whole(own.verdicts["scope"])]
        theirs = theirs[~_among(theirs, mine)].assign(study=study)
        if not len(theirs):
            return self
        both = replace(
            own,
            verdicts=pd.concat([own.verdicts[~_among(own.verdicts, theirs)], theirs], ignore_index=True),
            pairs=pd.concat([own.pairs, pairs[_among(pairs, theirs)]], ignore_index=True),
        )
        return replace(self, tuned=Half(both))

    def _states(self, claim: dict[str, Any], row: dict[str, Any]) -> bool:
        """Tell whether a claim of another study, and the contrast of a row of it, are stated in the same way here."""
        return self.same(claim) and _contrast(claim, row) == _contrast(self.claims[claim["id"]], row)

    def at_tuned(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """Return the row at tuned rates beside one at the shared rate; None if there is none, or it was not tested."""
        found = self.tuned and self.tuned.row(*(row[column] for column in KEY))
        return found if found and found["verdict"] != "not tested" else None


def _one_margin(row: dict[str, Any], other: dict[str, Any] | None) -> bool:
    """Tell whether two rows have the same margin, as far as both have one."""
    margins = {row["delta"], other["delta"]} if other else set()
    return len({margin for margin in margins if margin == margin}) < 2


def _among(table: pd.DataFrame, others: pd.DataFrame) -> pd.Series[bool]:
    """Tell of each row of a table whether others have its claim, contrast and measure."""
    keys = pd.MultiIndex.from_frame(others[KEY[:3]])
    return pd.Series(pd.MultiIndex.from_frame(table[KEY[:3]]).isin(keys), index=table.index)


def _runs(pairs: pd.DataFrame) -> set[str]:
    """Return the ids of all runs in pairs."""
    return {run for column in ("of", "against") for ids in pairs[column].unique() for run in ids.split()}


def _contrast(claim: dict[str, Any], row: dict[str, Any]) -> dict[str, Any] | None:
    """Return the contrast of a row as its claim states it; None if it has none of this name."""
    every = {str(contrast.get("name")): contrast for contrast in claim.get("contrasts", [])}
    return every.get(row["contrast"])


def effect(row: dict[str, Any]) -> str:
    """Write an effect with its interval: ``+0.80 points [+0.30 to +1.20]``; nothing without estimate or interval."""
    if row["verdict"] in ("holds", "false"):
        return f"largest {row['estimate']:.2g}"
    if math.isnan(row["estimate"]) or math.isnan(row["ci_low"]):  # one seed alone shows nothing
        return ""
    return text.difference(row["estimate"], row["ci_low"], row["ci_high"], row["unit"])


def named(name: str) -> str:
    """Write a measure with its part, as the page does."""
    return measure(name).title + (f": {part}" if (part := name.partition(":")[2]) else "")


def contrast(row: dict[str, Any]) -> str:
    """Write a contrast; of an interaction between tasks with the task that is set against the others."""
    return f"{row['contrast']}, {row['scope']}" if row["scope"].endswith(OTHERS) else str(row["contrast"])


def seeds(row: dict[str, Any]) -> str:
    """Write on how many seeds a row rests: ``20 seeds``; between models, those of pretraining."""
    number = 0 if math.isnan(row["n_seeds"]) else int(row["n_seeds"])
    return text.count(number, "pretraining seed" if row["kind"] == "models" else "seed")


def with_runs(half: Half, row: dict[str, Any]) -> str:
    """Say how large an effect is, and on how many seeds and runs it rests."""
    runs = half.behind(row).runs
    return ", ".join(filter(None, [effect(row), seeds(row), text.count(runs, "run") if runs else ""]))


def rests_on(half: Half, row: dict[str, Any]) -> str:
    """Say what a number is of: contrast, measure, seeds, runs, tasks and models."""
    behind = half.behind(row)
    parts = [contrast(row), named(row["measure"]), seeds(row)]
    parts += [text.count(behind.runs, "run"), text.listed(behind.tasks)] if behind.runs else []
    parts += [text.listed(_models(behind.models))] if behind.runs else []
    return ", ".join(parts)


def _models(names: list[str], most: int = 4) -> list[str]:
    """Return the first few of many models, with the number of the others."""
    return names if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"]


def verdict_word(row: dict[str, Any]) -> str:
    """Return a verdict as it is named, with what is to be known of it.

    That is ``, refused`` where runs are missing or learned nothing, and ``, unguarded`` where controls of its measure
    were not passed.
    """
    if refused(row):
        return "inconclusive, refused"
    return str(row["verdict"]) + (", unguarded" if row["unguarded"] and row["verdict"] in ANSWERS else "")


def beside(reference: Reference, row: dict[str, Any]) -> str:
    """Say in one line what the reference study found, to stand behind its name and verdict."""
    shown = effect(row)
    words = f"{shown}, {rests_on(reference.shared, row)}" if shown else rests_on(reference.shared, row)
    if (tuned := reference.at_tuned(row)) is None:
        return words
    assert reference.tuned is not None
    verdict = "the same verdict" if tuned["verdict"] == row["verdict"] else verdict_word(tuned)
    rates = "each side at its own tuned learning rate:" if DIFFER in tuned["note"] else "at tuned learning rates"
    return f"{words}; {rates} {verdict}, {with_runs(reference.tuned, tuned)}"
