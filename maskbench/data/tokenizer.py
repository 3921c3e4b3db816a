"""The mask token: in prepared text, where no tokenizer is known yet, and for tokenizers without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MASKED = "\ufdd0"
"""Stands for the mask token in prepared text; Unicode keeps this code point free, so no text has it."""
MASK_TOKEN = "<mask>"
"""Name of the mask token that models without one (GPT-2) are given; its id is the first after the vocabulary."""


def add_mask_token(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Add a mask token to a tokenizer that has none, and tell whether that was so.

    As RoBERTa's own, it takes in the space before it.
    """
    from tokenizers import AddedToken

    if tokenizer.mask_token_id is not None:
        return False
    tokenizer.add_special_tokens({"mask_token": AddedToken(MASK_TOKEN, lstrip=True, normalized=False, special=True)})
    return True
