"""Tiny random models and small encoded tasks, made by the project's own code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, BertModel, GPT2Config, GPT2Model, PreTrainedTokenizerFast

from maskbench.config.training import Training
from maskbench.data.encode import encode
from maskbench.data.prepare import prepare
from maskbench.experiment.cell import Cell
from maskbench.io.files import sha256_files, write_json
from maskbench.masks import Strategy
from tests.helpers.questions import QUESTIONS, json_of_questions, make_questions
from tests.helpers.tasks import make_source, make_tagging, make_task

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

GOOD, BAD = ["good", "fine", "great", "warm"], ["bad", "poor", "cold", "dull"]
FILLER = ["a", "the", "film", "play", "was", "is", "very", "quite", "Anna", "Rome", "saw", "in"]
HINTS = [f"{start}{end}" for start in "bdfgklmnpr" for end in ("ado", "elo", "imo", "ono", "uro", "alo")]
"""Sixty words: the first half stand three times as often in texts of the label `up`, the others in those of `down`."""
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def make_model(folder: Path, seed: int = 0, head: bool = False, more: Sequence[str] = (), **sizes: Any) -> Path:
    """Write a random two-layer BERT, with a masked-LM head or not, and a word tokenizer, as fetching leaves a model.

    `more` are words that it knows beside those of the texts, `sizes` keys of its configuration.
    """
    folder.mkdir(parents=True)
    known = dict.fromkeys([*SPECIAL, *(word.lower() for word in [*GOOD, *BAD, *FILLER, *more])])
    words = {word: number for number, word in enumerate(known)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(seed)
    plain = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(words), max_position_embeddings=64, **(plain | sizes))
    (BertForMaskedLM if head else BertModel)(config).save_pretrained(folder)
    return _fetched(folder)


def make_gpt2(folder: Path, seed: int = 0) -> Path:
    """Write a random two-layer GPT-2, whose tokenizer has neither a mask token nor one for padding."""
    folder.mkdir(parents=True)
    end = "<|endoftext|>"
    words = {word: number for number, word in enumerate([end, *(w.lower() for w in [*GOOD, *BAD, *FILLER])])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=end))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"bos_token": end, "eos_token": end, "unk_token": end}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(words), n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0
    )
    GPT2Model(config).save_pretrained(folder)
    return _fetched(folder)


def _fetched(folder: Path) -> Path:
    """Write what fetching notes beside a model."""
    files = sha256_files((path for path in folder.iterdir() if path.name != "source.json"), folder)
    write_json(folder / "source.json", {"source": {}, "files": files, "features": {}})
    return folder


def csv_of_texts(count: int) -> str:
    """Return a CSV of sentences whose label is told by one word."""
    rows = ["text,label"]
    for number in range(count):
        word = (GOOD if number % 2 else BAD)[number // 2 % 4]
        filler = " ".join(FILLER[(number * 5 + step) % 12] for step in range(2 + number % 5))
        rows.append(f"{filler} {word} {number},{'up' if number % 2 else 'down'}")
    return "\n".join(rows) + "\n"


def csv_of_hints(count: int) -> str:
    """Return a CSV of texts of ten words, each of which hints at the label and none tells it.

    Nobody can be right about more than 95 % of them, and a tiny model gets there bit by bit: the further the longer its
    updates are, or the more of them there are.
    """
    rng, half = np.random.default_rng(0), len(HINTS) // 2
    likely = np.repeat([3.0, 1.0], half) / (4 * half)
    rows = ["text,label"]
    for number in range(count):
        words = rng.choice(len(HINTS), size=10, p=likely if number % 2 else likely[::-1])
        rows.append(f"{' '.join(HINTS[word] for word in words)},{'up' if number % 2 else 'down'}")
    return "\n".join(rows) + "\n"


def conll_of_sentences(count: int) -> str:
    """Return CoNLL columns with persons and places of one or two words."""
    lines = []
    for number in range(count):
        lines += [f"{FILLER[(number + step) % 8]} O" for step in range(1 + number % 4)]
        lines += ["Anna B-PER"] + (["Great I-PER"] if number % 3 == 0 else [])
        lines += ["saw O", "Rome B-LOC", ""]
    return "\n".join(lines) + "\n"


def make_encoded(folder: Path, model: Path, kind: str, count: int = 60) -> Path:
    """Prepare and encode a small task of a kind."""
    if kind == "sequence-classification":
        task, files = make_task(max_length=32), {"train.csv": csv_of_texts(count)}
    elif kind == QUESTIONS["kind"]:
        task, files = make_questions(), {"train.json": json_of_questions(count)}
    else:
        task, files = make_tagging(max_length=32), {"train.txt": conll_of_sentences(count)}
    source = make_source(folder / "source", files)
    prepare(task, source, folder / "prepared")
    encode(task, folder / "prepared", model, folder / "encoded")
    return folder / "encoded"


def make_cell(kind: str = "sequence-classification", strategy: dict[str, Any] | None = None, **keys: Any) -> Cell:
    """Return a cell that trains in a second; `training` holds hyperparameters that differ."""
    training = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "precision": "fp32"} | keys.pop("training", {})
    return Cell.model_validate(
        {
            "task": "mine",
            "kind": kind,
            "model": "tiny",
            "strategy": Strategy.model_validate({"name": "none"} | (strategy or {})),
            "regime": "single",
            "train_size": "full",
            "seed": 1,
            "training": Training.model_validate(training),
            "max_validation": None,
            "max_test": None,
        }
        | keys
    )


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Tell whether two sets of weights are equal, bit by bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
