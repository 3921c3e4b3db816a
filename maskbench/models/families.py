"""What the families of models cannot do: facts about transformers that a config.json's model_type tells.

They are known before anything is loaded or trained. What is not listed is found out when masks are fitted, by passes
that try them. docs/models.md shows all of it; tests compare these lists with transformers and with what families do.
"""

from __future__ import annotations

NO_TOKEN_HEAD = frozenset(
    {
        "bart",
        "bigbird_pegasus",
        "cohere_compass_text",
        "ctrl",
        "deepseek_v2",
        "doge",
        "gemma3",
        "gemma3_text",
        "gptj",
        "hunyuan_v1_dense",
        "hunyuan_v1_moe",
        "jamba",
        "jetmoe",
        "mbart",
        "minicpm3",
        "modernbert-decoder",
        "mvp",
        "olmo",
        "olmo2",
        "olmo3",
        "openai-gpt",
        "opt",
        "perceiver",
        "phimoe",
        "plbart",
        "qwen3_5_text",
        "reformer",
        "tapas",
        "zamba",
        "zamba2",
    }
)
"""Model types for which transformers has a head for classification, but none that answers at each token."""
NO_CHECKPOINTING = frozenset({"albert", "funnel", "mpnet", "squeezebert", "xlnet"})
"""Model types that transformers cannot recompute activations of."""
READ_TWICE = frozenset({"bart", "mbart", "mvp", "plbart", "t5", "mt5", "umt5"})
"""Encoder-decoders: what classifies reads the text in the encoder, and in the decoder once more, shifted by one."""
NO_TEXT_PAIRS = {
    "longformer": "it attends within windows that it fills up",
    "funnel": "it pools its tokens",
    "convbert": "its convolutions mix tokens beside its attention",
    "mobilebert": "its embeddings mix each token with its neighbours",
}
"""Model types from which no pair of tokens can be hidden, and why."""
NO_ATTENTIONS = frozenset({"big_bird", "funnel", "longformer", "squeezebert"})
"""Model types that do not give one attention weight for each pair of tokens; SqueezeBERT gives scores."""
NO_LINEAR = frozenset({"squeezebert"})
"""Model types whose layers are made of convolutions, not of linear maps."""
TWICE = "it reads its text twice, in the decoder shifted by one place"
"""Why encoder-decoders have no hidden states or pairs of tokens of their own."""
STACKED = frozenset({"bert", "roberta", "distilbert", "electra", "gpt2", "modernbert"})
"""Model types of which several can compute in one pass over stacked parameters; tests compare it with single passes."""
