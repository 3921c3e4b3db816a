"""What docs/findings.md is written from: the record of the reference study, in results/reference."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from maskbench.analysis.compare import read_comparisons
from maskbench.analysis.metrics import read_metrics
from maskbench.analysis.rates import FOLDER as TUNED
from maskbench.config.conditions import CLEAN
from maskbench.config.tuning import is_tuned, tuned
from maskbench.errors import InputError
from maskbench.experiment.recorded import NEEDED
from maskbench.io.gzipped import present, read_bytes
from maskbench.records.manifest import check_manifest
from maskbench.report import text
from maskbench.report.findings.design import Design
from maskbench.report.reference import Reference

if TYPE_CHECKING:
    from pathlib import Path

METRICS = ("metrics.parquet", "metrics.csv")
"""Where the numbers of the runs are: the first of these that is there."""

READ = ["run", "task", "recipe", "strategy", "regime", "condition", "train_size", "seed", "split", "measure", "value"]
"""Columns that are read of them."""


PARTS = ("manifest.json", *METRICS, *NEEDED)
"""Files of a record, of which all or none are there; a study that has begun has experiment.json before them."""


def recorded(folder: Path) -> bool:
    """Tell whether a folder has a record; none of its files is there before the first one is made.

    Raises
    ------
    InputError
        If some files of a record are there and verdicts.csv is not.
    """
    if (folder / NEEDED[0]).is_file():
        return True
    if found := [name for name in PARTS if present(folder / name).exists()]:
        raise InputError(
            f"{folder / NEEDED[0]}: expected a file, as for {found[0]}, which is there; restore it, or wait until "
            "the record is made"
        )
    return False


@dataclass(frozen=True)
class Plain:
    """Scores of plain fine-tuning on one task with one model and train size, in per cent."""

    task: str
    model: str
    size: str
    mean: float
    sd: float
    """Standard deviation over seeds; NaN with one run."""
    runs: int
    majority: float
    """What always answering with the majority class scores."""

    @property
    def cells(self) -> list[str]:
        """The cells of a table: task, model, train size, score with its deviation, runs, majority class."""
        found = text.mean_and_spread(self.mean, self.sd)
        return [self.task, self.model, self.size, found, str(self.runs), text.plain(self.majority, 1)]


@dataclass(frozen=True)
class Record:
    """The record of the reference study.

    Attributes
    ----------
    reference
        Verdicts and what they rest on.
    manifest
        As `read_manifest` gives it: how the runs were made.
    planned
        How many cells the study is to have; as many as there are where the manifest does not say.
    design
        What of experiment.json is told.
    numbers
        The columns `READ` of the metrics.
    comparisons, comparisons_tuned
        As `read_comparisons` gives them: every strategy beside the baseline; and the same at tuned rates, empty where
        nothing ran at them.
    """

    reference: Reference
    manifest: dict[str, Any]
    planned: int
    design: Design
    numbers: pd.DataFrame
    comparisons: pd.DataFrame
    comparisons_tuned: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> Record:
        """Read a record.

        Raises
        ------
        InputError
            Naming the first file that is missing or not valid.
        """
        path = present(folder / "manifest.json")
        manifest, planned = _manifest(path)
        numbers = _numbers(folder)
        made = {entry["run"] for entry in manifest["records"]}
        completed = {entry["run"] for entry in manifest["records"] if entry["status"] == "completed"}
        if differ := (completed - set(numbers["run"])) | (set(numbers["run"]) - made):
            raise InputError(f"{path}: {min(differ)}: expected the runs of the metrics; make the record again")
        if planned is not None and planned < len(made):
            raise InputError(f"{path}: planned: expected at least its {len(made)} runs, got {planned}")
        reference = Reference.read(folder, made)
        design = Design.read(folder / "experiment.json")
        if manifest["study"] != (design.study or manifest["study"]):
            raise InputError(f"{path}: study: expected {design.study}, got {manifest['study']}")
        compared, again = (folder / part / "analysis" / "comparisons.csv" for part in ("", TUNED))
        found = read_comparisons(compared)
        done = len(made) if planned is None else planned
        tuned_ = read_comparisons(again) if again.is_file() else found[:0]
        return cls(reference, manifest, done, design, numbers, found, tuned_)

    def at_tuned_rates(self) -> Record | None:
        """Return what the record says of runs at tuned learning rates, as if there were no others; None if nothing."""
        half = self.reference.tuned
        if half is None:
            return None
        names = {name for name in self.numbers["strategy"].unique() if is_tuned(str(name))}
        records = [entry for entry in self.manifest["records"] if is_tuned(entry["strategy"])]
        numbers = self.numbers[self.numbers["strategy"].isin(names)]
        return replace(
            self,
            reference=Reference(half, None),
            manifest=self.manifest | {"records": records},
            planned=self.planned - (self.done - len(records)),
            design=replace(self.design, baseline=tuned(self.design.baseline)),
            numbers=numbers,
            comparisons=self.comparisons_tuned,
        )

    @property
    def claims(self) -> list[dict[str, Any]]:
        """The claims as they stood, in the order of their file."""
        return self.reference.shared.evidence.claims

    @property
    def done(self) -> int:
        """How many cells are in the record, failed ones included."""
        return len(self.manifest["records"])

    @property
    def tasks(self) -> list[str]:
        """The tasks of the runs, in their order."""
        return list(self.numbers["task"].unique())

    @property
    def models(self) -> list[str]:
        """The models of the runs, in their order; those of one recipe are one."""
        return list(self.numbers["recipe"].unique())

    @property
    def seeds(self) -> int:
        """The most seeds that any row of the verdicts rests on; 0 if nothing was tested."""
        return int(self.reference.shared.evidence.verdicts["n_seeds"].fillna(0).max())

    @property
    def failed(self) -> int:
        """How many of them did not complete."""
        return sum(entry["status"] != "completed" for entry in self.manifest["records"])

    @cached_property
    def compared_alone(self) -> pd.DataFrame:
        """The comparisons of trainings of one task alone, on clean text."""
        table = self.comparisons
        return table[(table["regime"] == "single") & (table["condition"] == CLEAN.name)]

    @cached_property
    def plain(self) -> list[Plain]:
        """Scores of plain fine-tuning: each task alone on clean text, by task, model and train size."""
        table = self.numbers
        own = table[
            (table["strategy"] == self.design.baseline) & (table["regime"] == "single") & (table["split"] == "test")
        ]
        own = own[(own["condition"] == CLEAN.name) & own["measure"].isin(("score", "majority_score"))]
        return [_plain(str(task), str(model), str(size), part) for (task, model, size), part in _blocks(own)]


def _manifest(path: Path) -> tuple[dict[str, Any], int | None]:
    """Read the manifest, gzipped or not, and how many cells are planned; None if it does not say."""
    try:
        content = json.loads(read_bytes(path))
        return check_manifest(path, content), content.get("planned")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}); restore it") from None


def _blocks(table: pd.DataFrame) -> Any:
    return table.groupby(["task", "recipe", "train_size"], sort=False)


def _plain(task: str, model: str, size: str, part: pd.DataFrame) -> Plain:
    scores = 100 * part.loc[part["measure"] == "score", "value"].dropna()
    majority = 100 * part.loc[part["measure"] == "majority_score", "value"].dropna()
    spread = float(scores.std(ddof=1)) if len(scores) > 1 else float("nan")
    return Plain(task, model, size, float(scores.mean()), spread, len(scores), float(majority.mean()))


def _numbers(folder: Path) -> pd.DataFrame:
    """Read the numbers of the runs."""
    found = next((folder / name for name in METRICS if (folder / name).is_file()), None)
    if found is None:
        raise InputError(f"{folder}: expected {' or '.join(METRICS)}; make the record again")
    if found.suffix == ".csv":
        return read_metrics(found)[READ]
    try:
        numbers = pd.read_parquet(found, columns=READ)
        numbers["value"] = pd.to_numeric(numbers["value"])
    except Exception as error:  # pyarrow has several kinds, and says which column is missing
        raise InputError(f"{found}: expected a table with {', '.join(READ)}: {' '.join(str(error).split())}") from None
    if (again := numbers.duplicated(["run", "split", "measure"])).any():
        run, split, name = numbers.loc[again, ["run", "split", "measure"]].iloc[0]
        raise InputError(f"{found}: {run}: {split} {name}: expected each number once; make the record again")
    return numbers
