"""What a probe may look at: loaded when it is asked for, computed once."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch

from maskbench.data.encode import load_encoded
from maskbench.data.manifests import EncodedManifest
from maskbench.errors import InputError
from maskbench.kinds import head, probing
from maskbench.kinds import score as scores
from maskbench.models.pretrained import Pretrained
from maskbench.probes.errors import UnmeasuredError, require_finite
from maskbench.probes.reference import Reference, Texts, collator
from maskbench.probes.trained import load_model, only, read_predictions
from maskbench.records.run import Metric, Record, number
from maskbench.training.forward import Forward, Passed, outcome
from maskbench.training.subsets import at_most, rows_of, subset
from maskbench.training.subsets import examples as count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedModel

    from maskbench.config.probes import ProbeName, Probes
    from maskbench.experiment.cell import Cell
    from maskbench.kinds.head import Head
    from maskbench.kinds.probing import Probing
    from maskbench.kinds.score import Outcome
    from maskbench.probes.sources import Sources
    from maskbench.records.probe import Attributed, TrajectoryPoint
    from maskbench.slots.device import Device
    from maskbench.training.forward import Rows, Shown

    MetricSplit = Literal["train", "validation", "test", "run"]


DRIFTING = "drifting"
"""Name of the set of texts that representation drift is measured on."""


class Wanted(NamedTuple):
    """A set of texts that probes read."""

    name: str
    """No other set of the run has it."""
    rows: Rows
    hidden: bool = False
    """Hidden states are wanted, too: the mean of each text, or those at the reference's places (`Subject.drifting`)."""


class Subject:
    """A trained run as probes see it.

    Parameters
    ----------
    cell
        The run.
    sources
        Where things are.
    settings
        What the configuration says about probes.
    device
        What to compute on.
    load
        What opens an encoded task.
    refer
        What reads a reference.
    models
        What opens the pretrained model.
    """

    def __init__(
        self,
        cell: Cell,
        sources: Sources,
        settings: Probes,
        device: Device,
        load: Callable[[Path], dict[str, Dataset]] = load_encoded,
        refer: Callable[[Path], Reference] = Reference.read,
        models: Pretrained | None = None,
    ) -> None:
        self.cell, self.sources, self.settings, self.device = cell, sources, settings, device
        self._load, self._refer = load, refer
        self.models = models or Pretrained()
        self.notes: list[str] = []
        self.outcomes: dict[str, pd.DataFrame] = {}
        """Examples of each test-time set, and of each thing that is counted besides, with hit and weight."""
        self.trajectory: list[TrajectoryPoint] = []
        self.attributed: list[Attributed] = []
        """How much each word of some test texts adds to the answer, for the record."""
        self._passed: dict[str, Passed] = {}
        self._step: int | None = None
        """The update after which the model's weights are those that it has now; None: those of the trained model."""
        self._splits: dict[Path, dict[str, Dataset]] = {}
        self._rows: dict[tuple[Path, str], Rows] = {}
        self.computed: dict[Callable[[Subject], Any], Any] = {}
        """What functions of the subject alone returned (`maskbench.probes.registry.once`)."""

    # what was measured, or why it was not

    def note(self, text: str) -> None:
        """Say something that a reader of the numbers has to know, once."""
        if text not in self.notes:
            self.notes.append(text)

    def measured(self, split: MetricSplit, name: str, compute: Callable[[], float]) -> Metric:
        """Return a metric; if it cannot be measured, an empty one and a note that says why.

        Of a moment of the training, numbers of a part (of one layer, of one perturbation) are not computed.
        """
        if self._step is not None and ":" in name:
            return number(split, name, None)
        try:
            value: float | None = compute()
        except UnmeasuredError as error:
            value = None
            self.note(f"{name}{'' if self._step is None else f' at step {self._step}'}: {error}")
        return number(split, name, value)

    def keep(self, name: str, outcome: Outcome) -> Outcome:
        """Keep the outcome of a test-time set for the bootstrap; those of moments of the training are not kept."""
        if self._step is None:
            self.outcomes[name] = outcome.table[["example", *scores.of(outcome.kind).sums]]
        return outcome

    def contribute(self, name: str, examples: Any, hit: Any, weight: Any = 1.0) -> None:
        """Keep what each example adds to the two sums that a measure is made of (config/measures/recipes.py).

        What it adds at a moment of the training is not kept.

        Parameters
        ----------
        name
            A set and what is counted, such as ``test:seen``.
        examples
            Ids; what stands there several times is added up, and what adds nothing is left out.
        hit, weight
            What each adds.
        """
        if self._step is not None:
            return
        table = pd.DataFrame({"example": np.asarray(examples, dtype=np.int64)})
        table = table.assign(hit=np.asarray(hit, dtype=float), weight=np.asarray(weight, dtype=float))
        table = table.groupby("example", as_index=False)[["hit", "weight"]].sum()
        self.outcomes[name] = table[(table["hit"] != 0) | (table["weight"] != 0)]

    # the run

    @cached_property
    def record(self) -> Record:
        """The record of the run (metrics.json)."""
        return Record.read(self.sources.run / "metrics.json")

    @cached_property
    def labels(self) -> list[str]:
        """Names of the classes or tags."""
        return EncodedManifest.read(self.sources.clean).labels

    @property
    def wanted(self) -> list[ProbeName]:
        """The probes that the configuration names and that have something to measure in a task of this kind."""
        return [name for name in self.settings.wanted if name not in self.probing.without]

    @property
    def head(self) -> Head:
        """The head of the task's kind."""
        return head.of(self.cell.kind)

    @property
    def probing(self) -> Probing:
        """How predictions of the task's kind are read."""
        return probing.of(self.cell.kind)

    @cached_property
    def predictions(self) -> Outcome:
        """What the run predicted on its test split, unshifted; of a moment of the training, on the fixed test texts."""
        if self._step is not None:
            return self.outcome(self.unchanged)
        return read_predictions(self.sources.run, self.cell.kind, self.labels)

    @cached_property
    def reference(self) -> Reference:
        """What was measured of θ₀."""
        found = self._refer(self.sources.reference)
        if found.manifest.examples != [row["example"] for row in self.texts.test]:
            raise InputError(f"{self.sources.reference}: expected the test texts of this run; delete it and run again")
        return found

    # texts

    def split(self, folder: Path, name: str) -> Dataset:
        """Return a split of an encoded folder."""
        splits = self.splits(folder)
        if name not in splits:
            raise InputError(f"{folder}: expected the split {name}, found {', '.join(splits)}")
        return splits[name]

    def splits(self, folder: Path) -> dict[str, Dataset]:
        """Return all splits of an encoded folder."""
        if folder not in self._splits:
            self._splits[folder] = self._load(folder)
        return self._splits[folder]

    @cached_property
    def texts(self) -> Texts:
        """The fixed texts of the task that all its runs are probed on."""
        return Texts.of(self.splits(self.sources.clean), self.cell.max_test, self.settings.examples)

    @cached_property
    def examples(self) -> list[int]:
        """Id of the example of each fixed test text; test-time sets are measured on the same ones."""
        return [row["example"] for row in self.texts.test]

    def rows(self, folder: Path, name: str) -> Rows:
        """Return the fixed texts of a test-time set that was made from the test split."""
        if (folder, name) not in self._rows:
            dataset = self.split(folder, name)
            self._rows[folder, name] = rows_of(dataset, self.examples).to_list()
        return self._rows[folder, name]

    def fixed(self, folder: Path, name: str) -> Rows:
        """Return the fixed texts of a set that was not made from the test split."""
        if (folder, name) not in self._rows:
            self._rows[folder, name] = at_most(self.split(folder, name), self.settings.examples).to_list()
        return self._rows[folder, name]

    @cached_property
    def trained_texts(self) -> Rows:
        """Fixed texts of those training texts that the run's own scores on the training split are of."""
        test = at_most(self.split(self.sources.encoded, "test"), self.cell.max_test)
        scored = at_most(self.trained_on, count(test))
        return cast("Rows", at_most(scored, self.settings.examples).to_list())

    @cached_property
    def trained_on(self) -> Dataset:
        """The run's own training texts, as it saw them."""
        return subset(self.split(self.sources.encoded, "train"), self.cell.train_size, self.cell.seed)

    def words(self, folder: Path, name: str) -> pd.DataFrame:
        """Return a prepared split as text, by example id."""
        return cast("pd.DataFrame", pq.read_table(folder / f"{name}.parquet").to_pandas().set_index("example"))

    # the model, and what it computes

    @cached_property
    def model(self) -> PreTrainedModel:
        """The run's trained model, on the device."""
        return load_model(self.sources.run / "model", self.cell.kind, self.device)

    def forward(self, model: PreTrainedModel) -> Forward:
        """Return a model as it is evaluated: with the attention mask that belongs to the run's models, if one does."""
        return Forward(
            model, self._collate, self.device, self.cell.training.eval_batch_size, self._mask_id, self._shown
        )

    @cached_property
    def own(self) -> Forward:
        """The forward pass of the run's model, in eval mode."""
        return self.forward(self.model)

    @cached_property
    def _collate(self) -> Any:
        return collator(self.sources.pretrained, self.device)

    @cached_property
    def _mask_id(self) -> int:
        return EncodedManifest.read(self.sources.clean).tokenizer.mask_token_id or 0

    @cached_property
    def _shown(self) -> Shown | None:
        mask = self.cell.strategy.attention
        if mask is None or not mask.apply or mask.at != "always":
            return None
        from maskbench.probes.always import fitted

        encoded, pretrained, before = self.sources.encoded, self.sources.pretrained, self.sources.before
        masking = fitted(self.cell, self.device, encoded=encoded, pretrained=pretrained, before=before)
        return masking.showing

    @property
    def unchanged(self) -> Wanted:
        """The fixed test texts as they are."""
        return Wanted("test", self.texts.test)

    @property
    def drifting(self) -> Wanted:
        """Those of the fixed test texts that drift is measured on, with hidden states at the reference's places."""
        last = int(self.reference.places[:, 0].max(initial=-1))
        return Wanted(DRIFTING, self.texts.test[: last + 1], hidden=True)

    def read(self, sets: Iterable[Wanted]) -> None:
        """Let the run's model pass once over all texts that probes will ask for, each text once."""
        wanted: dict[str, Wanted] = {}
        for one in sets:
            hidden = one.hidden or (one.name in wanted and wanted[one.name].hidden)
            wanted[one.name] = one._replace(hidden=hidden)
        self._pass([one for one in wanted.values() if one.rows and one.name not in self._passed])

    def _pass(self, sets: list[Wanted]) -> None:
        """Pass over sets of texts, and keep what is read of each."""
        if not sets:
            return
        rows: list[dict[str, Any]] = []
        places, slices = None, {}
        for one in sets:
            if one.name == DRIFTING:
                places = self.reference.places + np.array([len(rows), 0])
            slices[one.name] = slice(len(rows), len(rows) + len(one.rows))
            rows += one.rows
        passed = self.own.read(rows, places, hidden=any(one.hidden for one in sets), head=self.head)
        for one in sets:
            self._passed[one.name] = passed.part(slices[one.name], hidden=one.hidden, states=one.name == DRIFTING)

    def passed(self, texts: Wanted) -> Passed:
        """Return what the run's model computes on a set of texts; each set is passed over once.

        Raises
        ------
        UnmeasuredError
            If there is no text, or a number is not finite.
        """
        if not texts.rows:
            raise UnmeasuredError(f"{texts.name}: there are no such texts")
        if texts.name not in self._passed:
            self._pass([texts])
        return require_finite(self._passed[texts.name])

    def passed_otherwise(self, name: str, compute: Callable[[], Passed]) -> Passed:
        """Return what a pass of another kind computes, once for the weights that the model has.

        Raises
        ------
        UnmeasuredError
            If a number is not finite.
        """
        if name not in self._passed:
            self._passed[name] = compute()
        return require_finite(self._passed[name])

    def outcome(self, texts: Wanted) -> Outcome:
        """Return what the run's model does with a set of texts."""
        return outcome(self.cell.kind, self.labels, texts.rows, self.passed(texts))

    def unshifted(self, shifted: Outcome) -> Outcome:
        """Return what the run predicted for the same examples as they are, from its predictions."""
        return only(self.predictions, shifted.table["example"].to_numpy())

    @contextmanager
    def weights(self, state: dict[str, Tensor], step: int) -> Iterator[None]:
        """Have the weights of a moment of the training in the run's model for a while.

        The predictions are then those of these weights, too, and what probes contribute is not kept: outcomes.parquet
        is of the trained model. Passes over texts count on where the weights are those of the trained model.

        Parameters
        ----------
        state
            All weights, by name.
        step
            Updates after which the model had them.
        """
        kept = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        same = kept.keys() == state.keys() and all(torch.equal(kept[name], value) for name, value in state.items())
        passed, predictions = self._passed, self.__dict__.pop("predictions", None)
        self._passed, self._step = (passed if same else {}), step
        try:
            if not same:
                self.model.load_state_dict(state)
            yield
        finally:
            if not same:
                self.model.load_state_dict(kept)
            self._passed, self._step = passed, None
            self.__dict__.pop("predictions", None)
            if predictions is not None:
                self.predictions = predictions
