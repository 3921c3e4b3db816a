"""The masked-LM head of a pretrained model, with its encoder and without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn import Module
from transformers import AutoModelForMaskedLM
from transformers.modeling_outputs import BaseModelOutput

from maskbench.errors import InputError
from maskbench.models.anatomy import base_of

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from torch.nn import Parameter
    from transformers import PreTrainedModel


def pretrained(folder: Path, like: PreTrainedModel) -> PreTrainedModel:
    """Return θ₀ with its masked-LM head, on the device of another model and with its kind of attention.

    Raises
    ------
    InputError
        If the model's class has no masked-LM head, or the file lacks weights of it.
    """
    try:
        model, info = AutoModelForMaskedLM.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation=like.config._attn_implementation,
            output_loading_info=True,
        )
    except ValueError:  # what transformers raises for a configuration that no masked-LM class goes with
        raise InputError(
            f"{folder}: expected a model with a masked-LM head; one of type {like.config.model_type} has none"
        ) from None
    if missing := sorted(info["missing_keys"]):
        raise InputError(f"{folder}: expected the weights of a masked-LM head, found none of {', '.join(missing)}")
    return cast("PreTrainedModel", model.to(like.device).eval())


def require_same_encoder(model: PreTrainedModel, like: Module) -> None:
    """Make sure that a masked-LM head is made for the encoder of another model.

    Raises
    ------
    InputError
        If it has another one: Funnel classifies with pooled tokens.
    """
    own, other = type(base_of(model)).__name__, type(base_of(like)).__name__
    if own != other:
        raise InputError(f"{type(model).__name__}: expected its encoder {own} under the task's head, found {other}")


class _Output(BaseModelOutput):
    """An encoder's output that has nothing but hidden states: what a head asks for beside them is None."""

    def __getattr__(self, name: str) -> None:
        """Return None for what BART's and Longformer's encoders give beside."""
        if name.startswith("__"):
            raise AttributeError(name)


class _Given(Module):
    """Takes the place of the encoder; it is given last hidden states as if they were token ids, and returns them."""

    def forward(self, input_ids: Tensor, **_: Any) -> BaseModelOutput:
        """Return (..., H) hidden states as an encoder does."""
        return _Output(last_hidden_state=input_ids)


class MaskedLMHead(Module):
    """The masked-LM head alone, for BERT, RoBERTa, DistilBERT, ELECTRA, ModernBERT and what is built like them.

    Its parameters are the head's own: a decoder that is tied to the token embeddings uses those of `trained`, and
    they stay the parameters of that model.

    Parameters
    ----------
    pretrained
        Model with the head; its encoder is taken out.
    trained
        Model whose encoder gives the hidden states.
    """

    def __init__(self, pretrained: PreTrainedModel, trained: PreTrainedModel) -> None:
        super().__init__()
        decoder = pretrained.get_output_embeddings()
        shared = cast("Parameter", trained.get_input_embeddings().weight)
        if decoder.weight is pretrained.get_input_embeddings().weight:
            decoder.weight = shared
        setattr(pretrained, pretrained.base_model_prefix, _Given())
        self._model = (pretrained,)  # in a tuple: otherwise its shared weight would become a parameter of this module
        for name, parameter in pretrained.named_parameters():
            if parameter is not shared:
                self.register_parameter(name.replace(".", "__"), parameter)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return (N, V) logits of (N, H) last hidden states."""
        (model,) = self._model
        model.train(self.training)
        return cast("Tensor", model(input_ids=hidden[None]).logits[0]).float()


def original_head(folder: Path, like: Module) -> MaskedLMHead:
    """Return θ₀'s masked-LM head with its own decoder: the token embeddings of θ₀, where it is tied to them.

    Raises
    ------
    InputError
        If the model has none, or one for another encoder than the task's.
    """
    model = pretrained(folder, like)  # type: ignore[arg-type]
    require_same_encoder(model, like)
    return MaskedLMHead(model, model).eval()
