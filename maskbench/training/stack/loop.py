"""The training loop of a stack: one pass for all cells, and for each of them what the Trainer would do alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import starmap
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import PrinterCallback

from maskbench.channels import Purpose
from maskbench.kinds.encoding import IGNORED
from maskbench.masks.base import Mask, ParameterMask
from maskbench.masks.batch import Batch
from maskbench.masks.visibility import count_hidden
from maskbench.training.clock import DivergedError, now
from maskbench.training.resident import Resident
from maskbench.training.stack.attention import recorded, together
from maskbench.training.stack.parameters import Stacked, StackedAdamW, clip
from maskbench.training.stack.passes import Pass
from maskbench.training.stack.texts import Order
from maskbench.training.trainer import derived

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel

    from maskbench.training.masking import Masking
    from maskbench.training.run import Run
    from maskbench.training.trainer import MaskedTrainer

LOOK = 50
"""Updates between two looks at the losses that are kept on the device; evaluations look as well."""


@dataclass
class StackedCell:
    """A cell of a stack."""

    run: Run
    trainer: MaskedTrainer
    """Its Trainer, which evaluates; it never trains."""
    rates: Sequence[float]
    """Learning rate of each update."""
    best: dict[str, Tensor] = field(default_factory=dict)
    """Copies of the weights at the best evaluation so far; empty before one."""

    @property
    def model(self) -> PreTrainedModel:
        """The model of the cell."""
        return cast("PreTrainedModel", self.trainer.model)

    @property
    def masking(self) -> Masking:
        """The masks of the cell."""
        return self.trainer.masking

    @property
    def gated(self) -> bool:
        """Whether a mask of the cell acts on gradients and updates."""
        mask = self.masking.strategy.parameter
        return mask is not None and type(mask).gate is not ParameterMask.gate

    @property
    def observers(self) -> list[Mask]:
        """The masks of the cell that see its loss."""
        return [mask for mask in self.masking.masks.values() if type(mask).observe is not Mask.observe]


def stacked_cell(run: Run, trainer: MaskedTrainer) -> StackedCell:
    """Return a cell of a stack that makes its first update next."""
    trainer.remove_callback(PrinterCallback)
    trainer.state.compute_steps(trainer.args, run.updates)
    trainer.state.max_steps = run.updates
    return StackedCell(run, trainer, _rates(trainer, run.updates))


def _rates(trainer: MaskedTrainer, updates: int) -> list[float]:
    """Return the learning rate of each update as the Trainer's schedule has it."""
    rate = trainer.args.learning_rate
    schedule = trainer.create_scheduler(updates, torch.optim.SGD([torch.zeros(1)], lr=rate))
    return [rate * schedule.lr_lambdas[0](update) for update in range(updates)]  # type: ignore[attr-defined]


class Loop:
    """Trains the members of a stack.

    Parameters
    ----------
    members
        Cells that may share a stack (`maskbench.training.stack.which`).
    batched
        See `Pass`.
    """

    def __init__(self, members: Sequence[StackedCell], *, batched: bool | None = None) -> None:
        first = members[0]
        self.members, self.updates, self.done = list(members), first.run.updates, 0
        self.device = first.model.device
        mixed = first.run.device.precision == "bf16"
        self._passes = Pass(first.model, first.run.head, mixed=mixed, batched=batched)
        self.stacked = Stacked([item.model for item in members])
        args, trainer = first.trainer.args, first.trainer
        kind, settings = trainer.get_optimizer_cls_and_kwargs(args, first.model)
        assert kind is torch.optim.AdamW
        decaying = trainer.get_decay_parameter_names(first.model)
        self.adam = StackedAdamW(self.stacked, decaying, [item.trainer.args.weight_decay for item in members], settings)
        collator = cast("Any", trainer.data_collator)
        texts = Resident(first.run.train, collator, self.device)
        parts = first.run.micro_batches
        self._order = Order(trainer._get_train_sampler(), texts, first.run.cell.training.batch_size, parts)
        self._every = int(trainer.state.eval_steps)
        self._bad = torch.zeros(len(members), dtype=torch.int64, device=self.device)
        """(K,) the first update whose loss was not finite, counted from 1; 0: none."""
        self._value = torch.zeros(len(members), device=self.device)
        """(K,) the loss of that update."""
        self._norms: tuple[float, ...] = ()
        self._limited = torch.zeros(0)
        self._clock = _StackClock(self.device)

    def train(self) -> Iterator[tuple[StackedCell, DivergedError | None]]:
        """Train on; yield each cell when its training ends, with the error of one that diverged.

        The model of a cell that is yielded has its final weights. While the caller works on it, the others wait.
        """
        while self.members and self.done < self.updates:
            self.update()
            evaluates = self.done % self._every == 0
            if evaluates or self.done % LOOK == 0 or self.done == self.updates:
                yield from self._diverged()
            if evaluates:
                yield from self._evaluated()
            self.after_update(evaluates)
        self.ended()
        self.stacked.forget_gradients()
        self.adam.moments = {}
        for item in self._leave(range(len(self.members))):
            yield _chosen(item), None

    def after_update(self, evaluated: bool) -> None:
        """Act after an update that left cells to be trained on; `evaluated` tells whether their scores were taken."""

    def ended(self) -> None:
        """Act after the last update of all, before what is left is scored."""

    # one update

    def update(self) -> None:
        """Make one update of all cells."""
        self._clock.start()
        batches = list(self._order.batches(self.done))
        items = torch.stack([batch["labels"].ne(IGNORED).sum() for batch in batches]).sum()
        for number, batch in enumerate(batches):
            self._pass(batch, items, derived(self.members[0].trainer.seed, Purpose.NOISE, self.done, number))
        self._step()
        self.done += 1
        self._clock.stop(self.members)

    def _pass(self, inputs: dict[str, Tensor], items: Tensor, noise: int) -> None:
        """Add the gradients of one micro-batch, with dropout seeded by `noise`; note losses that are not finite."""
        clean = self._clean(inputs, items, noise)
        torch.manual_seed(noise)
        masked = [item.masking.corrupt(clean) for item in self.members]
        own = [batch.input_ids is not clean.input_ids for batch in masked]
        ids = torch.stack([batch.input_ids for batch in masked]) if any(own) else clean.input_ids
        shown = [item.masking.attend(batch) for item, batch in zip(self.members, masked, strict=True)]
        visible = together(shown, *clean.input_ids.shape)
        with recorded(self._passes.model) as masks:
            observed = any(item.observers for item in self.members)
            losses, seen = self._passes.losses(self.stacked.weights, clean, ids, visible, observed=observed)
            losses.sum().backward()
        for item, single in zip(self.members, shown, strict=True):
            if single is not None:
                count_hidden(item.masking.hidden, single, masks[0], clean.padding)
        bad = ~losses.detach().isfinite() & (self._bad == 0)
        self._bad = torch.where(bad, self.done + 1, self._bad)
        self._value = torch.where(bad, losses.detach(), self._value)
        for item, loss in zip(self.members, seen, strict=True):
            for mask in item.observers:
                mask.observe(loss)

    def _clean(self, inputs: dict[str, Tensor], items: Tensor, noise: int) -> Batch:
        """Return the micro-batch as the hooks see it."""
        trainer = self.members[0].trainer
        return Batch(
            input_ids=inputs["input_ids"],
            padding=inputs["attention_mask"].bool(),
            words=inputs["words"],
            examples=inputs["examples"],
            epoch=self._order.epoch(self.done),
            mask_id=trainer.mask_id,
            labels=inputs["labels"],
            capitals=inputs["capitals"],
            segments=inputs.get("segments"),
            token_types=inputs.get("token_type_ids"),
            items=items,
            progress=self.done / max(1, self.updates),
            updates=max(1, self.updates),
            per_pass=self._order.per_epoch,
            noise=noise,
        )

    def _step(self) -> None:
        """Clip the gradients, let the masks act on them, and make the update."""
        norms = [item.trainer.args.max_grad_norm or torch.inf for item in self.members]
        clip(self.stacked.gradients(), self._limits(norms))
        held = {}
        for place, item in enumerate(self.members):
            if item.gated:
                self.stacked.give_gradients(place)
                held[place] = item.masking.gate(item.model, self.done)
        self.adam.step([item.rates[self.done] for item in self.members])
        for place, moving in held.items():
            self.members[place].masking.hold(self.members[place].model, moving, self.done)
            self.members[place].model.zero_grad()
        self.stacked.forget_gradients()

    def _limits(self, norms: Sequence[float]) -> Tensor:
        """Return the largest gradient norms (K,) on the device; they are copied there once."""
        if self._norms != (known := tuple(norms)):
            self._norms, self._limited = known, torch.tensor(known, device=self.device)
        return self._limited

    # when a training ends

    def _diverged(self) -> Iterator[tuple[StackedCell, DivergedError]]:
        """Take the cells out whose loss was not finite, and yield them."""
        self._clock.read()
        updates, values = self._bad.tolist(), self._value.tolist()
        ends = [place for place, update in enumerate(updates) if update]
        for place, item in zip(ends, self._leave(ends), strict=True):
            yield item, DivergedError(f"loss is {values[place]} at update {updates[place]}")

    def _evaluated(self) -> Iterator[tuple[StackedCell, None]]:
        """Score the validation split for each cell, choose its best weights so far, and yield those that stop early."""
        for item in self.members:
            state = item.trainer.state
            state.global_step, state.epoch = self.done, self._order.epochs(self.done)
            scores = item.trainer.evaluate()
            if item.trainer._determine_best_metric(scores, None) and item.trainer.args.load_best_model_at_end:
                item.best = item.best or {name: torch.empty_like(weight) for name, weight in _weights(item)}
                for name, weight in _weights(item):
                    item.best[name].copy_(weight)
        print(f"update {self.done} of {self.updates}: {', '.join(starmap(_told, self._scores()))}", flush=True)
        ends = [place for place, item in enumerate(self.members) if item.trainer.control.should_training_stop]
        for item in self._leave(ends):
            yield _chosen(item), None

    def _scores(self) -> Iterator[tuple[str, float]]:
        """Yield the strategy and the last validation score of each cell."""
        for item in self.members:
            yield item.run.cell.strategy.name, item.trainer.state.log_history[-1]["eval_score"]

    def _leave(self, ends: Sequence[int]) -> list[StackedCell]:
        """Take the cells at these places out of the stack and return them; the others go on as if alone."""
        left = [self.members[place] for place in ends]
        for item in left:
            item.trainer.state.global_step = self.done
        stay = [place for place in range(len(self.members)) if place not in ends]
        if ends and stay:
            self.stacked.keep(stay)
            self.adam.keep(stay)
            self._bad, self._value = self._bad[stay], self._value[stay]
        self.members = [self.members[place] for place in stay]
        return left


def _weights(item: StackedCell) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights of a cell, by name."""
    for name, parameter in item.model.named_parameters():
        yield name, parameter.detach()


def _chosen(item: StackedCell) -> StackedCell:
    """Give the model of a cell the weights that it is scored with: the best if they were chosen, else the last."""
    for name, weight in _weights(item) if item.best else ():
        weight.copy_(item.best[name])
    item.best = {}
    return item


def _told(strategy: str, score: float) -> str:
    """Return a phrase for a log: a strategy and its score."""
    return f"{strategy} {score:.4f}"


class _StackClock:
    """Measures updates: a cell's time is an equal share of its stack's; a card's times are read at the looks."""

    def __init__(self, device: torch.device) -> None:
        self._on_card = device.type == "cuda"
        self._waiting: list[tuple[Any, Any, list[StackedCell]]] = []
        self._began: Any = None

    def start(self) -> None:
        """Read the clocks at the start of an update."""
        self._began = now(self._on_card)

    def stop(self, members: Sequence[StackedCell]) -> None:
        """Read the clocks at the end of an update."""
        self._waiting.append((self._began, now(self._on_card), list(members)))

    def read(self) -> None:
        """Give each cell its share of the updates since the last look, in seconds."""
        if self._on_card:
            torch.cuda.synchronize()
        for began, ended, members in self._waiting:
            seconds = began.elapsed_time(ended) / 1000 if self._on_card else ended - began
            for item in members:
                item.trainer.clock.durations.append(seconds / len(members))
        self._waiting = []
