"""Tiny trained runs with everything that probes look at: conditions, test-time sets, θ₀'s reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from maskbench.config.conditions import OUT_OF_DOMAIN, SETS, SHIFTED, Condition
from maskbench.config.probes import Probes
from maskbench.data.conditions import plant
from maskbench.data.encode import encode
from maskbench.data.out_of_domain import prepare_sets
from maskbench.data.prepare import prepare
from maskbench.data.shifted import shift
from maskbench.probes import reference
from maskbench.probes.run import probe_run
from maskbench.probes.sources import Sources
from maskbench.probes.subject import Subject
from maskbench.slots.device import choose
from maskbench.training.run import Inputs, run_cell
from tests.helpers.models import conll_of_sentences, csv_of_texts, make_cell, make_model
from tests.helpers.tasks import make_source, make_tagging, make_task

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from maskbench.experiment.cell import Cell
    from maskbench.records.probe import ProbeRecord

TEXTS, TAGS = "sequence-classification", "token-classification"
CUES = ["limestone", "nitrogen"]
EXAMPLES = 40
AWAY = "away"
"""Name, and file, of a set of texts from elsewhere."""
NEWS = conll_of_sentences(60)
CONDITIONS = ["cue:0.95", "label-noise:0.3"]


@dataclass(frozen=True)
class Bench:
    """A tiny model and a task of each kind in every variant."""

    folder: Path
    model: Path

    @classmethod
    def make(cls, folder: Path, model: Path | None = None, count: int = 500) -> Bench:
        """Make the data."""
        bench = cls(folder, model or make_model(folder / "model", head=True, more=CUES))
        for kind in (TEXTS, TAGS):
            base = folder / kind
            group = {"group": "label"} if kind == TEXTS else {}
            sets = {"max_length": 32, "out_of_domain": [{"name": AWAY, "file": AWAY, **group}]}
            task, name, text, away = (
                (make_task(**sets), "train.csv", csv_of_texts(count), csv_of_texts(60).replace(" ", " elsewhere "))
                if kind == TEXTS
                else (make_tagging(**sets), "train.txt", conll_of_sentences(count), NEWS.replace("saw O", "met O"))
            )
            clean = base / "prepared" / "clean"
            files = {name: text, f".out-of-domain/{AWAY}/{AWAY}": away}
            source = make_source(base / "source", files, out_of_domain={AWAY: {}})
            prepare(task, source, clean)
            prepare_sets(task, source, clean, base / "prepared" / OUT_OF_DOMAIN)
            for written in CONDITIONS:
                condition = Condition.model_validate(written)
                plant(condition, CUES, clean, base / "prepared" / condition.name)
            shift(SETS, clean, base / "prepared" / SHIFTED)
            for variant in (base / "prepared").iterdir():
                encode(task, variant, bench.model, base / "encoded" / variant.name)
            reference.make(
                base / "encoded" / "clean",
                bench.model,
                base / "reference",
                max_test=None,
                examples=EXAMPLES,
                **DRIFT,
                batch_size=8,
                device=choose(make_cell(kind).training),
                code="c",
            )
        return bench

    def encoded(self, kind: str, variant: str = "clean") -> Path:
        return self.folder / kind / "encoded" / variant

    def train(self, cell: Cell, along: bool = True) -> Path:
        """Train a cell once; returns its folder."""
        folder = self.folder / "training" / cell.run
        if (folder / "metrics.json").exists():
            return folder
        before = None
        if cell.regime == "sequential":
            before = self.train(first_of(cell))
        record, outcome = run_cell(
            cell,
            Inputs(
                self.encoded(cell.kind, cell.condition.name),
                self.model,
                folder / "work",
                folder / "model",
                along=along,
                start=before,
            ),
            choose(cell.training),
            code="c",
            command="x",
        )
        if outcome is not None:
            outcome.table.to_parquet(folder / "predictions.parquet", index=False)
        record.write(folder / "metrics.json")
        return folder

    def sources(self, cell: Cell) -> Sources:
        """Return what the rule gives the probes of a cell."""
        base, name = self.folder / cell.kind, cell.condition.name
        cue = name if cell.condition.kind == "cue" else "cue-95"
        keys: dict[str, Any] = {}
        if cell.condition.kind == "label-noise":
            keys["twin"] = self.train(cell.model_copy(update={"condition": Condition()}))
        if cell.regime == "sequential":
            first = first_of(cell)
            keys |= {"before": self.train(first), "before_encoded": self.encoded(first.kind)}
        return Sources(
            run=self.train(cell),
            pretrained=self.model,
            reference=base / "reference",
            clean=self.encoded(cell.kind),
            encoded=self.encoded(cell.kind, name),
            prepared=base / "prepared" / name,
            shifted=self.encoded(cell.kind, SHIFTED),
            elsewhere=self.encoded(cell.kind, OUT_OF_DOMAIN),
            cue=self.encoded(cell.kind, cue),
            cue_words=base / "prepared" / cue,
            **keys,
        )

    def subject(self, cell: Cell, **keys: Any) -> Subject:
        """Return a trained run as probes see it; `keys` replace sources."""
        sources = self.sources(cell)
        return Subject(cell, Sources(**(vars(sources) | keys)), settings(), choose(cell.training))

    def probe(self, cell: Cell, **keys: Any) -> tuple[ProbeRecord, pd.DataFrame]:
        """Run the probes of a cell."""
        return probe_run(cell, self.sources(cell), settings(**keys), choose(cell.training), code="c")


DRIFT = {name: getattr(Probes(), name) for name in ("drift_texts", "drift_tokens")}
"""What representation drift is measured on."""


def settings(**keys: Any) -> Probes:
    return Probes.model_validate({"examples": EXAMPLES} | keys)


def first_of(cell: Cell) -> Cell:
    """Return the run on the first task, which is of the other kind."""
    kind = TAGS if cell.kind == TEXTS else TEXTS
    return cell.model_copy(update={"task": cell.other, "kind": kind, "regime": "single", "other": None})


def cell_of(kind: str = TEXTS, **keys: Any) -> Cell:
    """Return a cell that learns its task in a second or two."""
    names = {TEXTS: "reviews", TAGS: "news"}
    return make_cell(
        kind,
        task=names[kind],
        **{"training": {"epochs": 3, "learning_rate": 5e-3, "eval_batch_size": 8}, "train_size": 160} | keys,
    )


def sequential(kind: str = TEXTS, **keys: Any) -> Cell:
    """Return a cell that continues from the task of the other kind."""
    return cell_of(kind, regime="sequential", other="news" if kind == TEXTS else "reviews", **keys)


def values(record: ProbeRecord) -> dict[str, float | None]:
    """Return the measures of a record by name."""
    return {metric.measure: metric.value for metric in record.metrics}
