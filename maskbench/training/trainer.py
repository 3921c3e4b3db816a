"""transformers' Trainer with the four hooks of a strategy, through the Trainer's own extension points."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from maskbench.channels import Purpose
from maskbench.io.files import read_json, write_json
from maskbench.kinds.encoding import IGNORED
from maskbench.masks.base import Mask
from maskbench.masks.batch import Batch
from maskbench.masks.passes import mixing
from maskbench.masks.visibility import always_masked
from maskbench.models.anatomy import states_of
from maskbench.training.checkpoints import seal
from maskbench.training.clock import EVERY, Clock, Losses
from maskbench.training.compiled import Compiled
from maskbench.training.forward import Forward
from maskbench.training.hooks import Hooks, Watch
from maskbench.training.masking import Masking
from maskbench.training.quick import quick
from maskbench.training.resident import Resident

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch.nn import Module
    from transformers import PreTrainedModel

    from maskbench.kinds.head import Head
    from maskbench.masks import Strategy
    from maskbench.slots.device import Device
    from maskbench.slots.memory import Memory
    from maskbench.training.collate import Collator

_NOTED = "noted.json"  # file in a checkpoint with what `noted` returned


def derived(seed: int, *path: int) -> int:
    """Return a 63-bit seed that depends on the seed and the whole path."""
    generator = torch.Generator()
    for item in path:
        generator.manual_seed(seed)
        seed = int(torch.randint(2**62, (1,), generator=generator)) ^ item
    return seed


class PairedOrder(LengthGroupedSampler):
    """Order of the examples that depends on seed and epoch alone, so that every strategy sees the same.

    With `group` false it is a plain permutation.
    """

    def __init__(self, seed: int, batch_size: int, lengths: list[int], group: bool) -> None:
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self.seed, self.group = seed, group
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Take the order of an epoch; the Trainer calls this at the start of each, resumed ones included."""
        self.generator.manual_seed(derived(self.seed, Purpose.ORDER, epoch))

    def __iter__(self) -> Any:
        """Iterate over the indices of one epoch."""
        if self.group:
            return iter(super().__iter__())  # type: ignore[no-untyped-call]
        return iter(torch.randperm(len(self), generator=self.generator).tolist())


class Treatment:
    """How the batches of one task are trained on: under which masks, and with which seeds of dropout.

    Parameters
    ----------
    masking
        Input mask, attention mask and objective of the task.
    task
        Joint training: the number of the task, so that each task has seeds of its own. Empty: there is one task.
    """

    def __init__(self, masking: Masking, task: tuple[int, ...] = ()) -> None:
        self.masking, self.task = masking, task
        self._last = (-1, 0)  # update, and micro-batch in it

    def noise(self, seed: int, update: int) -> int:
        """Return the seed of dropout for the next micro-batch.

        It follows from the run's seed, the update, and the number of the micro-batch in the update.
        """
        before, micro = self._last
        self._last = (update, micro + 1 if before == update else 0)
        return derived(seed, Purpose.NOISE, *self._last, *self.task)


def seen_loss(head: Head, outputs: Any, labels: Tensor) -> Tensor:
    """Return the loss that masks observe, a scalar: the mean over the labels in nats; NaN if there are no labels."""
    loss = head.loss(outputs, labels).detach()
    return torch.where((labels != IGNORED).any(), loss, torch.nan)


class MaskedTrainer(Trainer):
    """Trainer that masks while it trains, and never while it evaluates.

    Parameters
    ----------
    head
        The head of the task, for its loss and for what is kept of an evaluation.
    strategy
        The masks.
    seed
        Seed of the run; order, dropout and masks are derived from it.
    mask_id
        Token id of [MASK] for the model.
    memory
        Counts the memory of the run.
    group_by_length
        Whether batches are made of examples of similar length.
    validate
        Takes the trainer, and returns `score` and `nll` of its model on the validation split.
    device, eval_batch_size
        What evaluations are computed on, and in batches of how many texts (training/forward.py).
    compile
        Whether training passes are compiled.
    """

    def __init__(
        self,
        *args: Any,
        head: Head,
        strategy: Strategy,
        seed: int,
        mask_id: int,
        group_by_length: bool,
        memory: Memory,
        validate: Callable[[MaskedTrainer], dict[str, float]],
        device: Device,
        eval_batch_size: int | str,
        compile: bool = False,
        **kwargs: Any,
    ) -> None:
        self._head, self._validate = head, validate
        self._device, self._eval_batch_size = device, eval_batch_size
        super().__init__(*args, **kwargs | {"compute_loss_func": self._task_loss})
        self.seed, self.mask_id, self.group_by_length, self.memory = seed, mask_id, group_by_length, memory
        self.masking = self.moving = Masking(strategy, seed)
        """The masks that batches see, and those that decide which parameters move."""
        self._treatment = Treatment(self.masking)
        self._noise = 0
        self._clipped: tuple[Module, list[Tensor]] | None = None  # the model, and its parameters
        self._counted: int | None = None  # how many of them are no embeddings
        self._step: ExitStack | None = None  # contexts that stay open until the backward pass is over
        self.on_card = self.args.device.type == "cuda"
        """Whether a card computes, which the host should never wait for."""
        self.compiled = Compiled(self.whole, self.args.train_batch_size) if compile else None
        self.clock, self.losses = Clock(self.on_card), Losses(EVERY if self.on_card else 1)
        self.add_callback(Watch(memory))
        self.add_callback(self.clock)
        self.add_callback(Hooks(self.moving, self.modules))

    @property
    def treatment(self) -> Treatment:
        """The treatment of the task that the current batch belongs to."""
        return self._treatment

    @property
    def head(self) -> Head:
        """The head of the task that the current batch belongs to."""
        return self._head

    def _task_loss(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """Return the loss of the current task, a scalar in nats."""
        return self.head.loss(outputs, labels, num_items_in_batch)

    def maskings(self) -> Mapping[str, Masking]:
        """Return all masks that are at work, by the name of their file in a checkpoint."""
        return {"masks": self.masking}

    def modules(self) -> Iterator[Module]:
        """Yield the modules that are trained beside the model."""
        for masking in self.maskings().values():
            yield from masking.modules()

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Train the modules of the masks with the model, at their own learning rate if they have one."""
        optimizer = super().create_optimizer(model)
        for module in self.modules():
            rate = getattr(module, "learning_rate", self.args.learning_rate)
            optimizer.add_param_group({"params": list(module.parameters()), "lr": rate, "weight_decay": 0.0})
        return optimizer

    def noted(self) -> dict[str, Any]:
        """Return what was measured along the updates so far, as JSON; a checkpoint has it."""
        return {"durations": self.clock.durations}

    def recall(self, noted: dict[str, Any]) -> None:
        """Take over what `noted` returned when a checkpoint was written."""
        self.clock.durations = list(noted["durations"])

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        output = self._get_output_dir(trial=trial)
        folder = Path(output) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, masking in self.maskings().items():
            masking.save(folder / f"{name}.pt")
        write_json(folder / _NOTED, self.noted())
        # the previous checkpoint is removed only when the new one is complete
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        seal(folder)
        rotate_checkpoints(output, limit, self.state.best_model_checkpoint, use_mtime=True)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        for name, masking in self.maskings().items():
            masking.load(Path(resume_from_checkpoint) / f"{name}.pt")
        self.recall(read_json(Path(resume_from_checkpoint) / _NOTED))

    def _get_train_sampler(self, train_dataset: Any = None) -> PairedOrder:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        update = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return PairedOrder(self.seed, update, list(dataset["length"]), self.group_by_length)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Score the validation split; the best checkpoint is chosen by this."""
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in self._validate(self).items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def forward(self) -> Forward:
        """Return the model of the current task as it is evaluated; it is put into eval mode."""
        shown = self.treatment.masking.showing if self.treatment.masking.always else None
        collate = cast("Collator", self.data_collator)
        return Forward(self.own, collate, self._device, self._eval_batch_size, self.mask_id, shown)

    @property
    def own(self) -> Any:
        """The model with the head of the task that the current batch belongs to."""
        return self.model

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return a loader that gathers batches from examples that lie on the device."""
        data: Any = self.train_dataset
        resident = Resident(data, cast("Any", self.data_collator), self.args.device)
        loader = DataLoader(
            resident,
            batch_size=self.args.train_batch_size,
            sampler=self._get_train_sampler(),
            collate_fn=resident.batch,
            num_workers=self.args.dataloader_num_workers,
        )
        return cast("DataLoader[Any]", self.accelerator.prepare(loader))

    def training_step(self, model: Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Seed dropout by run, update and micro-batch, so that it is the same for every strategy; then train."""
        self._noise = self.treatment.noise(self.seed, self.state.global_step)
        torch.manual_seed(self._noise)
        if self.compiled is not None:
            self.compiled.begin()
        with ExitStack() as self._step:
            loss = super().training_step(model, inputs, num_items_in_batch)
        self._step = None
        self.memory.note()
        self.losses.add(self.state.global_step + 1, loss)
        return loss

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        if self.control.should_log or self.control.should_evaluate or self.control.should_save:
            self.losses.look()  # before anything is made of the weights
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        self.losses.look()
        return super()._finalize_training(*args, **kwargs)  # type: ignore[no-untyped-call]

    def _clip_grad_norm(self, model: Module) -> Tensor:
        """Clip the gradients as the Trainer does, without a walk over the model in every update; return their norm."""
        if self._clipped is None or self._clipped[0] is not model:
            self._clipped = model, list(model.parameters())
        return torch.nn.utils.clip_grad_norm_(self._clipped[1], self.args.max_grad_norm)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return the Trainer's estimate of an update's operations, without a walk over the model in every update."""
        if self._counted is None:
            self._counted = cast("PreTrainedModel", self.model).num_parameters(exclude_embeddings=True)
        return 6 * int(inputs["input_ids"].numel()) * self._counted

    def compute_loss(
        self, model: Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Compute the loss, on masked input and with the objective's penalty while training."""
        clean, inputs = self._batch(inputs)
        masking, bare = self.treatment.masking, cast("PreTrainedModel", model)
        if not model.training:
            with masking.showing(bare, clean):
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        clean = replace(clean, items=num_items_in_batch)
        with ExitStack() as here:
            if self.on_card:
                (self._step or here).enter_context(always_masked(bare))
            if self.compiled is None and not self.on_card:  # a graph draws in its own way
                states = masking.strategy.objective is not None
                (self._step or here).enter_context(quick(model, self.args.device.type, states=states))
            masked = masking.corrupt(clean)
            inputs["input_ids"] = masked.input_ids
            (self._step or here).enter_context(masking.showing(bare, masked))
            loss, outputs = self._masked_loss(model, inputs, clean, masked, num_items_in_batch)
        self.memory.note()
        return (loss, outputs) if return_outputs else loss

    def _masked_loss(
        self, model: Module, inputs: dict[str, Any], clean: Batch, masked: Batch, num_items_in_batch: Any
    ) -> tuple[Tensor, Any]:
        """Return the task loss on masked input with the objective's penalty (a scalar), and the model's outputs."""
        masking, parameter = self.treatment.masking, self.moving.strategy.parameter
        objective = masking.strategy.objective
        if objective is not None:
            inputs["output_hidden_states"] = True
        if self.compiled is not None:
            model = cast("Module", self.compiled)
        with mixing(model, masked):
            loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        observers = [mask for mask in masking.masks.values() if type(mask).observe is not Mask.observe]
        for mask in observers:
            mask.observe(seen_loss(self.head, outputs, cast("Tensor", clean.labels)))
        if objective is not None:
            masked = replace(masked, hidden=states_of(outputs)[-1])
            penalty = objective.penalty(model, clean, masked)
            if objective.apply:
                loss = objective.combine(loss, penalty, self.current_gradient_accumulation_steps)
        if parameter is not None and parameter.apply:
            term = parameter.regularisation(cast("PreTrainedModel", self.whole))
            if term is not None:
                loss = loss + term / self.current_gradient_accumulation_steps
        return loss, outputs

    @property
    def whole(self) -> Any:
        """The model that has all parameters."""
        return self.model

    def passes(self) -> int:
        """Return how many passes over the training examples of the current task are complete."""
        return int(self.state.epoch or 0)

    def per_pass(self) -> int:
        """Return the number of updates in a pass over the training examples of the current task."""
        data: Any = self.train_dataset
        return -(-len(data) // (self.args.train_batch_size * self.args.gradient_accumulation_steps))

    def _batch(self, inputs: dict[str, Any]) -> tuple[Batch, dict[str, Any]]:
        """Split what the collator gives into the batch that the hooks see and the inputs that the model takes."""
        inputs = dict(inputs)
        batch = Batch(
            input_ids=inputs["input_ids"],
            padding=inputs["attention_mask"].bool(),
            words=inputs.pop("words"),
            examples=inputs.pop("examples"),
            epoch=self.passes(),
            mask_id=self.mask_id,
            labels=inputs["labels"],
            progress=self.state.global_step / max(1, self.state.max_steps),
            updates=max(1, self.state.max_steps),
            per_pass=self.per_pass(),
            capitals=inputs.pop("capitals"),
            segments=inputs.pop("segments", None),
            token_types=inputs.get("token_type_ids"),
            noise=self._noise,
        )
        return batch, inputs


def parameter_counts(model: Module) -> Mapping[str, int]:
    """Return the model's number of parameters (single weights), and how many of them are trained."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return {
        "parameters": sum(size for size, _ in sizes),
        "trained_parameters": sum(size for size, moves in sizes if moves),
    }
