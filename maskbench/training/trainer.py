"""transformers' Trainer with the four hooks of a strategy, through the Trainer's own extension points."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler

from maskbench.data.encode import IGNORED
from maskbench.masks.base import AttentionMask, Batch, ParameterMask
from maskbench.masks.draws import Draws

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.nn import Module

    from maskbench.masks import Strategy

_ORDER, _NOISE = 1, 2  # what a derived seed is for


class DivergedError(RuntimeError):
    """The loss is no finite number any more."""


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
        self.generator.manual_seed(derived(self.seed, _ORDER, epoch))

    def __iter__(self) -> Any:
        """Iterate over the indices of one epoch."""
        if self.group:
            return iter(super().__iter__())  # type: ignore[no-untyped-call]
        return iter(torch.randperm(len(self), generator=self.generator).tolist())


class Clock(TrainerCallback):
    """Measures updates: forward, backward and optimiser, without evaluation and checkpoints."""

    def __init__(self) -> None:
        self.durations: list[float] = []
        self._began = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop the clock (the loss was read in this step, so a GPU has done its work up to the update)."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.durations.append(time.perf_counter() - self._began)


class Gate(TrainerCallback):
    """Hands the gradients to the strategy's parameter mask just before each update."""

    def __init__(self, mask: ParameterMask, draws: Draws) -> None:
        self.mask, self.draws = mask, draws

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Call the hook."""
        gradients = {
            name: parameter.grad for name, parameter in kwargs["model"].named_parameters() if parameter.grad is not None
        }
        self.mask.gate(gradients, state.global_step, self.draws)


def mean_cross_entropy(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Return the cross-entropy over all labels of an update, in nats.

    Models of transformers differ in whether they heed `num_items_in_batch`: BertForSequenceClassification does not,
    which would multiply its gradient by the number of micro-batches.

    Parameters
    ----------
    outputs
        Of the model; logits are (B, C) or (B, T, C).
    labels
        (B,) or (B, T), -100 where there is none.
    num_items_in_batch
        Number of labels in all micro-batches of the update; None: in this one.
    """
    logits = outputs["logits"].float().movedim(-1, 1)
    total = torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return total / ((labels != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch)


class MaskedTrainer(Trainer):
    """Trainer that masks while it trains, and never while it evaluates.

    Parameters
    ----------
    strategy
        The masks.
    seed
        Seed of the run; order, dropout and masks are derived from it.
    mask_id
        Token id of [MASK] for the model.
    group_by_length
        Batches of examples of similar length.
    """

    def __init__(
        self, *args: Any, strategy: Strategy, seed: int, mask_id: int, group_by_length: bool, **kwargs: Any
    ) -> None:
        kwargs["compute_loss_func"] = mean_cross_entropy
        super().__init__(*args, **kwargs)
        self.strategy, self.seed, self.mask_id, self.group_by_length = strategy, seed, mask_id, group_by_length
        self._micro = (-1, 0)  # update, and micro-batch in it
        self.clock = Clock()
        self.add_callback(self.clock)
        self.draws = {family: Draws(seed, stream) for stream, family in enumerate(("input", "attention", "parameter"))}
        self.masked = torch.zeros(2, dtype=torch.int64, device=self.args.device)
        """Numbers of masked and of maskable positions so far."""
        gate = strategy.parameter
        if gate is not None and type(gate).gate is not ParameterMask.gate:
            self.add_callback(Gate(gate, self.draws["parameter"]))

    def _get_train_sampler(self, train_dataset: Any = None) -> PairedOrder:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        update = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return PairedOrder(self.seed, update, list(dataset["length"]), self.group_by_length)

    def _get_eval_sampler(self, eval_dataset: Any) -> SequentialSampler:
        return SequentialSampler(eval_dataset)

    def training_step(self, model: Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Seed dropout by run, update and micro-batch, so that it is the same for every strategy; then train."""
        update, micro = self._micro
        self._micro = (self.state.global_step, micro + 1 if update == self.state.global_step else 0)
        torch.manual_seed(derived(self.seed, _NOISE, *self._micro))
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            raise DivergedError(f"loss is {loss.item()} at update {self.state.global_step + 1}")
        return loss

    def compute_loss(
        self, model: Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Compute the loss, on masked input and with the objective's penalty while training."""
        inputs = dict(inputs)
        words, examples = inputs.pop("words"), inputs.pop("examples")
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        clean = Batch(
            input_ids=inputs["input_ids"],
            padding=inputs["attention_mask"].bool(),
            words=words,
            examples=examples,
            epoch=int(self.state.epoch or 0),
            mask_id=self.mask_id,
        )
        masked = self._corrupt(clean)
        inputs["input_ids"] = masked.input_ids
        if self.strategy.attention is not None:
            inputs["attention_mask"] = self._attend(self.strategy.attention, masked, inputs["attention_mask"])
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if self.strategy.objective is not None:
            penalty = self.strategy.objective.penalty(model, clean, masked)
            loss = loss + penalty / self.current_gradient_accumulation_steps
        return (loss, outputs) if return_outputs else loss

    def _corrupt(self, clean: Batch) -> Batch:
        """Apply the input mask, and count what it hit."""
        mask = self.strategy.input
        if mask is None:
            return clean
        masked = mask.corrupt(clean, self.draws["input"])
        if not mask.apply:
            return clean
        if masked.hit is not None:
            self.masked += torch.stack([masked.hit.sum(), clean.maskable.sum()])
        return masked

    def _attend(self, mask: AttentionMask, batch: Batch, padding: Tensor) -> Tensor:
        """Turn what the attention mask shows, and padding, into an additive bias (B, 1, T, T).

        Boolean masks of four dimensions are added to the scores by transformers' eager attention and hide nothing;
        an additive one is right under every implementation. Every query keeps itself, so no row is empty.
        """
        visible = mask.attend(batch, self.draws["attention"])
        if not mask.apply:
            return padding
        width = padding.shape[1]
        itself = torch.eye(width, dtype=torch.bool, device=padding.device)
        visible = (visible & batch.padding[:, None, None, :]) | itself
        dtype = torch.bfloat16 if self.args.bf16 else torch.float32
        hidden = torch.finfo(dtype).min
        return torch.where(visible, 0.0, hidden).to(dtype)

    @property
    def realised_rate(self) -> float | None:
        """Share of the maskable positions that were masked, over the whole training; None without an input mask."""
        hits, positions = self.masked.tolist()
        return hits / positions if positions else None


def freeze(model: Module, strategy: Strategy) -> None:
    """Freeze the parameters that the strategy's parameter mask selects."""
    if strategy.parameter is not None:
        for parameter in strategy.parameter.select(model):
            parameter.requires_grad_(False)


def parameter_counts(model: Module) -> Mapping[str, int]:
    """Return how many numbers the model has, and how many of them move."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return {
        "parameters": sum(size for size, _ in sizes),
        "trained_parameters": sum(size for size, moves in sizes if moves),
    }
