"""Training passes through torch.compile: one graph for each length of a batch, whatever masks are at work.

What strategies do to a pass stands outside the graph: they change the token ids, blend the looked-up embeddings, and
hide pairs in the additive mask. So every strategy runs the same graph with other inputs, and cells of one seed stay
paired: the same dropout, and the same bits where a mask hides nothing.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask
from transformers.modeling_outputs import SequenceClassifierOutput

from maskbench.masks.passes import precision, still
from maskbench.masks.visibility import always_masked

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from transformers import PreTrainedModel

BACKEND = "inductor"
"""What torch.compile makes graphs with."""
SIZES = 64
"""Largest number of graphs: one for each length of a batch, which is a multiple of `Device.multiple`."""
_MASKS: tuple[Callable[..., Any], ...] = (create_bidirectional_mask, create_causal_mask)


def _pass(model: PreTrainedModel, embeddings: Tensor, pairs: Tensor, more: dict[str, Tensor]) -> Any:
    """Return the logits of a model, and all hidden states, from embeddings and an additive mask of pairs."""
    # the class's own forward: what the Trainer wraps around it is different for each model, and would be compiled anew
    forward = cast("Any", type(model)).forward
    found = forward(model, inputs_embeds=embeddings, attention_mask=pairs, output_hidden_states=True, **more)
    return found.logits, found.hidden_states


@cache
def _graphs(backend: str, mode: str | None) -> Callable[..., Any]:
    """Return the pass as compiled graphs, which all cells of a process share."""
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, SIZES)
    return torch.compile(_pass, backend=backend, mode=mode, dynamic=False)


class Compiled:
    """A model whose training passes are compiled, for the place of the model in a Trainer's loss.

    The first pass tries it: if the model computes something else from embeddings and a mask of pairs than from ids
    (XLNet takes its pairs in another way), or if nothing here can compile, all passes are the model's own, and
    `notes` says why.

    Parameters
    ----------
    model
        In training.
    size
        Examples of a full micro-batch; smaller ones, at the end of an epoch, are not worth a graph.
    """

    def __init__(self, model: PreTrainedModel, size: int) -> None:
        self.model, self.size = model, size
        self._graphs = _graphs(BACKEND, "reduce-overhead" if model.device.type == "cuda" else None)
        self._mask: Callable[..., Any] | None = None
        self._why: str | None = None
        """Why nothing is compiled; None: it is, or was not tried yet."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def begin(self) -> None:
        """Note that an update begins, and nothing of the last one is needed any more."""
        if self.model.device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()

    def __call__(self, *, output_hidden_states: bool = False, **inputs: Any) -> Any:
        """Return what the model would: logits, and hidden states if they are asked for."""
        if len(inputs["input_ids"]) != self.size or self._why is not None or not self._tried(inputs):
            return self.model(output_hidden_states=output_hidden_states, **inputs)
        embeddings, pairs, more = self._given(inputs)
        with precision(self.model):
            try:
                logits, states = self._graphs(self.model, embeddings, pairs, more)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # no compiler, no Triton, or what torch.compile cannot do: dozens of classes
                self._give_up(f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}")
                return self.model(output_hidden_states=output_hidden_states, **inputs)
        return SequenceClassifierOutput(logits=logits.float(), hidden_states=states if output_hidden_states else None)

    def _given(self, inputs: dict[str, Any]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return what the graph takes: (B, T, E) embeddings, the mask of pairs, and token types if there are any."""
        assert self._mask is not None
        embeddings = self.model.get_input_embeddings()(inputs["input_ids"])
        keys = {"config": self.model.config, "inputs_embeds": embeddings, "attention_mask": inputs["attention_mask"]}
        with always_masked(self.model):
            pairs = self._mask(**keys, **({} if self._mask is create_bidirectional_mask else {"past_key_values": None}))
        return embeddings, pairs, {name: inputs[name] for name in ("token_type_ids",) if name in inputs}

    @torch.no_grad()
    def _tried(self, inputs: dict[str, Any]) -> bool:
        """Tell whether the model computes the same from what the graph takes, in eval mode; tried once."""
        if self._mask is not None:
            return True
        inputs = {name: inputs[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in inputs}
        with still(self.model), precision(self.model), torch.random.fork_rng():
            wanted = self.model(**inputs).logits.float()
            for mask in _MASKS:
                self._mask = mask
                try:
                    found, _ = _pass(self.model, *self._given(inputs))
                except torch.OutOfMemoryError:
                    raise
                except Exception:  # whatever a model says that does not know such inputs
                    continue
                if torch.allclose(found.float(), wanted, rtol=1e-2, atol=1e-2 * float(wanted.abs().max())):
                    return True
        self._mask = None
        self._give_up(f"{type(self.model).__name__} computes something else from embeddings and a mask of pairs")
        return False

    def _give_up(self, why: str) -> None:
        """Let all passes be the model's own from now on."""
        self._why = why

    def notes(self) -> list[str]:
        """Return the note for the record of the run."""
        return ["training passes were compiled" if self._why is None else f"compile: not compiled: {self._why}"]
