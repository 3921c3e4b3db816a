"""Load models: pretrained ones with fresh heads, and encoders that were trained on another task before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from maskbench.errors import InputError
from maskbench.io.files import read_json
from maskbench.kinds import head
from maskbench.models.anatomy import base_of, mark_fresh, pretrained_of
from maskbench.models.refusals import refusals

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from maskbench.config.kinds import TaskKind
    from maskbench.config.training import Training
    from maskbench.models.refusals import Asked


def require_served(folder: Path, name: str, kind: TaskKind, strategy: Asked, training: Training) -> None:
    """Make sure, from its configuration alone, that a model can do what is asked of it.

    Parameters
    ----------
    folder
        Of the fetched model.
    name
        What messages call it.
    kind, strategy, training
        See `refusals`.

    Raises
    ------
    InputError
        If it cannot; the error has a line for each thing that it cannot do.
    """
    about = read_json(folder / "config.json")
    lines = list(refusals(about, kind, strategy, training))
    if not lines and type(read_config(folder)) not in head.of(kind).auto._model_mapping:
        lines = [f"kind: transformers has no head for {kind} on a model of type {about.get('model_type')}"]
    if lines:
        raise InputError(*(f"model {name}: {line}" for line in lines))


def takes_sdpa(folder: Path) -> bool:
    """Tell whether transformers computes the attention of a fetched model by PyTorch's fused function, too."""
    config = read_config(folder)
    found = AutoModelForSequenceClassification._model_mapping.get(type(config), None)
    return bool(getattr(found[0] if isinstance(found, tuple) else found, "_supports_sdpa", True))


def read_config(folder: Path) -> Any:
    """Return the configuration of a model.

    Raises
    ------
    InputError
        If it cannot be loaded.
    """
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises a dozen classes of errors
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"{folder / 'config.json'}: cannot be loaded: {line}") from error


def build_model(
    folder: Path, kind: TaskKind, labels: Sequence[str], *, seed: int, dropout: float | None, attention: str
) -> PreTrainedModel:
    """Load a pretrained model with a fresh head, initialised by a seed alone.

    Parameters
    ----------
    folder
        Of the fetched model.
    kind
        Of the task, which decides the head.
    labels
        Names of its classes.
    seed
        Of the head's weights.
    dropout
        Of hidden states, attention and classifier; None: the model's own.
    attention
        Implementation: ``eager`` or ``sdpa``.
    """
    names = dict(enumerate(labels))
    config = AutoConfig.from_pretrained(
        folder, local_files_only=True, id2label=names, label2id={v: k for k, v in names.items()}
    )
    if dropout is not None:
        for key in config.to_dict():
            if key in vars(config) and "layerdrop" not in key and ("dropout" in key or key.endswith("pdrop")):
                setattr(config, key, dropout)
    set_seed(seed)
    return under_fresh_head(folder, kind, attention, config=config)


def under_fresh_head(folder: Path, kind: TaskKind, attention: str, **settings: Any) -> PreTrainedModel:
    """Load a pretrained model under the head of a kind of task; what its file lacks (head, pooler) is marked as fresh.

    Parameters
    ----------
    folder
        Of the fetched model.
    kind
        Of the task, which decides the head.
    attention
        Implementation: ``eager`` or ``sdpa``.
    settings
        A `config` of the model, or values that replace those of its own.
    """
    model: PreTrainedModel
    model, loaded = head.of(kind).auto.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        dtype=torch.float32,
        attn_implementation=attention,
        output_loading_info=True,
        **settings,
    )
    mark_fresh(model, loaded["missing_keys"])
    return model


# --- a mask token


def embed_mask_token(model: PreTrainedModel, token: int) -> None:
    """Give an added mask token an embedding, under every strategy alike, so that all strategies start from one model.

    It starts as the mean of all others and is learnt with them.
    """
    table = cast("torch.nn.Embedding", model.get_input_embeddings())
    mean = table.weight.detach().mean(0)
    if token >= table.num_embeddings:
        table = model.resize_token_embeddings(token + 1, mean_resizing=False)
    with torch.no_grad():
        table.weight[token] = mean


def ordinary_tokens(tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Return (V,) the ids of all tokens that text is made of: no special ones, none of BERT's ``[unused1]``."""
    special = set(tokenizer.all_special_ids)
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return torch.tensor(
        [token for token, name in enumerate(names) if token not in special and not name.startswith("[unused")]
    )


# --- one task after another


@torch.no_grad()
def start_from(model: PreTrainedModel, folder: Path) -> None:
    """Give a model the encoder of a trained one; what is fresh in it, its head above all, stays as it is.

    An encoder with another number of tokens (one to which a mask token was added) brings its embeddings along. What
    the trained model did not have, such as BERT's pooler after tagging, stays pretrained.

    Parameters
    ----------
    model
        Freshly built from the pretrained model.
    folder
        Of the trained model, of any kind of task.

    Raises
    ------
    InputError
        If it is not of the same architecture.
    """
    trained, loaded = AutoModel.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
    )
    rows = trained.get_input_embeddings().num_embeddings
    if rows != cast("torch.nn.Embedding", model.get_input_embeddings()).num_embeddings:
        model.resize_token_embeddings(rows, mean_resizing=False)
    given = {name: weight for name, weight in trained.named_parameters() if name not in loaded["missing_keys"]}
    old = {id(weight) for _, weight in pretrained_of(model)}
    taken = {name: weight for name, weight in base_of(model).named_parameters() if id(weight) in old and name in given}
    if not taken or any(weight.shape != given[name].shape for name, weight in taken.items()):
        raise InputError(
            f"{folder}: expected a trained {model.config.model_type} of the same size, found another model"
        )
    for name, weight in taken.items():
        weight.copy_(given[name])
