"""The model of a pretraining: its encoder, its masked-LM head at masked places, and its head for next sentences."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForMaskedLM, BertForPreTraining, set_seed

from maskbench.config.pretraining import CONFIGS, SIZES
from maskbench.errors import InputError
from maskbench.models.anatomy import base_of
from maskbench.models.loading import read_config
from maskbench.models.masked_lm import MaskedLMHead

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from maskbench.experiment.pretraining import Pretrain
    from maskbench.masks.batch import Batch

POSITIONS = 512
"""Positions that a model from scratch has at least, so that fine-tuning may use longer texts than pretraining."""

OLD_FIELDS = ("global_rope_theta", "local_rope_theta", "global_attn_every_n_layers")
"""What a ModernBertConfig takes, and keeps under the names rope_parameters and layer_types."""


def fresh(
    recipe: Pretrain, tokenizer: PreTrainedTokenizerBase, attention: str
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Return a BERT or ModernBERT with random weights, which depend on the recipe's seed alone.

    Parameters
    ----------
    recipe
        Architecture, size, dropout, seed, and whether there is a head for next sentences.
    tokenizer
        Of the packed text.
    attention
        Implementation: ``eager`` or ``sdpa``.

    Returns
    -------
    tuple
        The model, and the dropout that its configuration has for fine-tuning, by field.

    Raises
    ------
    InputError
        If the configuration's fields make no model.
    """
    size = recipe.size or "tiny"
    fields: dict[str, Any] = dict(SIZES[recipe.made][size] if isinstance(size, str) else size)
    fields = {"max_position_embeddings": max(POSITIONS, recipe.length), **fields}
    fields |= {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    if recipe.made == "modernbert":  # its defaults are ids of another vocabulary
        fields |= {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
        fields |= {"cls_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
    known = AutoConfig.for_model(recipe.made)
    if wrong := [field for field in fields if field not in OLD_FIELDS and not hasattr(known, field)]:
        raise InputError(f"pretrain.size: expected fields of a {CONFIGS[recipe.made]}; {wrong[0]} is none")
    set_seed(recipe.seed)
    try:
        config = AutoConfig.for_model(recipe.made, **fields)
        own = _with_dropout(config, recipe.dropout)
        build: Any = BertForPreTraining._from_config if recipe.next_sentence else AutoModelForMaskedLM.from_config
        return cast("PreTrainedModel", build(config, attn_implementation=attention)), own
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError, StrictDataclassError) as error:
        line = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"pretrain.size: expected fields of a {CONFIGS[recipe.made]} that make a model: {line}"
        ) from None


def continued(recipe: Pretrain, folder: Path, attention: str) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Return a given model with its masked-LM head; weights that its file lacks depend on the recipe's seed.

    Parameters
    ----------
    recipe
        Dropout, seed, whether there is a head for next sentences, and whether all weights are drawn anew.
    folder
        Of the given model.
    attention
        Implementation: ``eager`` or ``sdpa``.

    Returns
    -------
    tuple
        The model, and the dropout that its configuration has for fine-tuning, by field.

    Raises
    ------
    InputError
        If there is no masked-LM head for its type, or, with next sentences, if it is no BERT.
    """
    config = read_config(folder)
    if recipe.next_sentence and config.model_type != "bert":
        raise InputError(f"{folder}: next_sentence: expected a BERT, found a model of type {config.model_type}")
    if type(config) not in AutoModelForMaskedLM._model_mapping:
        raise InputError(f"{folder}: expected a model with a masked-LM head; type {config.model_type} has none")
    own = _with_dropout(config, recipe.dropout)
    kind = BertForPreTraining if recipe.next_sentence else AutoModelForMaskedLM
    set_seed(recipe.seed)
    if recipe.weights == "random":
        build: Any = BertForPreTraining._from_config if recipe.next_sentence else AutoModelForMaskedLM.from_config
        return cast("PreTrainedModel", build(config, attn_implementation=attention)), own
    model = kind.from_pretrained(
        folder,
        config=config,
        local_files_only=True,
        use_safetensors=True,
        dtype=torch.float32,
        attn_implementation=attention,
    )
    return cast("PreTrainedModel", model), own


def _with_dropout(config: Any, dropout: float) -> dict[str, Any]:
    """Set every dropout of a configuration; return what was there, by field."""
    fields = [field for field in config.to_dict() if field in vars(config) and "layerdrop" not in field]
    own = {field: getattr(config, field) for field in fields if "dropout" in field or field.endswith("pdrop")}
    for field in own:
        setattr(config, field, dropout)
    return own


@torch.no_grad()
def start_at_frequencies(model: PreTrainedModel, counts: Tensor) -> None:
    """Let a fresh model begin with the frequencies of the tokens: they become the bias of its masked-LM head.

    Otherwise its first hundreds of updates learn nothing else, and bend the embeddings to say it.

    Parameters
    ----------
    counts
        (V,) how often each token stands in the training text.
    """
    bias = cast("Any", model).get_output_embeddings().bias
    bias.copy_(log_frequencies(counts).to(bias))


def log_frequencies(counts: Tensor) -> Tensor:
    """Return (V,) the logarithms of the tokens' frequencies, each (V,) count one higher so that none is infinite."""
    return torch.log((counts + 1) / (counts + 1).sum())


class Learner:
    """A model with its heads taken apart, so that logits are computed at masked places only.

    Parameters
    ----------
    model
        With a masked-LM head; a BertForPreTraining also learns next sentences.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model, self.encoder = model, base_of(model)
        self.pairs = isinstance(model, BertForPreTraining)
        """Whether it learns next sentences."""
        self._head: Module
        if self.pairs:
            self._head = cast("Any", model).cls.predictions
        else:
            shell = copy(model)  # the head gives the encoder away; the model keeps its own
            shell._modules = dict(model._modules)
            self._head = MaskedLMHead(shell, model)

    def outputs(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return (N, V) logits of the hit places, in the order of the rows, and (B, 2) logits of the pairs or None."""
        assert batch.hit is not None
        found = self.encoder(**batch.inputs())
        hidden = found.last_hidden_state
        places = batch.hit.flatten().nonzero()[:, 0]
        logits = self._head(hidden.flatten(0, 1)[places]).float()
        if not self.pairs:
            return logits, None
        return logits, cast("Any", self.model).cls.seq_relationship(found.pooler_output).float()

    def loss(self, clean: Batch, masked: Batch) -> Tensor:
        """Return the loss that is minimised, a scalar in nats.

        The masked-LM loss is a mean over the hit places; 0 if there are none. That of next sentences is a mean over the
        pairs, and is added.

        Parameters
        ----------
        clean
            The batch as it is.
        masked
            The batch after the mask.
        """
        assert masked.hit is not None
        logits, pairs = self.outputs(masked)
        wanted = clean.input_ids[masked.hit]
        total = torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")
        loss = total / max(1, len(wanted))
        if pairs is not None:
            assert clean.labels is not None
            loss = loss + torch.nn.functional.cross_entropy(pairs, clean.labels)
        return loss
