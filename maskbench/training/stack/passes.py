"""One forward pass of several models that have the same batch, each with its own weights, tokens and attention."""

from __future__ import annotations

import inspect
from contextlib import ExitStack
from copy import deepcopy
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.func import functional_call, vmap
from torch.nn.functional import dropout
from torch.overrides import TorchFunctionMode

from maskbench.masks.visibility import showing
from maskbench.training.quick import quick
from maskbench.training.trainer import seen_loss

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor
    from transformers import PreTrainedModel

    from maskbench.kinds.head import Head
    from maskbench.masks.batch import Batch


class _OwnDropout(TorchFunctionMode):
    """In the block, dropout draws for one model, by the kernel that a single model's dropout uses, and serves all.

    vmap would draw by another kernel, whose numbers differ on a card from those of a cell that is trained alone.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch; dropout is applied to ones, which are the same for all models."""
        if func is not dropout:
            return func(*args, **kwargs or {})
        bound = inspect.signature(dropout).bind(*args, **kwargs or {})
        bound.apply_defaults()
        given, p, training = (bound.arguments[name] for name in ("input", "p", "training"))
        if not training or p == 0:
            return given
        return given * dropout(torch.ones(given.shape, dtype=given.dtype, device=given.device), p)


class Pass:
    """What is the same for all models of a stack.

    Parameters
    ----------
    model
        One of them; its weights are not used.
    head
        Of the task, for its loss.
    mixed
        Compute in bf16 where autocast does.
    batched
        Compute with all models at once; false: with one after another, which leaves the same gradients. None: at once,
        but not on a CPU. There it gains nothing, and the last bits of a product depend on where in memory its factors
        begin, so that equal models of a stack would not stay equal.
    """

    def __init__(self, model: PreTrainedModel, head: Head, *, mixed: bool, batched: bool | None = None) -> None:
        self.model = cast("PreTrainedModel", deepcopy(model).to("meta").train())  # type: ignore[arg-type]
        """The model without weights, in training mode."""
        self._buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
        self._head, self._mixed, self._device = head, mixed, model.device.type
        self._batched = self._device != "cpu" if batched is None else batched

    def losses(
        self,
        weights: Mapping[str, Tensor],
        clean: Batch,
        ids: Tensor,
        visible: Tensor | None = None,
        *,
        observed: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Compute the losses of K models; their dropout is the same, and that of a single model with this seed.

        Parameters
        ----------
        weights
            By name, tensors (K, ...).
        clean
            The micro-batch as it is.
        ids
            (K, B, T) what the models read; (B, T) if it is the same.
        visible
            (K, B or 1, 1, T, T) bool, which keys each query may see in each model; None: all.
        observed
            Whether masks observe the losses.

        Returns
        -------
        tuple
            (K,) each model's share in the loss of its update, and (K,) what masks observe (if they do), in nats.
        """
        labels = cast("Tensor", clean.labels)

        def one(weights: dict[str, Tensor], ids: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor]:
            with ExitStack() as stack:
                if visible is not None:
                    stack.enter_context(showing(self.model, visible))
                # autocast keeps its casts of leaves alone, and in here no weight is one
                stack.enter_context(
                    torch.autocast(self._device, torch.bfloat16, enabled=self._mixed, cache_enabled=False)
                )
                stack.enter_context(_OwnDropout())
                stack.enter_context(quick(self.model, self._device, states=False))
                inputs = clean.inputs() | {"input_ids": ids}
                outputs = functional_call(self.model, (weights, self._buffers), (), inputs)
            loss = self._head.loss(outputs, labels, clean.items)
            return loss, seen_loss(self._head, outputs, labels) if observed else loss.detach()

        places = (0, 0 if ids.dim() == 3 else None, None if visible is None else 0)
        every = vmap(one, in_dims=places, randomness="same", chunk_size=None if self._batched else 1)
        found: tuple[Tensor, Tensor] = every(dict(weights), ids, visible)
        return found
