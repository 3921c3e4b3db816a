"""Low-rank adapters, through PEFT: what parameter masks are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator

from maskbench.config.block import Count, NonNegative, Rate
from maskbench.errors import InputError
from maskbench.masks.base import ParameterMask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor
    from torch.nn import Module, Parameter

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting

_ADAPTER = "default"


class _Adapter(ParameterMask):
    """Fields and steps that both adapters share.

    PEFT's layers are put into the model in place, so that it stays a transformers model for the Trainer and its
    checkpoints; the adapters' weights are in its state dict.
    """

    alpha: Count = 16
    """Scale of the adapters: their output is multiplied by alpha over their rank; adalora: over `initial_rank`, also
    when ranks have shrunk."""
    dropout: Rate = 0.0
    """Dropout before the adapters; above 0 it shifts the other dropout of the model against that of `none`."""
    targets: list[str] | None = None
    """Ends of the names of the linear modules that get an adapter; null: all in the stack of layers."""
    _seed: Any = None
    _tuner: Any = None
    """PEFT's handle on the model while it has adapters."""
    _notes: Any = ()

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Take a seed for the adapters' weights."""
        self._seed = rng.generator(0).initial_seed()

    def _tune(self, model: Module, common: dict[str, Any]) -> Any:
        """Put adapters into the model; returns PEFT's handle."""
        raise NotImplementedError

    def select(self, model: Module) -> Iterable[Parameter]:
        """Put adapters into the model; returns all pretrained parameters.

        Raises
        ------
        InputError
            If the layers have no linear modules, none is called as `targets` says, or there are too few updates for
            ranks to shrink.
        """
        import torch
        from transformers.pytorch_utils import Conv1D

        from maskbench.masks.parameter.reach import note_on
        from maskbench.models.anatomy import linears_of, pretrained_of

        self._notes = note_on(self.kind, model)
        frozen = [parameter for _, parameter in pretrained_of(model)]
        known = {id(parameter) for parameter in frozen}
        head = [parameter for parameter in model.parameters() if id(parameter) not in known]
        linears = dict(linears_of(model))
        if not linears:
            raise InputError(f"{self.kind}: {type(model).__name__} has no linear modules in its layers")
        wanted = [name for name in linears if self.targets is None or name.endswith(tuple(self.targets))]
        if not wanted:
            ends = sorted({name.rsplit(".", 1)[-1] for name in linears})
            raise InputError(f"{self.kind}: targets: no linear module is called so; there are {', '.join(ends)}")
        common = {
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "target_modules": wanted,
            "fan_in_fan_out": any(isinstance(linears[name], Conv1D) for name in wanted),
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            self._tuner = self._tune(model, common)
        for parameter in head:  # PEFT freezes all but the adapters
            parameter.requires_grad_(True)
        return frozen

    def notes(self) -> list[str]:
        """Say which maps have no adapter although `targets` leaves the choice open."""
        return list(self._notes) if self.targets is None else []

    def finish(self, model: Module) -> None:
        """Add the adapters' products to the weights, and take the adapters out."""
        self._tuner.merge_and_unload()
        self._tuner = None


class Lora(_Adapter):
    """Low-rank adapters beside the frozen linear maps of the layers move, and the head.

    Linear maps are modules (Linear, GPT-2's Conv1D). XLNet keeps those of its attention as bare parameters, which get
    no adapter: there the feed-forward maps alone have one. `apply: false` does nothing at all: a model with adapters is
    another model.

    References
    ----------
    Hu et al. (2022), LoRA, section 4.1 (there beside attention's maps alone; here beside all, if `targets` is null).
    """

    kind: Literal["lora"] = "lora"
    rank: Count = 8
    """Rank of each adapter."""

    def _tune(self, model: Module, common: dict[str, Any]) -> Any:
        from peft import LoraConfig, LoraModel

        return LoraModel(model, LoraConfig(r=self.rank, **common), _ADAPTER)


class AdaLora(_Adapter):
    """Low-rank adapters whose ranks shrink, where they matter least, to a mean of `target_rank` while training.

    They stand where those of lora do (on XLNet beside the feed-forward maps alone), in the form of a singular value
    decomposition, with a term in the loss that keeps its vectors orthogonal (PEFT's: the mean over matrices of
    ‖PᵀP − I‖, not squared). The best checkpoint may be one from before the ranks reached their target; early stopping
    may end training before. `apply: false` does nothing at all.

    References
    ----------
    Zhang et al. (2023), AdaLoRA, section 3.
    """

    kind: Literal["adalora"] = "adalora"
    initial_rank: Count = 12
    """Rank of each adapter in the beginning."""
    target_rank: Count = 8
    """Mean rank of the adapters in the end."""
    warm_up: Rate = 0.1
    """Share of the updates before ranks start to shrink."""
    final: Rate = 0.3
    """Share of the updates after they have reached their target."""
    every: Count = 1
    """Updates between two allocations of ranks."""
    orthogonality: NonNegative = 0.5
    """Weight of the term that keeps singular vectors orthogonal."""
    _updates: Any = None

    @model_validator(mode="after")
    def _schedule_makes_sense(self) -> Self:
        if self.target_rank >= self.initial_rank:
            raise ValueError(f"expected target_rank below initial_rank ({self.initial_rank}), got {self.target_rank}")
        if self.warm_up + self.final >= 1:
            raise ValueError("expected warm_up and final to leave updates in which ranks shrink: a sum below 1")
        return self

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Take the number of updates, too."""
        super().fit(setting, rng)
        self._updates = setting.updates

    def _tune(self, model: Module, common: dict[str, Any]) -> Any:
        from peft import AdaLoraConfig, AdaLoraModel

        updates = self._updates
        first, last = int(self.warm_up * updates), int(self.final * updates)
        if updates - last - first < 2:
            raise InputError(f"adalora: {updates} updates are too few to let ranks shrink")
        config = AdaLoraConfig(
            init_r=self.initial_rank,
            target_r=self.target_rank,
            tinit=first,
            tfinal=last,
            deltaT=self.every,
            total_step=updates,
            **common,
        )
        return AdaLoraModel(model, config, _ADAPTER)  # type: ignore[no-untyped-call]

    def regularisation(self, model: Module) -> Tensor | None:
        """Return how far singular vectors are from orthonormal."""
        import torch

        distances = []
        for name, matrix in model.named_parameters():
            if f"lora_A.{_ADAPTER}" in name or f"lora_B.{_ADAPTER}" in name:
                gram = matrix @ matrix.T if "lora_A" in name else matrix.T @ matrix
                distances.append(torch.linalg.matrix_norm(gram - torch.eye(len(gram), device=gram.device)))
        return self.orthogonality * torch.stack(distances).mean()

    def updated(self, model: Module, step: int) -> None:
        """Note how much each rank matters, and drop those that matter least."""
        self._tuner.update_and_allocate(step + 1)  # PEFT counts updates from 1

    def state(self) -> dict[str, Any]:
        """Return what is known of the ranks so far."""
        if self._tuner is None:
            return {}
        allocator = self._tuner.rankallocator
        return {
            "ipt": allocator.ipt,
            "exp_avg_ipt": allocator.exp_avg_ipt,
            "exp_avg_unc": allocator.exp_avg_unc,
            "rank_pattern": self._tuner.peft_config[_ADAPTER].rank_pattern,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on with it."""
        if self._tuner is None:
            return
        allocator = self._tuner.rankallocator
        allocator.ipt, allocator.exp_avg_ipt = state["ipt"], state["exp_avg_ipt"]
        allocator.exp_avg_unc = state["exp_avg_unc"]
        self._tuner.peft_config[_ADAPTER].rank_pattern = state["rank_pattern"]
