"""Architectures and sizes of models that are pretrained from scratch."""

from __future__ import annotations

from typing import Any, Literal

Architecture = Literal["bert", "modernbert"]
"""What transformers calls the types of the models that can be made from scratch."""
CONFIGS: dict[Architecture, str] = {"bert": "BertConfig", "modernbert": "ModernBertConfig"}
"""Class of transformers whose fields say the size of a model."""
Size = Literal["tiny", "mini"]

SIZES: dict[Architecture, dict[Size, dict[str, Any]]] = {
    "bert": {
        "tiny": {"num_hidden_layers": 2, "hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 512},
        "mini": {"num_hidden_layers": 4, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024},
    },
    "modernbert": {
        "tiny": {
            "num_hidden_layers": 2,
            "hidden_size": 128,
            "num_attention_heads": 2,
            "intermediate_size": 336,
            "layer_types": ["sliding_attention", "full_attention"],
            "local_attention": 4,
            "global_rope_theta": 10_000.0,
            "classifier_pooling": "mean",
        },
        "mini": {
            "num_hidden_layers": 4,
            "hidden_size": 256,
            "num_attention_heads": 4,
            "intermediate_size": 672,
            "layer_types": ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"],
            "local_attention": 4,
            "global_rope_theta": 10_000.0,
            "classifier_pooling": "mean",
        },
    },
}
"""Fields of the sizes: layers and widths are the smallest two of Turc et al. (2019), Well-read students learn better.

In a ModernBERT of them, all layers but the last let a token attend to two tokens on each side alone, so that it finds
its neighbours at once; docs/pretraining-study.md says what comes of wider windows. A gated feed-forward map has three
matrices in the place of two, so it is two thirds as wide as BERT's. The first token sees little of its text through a
window, so classification reads the mean of all tokens. The base of the rotations is the one for texts of some hundred
tokens (Su et al. 2021, RoFormer); ModernBERT's own is for thousands.
"""
