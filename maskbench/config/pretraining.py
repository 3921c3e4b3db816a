"""Sizes of models that are pretrained from scratch."""

from __future__ import annotations

from typing import Literal

Size = Literal["tiny", "mini"]

SIZES: dict[Size, dict[str, int]] = {
    "tiny": {"num_hidden_layers": 2, "hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 512},
    "mini": {"num_hidden_layers": 4, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024},
}
"""The smallest two of Turc et al. (2019), Well-read students learn better."""
