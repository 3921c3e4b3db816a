"""The masks of a strategy during a run: fitted, drawn, saved in checkpoints, and counted."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from maskbench.channels import Stream
from maskbench.masks.base import FAMILIES, Family, Mask, ParameterMask
from maskbench.masks.batch import Batch
from maskbench.masks.draws import Draws
from maskbench.masks.leaks import leaks
from maskbench.masks.passes import require_mixing
from maskbench.masks.visibility import require_reach, showing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor
    from torch.nn import Module, Parameter
    from transformers import PreTrainedModel

    from maskbench.masks import Strategy
    from maskbench.masks.setting import Setting

_STREAMS: dict[Family, Stream] = {
    "input": Stream.INPUT,
    "attention": Stream.ATTENTION,
    "parameter": Stream.PARAMETER,
    "objective": Stream.OBJECTIVE,
}


class Masking:
    """The masks of one run.

    Parameters
    ----------
    strategy
        The strategy of the configuration; it is not changed, since the run works on a copy.
    seed
        Seed of the run.
    """

    def __init__(self, strategy: Strategy, seed: int) -> None:
        self.strategy = strategy.model_copy(deep=True)
        self.draws = {family: Draws(seed, _STREAMS[family]) for family in FAMILIES}
        self.masked = torch.zeros(2, dtype=torch.int64)
        """Counts so far: positions that were masked, and positions that could have been."""
        self.hidden = torch.zeros(2, dtype=torch.int64)
        """Counts so far, of pairs of a query and another key: hidden ones, and all that the model itself shows."""
        self.leaked: dict[str, float] = {}
        """By measure, what was left on keys that the model should not see, before the first update."""
        self._apart = 0.0
        """The gradient between tokens that an attention mask kept apart, in the test of `require_reach`."""
        self._named: tuple[Module, dict[str, Parameter]] | None = None
        """The model whose parameters a mask looks at in every update, and these by name."""
        self._old: dict[str, Tensor] = {}
        """By name, the values before the update of the parameters that a mask may hold back."""

    @property
    def masks(self) -> dict[Family, Mask]:
        """The masks that the strategy has, by family."""
        return dict(self.strategy.masks())

    def fit(self, setting: Setting) -> None:
        """Fit all masks, freeze the parameters that they select, and move their modules to the model's device."""
        device = setting.model.device
        self.masked, self.hidden = self.masked.to(device), self.hidden.to(device)
        if self.strategy.attention is not None:
            self._apart = require_reach(setting.model, _longest(setting, 1))
        if any(mask.mixes(setting.kind) for mask in self.masks.values()):
            require_mixing(setting.model, _sample(setting))
        for family, mask in self.masks.items():
            mask.fit(setting, self.draws[family])
            for module in mask.modules().values():
                module.to(device)
        parameter = self.strategy.parameter
        if parameter is not None and parameter.apply:
            for frozen in parameter.select(setting.model):
                frozen.requires_grad_(False)

    def look_for_leaks(self, setting: Setting) -> None:
        """Measure what the model sees of padding, and of what the fitted attention mask hides of two training texts."""
        if setting.model.config.is_encoder_decoder:
            return  # its decoder reads the text shifted by one place
        batch = _two_lengths(setting)
        plain = leaks(setting.model, batch)
        found = {
            "padding_mass": plain.mass,
            "padding_gradient": plain.gradient,
            "multiplied_mass": plain.multiplied,
        }
        visible = self.attend(replace(batch, epoch=-1))
        if visible is not None:
            hidden = leaks(setting.model, batch, visible)
            found |= {"hidden_mass": hidden.mass, "hidden_gradient": max(self._apart, hidden.gradient or 0.0)}
        self.leaked = {name: value for name, value in found.items() if value is not None}

    def corrupt(self, clean: Batch) -> Batch:
        """Return the batch after the input mask, and count the positions that it hit."""
        mask = self.strategy.input
        if mask is None:
            return clean
        masked = mask.corrupt(clean, self.draws["input"])
        if not mask.apply:
            return clean
        if masked.hit is not None:
            self.masked += torch.stack([masked.hit.sum(), clean.maskable.sum()])
        return masked

    def attend(self, batch: Batch) -> Tensor | None:
        """Draw (B, 1, T, T) or (1, 1, T, T) bool: which keys each query may see; None: all that the model shows."""
        mask = self.strategy.attention
        if mask is None:
            return None
        visible = mask.attend(batch, self.draws["attention"])
        return visible if mask.apply else None

    def showing(self, model: PreTrainedModel, batch: Batch) -> AbstractContextManager[None]:
        """Let the model see only what the attention mask shows of a batch; in training, count what it hides.

        For evaluations the mask is drawn once, for a pass number of their own, so that all of them see the same.
        """
        mask = self.strategy.attention
        if mask is None or not (model.training or self.always):
            return nullcontext()
        visible = self.attend(batch if model.training else replace(batch, epoch=-1))
        if visible is None:
            return nullcontext()
        return showing(model, visible, self.hidden if model.training else None)

    @property
    def always(self) -> bool:
        """Whether the attention mask is part of the model: evaluation sees it, too."""
        mask = self.strategy.attention
        return mask is not None and mask.apply and mask.at == "always"

    def gate(self, model: Module, step: int) -> dict[str, tuple[Tensor, Tensor]]:
        """Let the parameter mask change the gradients before an update.

        Returns
        -------
        dict
            By name of each parameter that the mask may hold back: its values before the update, and a tensor of the
            same shape that is 1 (or True) where a weight may move.
        """
        mask = self.strategy.parameter
        if mask is None or type(mask).gate is ParameterMask.gate:
            return {}
        named = self._parameters(model)
        gradients = {name: parameter.grad for name, parameter in named.items() if parameter.grad is not None}
        if not mask.apply:
            gradients = {name: gradient.clone() for name, gradient in gradients.items()}
        moves = mask.gate(gradients, step, self.draws["parameter"])
        if not mask.apply or not moves:
            return {}
        if not (mask.fixed and self._old):
            # the buffers are reused: allocating memory of a model's size takes longer than the copy into it
            self._old = self._old or {name: torch.empty_like(named[name]) for name in moves}
            torch._foreach_copy_(list(self._old.values()), [named[name].detach() for name in self._old])
        return {name: (self._old[name], moving) for name, moving in moves.items()}

    def _parameters(self, model: Module) -> dict[str, Parameter]:
        """Return the model's parameters by name; they are looked for once, since that takes milliseconds."""
        if self._named is None or self._named[0] is not model:
            self._named = model, dict(model.named_parameters())
        return self._named[1]

    @torch.no_grad()
    def hold(self, model: Module, held: dict[str, tuple[Tensor, Tensor]], step: int) -> None:
        """Give the weights that may not move their old values back, after an update."""
        named = self._parameters(model) if held else {}
        for name, (old, moving) in held.items():
            new = named[name].data
            if moving.is_floating_point():
                torch.lerp(old, new, moving, out=new)  # lerp is exact at 0 and at 1
            else:
                torch.where(moving, new, old, out=new)
        mask = self.strategy.parameter
        if mask is not None and mask.apply:
            mask.updated(model, step)

    def notes(self) -> list[str]:
        """Return the notes about the parameter mask for the record of the run."""
        parameter = self.strategy.parameter
        return parameter.notes() if parameter is not None and parameter.apply else []

    def ending(self, model: Module) -> list[str]:
        """Return the notes about the parameter mask of a model whose training is complete, before `finish`."""
        parameter = self.strategy.parameter
        return parameter.ending(model) if parameter is not None and parameter.apply else []

    def held(self) -> int:
        """Return how many weights never move although their parameters are not frozen."""
        parameter = self.strategy.parameter
        return parameter.held() if parameter is not None and parameter.apply else 0

    @property
    def finishes(self) -> bool:
        """Whether `finish` changes the model."""
        mask = self.strategy.parameter
        return mask is not None and mask.apply and type(mask).finish is not ParameterMask.finish

    def finish(self, model: Module) -> None:
        """Turn the trained model into an ordinary model of its class, in place."""
        if self.strategy.parameter is not None and self.strategy.parameter.apply:
            self.strategy.parameter.finish(model)

    def ordinary(self, model: Module) -> dict[str, Tensor]:
        """Return the state dict that the model would have after `finish`; the model itself is not changed."""
        mask = self.strategy.parameter
        return dict(model.state_dict()) if mask is None or not mask.apply else mask.ordinary(model)

    def modules(self) -> Iterator[Module]:
        """Yield the modules that are trained beside the model."""
        for mask in self.masks.values():
            yield from mask.modules().values()

    def save(self, path: Path) -> None:
        """Write the state of the masks, which a run needs to resume, to a file."""
        masks = {
            family: {
                "modules": {name: module.state_dict() for name, module in mask.modules().items()},
                "state": mask.state(),
            }
            for family, mask in self.masks.items()
        }
        torch.save({"masks": masks, "masked": self.masked, "hidden": self.hidden}, path)

    def load(self, path: Path) -> None:
        """Take over the state that `save` wrote."""
        saved: dict[str, Any] = torch.load(path, map_location=self.masked.device, weights_only=True)
        self.masked.copy_(saved["masked"])
        self.hidden.copy_(saved["hidden"])
        for family, mask in self.masks.items():
            for name, module in mask.modules().items():
                module.load_state_dict(saved["masks"][family]["modules"][name])
            mask.restore(saved["masks"][family]["state"])

    @property
    def realised_rate(self) -> float | None:
        """Share of the maskable positions that were masked, over the whole training; None without an input mask."""
        hits, positions = self.masked.tolist()
        return hits / positions if positions else None

    @property
    def realised_attention_rate(self) -> float | None:
        """Share of the pairs of a query and another key that were hidden in the whole training; None without pairs.

        Only pairs that the model itself shows count: none with padding, and for GPT-2 none with a later key.
        """
        hidden, pairs = self.hidden.tolist()
        return hidden / pairs if pairs else None

    def idle(self) -> Iterator[str]:
        """Yield a note for each mask that was to do something and never did in the whole training."""
        objective = self.strategy.objective
        inner = getattr(objective, "mask", None)
        for mask, rate, words in (
            (self.strategy.input, self.realised_rate, "the input mask hit no token"),
            (self.strategy.attention, self.realised_attention_rate, "the attention mask hid nothing"),
            (inner, objective.realised_rate if objective is not None else None, "the objective's mask hit no token"),
        ):
            if mask is not None and rate == 0 and getattr(mask, "rate", None) != 0:
                yield f"{words}: the run is as if the strategy had none ({mask.kind})"


def _longest(setting: Setting, count: int) -> dict[str, Any]:
    """Return a collated batch of the `count` longest texts of the training split, with only what models take."""
    order = np.argsort(-np.asarray(setting.train["length"]), kind="stable")
    batch: dict[str, Any] = next(setting.batches(count, order[:count].tolist()))
    return batch


def _two_lengths(setting: Setting) -> Batch:
    """Return the longest and the shortest text of the training split: one of them has padding, if lengths differ."""
    order = np.argsort(-np.asarray(setting.train["length"]), kind="stable")
    chosen = [int(order[0]), int(order[-1])]
    inputs = next(setting.batches(2, chosen))
    ids, padding = inputs["input_ids"], inputs["attention_mask"].bool()
    words = torch.full_like(ids, -1)
    rows = [setting.train[row] for row in chosen]
    for own, real, row in zip(words, padding, rows, strict=True):
        own[real] = torch.tensor(row["words"], device=ids.device)
    return Batch(
        input_ids=ids,
        padding=padding,
        words=words,
        examples=torch.tensor([row["example"] for row in rows], device=ids.device),
        epoch=0,
        mask_id=cast("int", setting.tokenizer.mask_token_id),
        token_types=inputs.get("token_type_ids"),
    )


def _sample(setting: Setting) -> Batch:
    """Return a few texts for a trial pass; their number B differs from their length T, so shapes tell the two apart."""
    inputs = _longest(setting, 2)
    if inputs["input_ids"].shape[1] == len(inputs["input_ids"]):
        inputs = _longest(setting, 1)
    ids, padding = inputs["input_ids"], inputs["attention_mask"].bool()
    special = torch.isin(ids, torch.tensor(setting.tokenizer.all_special_ids, device=ids.device))
    return Batch(
        input_ids=ids,
        padding=padding,
        words=torch.where(padding & ~special, 0, -1),
        examples=torch.arange(len(ids), device=ids.device),
        epoch=0,
        mask_id=cast("int", setting.tokenizer.mask_token_id),
        token_types=inputs.get("token_type_ids"),
    )
