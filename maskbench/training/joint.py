"""Joint training of two cells: each task has a record, an outcome and a model of its own."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from maskbench.errors import InputError
from maskbench.models.anatomy import base_of
from maskbench.models.pair import Pair
from maskbench.models.tokens import add_mask_token
from maskbench.training import conflict
from maskbench.training.along import ALONG, Along
from maskbench.training.arguments import arguments
from maskbench.training.attempts import trained
from maskbench.training.job import carried_out, keep
from maskbench.training.joint_trainer import JointTask, JointTrainer, Updates
from maskbench.training.masking import Masking
from maskbench.training.run import Run
from maskbench.training.trainer import parameter_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from maskbench.experiment.cell import Cell
    from maskbench.kinds.score import Outcome
    from maskbench.records.run import Record
    from maskbench.slots.device import Device
    from maskbench.training.checkpoints import Work
    from maskbench.training.state import Inputs


class JointRun:
    """Two cells that are trained together.

    An update has one batch of each task; there are as many updates as the task with more examples makes alone.

    Parameters
    ----------
    cells
        The cells of the two tasks; each names the other task. The hyperparameters are those of the first.
    inputs
        Where the inputs of each cell are; both cells work in the folder of the first.
    device
        The device to compute on.
    points
        Number of updates at which the gradients of the tasks are compared.

    Raises
    ------
    InputError
        If the cells do not belong together.
    """

    def __init__(self, cells: Sequence[Cell], inputs: Sequence[Inputs], device: Device, points: int) -> None:
        first, second = cells
        _require_partners(first, second)
        self.points = points
        self.runs = [
            Run(cell.model_copy(update={"training": first.training}), replace(given, work=inputs[0].work), device)
            for cell, given in zip(cells, inputs, strict=True)
        ]
        self.conflict: conflict.Conflict | None = None
        self.pair: Pair | None = None
        self._note(_differences(first, second))

    @property
    def longest(self) -> Run:
        """The run with more examples, which sets the number of updates."""
        return max(self.runs, key=lambda run: len(run.train))

    def prepare(self, tokenizer: PreTrainedTokenizerBase) -> JointTrainer:
        """Return a Trainer with the shared model and fitted masks, ready to train."""
        added = add_mask_token(tokenizer)
        one, other = (run.build(tokenizer, added) for run in self.runs)
        self.pair = pair = Pair((one, other))
        first = self.runs[0]
        tasks = [run.train for run in self.runs]
        collate = first.collator(tokenizer)
        self.conflict = conflict.Conflict(
            pair.models,
            [run.head for run in self.runs],
            conflict.fixed_batches(tasks, first.cell.seed, collate),
            self.points,
        )
        for run in self.runs:  # both runs share one list, so what was compared is recorded even if the training fails
            run.conflict = self.conflict.found
        trainer = self._trainer(pair, tokenizer)
        self._fit(trainer, tokenizer)
        if first.inputs.along:
            folders = [run.left / ALONG for run in self.runs]
            trainer.add_callback(Along(lambda: pair.states(trainer.moving.ordinary(trainer.whole)), folders))
        self._say_what_is_shared(trainer)
        return trainer

    def _trainer(self, pair: Pair, tokenizer: PreTrainedTokenizerBase) -> JointTrainer:
        """Return the Trainer of both cells."""
        first, settings = self.runs[0], self.runs[0].cell.training
        keys = first.trainer_keys(tokenizer)
        both = arguments(self.longest, len(self.longest.train))
        # batches are split before the Trainer sees them, since the last batches of the two tasks differ in size
        both.gradient_accumulation_steps = 1
        both.run_name = first.cell.run
        assert self.conflict is not None
        updates = Updates(
            [run.train for run in self.runs],
            first.cell.seed,
            settings.batch_size,
            first.micro_batches,
            settings.group_by_length,
            keys["data_collator"],
            both.device,
        )
        own = first.cell.strategy.model_copy(update={"parameter": None})
        parts = [
            JointTask(
                run.cell.task, model, run.head, Masking(own, run.cell.seed), run.splits["validation"], run.validate
            )
            for run, model in zip(self.runs, pair.models, strict=True)
        ]
        callbacks = [self.conflict, *keys["callbacks"]]
        return JointTrainer(parts=parts, updates=updates, **keys | {"args": both, "callbacks": callbacks})

    def _fit(self, trainer: JointTrainer, tokenizer: PreTrainedTokenizerBase) -> None:
        """Fit the masks of each task on its own examples, and the parameter mask on those of both."""
        began = time.perf_counter()
        settings = [
            run.setting(part.model, tokenizer, self.longest.updates)
            for run, part in zip(self.runs, trainer.parts, strict=True)
        ]
        for run, part, setting in zip(self.runs, trainer.parts, settings, strict=True):
            part.masking.fit(setting)
            run.note_attention(part.masking)
        trainer.moving.fit(replace(settings[0], parts=tuple(settings)))
        moving = parameter_counts(trainer.whole)["trained_parameters"] - trainer.moving.held()
        for run in self.runs:
            run.notes += trainer.moving.notes()
            run.fit_time, run.trained_parameters = time.perf_counter() - began, moving
        for part, setting in zip(trainer.parts, settings, strict=True):
            part.masking.look_for_leaks(setting)

    def _say_what_is_shared(self, trainer: JointTrainer) -> None:
        """Note in both records which numbers and parts the tasks share, and how many passes the shorter task makes."""
        names = " and ".join(run.cell.task for run in self.runs)
        self._note(f"trained together: times, memory, sizes and gradient conflict are of {names} as a whole")
        if self.runs[0].cell.training.selection == "best":
            self._note(f"the best checkpoint is that with the highest mean of the validation scores of {names}")
        fresh = [name for name, weight in base_of(trainer.whole).named_parameters() if getattr(weight, "fresh", False)]
        if fresh and len({run.cell.kind for run in self.runs}) == 1:
            self._note(f"{' and '.join(fresh)}: fresh, not pretrained, and shared with the encoder")
        passes, epochs = trainer.updates.per_pass, self.runs[0].cell.training.epochs
        for run, per_pass in zip(self.runs, passes, strict=True):
            if per_pass < max(passes):
                made = self.longest.updates / per_pass
                self._note(f"{run.cell.task} has fewer examples: {made:.4g} passes over them instead of {epochs:g}")

    def _note(self, text: str | None) -> None:
        """Add a note to both records; None adds nothing."""
        for run in self.runs:
            run.notes += [text] if text else []

    def fit(self, work: Work) -> list[Outcome]:
        """Train and score both cells; returns their outcomes on the test splits."""
        trainer, tokenizer = trained(self.runs, self.prepare, work)
        assert self.conflict is not None
        assert self.pair is not None
        for line in trainer.moving.ending(trainer.whole):
            self._note(line)
        trainer.moving.finish(trainer.whole)
        states = self.pair.states(dict(trainer.whole.state_dict()))
        outcomes = []
        for task, run in enumerate(self.runs):
            with trainer.facing(task):
                outcomes.append(run.outcomes(trainer))
        for task, (run, part) in enumerate(zip(self.runs, trainer.parts, strict=True)):
            run.note(trainer, outcomes[task], part.masking, f"eval_{task}", trainer.updates.per_pass[task])
            run.metrics += conflict.metrics(self.conflict.found)
        self._note_conflict()
        for run, part, state in zip(self.runs, trainer.parts, states, strict=True):
            keep(run, trainer, part.model, tokenizer, state)
        return [outcome["test"] for outcome in outcomes]

    def _note_conflict(self) -> None:
        """Note in both records where gradient conflict cannot be measured, and why."""
        assert self.conflict is not None
        if not self.conflict.found:
            self._note("gradient conflict: no parameter that both tasks share moves")
        elif missing := sum(point.cosine is None for point in self.conflict.found):
            self._note(f"gradient conflict: {missing} cosines are left out, since a task's gradient is 0 there")


def _require_partners(first: Cell, second: Cell) -> None:
    """Make sure that two cells are the two sides of one joint run."""
    same = {"task", "kind", "other", "training", "max_validation", "max_test"}
    alike = first.model_dump(exclude=same) == second.model_dump(exclude=same)
    joint = first.regime == "joint" and (first.other, second.other) == (second.task, first.task)
    if not (alike and joint):
        raise InputError(f"{first.run} and {second.run}: expected the two sides of one joint run")


def _differences(first: Cell, second: Cell) -> str | None:
    """Return which hyperparameters the second task would have alone, if they differ from the first's; else None."""
    one, other = (cell.training.model_dump(mode="json") for cell in (first, second))
    differ = [f"{name} {other[name]}" for name in one if one[name] != other[name]]
    if not differ:
        return None
    return f"hyperparameters are those of {first.task}; {second.task} alone has {', '.join(differ)}"


def run_joint(
    cells: Sequence[Cell],
    inputs: Sequence[Inputs],
    device: Device,
    *,
    points: int,
    code: str,
    command: str,
    gpu_uuid: str | None = None,
) -> list[tuple[Record, Outcome | None]]:
    """Train two cells together and return the record and the outcome of each; failures are treated as in `run_cell`."""
    run = JointRun(cells, inputs, device, points)
    return carried_out(run.runs, run.fit, code=code, command=command, gpu_uuid=gpu_uuid, more={"points": points})
