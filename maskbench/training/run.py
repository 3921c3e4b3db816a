"""One cell from start to end: load, train, evaluate, record."""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import time
import traceback
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import datasets
import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainingArguments,
    set_seed,
)
from transformers.utils import logging as transformers_logging

from maskbench.data.encode import IGNORED, load_encoded
from maskbench.errors import InputError
from maskbench.io.files import canonical, read_json, sha256_text
from maskbench.masks.anatomy import mark_fresh
from maskbench.masks.setting import Setting
from maskbench.training import evaluation
from maskbench.training.collate import Collator
from maskbench.training.record import Data, Metric, Progress, Record, Timings, number
from maskbench.training.trainer import DivergedError, MaskedTrainer, mean_cross_entropy, parameter_counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from maskbench.experiment.cell import Cell
    from maskbench.training.device import Device
    from maskbench.training.evaluation import Outcome

log = logging.getLogger(__name__)

_HEADS: dict[str, Any] = {
    "sequence-classification": AutoModelForSequenceClassification,
    "token-classification": AutoModelForTokenClassification,
}
MASK_TOKEN = "<mask>"
"""Name of the mask token that models without one are given."""
_SUBSET = 11  # what a derived generator is for


@dataclass(frozen=True)
class Inputs:
    """Where a cell's inputs are, and where it works."""

    encoded: Path
    """Folder of the encoded task (data/encode.py)."""
    model: Path
    """Folder of the pretrained model."""
    work: Path
    """Folder for checkpoints; emptied at the start, removed at the end."""
    keep_model: Path | None = None
    """Where to leave the trained model, if anywhere."""


def subset(dataset: Dataset, size: int | str | None, seed: int) -> Dataset:
    """Return `size` examples of a dataset: the first of a seeded permutation, so that smaller subsets are nested.

    Raises
    ------
    InputError
        If there are fewer.
    """
    if size is None or size == "full":
        return dataset
    if int(size) > len(dataset):
        raise InputError(f"train_sizes: {size} examples are wanted, but the training split has {len(dataset)}")
    order = np.random.default_rng([seed, _SUBSET]).permutation(len(dataset))
    return dataset.select(order[: int(size)])


def at_most(dataset: Dataset, size: int | None) -> Dataset:
    """Return a fixed subset of at most `size` examples, the same for every cell; None: all."""
    return dataset if size is None or size >= len(dataset) else subset(dataset, size, 0)


def build_model(folder: Path, cell: Cell, labels: list[str], device: Device) -> PreTrainedModel:
    """Load the pretrained model with a fresh head, initialised by the cell's seed alone."""
    names = dict(enumerate(labels))
    config = AutoConfig.from_pretrained(
        folder, local_files_only=True, id2label=names, label2id={v: k for k, v in names.items()}
    )
    if cell.training.dropout is not None:
        for key in config.to_dict():
            if key in vars(config) and "layerdrop" not in key and ("dropout" in key or key.endswith("pdrop")):
                setattr(config, key, cell.training.dropout)
    set_seed(cell.seed)
    model: PreTrainedModel
    model, loaded = _HEADS[cell.kind].from_pretrained(
        folder,
        config=config,
        local_files_only=True,
        use_safetensors=True,
        dtype=torch.float32,
        attn_implementation=device.attention,
        output_loading_info=True,
    )
    mark_fresh(model, loaded["missing_keys"])
    return model


def give_mask_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Add a mask token to a model that has none (GPT-2), whatever the strategy, so that all strategies stay paired.

    Its embedding starts as the mean of all others and is learnt with them. Returns a note if it was done.
    """
    if tokenizer.mask_token_id is not None:
        return []
    tokenizer.add_special_tokens({"mask_token": MASK_TOKEN})
    token = cast("int", tokenizer.mask_token_id)
    table = cast("torch.nn.Embedding", model.get_input_embeddings())
    mean = table.weight.detach().mean(0)
    if token >= table.num_embeddings:
        table = model.resize_token_embeddings(token + 1, mean_resizing=False)
    with torch.no_grad():
        table.weight[token] = mean
    return [
        f"the tokenizer has no mask token: {MASK_TOKEN} was added, with the mean of all token embeddings, learnt on"
    ]


def ordinary_tokens(tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """Return (V,) the ids of all tokens that text is made of: no special ones, none of BERT's ``[unused1]``."""
    special = set(tokenizer.all_special_ids)
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return torch.tensor(
        [token for token, name in enumerate(names) if token not in special and not name.startswith("[unused")]
    )


class Run:
    """A cell that is being trained.

    Parameters
    ----------
    cell
        What to train.
    inputs
        Where things are.
    device
        What to compute on.
    """

    def __init__(self, cell: Cell, inputs: Inputs, device: Device) -> None:
        self.cell, self.inputs, self.device = cell, inputs, device
        self.manifest = read_json(inputs.encoded / "manifest.json")
        self.labels: list[str] = self.manifest["labels"]
        splits = load_encoded(inputs.encoded)
        self.train = subset(splits["train"], cell.train_size, cell.seed)
        self.splits = {
            "train": at_most(self.train, len(splits["test"])),
            "validation": at_most(splits["validation"], cell.max_validation),
            "test": at_most(splits["test"], cell.max_test),
        }
        self.metrics: list[Metric] = []
        self.history: list[Progress] = []
        self.notes: list[str] = []
        self.fit_time = 0.0
        self.trained_parameters = 0

    def prepare(self, tokenizer: PreTrainedTokenizerBase) -> MaskedTrainer:
        """Return a Trainer with the fresh model and fitted masks, ready to train."""
        model = build_model(self.inputs.model, self.cell, self.labels, self.device)
        self.notes += give_mask_token(model, tokenizer)
        trainer = self._trainer(model, tokenizer)
        began = time.perf_counter()
        trainer.masking.fit(self._setting(trainer, tokenizer))
        self.fit_time = time.perf_counter() - began
        # now, since a mask may make an ordinary model of it before it is scored
        self.trained_parameters = parameter_counts(model)["trained_parameters"] - trainer.masking.held()
        if trainer.masking.always:
            self.notes.append("evaluated with its attention mask (at: always), which the kept model lacks")
        return trainer

    def fit(self) -> Outcome:
        """Train and score the cell; returns its outcome on the test split."""
        tokenizer = AutoTokenizer.from_pretrained(self.inputs.model, local_files_only=True)
        trainer = self.prepare(tokenizer)
        trainer.train()
        trainer.masking.finish(cast("PreTrainedModel", trainer.model))
        trainer.compute_metrics = None  # it scores the validation split alone
        outcomes = {split: self.score(trainer, dataset) for split, dataset in self.splits.items()}
        if not all(np.isfinite(outcome.table["nll"]).all() for outcome in outcomes.values()):
            raise DivergedError("the trained model's loss is not finite")
        self._note(trainer, outcomes)
        if self.inputs.keep_model is not None:
            trainer.save_model(str(self.inputs.keep_model))
            tokenizer.save_pretrained(self.inputs.keep_model)
        return outcomes["test"]

    def _trainer(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> MaskedTrainer:
        """Return the Trainer of the cell."""
        settings = self.cell.training
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        model.config.pad_token_id = pad
        callbacks = [] if settings.early_stopping is None else [EarlyStoppingCallback(settings.early_stopping)]
        return MaskedTrainer(
            model=model,
            args=self._arguments(),
            train_dataset=self.train,
            eval_dataset=self._by_length(self.splits["validation"]),
            data_collator=Collator(
                pad, left=tokenizer.padding_side == "left", multiple=1 if self.device.kind == "cpu" else 8
            ),
            compute_metrics=self._validation_score,
            preprocess_logits_for_metrics=evaluation.reduce_logits,
            callbacks=callbacks,
            strategy=self.cell.strategy,
            seed=self.cell.seed,
            mask_id=cast("int", tokenizer.mask_token_id),
            group_by_length=settings.group_by_length,
        )

    def _setting(self, trainer: MaskedTrainer, tokenizer: PreTrainedTokenizerBase) -> Setting:
        """Return what masks may look at before the first update."""
        collate, model = cast("Collator", trainer.data_collator), cast("PreTrainedModel", trainer.model)
        settings, train = self.cell.training, self.train
        beside = ("words", "examples", "capitals")

        def batches(size: int, rows: Sequence[int] = range(len(train))) -> Iterator[dict[str, Any]]:
            for start in range(0, len(rows), size):
                batch = collate([train[row] for row in rows[start : start + size]])
                yield {name: value.to(model.device) for name, value in batch.items() if name not in beside}

        return Setting(
            kind=self.cell.kind,
            labels=tuple(self.labels),
            train=train,
            model=model,
            folder=self.inputs.model,
            tokenizer=tokenizer,
            vocabulary=ordinary_tokens(tokenizer),
            updates=math.ceil(math.ceil(len(train) / settings.batch_size) * settings.epochs),
            batches=batches,
            loss=mean_cross_entropy,
        )

    def _arguments(self) -> TrainingArguments:
        """Translate the hyperparameters for the Trainer."""
        settings = self.cell.training
        updates = -(-len(self.train) // settings.batch_size)
        every = max(1, updates // settings.evaluations_per_epoch)
        return TrainingArguments(
            output_dir=str(self.inputs.work),
            seed=self.cell.seed,
            num_train_epochs=settings.epochs,
            per_device_train_batch_size=settings.batch_size // settings.gradient_accumulation,
            per_device_eval_batch_size=settings.eval_batch_size,
            gradient_accumulation_steps=settings.gradient_accumulation,
            activation_checkpointing=settings.gradient_checkpointing,
            learning_rate=settings.learning_rate,
            lr_scheduler_type=settings.scheduler,
            warmup_steps=settings.warmup,
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_grad_norm,
            bf16=self.device.precision == "bf16",
            use_cpu=self.device.kind == "cpu",
            eval_strategy="steps",
            eval_steps=every,
            save_strategy="steps",
            save_steps=every,
            save_total_limit=1,
            load_best_model_at_end=True,
            metric_for_best_model="score",
            greater_is_better=True,
            logging_strategy="steps",
            logging_steps=every,
            logging_nan_inf_filter=False,
            report_to=list(settings.report_to) or "none",
            run_name=self.cell.run,
            remove_unused_columns=False,
            label_names=["labels"],
            dataloader_pin_memory=self.device.kind == "cuda",
            disable_tqdm=True,
        )

    def _by_length(self, dataset: Dataset) -> Dataset:
        """Order a dataset from long to short: little padding, and the largest batch first."""
        return dataset.select(np.argsort(-np.asarray(dataset["length"]), kind="stable"))

    def score(self, trainer: MaskedTrainer, dataset: Dataset) -> Outcome:
        """Return the outcome of the trainer's model on a dataset, rows in the order of the dataset."""
        ordered = self._by_length(dataset)
        output = trainer.predict(ordered)
        outcome = self._outcome(ordered, output.predictions, output.label_ids)
        return replace(outcome, table=outcome.table.sort_values("example", ignore_index=True))

    def _outcome(self, dataset: Dataset, predictions: Any, labels: Any) -> Outcome:
        """Build the outcome from what an evaluation loop returned (rows as in `dataset`)."""
        first, losses = predictions
        examples = np.asarray(dataset["example"])
        if self.cell.kind == "sequence-classification":
            return evaluation.classify(examples, labels, first, losses, self.labels)
        places = [
            np.asarray(words)[np.asarray(marks) != IGNORED]
            for words, marks in zip(dataset["words"], dataset["labels"], strict=True)
        ]
        return evaluation.tag(examples, labels, first, losses, dataset["tags"], places, self.labels)

    def _validation_score(self, prediction: Any) -> dict[str, float]:
        """Score the validation split while training; the best checkpoint is chosen by this."""
        dataset = self._by_length(self.splits["validation"])
        outcome = self._outcome(dataset, prediction.predictions, prediction.label_ids)
        return {"score": outcome.score, "nll": outcome.loss}

    def _note(self, trainer: MaskedTrainer, outcomes: dict[str, Outcome]) -> None:
        """Collect all measures of a completed run."""
        measured = {split: outcome.measures() for split, outcome in outcomes.items()}
        for split, values in measured.items():
            self.metrics += [number(split, name, value) for name, value in values.items()]  # type: ignore[arg-type]
        train, test = measured["train"], measured["test"]
        self.metrics += [
            number("test", "loss_gap", test["loss"] - train["loss"]),
            number("test", "score_gap", 100 * (train["score"] - test["score"])),
            number("test", "majority_score", self._majority()),
        ]
        self.metrics += self._costs(trainer)
        self.history = [
            Progress(step=row["step"], epoch=row["epoch"], loss=row["eval_nll"], score=row["eval_score"])
            for row in trainer.state.log_history
            if "eval_score" in row
        ]

    def _majority(self) -> float:
        """Return the test score of always predicting the most frequent training label."""
        if self.cell.kind == "token-classification":
            return evaluation.majority_score(self.cell.kind, (), ())
        return evaluation.majority_score(self.cell.kind, self.train["labels"], self.splits["test"]["labels"])

    def _costs(self, trainer: MaskedTrainer) -> list[Metric]:
        """Return times, memory and sizes of the run."""
        durations, counts = trainer.clock.durations, parameter_counts(cast("PreTrainedModel", trainer.model))
        examples = self.cell.training.batch_size * len(durations)
        epochs = self.cell.training.epochs
        best = trainer.state.best_global_step or trainer.state.max_steps
        values = {
            "train_time": sum(durations),
            "step_time": 1000 * float(np.median(durations)),
            "throughput": examples / sum(durations),
            "fit_time": self.fit_time,
            "peak_memory": self.device.peak_memory(),
            "steps": len(durations),
            "selected_epoch": epochs * best / trainer.state.max_steps,
            **counts,
            "trained_parameters": self.trained_parameters,
        }
        masking = trainer.masking
        objective = masking.strategy.objective
        rates = {
            "mask_rate": masking.realised_rate,
            "attention_mask_rate": masking.realised_attention_rate,
            "objective_mask_rate": objective.realised_rate if objective is not None else None,
        }
        values |= {name: rate for name, rate in rates.items() if rate is not None}
        return [number("run", name, float(value)) for name, value in values.items()]


def _model_hash(folder: Path) -> str:
    """Return one hash over the files of a fetched model."""
    return sha256_text(canonical(read_json(folder / "source.json")["files"]))


@contextlib.contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    """Have an empty working folder, and none afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out, on a card or in main memory."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def run_cell(
    cell: Cell, inputs: Inputs, device: Device, *, code: str, command: str, gpu_uuid: str | None = None
) -> tuple[Record, Outcome | None]:
    """Train one cell and return its record and its outcome on the test split.

    A run that diverges, runs out of memory or crashes is a result, too: it is recorded with its status and without
    an outcome. Errors of the input and of the disk are not; they are raised.

    Raises
    ------
    InputError
        If the data or the model cannot serve the cell.
    OSError
        If a file cannot be read or written.
    """
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    started, clock = datetime.now(UTC), time.perf_counter()
    run = Run(cell, inputs, device)
    outcome, status, message = None, "completed", None
    with _emptied(inputs.work):
        try:
            outcome = run.fit()
        except (InputError, OSError):
            raise
        except DivergedError as error:
            status, message = "diverged", str(error)
        except Exception as error:
            traceback.print_exc()
            status, message = ("oom" if _is_out_of_memory(error) else "crashed"), f"{type(error).__name__}: {error}"
    wall = time.perf_counter() - clock
    parameters = cell.model_dump(mode="json")
    train_s = next((item.value for item in run.metrics if item.measure == "train_time"), None)
    record = Record(
        run=cell.run,
        task=cell.task,
        model=cell.model,
        strategy=cell.strategy.name,
        regime=cell.regime_name,
        condition=cell.condition.name,
        train_size=str(cell.train_size),
        seed=cell.seed,
        status=status,
        error=message,
        metrics=[*run.metrics, number("run", "wall_time", wall)],
        history=run.history,
        notes=run.notes,
        parameters=parameters,
        parameters_hash=sha256_text(canonical(parameters)),
        code=code,
        data=Data(prepared=run.manifest["prepared"], encoded=run.manifest["hash"], model=_model_hash(inputs.model)),
        environment=device.environment(gpu_uuid),
        timings=Timings(started=started.isoformat(timespec="seconds"), wall_s=wall, train_s=train_s),
        command=command,
    )
    return record, outcome
