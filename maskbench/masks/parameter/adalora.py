"""Low-rank adapters whose ranks shrink, through PEFT: what parameter masks are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator

from maskbench.config.block import Count, NonNegative, Rate
from maskbench.errors import InputError
from maskbench.masks.shared.adapter import NAME, Adapter

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting


class AdaLora(Adapter):
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
    _vectors: Any = None
    """The matrices of singular vectors, each with whether its rows are the vectors."""

    @model_validator(mode="after")
    def _schedule_makes_sense(self) -> Self:
        if self.target_rank >= self.initial_rank:
            raise ValueError(f"expected target_rank below initial_rank ({self.initial_rank}), got {self.target_rank}")
        if self.warm_up + self.final >= 1:
            raise ValueError("expected warm_up and final to leave updates in which ranks shrink: a sum below 1")
        return self

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Take a seed for the adapters' weights, and the number of updates that the run makes."""
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
        return AdaLoraModel(model, config, NAME)  # type: ignore[no-untyped-call]

    def regularisation(self, model: Module) -> Tensor | None:
        """Return a scalar: `orthogonality` times how far the singular vectors are from orthonormal."""
        import torch

        if self._vectors is None:  # looked for once, since a walk over all parameters takes milliseconds
            wanted = (f"lora_A.{NAME}", f"lora_B.{NAME}")
            self._vectors = [
                ("lora_A" in name, matrix)
                for name, matrix in model.named_parameters()
                if any(part in name for part in wanted)
            ]
        distances = []
        for rows, matrix in self._vectors:
            gram = matrix @ matrix.T if rows else matrix.T @ matrix
            distances.append(torch.linalg.matrix_norm(gram - torch.eye(len(gram), device=gram.device)))
        return self.orthogonality * torch.stack(distances).mean()

    def updated(self, model: Module, step: int) -> None:
        """After an update, let PEFT measure how much each rank matters, and drop the ranks that matter least."""
        self._tuner.update_and_allocate(step + 1)  # PEFT counts updates from 1

    def state(self) -> dict[str, Any]:
        """Return what PEFT has measured of the ranks so far, and which ranks are left."""
        if self._tuner is None:
            return {}
        allocator = self._tuner.rankallocator
        return {
            "ipt": allocator.ipt,
            "exp_avg_ipt": allocator.exp_avg_ipt,
            "exp_avg_unc": allocator.exp_avg_unc,
            "rank_pattern": self._tuner.peft_config[NAME].rank_pattern,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned, so that the ranks shrink as if the run had not stopped."""
        if self._tuner is None:
            return
        allocator = self._tuner.rankallocator
        allocator.ipt, allocator.exp_avg_ipt = state["ipt"], state["exp_avg_ipt"]
        allocator.exp_avg_unc = state["exp_avg_unc"]
        self._tuner.peft_config[NAME].rank_pattern = state["rank_pattern"]
