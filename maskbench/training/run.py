"""One cell from start to end: load, train, evaluate, record."""

from __future__ import annotations

import gc
import logging
import math
import shutil
import time
import traceback
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

import datasets
import numpy as np
import torch
from safetensors.torch import save_file
from transformers import (
    AutoTokenizer,
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.utils import logging as transformers_logging

from maskbench.data.encode import load_encoded
from maskbench.errors import InputError
from maskbench.io.files import canonical, disk_error, read_json, sha256_files, sha256_text, write_json, write_text
from maskbench.masks.setting import Setting
from maskbench.models.fetched import model_hash
from maskbench.models.loading import (
    build_model,
    embed_mask_token,
    ordinary_tokens,
    require_served,
    start_from,
)
from maskbench.models.tokens import MASK_TOKEN, add_mask_token
from maskbench.records.run import TRACEBACK, Cosine, Data, Metric, Progress, Record, Timings, number
from maskbench.training import evaluation
from maskbench.training.checkpoints import Termination, Work, updates_done
from maskbench.training.collate import BESIDE_TEXT, collator_for, pad_id
from maskbench.training.subsets import at_most, subset
from maskbench.training.trainer import DivergedError, MaskedTrainer, mean_cross_entropy, parameter_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from datasets import Dataset
    from torch import Tensor

    from maskbench.experiment.cell import Cell
    from maskbench.slots.device import Device
    from maskbench.training.collate import Collator
    from maskbench.training.evaluation import Outcome
    from maskbench.training.masking import Masking

log = logging.getLogger(__name__)

TrainerT = TypeVar("TrainerT", bound=MaskedTrainer)

_SAME_DEVICE = {"device", "device_name", "precision", "attention", "threads", "packages"}
"""What of a run's environment a checkpoint of it must have in common with the run that goes on."""

ALONG = "along"
"""Folder, in that of a kept model, of its weights at each evaluation: ``step-126.safetensors``."""


class StartError(RuntimeError):
    """The run that this one goes on from has no model."""


@dataclass(frozen=True)
class Inputs:
    """Where a cell's inputs are, and where it works."""

    encoded: Path
    """Folder of the encoded task (data/encode.py)."""
    model: Path
    """Folder of the pretrained model."""
    work: Path
    """Folder for checkpoints, removed when there is a result; what a killed run left there is gone on from."""
    keep_model: Path | None = None
    """Where to leave the trained model, if anywhere; an empty folder if the run does not complete."""
    along: bool = False
    """Leave the weights at each evaluation in the kept model's folder, too."""
    start: Path | None = None
    """sequential: folder of the run whose encoder this one starts from."""
    load: Callable[[Path], dict[str, Dataset]] = load_encoded
    """What opens the encoded task."""

    @property
    def traceback(self) -> Path:
        """File for where an error came from, in the folder of the run's record."""
        return (self.work if self.keep_model is None else self.keep_model).parent / TRACEBACK


class Along(TrainerCallback):
    """Writes the weights of ordinary models at each evaluation on the validation split.

    Parameters
    ----------
    states
        Returns the state dict of each model.
    folders
        Of each model.
    """

    def __init__(self, states: Callable[[], Sequence[dict[str, Tensor]]], folders: Sequence[Path]) -> None:
        self.states, self.folders = states, folders

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write them."""
        for folder, weights in zip(self.folders, self.states(), strict=True):
            folder.mkdir(parents=True, exist_ok=True)
            plain = {name: weight.detach().contiguous() for name, weight in weights.items()}
            save_file(plain, folder / f"step-{state.global_step}.safetensors")


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

    Raises
    ------
    InputError
        If the model cannot do what the cell asks of it, or the data are not there.
    """

    def __init__(self, cell: Cell, inputs: Inputs, device: Device) -> None:
        require_served(inputs.model, cell.model, cell.kind, cell.strategy, cell.training)
        self.cell, self.inputs, self.device = cell, inputs, device
        self.manifest = read_json(inputs.encoded / "manifest.json")
        self.labels: list[str] = self.manifest["labels"]
        splits = inputs.load(inputs.encoded)
        self.train = subset(splits["train"], cell.train_size, cell.seed)
        self.splits = {
            "train": at_most(self.train, len(splits["test"])),
            "validation": at_most(splits["validation"], cell.max_validation),
            "test": at_most(splits["test"], cell.max_test),
        }
        self.metrics: list[Metric] = []
        self.history: list[Progress] = []
        self.conflict: list[Cosine] = []
        self.notes: list[str] = list(device.notes)
        self.fit_time = 0.0
        self.trained_parameters = 0
        self.micro_batches = cell.training.gradient_accumulation
        """In an update."""

    def prepare(self, tokenizer: PreTrainedTokenizerBase) -> MaskedTrainer:
        """Return a Trainer with the fresh model and fitted masks, ready to train."""
        model = self.build(tokenizer, add_mask_token(tokenizer))
        trainer = self._trainer(model, tokenizer)
        began = time.perf_counter()
        trainer.masking.fit(self.setting(model, tokenizer))
        self.fit_time = time.perf_counter() - began
        # now, since a mask may make an ordinary model of it before it is scored
        self.trained_parameters = parameter_counts(model)["trained_parameters"] - trainer.moving.held()
        self.note_attention(trainer.masking)
        self.notes += trainer.moving.notes()
        if self.inputs.along:
            trainer.add_callback(Along(lambda: [trainer.moving.ordinary(model)], [self.left / ALONG]))
        return trainer

    def build(self, tokenizer: PreTrainedTokenizerBase, mask_token_added: bool) -> PreTrainedModel:
        """Return the model that the run starts from, with its fresh head."""
        model = self.fresh_model()
        if mask_token_added:
            embed_mask_token(model, cast("int", tokenizer.mask_token_id))
            self.notes.append(
                f"the tokenizer has no mask token: {MASK_TOKEN} was added, with the mean of all token embeddings, "
                "learnt on"
            )
        if self.inputs.start is not None:
            start_from(model, self.inputs.start / "model")
            self.notes.append(f"starts from the encoder of {self._first_run()}, with a fresh head")
        model.config.pad_token_id = pad_id(tokenizer)
        return model

    def fresh_model(self) -> PreTrainedModel:
        """Return the pretrained model with the cell's fresh head."""
        cell = self.cell
        return build_model(
            self.inputs.model,
            cell.kind,
            self.labels,
            seed=cell.seed,
            dropout=cell.training.dropout,
            attention=self.device.attention,
        )

    def note_micro_batches(self) -> list[str]:
        """Say so if there are more micro-batches than configured."""
        size, wanted = self.cell.training.batch_size, self.cell.training.gradient_accumulation
        if self.micro_batches == wanted:
            return []
        instead = _micro_batches(size, self.micro_batches)
        return [f"out of memory with {_micro_batches(size, wanted)}: trained with {instead}"]

    def note_attention(self, masking: Masking) -> None:
        """Say so if evaluation is not on the text as it is."""
        if masking.always:
            self.notes.append("evaluated with its attention mask (at: always), which the kept model lacks")

    def fit(self, work: Work) -> Outcome:
        """Train and score the cell; returns its outcome on the test split."""
        self._require_start()
        trainer, tokenizer = trained([self], self.prepare, work)
        trainer.moving.finish(trainer.whole)
        trainer.compute_metrics = None  # it scores the validation split alone
        outcomes = self.outcomes(trainer)
        self.note(trainer, outcomes, trainer.masking)
        self.keep(trainer, trainer.whole, tokenizer)
        return outcomes["test"]

    def _first_run(self) -> str:
        """Return the id of the run whose encoder this one starts from: of the same strategy, size and seed."""
        first = {"task": self.cell.other, "regime": "single", "other": None}
        return self.cell.model_copy(update=first).run

    def _require_start(self) -> None:
        """Make sure that the run whose encoder this one starts from has one.

        Raises
        ------
        InputError
            If it is another run.
        StartError
            If it did not complete.
        """
        start = self.inputs.start
        if (start is None) == (self.cell.regime == "sequential"):
            raise InputError(f"{self.cell.run}: a run starts from another one if it is sequential, and only then")
        if start is None:
            return
        record = Record.read(start / "metrics.json")
        if record.run != self._first_run():
            raise InputError(f"{start / 'metrics.json'}: expected the run {self._first_run()}, found {record.run}")
        if record.status != "completed":
            how = {"oom": "ran out of memory"}.get(record.status, record.status)
            raise StartError(f"the run {record.run} that it starts from {how}")

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Collator:
        """Return what makes batches of examples."""
        return collator_for(tokenizer, self.device, self.inputs.model)

    def trainer_keys(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
        """Return what every Trainer of the run is given."""
        stopping = self.cell.training.early_stopping
        return {
            "args": self.arguments(),
            "data_collator": self.collator(tokenizer),
            "preprocess_logits_for_metrics": evaluation.reduce_logits,
            "callbacks": [] if stopping is None else [EarlyStoppingCallback(stopping)],
            "strategy": self.cell.strategy,
            "seed": self.cell.seed,
            "mask_id": cast("int", tokenizer.mask_token_id),
        }

    def _trainer(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> MaskedTrainer:
        """Return the Trainer of the cell."""
        return MaskedTrainer(
            model=model,
            train_dataset=self.train,
            eval_dataset=self.validation,
            compute_metrics=self.validation_score,
            group_by_length=self.cell.training.group_by_length,
            **self.trainer_keys(tokenizer),
        )

    @property
    def updates(self) -> int:
        """Number of updates that the cell makes on its own."""
        settings = self.cell.training
        return math.ceil(math.ceil(len(self.train) / settings.batch_size) * settings.epochs)

    def setting(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, updates: int | None = None
    ) -> Setting:
        """Return what masks may look at before the first of `updates` (None: as many as the cell makes alone)."""
        collate, train = self.collator(tokenizer), self.train

        def batches(size: int, rows: Sequence[int] = range(len(train))) -> Iterator[dict[str, Any]]:
            for start in range(0, len(rows), size):
                batch = collate([train[row] for row in rows[start : start + size]])
                yield {name: value.to(model.device) for name, value in batch.items() if name not in BESIDE_TEXT}

        return Setting(
            kind=self.cell.kind,
            labels=tuple(self.labels),
            train=train,
            model=model,
            folder=self.inputs.model,
            tokenizer=tokenizer,
            vocabulary=ordinary_tokens(tokenizer),
            updates=self.updates if updates is None else updates,
            batches=batches,
            loss=mean_cross_entropy,
        )

    def arguments(self) -> TrainingArguments:
        """Translate the hyperparameters for the Trainer."""
        settings = self.cell.training
        updates = -(-len(self.train) // settings.batch_size)
        every = max(1, updates // settings.evaluations_per_epoch)
        return TrainingArguments(
            output_dir=str(self.inputs.work),
            seed=self.cell.seed,
            num_train_epochs=settings.epochs,
            per_device_train_batch_size=settings.batch_size // self.micro_batches,
            per_device_eval_batch_size=settings.eval_batch_size,
            gradient_accumulation_steps=self.micro_batches,
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
            restore_callback_states_from_checkpoint=True,  # the patience of early stopping
            load_best_model_at_end=settings.selection == "best",
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

    @property
    def validation(self) -> Dataset:
        """The validation split from long to short: little padding, and the largest batch first."""
        return _by_length(self.splits["validation"])

    def validation_score(self, prediction: Any) -> dict[str, float]:
        """Score the validation split while training; the best checkpoint is chosen by this."""
        outcome = self._outcome(self.validation, prediction)
        return {"score": outcome.score, "nll": outcome.loss}

    def score(self, trainer: MaskedTrainer, dataset: Dataset) -> Outcome:
        """Return the outcome of the trainer's model on a dataset, rows in the order of the examples."""
        ordered = _by_length(dataset)
        outcome = self._outcome(ordered, trainer.predict(ordered))
        return replace(outcome, table=outcome.table.sort_values("example", ignore_index=True))

    def _outcome(self, dataset: Dataset, output: Any) -> Outcome:
        """Build the outcome from what an evaluation loop returned (rows as in `dataset`)."""
        return evaluation.outcome_of(self.cell.kind, self.labels, dataset, output.predictions, output.label_ids)

    def outcomes(self, trainer: MaskedTrainer) -> dict[str, Outcome]:
        """Return the outcome of the trained model on every split.

        Raises
        ------
        DivergedError
            If it gives no finite loss.
        """
        found = {split: self.score(trainer, dataset) for split, dataset in self.splits.items()}
        if not all(np.isfinite(outcome.table["nll"]).all() for outcome in found.values()):
            raise DivergedError("the trained model's loss is not finite")
        return found

    @property
    def left(self) -> Path:
        """Where the kept model grows until it is complete."""
        return self.inputs.work / f".{self.cell.run}"

    def keep(
        self,
        trainer: MaskedTrainer,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        state: dict[str, Tensor] | None = None,
    ) -> None:
        """Leave the trained model where it is wanted, if anywhere, in one piece.

        Parameters
        ----------
        state
            Its weights; None: all that it has.
        """
        if self.inputs.keep_model is None:
            return
        model.save_pretrained(self.left, state_dict=state)
        tokenizer.save_pretrained(self.left)
        along = [row.step for row in self.history if (self.left / ALONG / f"step-{row.step}.safetensors").exists()]
        write_json(self.left / "maskbench.json", {"run": self.cell.run, "step": _best(trainer), "along": along})
        self.left.replace(_empty(self.inputs.keep_model))

    def note(
        self,
        trainer: MaskedTrainer,
        outcomes: dict[str, Outcome],
        masking: Masking,
        prefix: str = "eval",
        per_pass: int | None = None,
    ) -> None:
        """Collect all measures of a completed run.

        Parameters
        ----------
        masking
            Masks of the task.
        prefix
            Of the task's validation scores in the Trainer's log.
        per_pass
            Joint training: updates in a pass over the task's training examples.
        """
        measured = {split: outcome.measures() for split, outcome in outcomes.items()}
        for split, values in measured.items():
            self.metrics += [number(split, name, value) for name, value in values.items()]  # type: ignore[arg-type]
        train, test = measured["train"], measured["test"]
        self.metrics += [
            number("test", "loss_gap", test["loss"] - train["loss"]),
            number("test", "score_gap", 100 * (train["score"] - test["score"])),
            number("test", "majority_score", self._majority()),
        ]
        cut_off = {split: sum(dataset["truncated"]) for split, dataset in self.splits.items()}
        self.metrics += [number(split, "truncated", count) for split, count in cut_off.items()]  # type: ignore[arg-type]
        counts = outcomes["test"].confusion()
        self.metrics += [number("test", f"confusion:{pair}", count) for pair, count in counts.items()]
        self.history = [
            Progress(
                step=row["step"],
                epoch=row["epoch"] if per_pass is None else row["step"] / per_pass,
                loss=row[f"{prefix}_nll"],
                score=row[f"{prefix}_score"],
            )
            for row in trainer.state.log_history
            if f"{prefix}_score" in row
        ]
        best = _best(trainer)
        alone = self.cell.training.epochs * best / trainer.state.max_steps
        self.metrics.append(number("run", "selected_epoch", alone if per_pass is None else best / per_pass))
        self.metrics += self._costs(trainer, masking, tasks=1 if per_pass is None else 2)

    def _majority(self) -> float:
        """Return the test score of always predicting the most frequent training label."""
        if self.cell.kind == "token-classification":
            return evaluation.majority_score(self.cell.kind, (), ())
        return evaluation.majority_score(self.cell.kind, self.train["labels"], self.splits["test"]["labels"])

    def _costs(self, trainer: MaskedTrainer, masking: Masking, tasks: int) -> list[Metric]:
        """Return times, memory and sizes of the run, and how much of the text its masks hit."""
        durations, counts = trainer.clock.durations, parameter_counts(trainer.whole)
        examples = tasks * self.cell.training.batch_size * len(durations)
        values = {
            "train_time": sum(durations),
            "step_time": 1000 * float(np.median(durations)),
            "throughput": examples / sum(durations),
            "fit_time": self.fit_time,
            "peak_memory": self.device.peak_memory(),
            "steps": len(durations),
            **counts,
            "trained_parameters": self.trained_parameters,
        }
        objective = masking.strategy.objective
        rates = {
            "mask_rate": masking.realised_rate,
            "attention_mask_rate": masking.realised_attention_rate,
            "objective_mask_rate": objective.realised_rate if objective is not None else None,
        }
        values |= {name: rate for name, rate in rates.items() if rate is not None}
        return [number("run", name, float(value)) for name, value in values.items()]


def _by_length(dataset: Dataset) -> Dataset:
    """Order a dataset from long to short."""
    return dataset.select(np.argsort(-np.asarray(dataset["length"]), kind="stable"))


def _best(trainer: MaskedTrainer) -> int:
    """Return how many updates the checkpoint has seen that was chosen."""
    chosen = trainer.state.best_global_step if trainer.args.load_best_model_at_end else None
    return chosen or trainer.state.global_step


def _empty(folder: Path) -> Path:
    """Make an empty folder, whatever was there before."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out, on a card or in main memory."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def trained(
    runs: Sequence[Run], prepare: Callable[[PreTrainedTokenizerBase], TrainerT], work: Work
) -> tuple[TrainerT, PreTrainedTokenizerBase]:
    """Train, from the last checkpoint if there is one, and with smaller micro-batches if memory does not suffice.

    With smaller ones the training starts anew: it is the training of a cell with that many micro-batches.

    Parameters
    ----------
    runs
        That are trained at once.
    prepare
        Returns a Trainer that is ready to train.
    work
        Where it leaves its checkpoints.

    Returns
    -------
    tuple
        The Trainer after the training, and the tokenizer.
    """
    size = runs[0].cell.training.batch_size
    notes = [list(run.notes) for run in runs]
    while True:
        for run, kept in zip(runs, notes, strict=True):
            run.micro_batches = work.micro_batches
            run.notes[:] = [*kept, *run.note_micro_batches()]
        try:
            return _trained_once(runs, prepare, work)
        except Exception as error:
            smaller = [count for count in range(2 * work.micro_batches, size + 1) if size % count == 0]
            if not smaller or not _is_out_of_memory(error):
                raise
            what = f"out of memory with {_micro_batches(size, work.micro_batches)}"
        # only now: the error holds on to what was on the card
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.warning("%s; starting anew with %s", what, _micro_batches(size, smaller[0]))
        work.restart(smaller[0])


def _trained_once(
    runs: Sequence[Run], prepare: Callable[[PreTrainedTokenizerBase], TrainerT], work: Work
) -> tuple[TrainerT, PreTrainedTokenizerBase]:
    """Train with the working folder's number of micro-batches; returns the Trainer and the tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(runs[0].inputs.model, local_files_only=True)
    trainer = prepare(tokenizer)
    checkpoint = work.last(tuple(run.left / ALONG for run in runs if run.inputs.along))
    if checkpoint is None:
        for run in runs:
            shutil.rmtree(run.left, ignore_errors=True)
    else:
        done = updates_done(checkpoint)
        print(f"goes on from {checkpoint.name}", flush=True)
        for run in runs:
            run.notes.append(f"went on after update {done}: wall time and peak memory are of the last part alone")
    termination = Termination()
    trainer.add_callback(termination)
    with termination.heeded():
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return trainer, tokenizer


def _micro_batches(size: int, count: int) -> str:
    """Say how a batch is split."""
    examples = f"{size // count} example{'s' if size > count else ''}"
    return f"{count} micro-batches of {examples}" if count > 1 else f"batches of {examples}"


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
    run = Run(cell, inputs, device)
    (result,) = carried_out([run], lambda work: [run.fit(work)], code=code, command=command, gpu_uuid=gpu_uuid)
    return result


def carried_out(
    runs: Sequence[Run],
    fit: Callable[[Work], Sequence[Outcome]],
    *,
    code: str,
    command: str,
    gpu_uuid: str | None,
    more: Any = None,
) -> list[tuple[Record, Outcome | None]]:
    """Call `fit`, which trains all runs at once, and return the record and the outcome of each (see `run_cell`).

    `more` is JSON of what the training depends on beside the cells.
    """
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    started, clock = datetime.now(UTC), time.perf_counter()
    outcomes: Sequence[Outcome | None] = [None] * len(runs)
    status, message = "completed", None
    for run in runs:
        run.inputs.traceback.unlink(missing_ok=True)  # of a run before
        if run.inputs.keep_model is not None:
            _empty(run.inputs.keep_model)
    work = Work(runs[0].inputs.work, _owner(runs, code, more), runs[0].cell.training.gradient_accumulation)
    try:
        outcomes = fit(work)
    except (InputError, OSError):
        raise
    except DivergedError as error:
        status, message = "diverged", str(error)
    except StartError as error:
        status, message = "crashed", str(error)
        _keep_traceback(runs)
    except Exception as error:
        if disk_error(error):
            raise  # safetensors and torch say it with errors of their own
        traceback.print_exc()
        _keep_traceback(runs)
        status, message = ("oom" if _is_out_of_memory(error) else "crashed"), f"{type(error).__name__}: {error}"
    work.remove()
    wall = time.perf_counter() - clock
    shared = {
        "status": status,
        "error": message,
        "code": code,
        "environment": runs[0].device.environment(gpu_uuid),
        "command": command,
    }
    begun = started.isoformat(timespec="seconds")
    return [(_record(run, begun, wall, **shared), outcome) for run, outcome in zip(runs, outcomes, strict=True)]


def _keep_traceback(runs: Sequence[Run]) -> None:
    """Write where the error that is being handled came from into the folder of each run."""
    for run in runs:
        write_text(run.inputs.traceback, traceback.format_exc())


def _owner(runs: Sequence[Run], code: str, more: Any) -> dict[str, Any]:
    """Return everything that the training of runs depends on, as JSON."""
    made_by = runs[0].device.environment(None)
    first = runs[0].inputs
    start = first.start / "model" if first.start is not None else None
    return {
        "cells": [run.cell.model_dump(mode="json") for run in runs],
        "data": [run.manifest["hash"] for run in runs],
        "model": model_hash(first.model),
        "start": None if start is None else sha256_files(start.glob("*.safetensors"), start),
        "code": code,
        "along": first.along,
        "more": more,
        "device": made_by.model_dump(mode="json", include=_SAME_DEVICE),
    }


def _record(run: Run, started: str, wall: float, **shared: Any) -> Record:
    """Return the record of a run; `shared` is what all runs of a job have in common."""
    cell, parameters = run.cell, run.cell.model_dump(mode="json")
    train_s = next((item.value for item in run.metrics if item.measure == "train_time"), None)
    return Record(
        run=cell.run,
        task=cell.task,
        model=cell.model,
        strategy=cell.strategy.name,
        regime=cell.regime_name,
        condition=cell.condition.name,
        train_size=str(cell.train_size),
        seed=cell.seed,
        metrics=[*run.metrics, number("run", "wall_time", wall)],
        history=run.history,
        conflict=run.conflict,
        notes=run.notes,
        parameters=parameters,
        parameters_hash=sha256_text(canonical(parameters)),
        data=Data(prepared=run.manifest["prepared"], encoded=run.manifest["hash"], model=model_hash(run.inputs.model)),
        timings=Timings(started=started, wall_s=wall, train_s=train_s),
        **shared,
    )
