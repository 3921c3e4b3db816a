"""Small tokenizers of families that cut text into words in other ways than BERT does, or not at all."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

from tokenizers import pre_tokenizers
from transformers import (
    BertTokenizer,
    FunnelTokenizer,
    GemmaTokenizer,
    GPT2Tokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerBase,
    RobertaTokenizer,
    T5Tokenizer,
    XLNetTokenizer,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LETTERS = [*string.ascii_letters, *string.digits, *string.punctuation]
CHINESE = "今天天气很好我们去公园看花"
JAPANESE = "きょうは天気がいいので、公園へ行きます。"
THAI = "วันนี้อากาศดี"
OTHERS = sorted({*CHINESE, *JAPANESE, *THAI})
BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())


def _numbered(pieces: list[str]) -> dict[str, int]:
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}


def _merged(first: list[str], merges: list[tuple[str, str]], *, space: str) -> dict[str, Any]:
    pieces = [*first, space, *LETTERS, *("".join(pair) for pair in merges)]
    return {"vocab": _numbered(pieces), "merges": merges}


def _byte_fallback() -> list[str]:
    return [f"<0x{byte:02X}>" for byte in range(256)]


def _scored(first: list[str]) -> list[tuple[str, float]]:
    pieces = dict.fromkeys([*first, "▁", *LETTERS, *OTHERS, "▁the", "▁dog", "天气", "公园"])
    return [(piece, 0.0 if piece in first else -2.0 - len(piece) / 100) for piece in pieces]


def llama() -> PreTrainedTokenizerBase:
    """Return a BPE tokenizer without words, whose unknown characters are bytes; it writes ▁ before a text."""
    merges = [("t", "h"), ("▁", "th"), ("▁th", "e")]
    return LlamaTokenizer(
        **_merged(["<unk>", "<s>", "</s>", "<pad>", *_byte_fallback()], merges, space="▁"), pad_token="<pad>"
    )


def gemma() -> PreTrainedTokenizerBase:
    """Return one that writes ▁ for the spaces that there are alone, and has a mask token."""
    merges = [("t", "h"), ("▁", "th"), ("▁", "d")]
    return GemmaTokenizer(
        **_merged(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *_byte_fallback()], merges, space="▁")
    )


def xlnet() -> PreTrainedTokenizerBase:
    """Return a unigram tokenizer with words between spaces, and its class token at the end of a text."""
    return XLNetTokenizer(
        vocab=_scored(["<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"])
    )


def t5() -> PreTrainedTokenizerBase:
    """Return a unigram tokenizer that has its special tokens among its pieces."""
    return T5Tokenizer(vocab=_scored(["<pad>", "</s>", "<unk>"]), extra_ids=0)


def gpt2() -> PreTrainedTokenizerBase:
    """Return a byte-level tokenizer."""
    pieces = ["<|endoftext|>", *BYTES, "Ġt", "Ġd"]
    return GPT2Tokenizer(vocab=_numbered(pieces), merges=[("Ġ", "t"), ("Ġ", "d")])


def roberta() -> PreTrainedTokenizerBase:
    """Return a byte-level tokenizer with special tokens at both ends."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *BYTES, "Ġt", "Ġd"]
    return RobertaTokenizer(vocab=_numbered(pieces), merges=[("Ġ", "t"), ("Ġ", "d")])


def bert() -> PreTrainedTokenizerBase:
    """Return a word-piece tokenizer."""
    pieces = [*LETTERS, *OTHERS]
    more = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces, *(f"##{piece}" for piece in pieces)]
    return BertTokenizer(vocab=_numbered(more), do_lower_case=False)


def funnel() -> PreTrainedTokenizerBase:
    """Return a word-piece tokenizer whose class token has a segment of its own."""
    first = ["<pad>", "<unk>", "<cls>", "<sep>", "<mask>", "<s>", "</s>"]
    return FunnelTokenizer(vocab=_numbered([*first, *LETTERS, *(f"##{piece}" for piece in LETTERS)]))


TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerBase]] = {
    "bert": bert,
    "funnel": funnel,
    "gemma": gemma,
    "gpt2": gpt2,
    "llama": llama,
    "roberta": roberta,
    "t5": t5,
    "xlnet": xlnet,
}
