"""A tiny random model of every family in docs/models.md, with a tokenizer of its kind; nothing is fetched."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import transformers as t
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from maskbench.io.files import sha256_files, write_json
from maskbench.masks.batch import Batch
from maskbench.training.collate import Collator
from tests.helpers.models import BAD, FILLER, GOOD

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WORDS = [word.lower() for word in [*GOOD, *BAD, *FILLER]]
LAYERS = 3


@dataclass(frozen=True)
class Tokens:
    """How a family's tokenizer frames a text."""

    special: dict[str, str]
    """Its special tokens by their role; ids are given in this order, from 0."""
    template: str
    """What stands around the text ($A)."""
    left: bool = False
    """Pads on the left."""
    letters: bool = False
    """Every byte is a token: AutoTokenizer makes a byte-level BPE of whatever a Qwen folder has."""

    def build(self, more: Sequence[str] = ()) -> t.PreTrainedTokenizerFast:
        """Return the tokenizer: of whole words in small letters, and of `more`."""
        special = list(dict.fromkeys(self.special.values()))
        known = {word: number for number, word in enumerate(dict.fromkeys([*special, *WORDS, *more]))}
        if self.letters:
            known = {
                token: number for number, token in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])
            }
            tokenizer = Tokenizer(models.BPE(known, []))
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        else:
            tokenizer = Tokenizer(models.WordLevel(known, unk_token=self.special["unk_token"]))
            tokenizer.normalizer = normalizers.Lowercase()
            tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        if self.template != "$A":
            pieces = [piece.split(":")[0] for piece in self.template.split()]
            framing = [(token, known[token]) for token in pieces if token in known]
            tokenizer.post_processor = processors.TemplateProcessing(single=self.template, special_tokens=framing)
        side = "left" if self.left else "right"
        return t.PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side=side, **self.special)


_BERT = Tokens(
    {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    },
    "[CLS] $A [SEP]",
)
_ROBERTA = Tokens(
    {
        "bos_token": "<s>",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "mask_token": "<mask>",
    },
    "<s> $A </s>",
)
_XLNET = Tokens(
    {
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "cls_token": "<cls>",
        "sep_token": "<sep>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
    },
    "$A:0 <sep>:0 <cls>:2",
    left=True,
)
_GPT = Tokens({"unk_token": "<|end|>", "bos_token": "<|end|>", "eos_token": "<|end|>"}, "$A")
_OPT = Tokens({"bos_token": "</s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}, "</s> $A")
_QWEN = Tokens({"pad_token": "<|pad|>", "unk_token": "<|end|>", "eos_token": "<|end|>"}, "$A", letters=True)
_LLAMA = Tokens({"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}, "<s> $A")
_GEMMA = Tokens(
    {
        "pad_token": "<pad>",
        "eos_token": "<eos>",
        "bos_token": "<bos>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    },
    "<bos> $A",
)
_T5 = Tokens({"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}, "$A </s>")

_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 80,
}
_DECODER = _SIZES | {"num_key_value_heads": 1, "head_dim": 8}


@dataclass(frozen=True)
class Family:
    """A model family: its configuration in a small size, and how it frames texts."""

    title: str
    config: type[t.PreTrainedConfig]
    tokens: Tokens
    sizes: dict[str, Any] = field(default_factory=lambda: _SIZES)
    pretrained: str = "MaskedLM"
    """The head that its pretrained weights come with: MaskedLM, or none."""

    def configuration(self, words: int, **more: Any) -> t.PreTrainedConfig:
        """Return the configuration with so many tokens, special ones where the tokenizer has them."""
        special = list(dict.fromkeys(self.tokens.special.values()))
        ids = {
            f"{role}_id": special.index(self.tokens.special[role])
            for role in ("pad_token", "bos_token", "eos_token", "cls_token", "sep_token")
            if role in self.tokens.special
        }
        ids.setdefault("pad_token_id", None)
        return self.config(vocab_size=words, **ids, **self.sizes, **more)


FAMILIES: dict[str, Family] = {
    "bert": Family("BERT", t.BertConfig, _BERT),
    "roberta": Family("RoBERTa", t.RobertaConfig, _ROBERTA),
    "xlm-roberta": Family("XLM-RoBERTa", t.XLMRobertaConfig, _ROBERTA),
    "camembert": Family("CamemBERT", t.CamembertConfig, _ROBERTA),
    "distilbert": Family(
        "DistilBERT",
        t.DistilBertConfig,
        _BERT,
        {"dim": 16, "n_layers": LAYERS, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 80},
    ),
    "electra": Family("ELECTRA", t.ElectraConfig, _BERT, _SIZES | {"embedding_size": 8}),
    "albert": Family("ALBERT", t.AlbertConfig, _BERT, _SIZES | {"embedding_size": 8}),
    "deberta": Family(
        "DeBERTa",
        t.DebertaConfig,
        _BERT,
        _SIZES | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": 16},
    ),
    "deberta-v2": Family(
        "DeBERTa-v2, v3",
        t.DebertaV2Config,
        _BERT,
        _SIZES
        | {
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "position_biased_input": False,
        },
    ),
    "mpnet": Family("MPNet", t.MPNetConfig, _ROBERTA),
    "convbert": Family("ConvBERT", t.ConvBertConfig, _BERT, _SIZES | {"embedding_size": 8, "conv_kernel_size": 3}),
    "squeezebert": Family(
        "SqueezeBERT",
        t.SqueezeBertConfig,
        _BERT,
        _SIZES
        | {"embedding_size": 16}
        | {f"{name}_groups": 2 for name in ("q", "k", "v", "post_attention", "intermediate", "output")},
    ),
    "mobilebert": Family(
        "MobileBERT",
        t.MobileBertConfig,
        _BERT,
        _SIZES | {"embedding_size": 8, "intra_bottleneck_size": 16, "num_feedforward_networks": 1},
    ),
    "big_bird": Family("BigBird", t.BigBirdConfig, _BERT, _SIZES | {"attention_type": "block_sparse", "block_size": 4}),
    "longformer": Family("Longformer", t.LongformerConfig, _ROBERTA, _SIZES | {"attention_window": [4] * LAYERS}),
    "modernbert": Family(
        "ModernBERT", t.ModernBertConfig, _BERT, _SIZES | {"local_attention": 8, "global_attn_every_n_layers": 2}
    ),
    "nomic_bert": Family("NomicBERT", t.NomicBertConfig, _BERT, _SIZES | {"head_dim": 8}),
    "funnel": Family(
        "Funnel",
        t.FunnelConfig,
        _BERT,
        {
            "block_sizes": [1, 1, 1],
            "num_decoder_layers": 1,
            "d_model": 16,
            "n_head": 2,
            "d_head": 8,
            "d_inner": 32,
            "max_position_embeddings": 80,
        },
    ),
    "xlnet": Family("XLNet", t.XLNetConfig, _XLNET, {"d_model": 16, "n_layer": LAYERS, "n_head": 2, "d_inner": 32}, ""),
    "gpt2": Family("GPT-2", t.GPT2Config, _GPT, {"n_embd": 16, "n_layer": LAYERS, "n_head": 2, "n_positions": 80}, ""),
    "gpt_neox": Family("GPT-NeoX, Pythia", t.GPTNeoXConfig, _GPT, _SIZES, ""),
    "opt": Family(
        "OPT",
        t.OPTConfig,
        _OPT,
        {
            "hidden_size": 16,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 2,
            "ffn_dim": 32,
            "max_position_embeddings": 80,
            "word_embed_proj_dim": 8,
        },
        "",
    ),
    "bloom": Family("BLOOM", t.BloomConfig, _OPT, {"hidden_size": 16, "n_layer": LAYERS, "n_head": 2}, ""),
    "llama": Family("Llama", t.LlamaConfig, _LLAMA, _DECODER, ""),
    "mistral": Family("Mistral", t.MistralConfig, _LLAMA, _DECODER | {"sliding_window": 8}, ""),
    "qwen2": Family("Qwen2", t.Qwen2Config, _QWEN, _SIZES | {"num_key_value_heads": 1}, ""),
    "gemma": Family("Gemma", t.GemmaConfig, _GEMMA, _DECODER, ""),
    "gemma2": Family("Gemma 2", t.Gemma2Config, _GEMMA, _DECODER | {"sliding_window": 8}, ""),
    "t5": Family(
        "T5",
        t.T5Config,
        _T5,
        {"d_model": 16, "num_layers": LAYERS, "num_heads": 2, "d_kv": 8, "d_ff": 32, "decoder_start_token_id": 0},
        "",
    ),
    "bart": Family(
        "BART",
        t.BartConfig,
        _ROBERTA,
        {
            "d_model": 16,
            "encoder_layers": LAYERS,
            "decoder_layers": LAYERS,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "decoder_ffn_dim": 32,
            "max_position_embeddings": 80,
            "decoder_start_token_id": 2,
        },
        "",
    ),
}


HEADS = {
    "sequence-classification": t.AutoModelForSequenceClassification,
    "token-classification": t.AutoModelForTokenClassification,
}
NO_TAGGING = {"opt", "bart"}
"""Families without a head for tagging in transformers."""
DECODERS = {"gpt2", "gpt_neox", "opt", "bloom", "llama", "mistral", "qwen2", "gemma", "gemma2"}
"""Families whose tokens see what is before them alone."""
NEARBY = {"mistral", "gemma2", "modernbert"}
"""Families some of whose layers see near tokens alone."""
BOTH = [
    (name, kind) for name in FAMILIES for kind in HEADS if kind == "sequence-classification" or name not in NO_TAGGING
]
"""Every family with every head that it has."""


def spread(model: t.PreTrainedModel) -> t.PreTrainedModel:
    """Give a model weights that are far from 0, or what leaks would not show."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3)
    return model


def build(name: str, kind: str, seed: int = 0, **changed: Any) -> t.PreTrainedModel:
    """Return a tiny random model of a family with a head, in eval mode; `changed` are other values of its config."""
    family = FAMILIES[name]
    config = family.configuration(len(family.tokens.build()), num_labels=3)
    for key, value in changed.items():
        setattr(config, key, value)
    if config.pad_token_id is None:
        config.pad_token_id = config.eos_token_id  # as a run does
    torch.manual_seed(seed)
    return spread(HEADS[kind].from_config(config, attn_implementation="eager")).eval()


def texts(name: str, lengths: Sequence[int] = (12, 9, 5), seed: int = 0) -> Batch:
    """Return texts of so many tokens, framed and padded as the family's tokenizer does it; none has the mask token."""
    tokens = FAMILIES[name].tokens
    tokenizer = tokens.build()
    special = set(tokenizer.all_special_ids)
    own = [token for token in range(len(tokenizer)) if token not in special]
    random = torch.Generator().manual_seed(seed)
    rows = []
    for number, length in enumerate(lengths):
        frame = tokenizer("", add_special_tokens=True)["input_ids"]
        start = [token for token in frame if token in special] if not tokens.left else []
        ends = 1 if tokens.template.split()[-1] != "$A" and not tokens.left else 0
        before, after = start[: len(start) - ends], start[len(start) - ends :] if not tokens.left else frame
        count = length - len(before) - len(after)
        words = [own[int(place)] for place in torch.randint(len(own) - 1, (count,), generator=random)]
        rows.append(
            {
                "input_ids": [*before, *words, *after],
                "words": [*[-1] * len(before), *range(count), *[-1] * len(after)],
                "capitals": [False] * length,
                "labels": 0,
                "example": number,
            }
        )
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    inputs = Collator(pad, left=tokens.left)(rows)
    return Batch(**inputs | {"padding": inputs.pop("attention_mask").bool()}, epoch=0, mask_id=own[-1])


def make_family(folder: Path, name: str, more: Sequence[str] = (), seed: int = 0, **changed: Any) -> Path:
    """Write a tiny random model of a family, with its masked-LM head where it has one, as fetching leaves a model.

    `changed` are values of the configuration that differ.
    """
    family = FAMILIES[name]
    folder.mkdir(parents=True)
    tokenizer = family.tokens.build(more)
    tokenizer.save_pretrained(folder)
    config = family.configuration(len(tokenizer))
    for key, value in changed.items():
        setattr(config, key, value)
    torch.manual_seed(seed)
    head = t.AutoModelForMaskedLM if family.pretrained else t.AutoModel
    spread(head.from_config(config)).save_pretrained(folder)
    files = sha256_files((path for path in folder.iterdir() if path.name != "source.json"), folder)
    write_json(folder / "source.json", {"source": {}, "files": files, "features": {}})
    return folder
