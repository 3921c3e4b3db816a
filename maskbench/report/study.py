"""What tables, figures and the page show: the numbers and verdicts of one study, and the names of things."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from maskbench.analysis.compare import ALL_TASKS, read_comparisons
from maskbench.analysis.findings import BOTH
from maskbench.analysis.metrics import (
    BLOCK,
    kinds_of,
    learned_nothing,
    read_metrics,
    regime_kind,
    runs_of,
    values_of,
)
from maskbench.analysis.rates import FOLDER, Rate, at_rate
from maskbench.analysis.values import Values
from maskbench.config.conditions import CLEAN
from maskbench.config.measures import measure
from maskbench.errors import InputError
from maskbench.kinds import score
from maskbench.records.choices import Choices
from maskbench.records.manifest import Rated, read_entries, read_models
from maskbench.report.along import read_along
from maskbench.report.behind import in_short
from maskbench.report.blocks import Block, condition_words, of_one_size, regime_words, size_words
from maskbench.report.design import read_design
from maskbench.report.verdicts import read_evidence

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from maskbench.records.manifest import ModelEntry
    from maskbench.report.verdicts import VerdictFiles


class Study:
    """The numbers of one study.

    Parameters
    ----------
    metrics, comparisons
        As `read_metrics` and `read_comparisons` give them.
    baseline
        The strategy that the others are compared with.
    evidence
        Verdicts and what they rest on.
    along
        As `read_along` gives it; None if the study is here as its metrics alone.
    settings
        The strategies as experiment.json has them, by name.
    models
        What the manifest says of the models; nothing if the study is here as its metrics alone.
    learning_rates
        That of each run, as far as the manifest knows it.
    tuned
        The study at tuned learning rates; None if nothing was tuned.
    choices
        The tuned learning rates; None if nothing was tuned, or the study is here without them.
    train_size
        That at which claims are judged; None if they are judged over all.
    """

    def __init__(
        self,
        metrics: pd.DataFrame,
        comparisons: pd.DataFrame,
        baseline: str,
        evidence: VerdictFiles,
        along: pd.DataFrame | None,
        settings: dict[str, dict[str, Any]],
        models: Sequence[ModelEntry] = (),
        *,
        learning_rates: Mapping[str, float] | None = None,
        tuned: Study | None = None,
        choices: Choices | None = None,
        train_size: str | None = None,
    ) -> None:
        self.metrics = metrics
        self.comparisons = comparisons
        self.baseline = baseline
        self.evidence = evidence
        self.along = along
        self.settings = settings
        self.models = models
        self.learning_rates, self.tuned, self.choices = learning_rates or {}, tuned, choices
        self.train_size = train_size
        self.runs = runs_of(metrics).set_index("run", drop=False)

    @classmethod
    def read(cls, results: Path, rate: Rate = "shared") -> Study:
        """Read the files of a study and check that they belong together.

        Parameters
        ----------
        results
            Folder that holds experiment.json, metrics.csv, verdicts.csv, analysis/ and, usually, along.csv; with tuned
            learning rates, tuning/ has verdicts and analysis at those rates.
        rate
            Which half of the study; that at the shared rate has the other one with it.

        Raises
        ------
        InputError
            If a file is not valid, or is of another study than the others.
        """
        baseline, settings, train_size = read_design(results / "experiment.json")
        every, folder = read_metrics(results / "metrics.csv"), results if rate == "shared" else results / FOLDER
        metrics, path = at_rate(every, rate), folder / "analysis" / "comparisons.csv"
        evidence = read_evidence(folder, metrics["run"].unique())
        along = read_along(results / "along.csv") if (results / "along.csv").exists() else None
        manifest = results / "manifest.json"
        models = read_models(manifest) if manifest.exists() else []
        entries = read_entries(manifest, Rated) if manifest.exists() else []
        choices = results / FOLDER / "choices.json"
        study = cls(
            *(metrics, read_comparisons(path), baseline, evidence, along, settings, models),
            learning_rates={one["run"]: one["learning_rate"] for one in entries if one["learning_rate"] is not None},
            tuned=cls.read(results, "tuned") if rate == "shared" and len(metrics) < len(every) else None,
            choices=Choices.read(choices) if choices.exists() else None,
            train_size=train_size,
        )
        study._belongs_to(results / "metrics.csv", path)
        return study

    def _belongs_to(self, metrics: Path, comparisons: Path) -> None:
        """Refuse comparisons that are not those of the metrics and the baseline."""
        if self.baseline not in self.strategies:
            known = ", ".join(self.strategies)
            raise InputError(f"{metrics}: strategy: expected the baseline {self.baseline} among {known}")
        expected = {(*block.key, name) for block in self.blocks for name in self.strategies_of(block)}
        expected = {cell for cell in expected if cell[-1] != self.baseline}
        rows = self.comparisons[self.comparisons["task"] != ALL_TASKS]
        found = set(rows[[*BLOCK, "strategy"]].itertuples(index=False, name=None))
        if found != expected or set(self.comparisons["baseline"]) - {self.baseline}:
            raise InputError(f"{comparisons}: does not belong to {metrics} and baseline {self.baseline}; compare again")

    @cached_property
    def strategies(self) -> list[str]:
        """All strategies, the baseline first, the others in the order of the file."""
        names = list(self.runs["strategy"].unique())
        return sorted(names, key=lambda name: name != self.baseline)

    @cached_property
    def others(self) -> list[str]:
        """All strategies but the baseline."""
        return [name for name in self.strategies if name != self.baseline]

    @cached_property
    def blocks(self) -> list[Block]:
        """All blocks, in the order of the file."""
        return [Block(*map(str, key)) for key in self.runs[BLOCK].drop_duplicates().itertuples(index=False, name=None)]

    def arm(self, block: Block, strategy: str) -> pd.DataFrame:
        """Return the runs of a strategy in a block."""
        return self._arms.get((*block.key, strategy), self.runs.iloc[:0])

    @cached_property
    def _arms(self) -> dict[tuple[str, ...], pd.DataFrame]:
        return {tuple(map(str, key)): frame for key, frame in self.runs.groupby([*BLOCK, "strategy"], sort=False)}

    def runs_behind(self, block: Block, strategy: str, seeds: Iterable[int]) -> str:
        """Return the ids of the runs of a strategy with these seeds (`in_short`); of all members if pooled."""
        wanted = set(seeds)
        arms = [self.arm(item, strategy) for item in self.members(block)]
        return in_short(run for arm in arms for run in arm.loc[arm["seed"].isin(wanted), "run"])

    def strategies_of(self, block: Block) -> list[str]:
        """Return the strategies that were run in a block."""
        return [name for name in self.strategies if (*block.key, name) in self._arms]

    def values(self, block: Block, strategy: str, split: str, measure: str) -> pd.Series[float]:
        """Return a measure of the completed runs of a strategy in a block, by seed, sorted."""
        if (split, measure) not in self._values:
            self._values[split, measure] = self._by_cell(values_of(self.metrics, split, measure))
        return self._values[split, measure].get((*block.key, strategy), pd.Series(dtype="float64"))

    @cached_property
    def _whole(self) -> Values:
        return Values(self.metrics)

    @cached_property
    def _measured(self) -> dict[str, dict[tuple[str, ...], pd.Series[float]]]:
        return {}

    @cached_property
    def _values(self) -> dict[tuple[str, str], dict[tuple[str, ...], pd.Series[float]]]:
        return {}

    def measured(self, block: Block, strategy: str, name: str) -> pd.Series[float]:
        """Return a measure of a strategy in a block by seed, whatever it was measured on.

        Where it has parts (``perturbation_drop:swap-10``) and no number for all of them, it is their mean.
        """
        if name not in self._measured:
            self._measured[name] = self._by_cell(self._whole.of(name))
        return self._measured[name].get((*block.key, strategy), pd.Series(dtype="float64"))

    def _by_cell(self, values: pd.Series[float]) -> dict[tuple[str, ...], pd.Series[float]]:
        """Return values by run as values by seed, sorted, of each block and strategy."""
        runs = self.runs.loc[values.index]
        by_seed = pd.Series(values.to_numpy(), index=runs["seed"].to_numpy()).groupby(
            [runs[name].to_numpy() for name in [*BLOCK, "strategy"]], sort=False
        )
        return {tuple(map(str, key)): found.sort_index() for key, found in by_seed}

    def members(self, block: Block) -> list[Block]:
        """Return the blocks that a pooled block stands for; of any other, itself."""
        if block.task != ALL_TASKS:
            return [block]
        key = (block.model, block.regime, block.condition, block.train_size)
        return [item for item in self.blocks if (item.model, regime_kind(item.regime), *item.key[3:]) == key]

    def paired(self, block: Block, of: str, against: str, name: str, factor: float = 1.0) -> pd.Series[float]:
        """Return, by seed, a strategy's measure minus that of another; of a pooled block the mean over its tasks."""
        parts = [
            factor * self._alike(item, of, against, name)[0].sub(self._alike(item, of, against, name)[1]).dropna()
            for item in self.members(block)
            if of in self.strategies_of(item)
        ]
        return pd.DataFrame(dict(enumerate(parts))).dropna().mean(axis=1)

    def paired_ratio(self, block: Block, of: str, against: str, name: str) -> pd.Series[float]:
        """Return, by seed, how much larger a strategy's measure is than that of another, in per cent."""
        one, other = self._alike(block, of, against, name)
        return 100.0 * (one / other - 1.0).dropna()

    def _alike(self, block: Block, of: str, against: str, name: str) -> tuple[pd.Series[float], pd.Series[float]]:
        """Return a measure of two strategies by seed, where both ran on one kind of device or, of times, of machine."""
        one, other = self.measured(block, of, name), self.measured(block, against, name)
        where = "machine" if measure(name).of_machine else "device"
        kinds = self.measured(block, of, where).sub(self.measured(block, against, where)).dropna()
        return one.drop(kinds.index[kinds != 0], errors="ignore"), other

    @property
    def unseen(self) -> int:
        """Number of runs whose evaluations do not show when the matched score was reached."""
        return int((self._whole.of("matched_censored") != 0).sum())

    @property
    def machines(self) -> int:
        """How many kinds of machine the runs were made on, as far as they tell."""
        return int(self._whole.of("machine").nunique())

    def failed(self, block: Block, strategy: str) -> int:
        """Return how many runs of a strategy in a block did not complete."""
        return int((self.arm(block, strategy)["status"] != "completed").sum())

    @cached_property
    def stuck(self) -> list[str]:
        """Completed runs that did hardly better than the majority class: they learned nothing."""
        scores = values_of(self.metrics, "test", "score")
        majority = values_of(self.metrics, "test", "majority_score").reindex(scores.index)
        return list(scores.index[learned_nothing(scores, majority)])

    @cached_property
    def failures(self) -> pd.DataFrame:
        """All runs that did not complete."""
        return self.runs[self.runs["status"] != "completed"]

    def majority(self, block: Block) -> float | None:
        """Return the score of always answering with the majority class, or None if no run recorded it."""
        for strategy in self.strategies_of(block):
            found = self.values(block, strategy, "test", "majority_score")
            if len(found):
                return float(found.iloc[0])
        return None

    @cached_property
    def kinds(self) -> dict[str, str]:
        """The kind of each task; empty text if it is not known."""
        return kinds_of(self.metrics)

    def score_title(self, task: str) -> str:
        """Return what the score of a task is; just "score" if its kind is not known."""
        kind = self.kinds.get(task)
        return measure(score.of(kind).measure).title if kind else "score"

    @cached_property
    def main_blocks(self) -> list[Block]:
        """Return the blocks that most figures show: each task alone on clean data, at one train size.

        That is the size at which claims are judged, or else the one at which most strategies ran (`of_one_size`). A
        study without a task alone on clean data shows all its trainings. Of models that differ in their pretraining
        seed alone, the first stands for all.
        """
        known = [block for block in self.blocks if block.model in self._first_of_recipe]
        blocks = [block for block in known if block.plain] or known
        return of_one_size({block: len(self.strategies_of(block)) for block in blocks}, self.train_size)

    @cached_property
    def _first_of_recipe(self) -> set[str]:
        """The first model of each pretraining recipe, and all models that were not pretrained here."""
        return set(self.runs.drop_duplicates("model").drop_duplicates("recipe")["model"])

    @cached_property
    def recipes(self) -> list[str]:
        """The pretraining recipes, in the order of the file; a model that was not pretrained here is one of its own."""
        return list(self.runs["recipe"].unique())

    @cached_property
    def pretraining_seeds(self) -> int:
        """The most pretraining seeds that a recipe has; 0 if no model was pretrained here."""
        return int(self.runs.groupby("recipe")["pretraining_seed"].nunique().max())

    @cached_property
    def main_words(self) -> str:
        """Return what the main blocks are, for captions."""
        left = len(self._first_of_recipe) < self.runs["model"].nunique()
        first = ", of each pretraining recipe the model of its first seed" if left else ""
        what = "a task alone on clean data" if self.main_blocks[0].plain else "all trainings"
        return f"{what}{self.common_words(self.main_blocks)}{first}"

    def common_words(self, blocks: Sequence[Block]) -> str:
        """Return what a caption adds on blocks of a study that varies it: their train size, and their model if one."""
        models, sizes = ({getattr(block, name) for block in blocks} for name in ("model", "train_size"))
        words = f", of the model {next(iter(models))}" if self._vary("model") and len(models) == 1 else ""
        return words + (f", with {size_words(sizes)}" if self._vary("train_size") else "")

    def _vary(self, name: str, among: Sequence[Block] | None = None) -> bool:
        return len({getattr(block, name) for block in (self.blocks if among is None else among)}) > 1

    def contexts(self, block: Block, among: Sequence[Block] | None = None) -> list[str]:
        """Return what tells this block from others of its task and regime: condition, model, size, if they vary."""
        parts = [words] if (words := condition_words(block.condition)) else []
        parts += [block.model] if self._vary("model", among) else []
        size = "full train set" if block.train_size == "full" else f"{block.train_size} examples"
        return parts + ([size] if self._vary("train_size", among) else [])

    def title(self, block: Block, among: Sequence[Block] | None = None) -> str:
        """Return the name of a block in figures and tables, such as ``conll2003 after rt-snippets``.

        Model and train size are named if they differ among these blocks; without them, among those of the study.
        """
        return ", ".join([f"{block.task} {regime_words(block.regime)}".rstrip(), *self.contexts(block, among)])

    def subject(self, block: Block) -> str:
        """Return the name of what is trained in a block, whatever the regime and condition."""
        return self.title(replace(block, regime="single", condition=CLEAN.name))

    @cached_property
    def seeds(self) -> list[int]:
        """All seeds of the study, in ascending order."""
        return sorted(int(seed) for seed in self.runs["seed"].unique())

    def count(self, blocks: Sequence[Block] | None = None) -> str:
        """Return how many seeds the completed cells have, such as ``n = 5`` or ``n = 3 to 5``."""
        counts = [
            len(self.values(block, name, "test", "score"))
            for block in blocks or self.blocks
            for name in self.strategies_of(block)
        ]
        low, high = min(counts), max(counts)
        return f"n = {low}" if low == high else f"n = {low} to {high}"

    @cached_property
    def confidence(self) -> float:
        """Coverage of the intervals, as a fraction."""
        return float(self.comparisons["confidence"].iloc[0]) if len(self.comparisons) else 0.95

    @property
    def interval_words(self) -> str:
        """Return what the intervals of the score's differences are, for captions."""
        return self.interval_words_of("score")

    def interval_words_of(self, name: str) -> str:
        """Return what the intervals of a measure's differences are, for captions."""
        rows = self.comparisons[self.comparisons["measure"] == name]
        kinds = [kind for kind in rows["interval"].unique() if not kind.startswith("none")]
        if not kinds:
            return "no intervals (they need at least two seeds)"
        drawn = f" (examples: {rows['resamples'].iloc[0]} resamples)" if BOTH in kinds else ""
        return f"{100 * self.confidence:g} % t intervals over {' or '.join(kinds)}{drawn}"

    def comparison_blocks(self) -> list[Block]:
        """Return the blocks that are compared, pooled ones last."""
        keys = self.comparisons[BLOCK].drop_duplicates().itertuples(index=False, name=None)
        return [Block(*map(str, key)) for key in keys]

    def compared(self, block: Block, measure: str) -> pd.DataFrame:
        """Return the comparisons on a measure in a block, one row for each strategy, indexed by strategy."""
        return self._compared.get((*block.key, measure), self.comparisons.iloc[:0]).set_index("strategy", drop=False)

    @cached_property
    def _compared(self) -> dict[tuple[str, ...], pd.DataFrame]:
        groups = self.comparisons.groupby([*BLOCK, "measure"], sort=False)
        return {tuple(map(str, key)): frame for key, frame in groups}
