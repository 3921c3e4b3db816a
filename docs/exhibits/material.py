"""Real text and a real model for the exhibits: what a study has left in its results folder."""

from __future__ import annotations

import contextlib
import io
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from maskbench.config.conditions import CLEAN
from maskbench.config.training import Training
from maskbench.data.encode import load_encoded
from maskbench.data.manifests import EncodedManifest
from maskbench.data.prepare import load_prepared
from maskbench.errors import InputError
from maskbench.experiment.cell import Cell
from maskbench.experiment.layout import Layout
from maskbench.masks import Strategy
from maskbench.masks.batch import Batch
from maskbench.slots.device import Device, choose
from maskbench.training.checkpoints import Work
from maskbench.training.collate import Collator
from maskbench.training.run import Inputs, Run, subset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datasets import Dataset
    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from maskbench.config.tasks import Split
    from maskbench.kinds.score import Outcome

MODEL = "minilm-l6"
REVIEWS, NEWS = "rt-snippets", "conll2003"
SEEDS = (1, 2, 3, 4, 5, 6)
TRAINING = {REVIEWS: {"learning_rate": 2e-4}, NEWS: {"learning_rate": 4e-4}}
"""As config.yaml has it; the rest are the defaults of maskbench/config/training.py."""
HEADS = {REVIEWS: AutoModelForSequenceClassification, NEWS: AutoModelForTokenClassification}
SENTENCES = 1000


@dataclass(frozen=True)
class Trained:
    """A trained model and what it scores without any mask."""

    model: PreTrainedModel
    test: Outcome
    """Its outcome on the test split."""
    train_score: float
    """Its score on the sentences that it was trained on."""

    @property
    def accuracy(self) -> float:
        """The task's score on the test split: accuracy, or entity F1."""
        return self.test.score


class Material:
    """The encoded tasks and the pretrained model of a study.

    Parameters
    ----------
    results
        Folder of the study, such as results/minilm.

    Raises
    ------
    InputError
        If the study has not got the tasks or the model.
    """

    def __init__(self, results: Path) -> None:
        self.layout = Layout(results)
        self.folder = self.layout.model_source(MODEL).parent
        for needed in (self.folder, *map(self._encoded_folder, TRAINING)):
            if not needed.is_dir():
                raise InputError(f"{needed}: missing; expected a study like experiments/minilm.yaml")
        self.device: Device = choose(Training(threads=1))
        self._encoded: dict[str, dict[Split, Dataset]] = {}
        self._trained: dict[tuple[str, str, int], Trained] = {}

    def _encoded_folder(self, task: str) -> Path:
        return self.layout.encoded(task, MODEL, CLEAN.name).parent

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        return AutoTokenizer.from_pretrained(self.folder, local_files_only=True)

    def encoder(self) -> PreTrainedModel:
        """Return the pretrained encoder, fresh from disk, in eval mode and fp32."""
        return AutoModel.from_pretrained(self.folder, local_files_only=True, attn_implementation="eager").eval()

    def encoded(self, task: str, split: Split) -> Dataset:
        """Return a split of an encoded task, as it is."""
        if task not in self._encoded:
            self._encoded[task] = load_encoded(self._encoded_folder(task))
        return self._encoded[task][split]

    def shuffled(self, task: str, split: Split) -> Dataset:
        """Return a split in an order of chance, always the same (files are sorted by their labels, or by time)."""
        dataset = self.encoded(task, split)
        return subset(dataset, len(dataset), 0)

    def names(self, task: str) -> list[str]:
        """Return the labels of a task by their indices."""
        return EncodedManifest.read(self._encoded_folder(task)).labels

    def texts(self, split: Split, count: int) -> list[str]:
        """Return the first reviews of a split."""
        folder = self.layout.prepared(REVIEWS, CLEAN.name).parent
        return load_prepared(folder)[1][split]["text"].to_pylist()[:count]

    def batch(self, task: str, split: Split, count: int, *, width: int = 0, first: int = 0) -> Batch:
        """Return examples of a split, in an order of chance, as one batch padded to its longest or to `width`."""
        dataset = self.shuffled(task, split)
        return self.batch_of([dataset[row] for row in range(first, first + count)], width=width)

    def batch_of(self, rows: Sequence[dict[str, Any]], *, width: int = 0, pad_id: int = 0, epoch: int = 0) -> Batch:
        """Return encoded examples as one batch."""
        made = Collator(pad_id)(rows)
        more = max(0, width - made["input_ids"].shape[1])

        def wider(name: str, fill: int) -> Tensor:
            return torch.nn.functional.pad(made[name], (0, more), value=fill)

        return Batch(
            input_ids=wider("input_ids", pad_id),
            padding=wider("attention_mask", 0).bool(),
            words=wider("words", -1),
            examples=made["examples"],
            epoch=epoch,
            mask_id=self.tokenizer.mask_token_id,
            labels=made["labels"],
        )

    def batches(self, task: str, split: Split, count: int, *, size: int = 50, width: int = 0) -> list[Batch]:
        """Return the first `count` examples of a split, in batches of equal size."""
        return [self.batch(task, split, size, width=width, first=first) for first in range(0, count, size)]

    def train(self, task: str, *, seed: int = 1, **masks: Any) -> Trained:
        """Train on 1,000 sentences with the project's own training, once for each task, masks and seed.

        Parameters
        ----------
        masks
            Slots of the strategy; none: plain fine-tuning.
        """
        key = (task, repr(masks), seed)
        if key not in self._trained:
            self._trained[key] = self._train(task, seed, masks)
        return self._trained[key]

    def train_anew(self, task: str, *, seed: int = 1) -> Trained:
        """Train plainly once more, whatever was trained before."""
        return self._train(task, seed, {})

    def _train(self, task: str, seed: int, masks: dict[str, Any]) -> Trained:
        manifest = EncodedManifest.read(self._encoded_folder(task))
        cell = Cell(
            task=task,
            kind=manifest.kind,
            model=MODEL,
            strategy=Strategy(name="exhibit", **masks),
            regime="single",
            train_size=SENTENCES,
            seed=seed,
            training=Training(threads=1, **TRAINING[task]),
            max_validation=300,
            max_test=None if task == REVIEWS else 1000,
        )
        with tempfile.TemporaryDirectory() as work:
            kept, checkpoints = Path(work) / "kept", Path(work) / "checkpoints"
            run = Run(
                cell,
                Inputs(self._encoded_folder(task), self.folder, checkpoints, kept),
                self.device,
            )
            # an exhibit may ask for a model while it measures without gradients; the Trainer prints its progress
            with torch.enable_grad(), contextlib.redirect_stdout(io.StringIO()):
                outcome = run.fit(Work(checkpoints, {}, cell.training.gradient_accumulation))
            model = HEADS[task].from_pretrained(kept, local_files_only=True, attn_implementation="eager")
        scores = {(metric.split, metric.measure): metric.value for metric in run.metrics}
        return Trained(model.eval(), outcome, float(scores["train", "score"] or 0.0))


@torch.no_grad()
def attention_on(model: Module, hidden: Tensor, rows: Tensor, **inputs: Any) -> float:
    """Return the share of attention that some queries pay to hidden keys, mean over layers, heads and queries.

    Parameters
    ----------
    hidden
        (B, T) bool: keys.
    rows
        (B, T) bool: queries that count.
    inputs
        Of the model's forward pass.
    """
    layers = torch.stack(model(**inputs, output_attentions=True).attentions)  # (L, B, H, T, T)
    share = (layers * hidden[:, None, None, :]).sum(-1).mean((0, 2))
    return float(share[rows].mean())
