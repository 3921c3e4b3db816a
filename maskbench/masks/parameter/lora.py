"""Low-rank adapters of a fixed rank, through PEFT: what parameter masks are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from maskbench.config.block import Count
from maskbench.masks.shared.adapter import NAME, Adapter

if TYPE_CHECKING:
    from torch.nn import Module


class Lora(Adapter):
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
    """Rank of the two matrices of each adapter."""

    def _tune(self, model: Module, common: dict[str, Any]) -> Any:
        from peft import LoraConfig, LoraModel

        return LoraModel(model, LoraConfig(r=self.rank, **common), NAME)
