"""The masked-LM head of the pretrained model: samples for holes, and an auxiliary loss on the encoder in training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn import Module
from transformers import AutoModelForMaskedLM
from transformers.modeling_outputs import BaseModelOutput

from maskbench.errors import InputError
from maskbench.masks.anatomy import base_of
from maskbench.masks.passes import precision

if TYPE_CHECKING:
    from pathlib import Path

    from torch.nn import Parameter
    from transformers import PreTrainedModel

    from maskbench.masks.base import Batch
    from maskbench.masks.setting import Setting


def load(setting: Setting) -> PreTrainedModel:
    """Return θ₀ with its masked-LM head, beside the model in training (see `pretrained`)."""
    return pretrained(setting.folder, setting.model)


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
    """Stands where the encoder was and hands on its last hidden states, which are given as if they were token ids."""

    def forward(self, input_ids: Tensor, **_: Any) -> BaseModelOutput:
        """Return (..., H) hidden states as an encoder does."""
        return _Output(last_hidden_state=input_ids)


class Head(Module):
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
        self._model = (pretrained,)  # in a tuple, or its shared weight would be a parameter of this module
        for name, parameter in pretrained.named_parameters():
            if parameter is not shared:
                self.register_parameter(name.replace(".", "__"), parameter)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return (N, V) logits of (N, H) last hidden states."""
        (model,) = self._model
        model.train(self.training)
        return cast("Tensor", model(input_ids=hidden[None]).logits[0]).float()


class Shared:
    """The masked-LM head on the encoder of the model in training, which both losses then train."""

    def __init__(self, setting: Setting) -> None:
        pretrained = load(setting)
        require_same_encoder(pretrained, setting.model)
        self.head = Head(pretrained, setting.model)

    def loss(self, model: Module, hidden: Tensor, hit: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy of the true tokens in nats, a mean over the hit positions; 0 if there are none.

        Parameters
        ----------
        model
            The model in training.
        hidden
            (B, T, H) its last hidden states.
        hit
            (B, T) bool.
        targets
            (B, T) the text's own token ids.
        """
        self.head.train(model.training)
        with precision(model):
            logits = self.head(hidden[hit])  # a few rows of the vocabulary's size, not all of B times T
        total = torch.nn.functional.cross_entropy(logits, targets[hit], reduction="sum")
        return total / hit.sum().clamp(min=1)


class Sampler:
    """θ₀ fills holes with samples of its own; frozen.

    Parameters
    ----------
    setting
        Its `vocabulary` are the tokens that may come out.
    temperature
        What logits are divided by: below 1 likelier tokens are preferred, above 1 unlikelier ones.
    """

    def __init__(self, setting: Setting, temperature: float) -> None:
        model = load(setting).requires_grad_(False)
        self._trained, self._encoder = setting.model, base_of(model)
        self._head = Head(model, model).eval()
        self._vocabulary = setting.vocabulary.to(setting.model.device)
        self._temperature = temperature

    @torch.no_grad()
    def sample(self, batch: Batch, uniform: Tensor) -> Tensor:
        """Return (N,) token ids for the N positions in `batch.hit`, which hold [MASK], in the order of the text.

        Each is the inverse of the cumulative distribution at one uniform number, so a sample depends on its text
        and its number alone.

        Parameters
        ----------
        uniform
            (N,) numbers in [0, 1).
        """
        with precision(self._trained):
            hidden = self._encoder(**batch.inputs()).last_hidden_state
            logits = self._head(hidden[batch.hit])
        shares = (logits[:, self._vocabulary] / self._temperature).softmax(-1).cumsum(-1)
        # the last share is 1 but for rounding
        place = torch.searchsorted(shares, uniform[:, None] * shares[:, -1:], right=True)[:, 0]
        return self._vocabulary[place.clamp(max=len(self._vocabulary) - 1)]
