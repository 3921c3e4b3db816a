"""Training on two tasks at once: one encoder, two heads, and in every update one batch of each task."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from torch.utils.data import DataLoader, Sampler
from transformers import TrainerCallback

from maskbench.kinds.head import count
from maskbench.records.run import Cosine
from maskbench.training.conflict import Conflict
from maskbench.training.resident import Resident
from maskbench.training.trainer import MaskedTrainer, PairedOrder, Treatment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import torch
    from datasets import Dataset
    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel

    from maskbench.kinds.head import Head
    from maskbench.masks import Strategy
    from maskbench.training.collate import Collator
    from maskbench.training.masking import Masking


class Updates:
    """The updates of a joint run: numbered from 0, each with one batch of each task.

    A task's batches come in the order of its single run. A task that has finished a pass before the other task starts
    another pass.

    Parameters
    ----------
    tasks
        Training examples of each task (columns: data/encode.py).
    seed
        Seed of the run.
    batch_size
        Examples of each task in an update; the last batch of a pass has those that are left, so it may be smaller.
    parts
        Micro-batches that a batch is split into.
    group
        Whether batches are made of examples of similar length.
    collate
        Says how the examples of a micro-batch are padded.
    device
        Where the examples lie, and micro-batches are made.
    """

    def __init__(
        self,
        tasks: Sequence[Dataset],
        seed: int,
        batch_size: int,
        parts: int,
        group: bool,
        collate: Collator,
        device: torch.device,
    ) -> None:
        self.tasks = [Resident(task, collate, device) for task in tasks]
        self.size, self.micro = batch_size, batch_size // parts
        self.per_pass = [-(-len(task) // batch_size) for task in tasks]
        """Updates in one pass of each task."""
        self._orders = [PairedOrder(seed, batch_size, list(task["length"]), group) for task in tasks]
        self._latest: dict[int, tuple[int, list[int]]] = {}
        """For each task, the pass that was asked for last and the order of the examples in it."""

    def __len__(self) -> int:
        """Return how many updates the longer task has in one pass."""
        return max(self.per_pass)

    def rows(self, task: int, update: int) -> list[int]:
        """Return which training examples of a task an update sees."""
        number, place = divmod(update, self.per_pass[task])
        if task not in self._latest or self._latest[task][0] != number:
            self._orders[task].set_epoch(number)
            self._latest[task] = number, list(self._orders[task])
        return self._latest[task][1][place * self.size : (place + 1) * self.size]

    def __getitem__(self, update: int) -> dict[str, list[list[dict[str, Tensor]]]]:
        """Return one update: under ``tasks``, for each task, the list of its micro-batches."""
        found = []
        for task, resident in enumerate(self.tasks):
            rows = self.rows(task, update)
            chunks = [rows[start : start + self.micro] for start in range(0, len(rows), self.micro)]
            found.append([resident.batch(chunk) for chunk in chunks])
        return {"tasks": found}


class _InOrder(Sampler[int]):
    """Yields the numbers of the updates of a pass of the longer task; the Trainer sets the pass."""

    def __init__(self, updates: Updates) -> None:
        self.updates, self.first = updates, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass (from 0) whose updates come next; the Trainer calls this at the start of each."""
        self.first = epoch * len(self.updates)

    def __len__(self) -> int:
        return len(self.updates)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.first + len(self.updates)))


def _only(items: list[Any]) -> Any:
    """Return the only item of a list: a loader of updates loads one update at a time."""
    (item,) = items
    return item


@dataclass
class JointTask:
    """A task of a joint run."""

    name: str
    model: PreTrainedModel
    """The shared encoder with the task's own head."""
    head: Head
    """The kind of task's head: it computes the loss."""
    masking: Masking
    """Input mask, attention mask and objective, fitted on the task's training split."""
    validation: Dataset
    validate: Callable[[MaskedTrainer], dict[str, float]]
    """Takes the trainer when it is the task's turn, and returns `score` and `nll` on `validation`."""


class _Precision(TrainerCallback):
    """Lets the second model compute in the same precision as the first one, which the Trainer prepares."""

    def __init__(self, trainer: JointTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Before the first update, wrap the second model's forward pass as the Trainer wrapped the first one's."""
        for part in self.trainer.parts[1:]:
            self.trainer.accelerator.prepare_model(part.model, evaluation_mode=True)


class JointTrainer(MaskedTrainer):
    """MaskedTrainer whose updates have one batch of each of two tasks; the loss is the mean of the tasks' losses.

    Batches go forward and backward one after the other. The best checkpoint is that with the highest mean of the two
    validation scores.

    Parameters
    ----------
    parts
        The two tasks; the first one's model has all parameters.
    updates
        The batches of both tasks for each update.
    strategy
        Only its parameter mask is used here: there is one for the whole model. The other masks are in `parts`.
    """

    def __init__(
        self, *, parts: Sequence[JointTask], updates: Updates, strategy: Strategy, seed: int, **kwargs: Any
    ) -> None:
        self.parts, self.updates = tuple(parts), updates
        alone = strategy.model_copy(update={"input": None, "attention": None, "objective": None})
        super().__init__(
            model=parts[0].model, head=parts[0].head, train_dataset=updates, eval_dataset=parts[0].validation,
            strategy=alone, seed=seed, group_by_length=False, validate=parts[0].validate, **kwargs,
        )  # fmt: skip
        self._treatments = [Treatment(part.masking, (task,)) for task, part in enumerate(self.parts)]
        self._turn: int | None = None
        self.conflict = next((item for item in self.callback_handler.callbacks if isinstance(item, Conflict)), None)
        for part in self.parts[1:]:
            cast("Module", part.model).to(self.args.device)
            if hasattr(part.model.config, "use_cache"):
                part.model.config.use_cache = self.whole.config.use_cache
        self.add_callback(_Precision(self))

    @property
    def treatment(self) -> Treatment:
        """The batches of the task whose turn it is."""
        return super().treatment if self._turn is None else self._treatments[self._turn]

    def maskings(self) -> Mapping[str, Masking]:
        """Return the masks of the whole model and of each task."""
        return {"masks": self.moving} | {f"masks-{place}": part.masking for place, part in enumerate(self.parts)}

    def noted(self) -> dict[str, Any]:
        """Return what was measured along the updates so far, gradient conflict included."""
        found = self.conflict.found if self.conflict is not None else []
        return super().noted() | {"conflict": [point.model_dump() for point in found]}

    def recall(self, noted: dict[str, Any]) -> None:
        """Take over what `noted` returned when a checkpoint was written."""
        super().recall(noted)
        if self.conflict is not None:
            self.conflict.found[:] = [Cosine.model_validate(point) for point in noted["conflict"]]

    @property
    def head(self) -> Head:
        """The head of the task whose turn it is."""
        return super().head if self._turn is None else self.parts[self._turn].head

    @property
    def own(self) -> Any:
        """The model of the task whose turn it is."""
        return super().own if self._turn is None else self.parts[self._turn].model

    @contextmanager
    def facing(self, task: int) -> Iterator[JointTask]:
        """Give the turn to one task: in the block, batches belong to it, its head and its masks (`compute_loss`)."""
        if self._turn is not None:
            raise RuntimeError(f"{self.parts[task].name}: it is the turn of {self.parts[self._turn].name}")
        self._turn = task
        try:
            yield self.parts[task]
        finally:
            self._turn = None

    def passes(self) -> int:
        """Return how many passes over the training examples of the task whose turn it is are complete."""
        return super().passes() if self._turn is None else self.state.global_step // self.updates.per_pass[self._turn]

    def per_pass(self) -> int:
        """Return the number of updates in a pass over the training examples of the task whose turn it is."""
        return super().per_pass() if self._turn is None else self.updates.per_pass[self._turn]

    # --- training

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return a loader that gives one update at a time."""
        loader = DataLoader(
            cast("torch.utils.data.Dataset[Any]", self.updates),
            sampler=_InOrder(self.updates),
            collate_fn=_only,
            num_workers=self.args.dataloader_num_workers,
        )
        return cast("DataLoader[Any]", self.accelerator.prepare(loader))

    def training_step(self, model: Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Go forward and backward with the micro-batches of each task; return the mean of their losses, a scalar."""
        losses = []
        for task, batches in enumerate(inputs["tasks"]):
            items = sum(count(batch["labels"]) for batch in batches)
            self.current_gradient_accumulation_steps = len(batches)
            with self.facing(task):
                losses += [super(JointTrainer, self).training_step(model, batch, items) for batch in batches]
        return cast("Tensor", sum(losses))

    def compute_loss(
        self, model: Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Compute the loss of the task whose turn it is, by its own head; in training, its share of the mean.

        The Trainer's `model` is the whole one, of which both tasks' models are made; only whether it is in training
        is taken from it.
        """
        if self._turn is None:
            raise RuntimeError("a batch of no task: expected `facing`")
        own = self.parts[self._turn].model
        own.training = model.training  # its modules follow the whole model; the flag of the model itself does not
        result = super().compute_loss(own, inputs, return_outputs, num_items_in_batch)
        if not model.training:
            return result
        share = 1 / len(self.parts)
        return (result[0] * share, result[1]) if return_outputs else result * share

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return the number of floating-point operations of all micro-batches of an update."""
        return sum(super(JointTrainer, self).floating_point_ops(batch) for task in inputs["tasks"] for batch in task)

    # --- evaluation

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Score the validation split of each task; ``eval_score`` is the mean of both scores."""
        metrics: dict[str, float] = {}
        for task in range(len(self.parts)):
            with self.facing(task) as part:
                scores = part.validate(self)
            metrics |= {f"{metric_key_prefix}_{task}_{name}": value for name, value in scores.items()}
        for name in ("score", "nll"):
            values = [metrics[f"{metric_key_prefix}_{task}_{name}"] for task in range(len(self.parts))]
            metrics[f"{metric_key_prefix}_{name}"] = sum(values) / len(values)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics
