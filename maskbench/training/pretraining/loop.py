"""The updates of a pretraining: the order of the text, its masks, the learning rate, and what a checkpoint holds."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import torch

from maskbench.channels import Purpose
from maskbench.masks import Strategy
from maskbench.masks.batch import Batch
from maskbench.training.clock import EVERY, Losses
from maskbench.training.masking import Masking
from maskbench.training.pretraining.repeats import Repeats
from maskbench.training.trainer import PairedOrder, derived

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor
    from torch.nn import Module

    from maskbench.experiment.pretraining import Pretrain
    from maskbench.masks.setting import Setting
    from maskbench.slots.device import Device
    from maskbench.training.pretraining.learner import Learner
    from maskbench.training.resident import Resident

BETAS, EPSILON = (0.9, 0.98), 1e-6
"""AdamW's other settings, as in RoBERTa's pretraining."""


def factor(recipe: Pretrain, update: int, updates: int) -> float:
    """Return what the peak learning rate is multiplied by in an update, counted from 0."""
    rising = recipe.warmup * updates
    if update + 1 <= rising:
        return (update + 1) / rising
    if recipe.scheduler == "constant":
        return 1.0
    left = (updates - update - 0.5) / max(0.5, updates - rising)
    return left if recipe.scheduler == "linear" else (1 - math.cos(math.pi * left)) / 2


def decaying(model: Module) -> list[dict[str, Any]]:
    """Return the parameters in two groups: those with weight decay, and biases and layer norms without."""
    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    flat = {name for name, weight in named if weight.dim() < 2}
    return [
        {"params": [weight for name, weight in named if name not in flat]},
        {"params": [weight for name, weight in named if name in flat], "weight_decay": 0.0},
    ]


class Loop:
    """Makes the updates of a pretraining.

    Parameters
    ----------
    recipe
        How the model is pretrained.
    learner
        The model, on the device.
    texts
        The training sequences, on the device.
    setting
        What the mask may look at.
    device
        What to compute on.
    """

    def __init__(self, recipe: Pretrain, learner: Learner, texts: Resident, setting: Setting, device: Device) -> None:
        self.recipe, self.learner, self.texts, self.device = recipe, learner, texts, device
        self.batch_size = min(recipe.batch_size, len(texts))
        self.per_pass = len(texts) // self.batch_size
        """Updates in a pass; the sequences that are left over differ from pass to pass."""
        self.updates = budget(recipe, len(texts))
        self.done = 0
        self.tokens, self.seconds = 0, 0.0
        """Tokens that were trained on, and the time of the updates, in seconds."""
        self.masks = Masking(Strategy(name="pretraining", input=recipe.input), recipe.seed)
        self.masks.fit(setting)
        self.repeats = Repeats(len(texts), -(-self.updates // self.per_pass), learner.model.device)
        self.mask_id = int(setting.tokenizer.mask_token_id)
        self._order = PairedOrder(recipe.seed, self.batch_size, [1] * len(texts), group=False)
        self._rows: list[int] = []
        self._losses = Losses(1 if device.kind == "cpu" else EVERY)
        self._adam = torch.optim.AdamW(
            decaying(learner.model),
            lr=recipe.learning_rate,
            betas=BETAS,
            eps=EPSILON,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        learner.model.train()

    def train(self, until: int, asked: Callable[[], bool]) -> None:
        """Make updates until so many are done, or until somebody has asked to end.

        Raises
        ------
        DivergedError
            If the loss is not finite.
        """
        while self.done < until and not asked():
            began = time.perf_counter()
            self._update()
            self.seconds += time.perf_counter() - began
        self._losses.look()

    def _update(self) -> None:
        clean = self._batch()
        masked = self.masks.corrupt(clean)
        self.repeats.add(masked)
        torch.manual_seed(clean.noise)
        kind = clean.input_ids.device.type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=self.device.precision == "bf16"):
            loss = self.learner.loss(clean, masked)
        self._losses.add(self.done + 1, loss.detach())
        loss.backward()
        if self.recipe.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(self.learner.model.parameters(), self.recipe.max_grad_norm)
        rate = self.recipe.learning_rate * factor(self.recipe, self.done, self.updates)
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        self._adam.zero_grad()
        self.done += 1

    def _batch(self) -> Batch:
        """Return the batch of the next update."""
        epoch, place = divmod(self.done, self.per_pass)
        if place == 0 or not self._rows:
            self._order.set_epoch(epoch)
            self._rows = list(self._order)
        chosen = self._rows[place * self.batch_size : (place + 1) * self.batch_size]
        inputs = self.texts.batch(chosen)
        self.tokens += self.texts.tokens(chosen)
        moment = {
            "progress": self.done / max(1, self.updates),
            "updates": max(1, self.updates),
            "per_pass": self.per_pass,
            "noise": derived(self.recipe.seed, Purpose.NOISE, self.done),
        }
        return batch_of(inputs, epoch, self.mask_id, **moment)

    # checkpoints

    def save(self, path: Path) -> None:
        """Write all that the training needs to go on as if it had not stopped."""
        state = {
            "done": self.done,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "model": self.learner.model.state_dict(),
            "adam": self._adam.state_dict(),
            "masked": self.masks.masked,
            "masks": self.repeats.masks,
        }
        torch.save(state, path)

    def load(self, path: Path) -> None:
        """Take over what `save` wrote."""
        state = torch.load(path, map_location=self.learner.model.device, weights_only=True)
        self.done, self.tokens, self.seconds = state["done"], state["tokens"], state["seconds"]
        self.learner.model.load_state_dict(state["model"])
        self._adam.load_state_dict(state["adam"])
        self.masks.masked.copy_(state["masked"])
        self.repeats.masks.copy_(state["masks"])
        self._rows = []


def budget(recipe: Pretrain, sequences: int) -> int:
    """Return the number of updates of a pretraining on so many sequences."""
    if recipe.epochs is None:
        return recipe.budget
    return max(1, round(recipe.epochs * (sequences // min(recipe.batch_size, sequences))))


def batch_of(inputs: dict[str, Tensor], epoch: int, mask_id: int, **moment: Any) -> Batch:
    """Return a batch as masks see it, of what a split on the device gives; `moment` has fields of `Batch`."""
    return Batch(
        input_ids=inputs["input_ids"],
        padding=inputs["attention_mask"].bool(),
        words=inputs["words"],
        examples=inputs["examples"],
        epoch=epoch,
        mask_id=mask_id,
        labels=inputs["labels"],
        capitals=inputs["capitals"],
        token_types=inputs.get("token_type_ids"),
        **moment,
    )
