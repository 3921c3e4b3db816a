"""Trains one cell: it loads the model and the data, trains, evaluates, and returns the record."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from transformers import EarlyStoppingCallback, PreTrainedModel, PreTrainedTokenizerBase

from maskbench.errors import InputError
from maskbench.kinds import head, score
from maskbench.masks.setting import Setting
from maskbench.models.loading import embed_mask_token, ordinary_tokens, require_served, start_from
from maskbench.models.tokens import MASK_TOKEN, add_mask_token
from maskbench.records.run import Metric, Progress, Record, number
from maskbench.training.along import ALONG, Along
from maskbench.training.arguments import arguments
from maskbench.training.attempts import trained
from maskbench.training.clock import DivergedError
from maskbench.training.collate import BESIDE_TEXT, collator_for, pad_id
from maskbench.training.forward import outcome
from maskbench.training.fresh import fresh_model, untrained_model
from maskbench.training.job import StartError, best_update, carried_out, keep
from maskbench.training.state import Inputs, State
from maskbench.training.subsets import at_most, examples, subset
from maskbench.training.trainer import MaskedTrainer, parameter_counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from maskbench.experiment.cell import Cell
    from maskbench.kinds.score import Outcome
    from maskbench.slots.device import Device
    from maskbench.training.checkpoints import Work
    from maskbench.training.collate import Collator
    from maskbench.training.forward import Rows
    from maskbench.training.masking import Masking


class Run(State):
    """A cell that is being trained.

    Parameters
    ----------
    cell
        The cell to train.
    inputs
        Where its inputs are, and where it works.
    device
        The device to compute on.

    Raises
    ------
    InputError
        If the model cannot do what the cell asks of it, or the data are missing.
    """

    def __init__(self, cell: Cell, inputs: Inputs, device: Device) -> None:
        require_served(inputs.model, cell.model, cell.kind, cell.strategy, cell.training)
        super().__init__(cell, inputs, device)
        self.head = head.of(cell.kind)
        self.labels: list[str] = self.manifest["labels"]
        splits = inputs.load(inputs.encoded)
        self.train = subset(splits["train"], cell.train_size, cell.seed)
        test = at_most(splits["test"], cell.max_test)
        self.splits = {
            "train": at_most(self.train, examples(test)),
            "validation": at_most(splits["validation"], cell.max_validation),
            "test": test,
        }
        self._read: dict[str, Rows] = {}
        self._validated: dict[int, Outcome] = {}
        """Outcomes on the validation split, by the update after which they were."""
        self.fit_time = 0.0
        self.trained_parameters = 0

    def prepare(self, tokenizer: PreTrainedTokenizerBase) -> MaskedTrainer:
        """Return a Trainer with the fresh model and fitted masks, ready to train."""
        model = self.build(tokenizer, add_mask_token(tokenizer))
        trainer = self._trainer(model, tokenizer)
        began = time.perf_counter()
        setting = self.setting(model, tokenizer)
        trainer.masking.fit(setting)
        self.fit_time = time.perf_counter() - began
        trainer.masking.look_for_leaks(setting)
        # counted here, since a mask may turn the model into an ordinary one before it is scored
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
        models, folder = self.inputs.models, self.inputs.model
        with self.device.memory.outside():
            untrained_model(models, self.cell, folder, self.labels, self.device.attention)
        return fresh_model(models, self.cell, folder, self.labels, self.device.attention)

    def note_attention(self, masking: Masking) -> None:
        """Add a note to the record if the attention mask is at work in evaluations, too."""
        if masking.always:
            self.notes.append("evaluated with its attention mask (at: always), which the kept model lacks")

    def fit(self, work: Work) -> Outcome:
        """Train and score the cell; returns its outcome on the test split."""
        self.require_start()
        return self.ended(*trained([self], self.prepare, work))

    def ended(self, trainer: MaskedTrainer, tokenizer: PreTrainedTokenizerBase) -> Outcome:
        """Score a cell whose training is complete, and keep its model; returns its outcome on the test split."""
        if trainer.compiled is not None:
            self.notes += trainer.compiled.notes()
        self.notes += trainer.moving.ending(trainer.whole)
        trainer.moving.finish(trainer.whole)
        outcomes = self.outcomes(trainer)
        self.note(trainer, outcomes, trainer.masking)
        keep(self, trainer, trainer.whole, tokenizer)
        return outcomes["test"]

    def _first_run(self) -> str:
        """Return the id of the run whose encoder this one starts from: of the same strategy, size and seed."""
        first = {"task": self.cell.other, "regime": "single", "other": None}
        return self.cell.model_copy(update=first).run

    def require_start(self) -> None:
        """Make sure that the run that this one starts from has a trained encoder.

        Raises
        ------
        InputError
            If another run is found in its place.
        StartError
            If that run did not complete.
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
        """Return the collator, which makes padded batches of examples."""
        return collator_for(tokenizer, self.device, self.inputs.model)

    def trainer_keys(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
        """Return the keyword arguments that every Trainer of the run is given."""
        stopping = self.cell.training.early_stopping
        return {
            "args": arguments(self, len(self.train)),
            "data_collator": self.collator(tokenizer),
            "callbacks": [] if stopping is None else [EarlyStoppingCallback(stopping)],
            "strategy": self.cell.strategy,
            "seed": self.cell.seed,
            "mask_id": cast("int", tokenizer.mask_token_id),
            "memory": self.device.memory,
            "device": self.device,
            "eval_batch_size": self.cell.training.eval_batch_size,
        }

    def _trainer(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> MaskedTrainer:
        """Return the Trainer of the cell."""
        return MaskedTrainer(
            model=model,
            head=self.head,
            train_dataset=self.train,
            eval_dataset=self.splits["validation"],
            validate=self.validate,
            group_by_length=self.cell.training.group_by_length,
            compile=self.compiles,
            **self.trainer_keys(tokenizer),
        )

    @property
    def compiles(self) -> bool:
        """Whether training passes are compiled."""
        settings = self.cell.training
        return settings.compile == "on" and not settings.gradient_checkpointing

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
            loss=self.head.loss,
            lexicons=self.inputs.lexicons,
        )

    def validate(self, trainer: MaskedTrainer) -> dict[str, float]:
        """Score the validation split while training; the best checkpoint is chosen by this."""
        outcome = self._scored(trainer, "validation")["validation"]
        self._validated[trainer.state.global_step] = outcome
        return {"score": outcome.score, "nll": outcome.loss}

    def outcomes(self, trainer: MaskedTrainer) -> dict[str, Outcome]:
        """Return the outcome of the trained model on every split.

        The validation split was scored when the training had the model's weights; it is passed over again only if
        another process did that, or if the parameter mask has changed the model since.

        Raises
        ------
        DivergedError
            If its loss on a split is not finite.
        """
        known = None if trainer.moving.finishes else self._validated.get(best_update(trainer))
        validation = {"validation": known} if known is not None else self._scored(trainer, "validation")
        both = self._scored(trainer, "train", "test")
        found = {"train": both["train"], **validation, "test": both["test"]}
        if not all(np.isfinite(outcome.table["nll"]).all() for outcome in found.values()):
            raise DivergedError("the trained model's loss is not finite")
        return found

    def _scored(self, trainer: MaskedTrainer, *splits: str) -> dict[str, Outcome]:
        """Return the outcome of the trainer's model on splits, in one pass; rows are in the order of the examples."""
        rows = {split: self._rows(split) for split in splits}
        passed = trainer.forward().read([row for split in splits for row in rows[split]], head=self.head)
        found, start = {}, 0
        for split, own in rows.items():
            part = passed.part(slice(start, start + len(own)))
            found[split] = outcome(self.cell.kind, self.labels, own, part)
            start += len(own)
        return found

    def _rows(self, split: str) -> Rows:
        """Return the examples of a split in the order of their numbers, read once."""
        if split not in self._read:
            self._read[split] = sorted(self.splits[split].to_list(), key=lambda row: row["example"])
        return self._read[split]

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
            The masks of the task.
        prefix
            Prefix of the names of the task's validation scores in the Trainer's log.
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
        best = best_update(trainer)
        alone = self.cell.training.epochs * best / trainer.state.max_steps
        self.metrics.append(number("run", "selected_epoch", alone if per_pass is None else best / per_pass))
        self.metrics += self._costs(trainer, masking, tasks=1 if per_pass is None else 2)

    def _majority(self) -> float:
        """Return the test score of always predicting the most frequent training label."""
        return score.of(self.cell.kind).majority(self.train, self.splits["test"])

    def _costs(self, trainer: MaskedTrainer, masking: Masking, tasks: int) -> list[Metric]:
        """Return the times, memory and sizes of the run, and the share of the text that its masks hit."""
        durations, counts = trainer.clock.durations, parameter_counts(trainer.whole)
        examples = tasks * self.cell.training.batch_size * len(durations)
        values = {
            "train_time": sum(durations),
            "step_time": 1000 * float(np.median(durations)),
            "throughput": examples / sum(durations),
            "fit_time": self.fit_time,
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
        self.notes += masking.idle()
        told = rates | masking.leaked | {"peak_memory": self.device.memory.peak(trainer.whole)}
        values |= {name: value for name, value in told.items() if value is not None}
        if self.stack:  # these are the stack's, and say nothing of one cell
            for name in ("step_time", "throughput", "peak_memory"):
                values.pop(name, None)
        return [number("run", name, float(value)) for name, value in values.items()]


def run_cell(
    cell: Cell, inputs: Inputs, device: Device, *, code: str, command: str, gpu_uuid: str | None = None
) -> tuple[Record, Outcome | None]:
    """Train one cell and return its record and its outcome on the test split.

    A run that diverges, runs out of memory or crashes is a result, too: it is recorded with its status, and its outcome
    is None. Errors of the input and of the disk are not results; they are raised.

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
