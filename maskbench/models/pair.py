"""Two heads on one encoder: the model of a joint run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from maskbench.models.anatomy import base_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

BESIDE = "beside"
"""Where the model of a joint run keeps the second task's head."""


class Pair:
    """Two models with heads of their own on one encoder.

    The second head's parts are a submodule of the first model, so that this one has all parameters once, each under
    one name: what optimisers, checkpoints and parameter masks see is an ordinary model with one part more.

    Parameters
    ----------
    models
        Freshly built from the same pretrained model, both with the heads of their tasks. They share the encoder of
        the first one, or that of the second if it has more parts (BERT's pooler, which tagging does without).
    """

    def __init__(self, models: tuple[PreTrainedModel, PreTrainedModel]) -> None:
        first, second = self.models = models
        self._own = [list(model.state_dict()) for model in models]
        prefix = first.base_model_prefix
        parts = [sum(1 for _ in base_of(model).parameters()) for model in models]
        keeper, other = (first, second) if parts[0] >= parts[1] else (second, first)
        setattr(other, prefix, base_of(keeper))
        head = {name: part for name, part in second.named_children() if name != prefix}
        if len(list(second.parameters(recurse=False))) or hasattr(first, BESIDE):
            raise ValueError(f"{type(second).__name__}: expected a base model and modules beside it")
        first.add_module(BESIDE, torch.nn.ModuleDict(head))

    def states(self, whole: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """Split a state dict of the first model into those of two ordinary models, each with its own head."""
        start = f"{BESIDE}."
        shared = {
            name: weight for name, weight in whole.items() if name.startswith(f"{self.models[0].base_model_prefix}.")
        }
        second = shared | {name.removeprefix(start): weight for name, weight in whole.items() if name.startswith(start)}
        return [{name: state[name] for name in own} for own, state in zip(self._own, (whole, second), strict=True)]
