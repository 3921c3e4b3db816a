"""Special tokens and text: the mask token, and special tokens that are part of a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maskbench.errors import InputError
from maskbench.io.files import read_json
from maskbench.kinds import traits
from maskbench.models.families import NO_TOKEN_HEAD

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tokenizers import Encoding, Tokenizer
    from transformers import PreTrainedTokenizerBase

    from maskbench.config.kinds import TaskKind

MASKED = "\ufdd0"
"""Stands for the mask token in prepared text; Unicode keeps this code point free, so no text has it."""
MASK_TOKEN = "<mask>"
"""Name of the mask token that models without one (GPT-2) are given; its id is the first after the vocabulary."""

_COMPARE_SEGMENTS = ("funnel", "xlnet")
"""Model types that look whether two tokens are of the same segment, and have no table of segments."""


def add_mask_token(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Add a mask token to a tokenizer that has none, and tell whether that was so.

    As RoBERTa's own, it takes in the space before it.
    """
    from tokenizers import AddedToken

    if tokenizer.mask_token_id is not None:
        return False
    tokenizer.add_special_tokens({"mask_token": AddedToken(MASK_TOKEN, lstrip=True, normalized=False, special=True)})
    return True


def read_masked(tokenizer: PreTrainedTokenizerBase) -> int:
    """Let a tokenizer read `MASKED` as one token, which takes in spaces as its mask token does; returns its id.

    The model does not have this id: when a text is encoded, the mask token's id takes its place. So a mask token that
    is part of a text, and stays text, is not confused with a word that was masked.
    """
    from tokenizers import AddedToken

    add_mask_token(tokenizer)
    like = tokenizer.added_tokens_decoder.get(tokenizer.mask_token_id, AddedToken(""))
    tokenizer.add_tokens([AddedToken(MASKED, lstrip=like.lstrip, rstrip=like.rstrip, normalized=False, special=False)])
    token = tokenizer.convert_tokens_to_ids(MASKED)
    assert isinstance(token, int)  # one name gives one id
    return token


def before_word(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return what is put before words that are given one by one, so that they are spelled as in a text.

    Byte-level tokenizers (GPT-2, RoBERTa) and some others without words (Gemma) spell a word with the space before it,
    which given words have lost; transformers 5 does not refuse such input, it encodes it as if nothing were between
    the words.
    """
    backend: Tokenizer = getattr(tokenizer, "backend_tokenizer")  # noqa: B009
    if "ByteLevel" in repr(backend.pre_tokenizer):
        return " "
    written = backend.encode("a a", add_special_tokens=False).ids
    given = {
        space: backend.encode(["a", f"{space}a"], is_pretokenized=True, add_special_tokens=False).ids
        for space in ("", " ")
    }
    return " " if given[""] != written == given[" "] else ""


def encode_as_text(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[Any], max_length: int | None = None
) -> tuple[list[Any], list[Encoding]]:
    """Encode texts, in which special tokens that are written out (``</s>``, ``[MASK]``) are text like any other.

    Parameters
    ----------
    tokenizer
        A fast one.
    texts
        Strings, or lists of words.
    max_length
        In tokens; None: as long as they are.

    Returns
    -------
    texts, encodings
        The texts as they were encoded, and their encodings. A tokenizer that finds special tokens even in pieces of
        text (SentencePiece's unigram model has them in its vocabulary) is given a space after their first character.
    """
    texts = [list(text) if isinstance(text, list) else text for text in texts]
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    words = bool(texts) and isinstance(texts[0], list)
    keys = {"is_split_into_words": words, "split_special_tokens": True, "verbose": False}
    encodings: list[Any] = [None] * len(texts)
    left = list(range(len(texts)))
    while left:
        found = tokenizer(
            [texts[row] for row in left], truncation=max_length is not None, max_length=max_length, **keys
        )
        for row, encoding in zip(left, found.encodings, strict=True):
            encodings[row] = encoding
        left = [row for row in left if _break_apart(texts, row, encodings[row], special)]
    return texts, encodings


def encode_pairs_as_text(
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
    max_length: int,
    stride: int,
    names: Sequence[str],
) -> tuple[list[list[str]], list[list[Encoding]]]:
    """Encode pairs of texts as `encode_as_text` does; of each the second text is read in windows, never cut off.

    Parameters
    ----------
    tokenizer
        A fast one.
    pairs
        First and second text.
    max_length, stride
        Tokens of a window with the whole first text and the special tokens, and tokens of the second text that two
        windows share.
    names
        What messages call the first text of each pair.

    Returns
    -------
    texts, windows
        Both texts of each pair as they were encoded, and its windows from left to right.

    Raises
    ------
    InputError
        If a first text leaves no more room than the windows share.
    """
    texts = [list(pair) for pair in pairs]
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    keys = {"split_special_tokens": True, "verbose": False}
    around = tokenizer.num_special_tokens_to_add(pair=True)
    windows: list[list[Encoding]] = [[] for _ in texts]
    left = list(range(len(texts)))
    while left:
        firsts, seconds = ([texts[row][place] for row in left] for place in (0, 1))
        for row, ids in zip(left, tokenizer(firsts, add_special_tokens=False, **keys)["input_ids"], strict=True):
            if (room := max_length - around - len(ids)) <= stride:
                raise InputError(
                    f"{names[row]} has {len(ids)} tokens, so that max_length: {max_length} leaves {max(room, 0)} for "
                    f"what follows it, of which two windows share stride: {stride}; raise max_length or lower stride"
                )
        found = tokenizer(firsts, seconds, truncation="only_second", max_length=max_length, stride=stride, **keys)
        for row, encoding in zip(left, found.encodings, strict=True):
            windows[row] = [encoding, *encoding.overflowing]
        left = [row for row in left if any(_break_apart(texts, row, one, special) for one in windows[row])]
    return texts, windows


def _break_apart(texts: list[Any], row: int, encoding: Encoding, special: set[int]) -> bool:
    """Put a space into what was read as a special token though it is text, if it has two characters or more."""
    broken = False
    pair = 1 in encoding.sequence_ids
    for part in (encoding,) if pair else (encoding, *encoding.overflowing):
        parts = part.sequence_ids if pair else part.word_ids
        pieces = zip(part.ids, part.special_tokens_mask, parts, part.offsets, strict=True)
        # from the end, so that earlier places stay valid
        for token, added, word, (start, end) in reversed(list(pieces)):
            if added or token not in special or end - start < 2:
                continue
            text = texts[row][word] if isinstance(texts[row], list) else texts[row]
            text = f"{text[: start + 1]} {text[start + 1 :]}"
            if isinstance(texts[row], list):
                texts[row][word] = text
            else:
                texts[row] = text
            broken = True
        if broken:
            break
    return broken


def with_segments(tokenizer: PreTrainedTokenizerBase, model: Path, *, pair: bool = False) -> bool:
    """Tell whether single texts (or pairs) have segment ids other than 0, and the model in a folder takes them.

    A template gives every text the same ids, so one text tells. Whether a model takes those of a pair is asked of its
    configuration alone, since tokenizers say so whatever the model. Since transformers 5 a tokenizer returns them only
    if it says that its model takes them: XLNet's and Funnel's do not, though their templates have them and their models
    were pretrained with them.
    """
    from transformers import AutoConfig

    backend: Tokenizer = getattr(tokenizer, "backend_tokenizer")  # noqa: B009
    highest = max((backend.encode("a", "a") if pair else backend.encode("a")).type_ids, default=0)
    if highest == 0 or ("token_type_ids" in tokenizer.model_input_names and not pair):
        return highest > 0
    config = AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    return config.model_type in _COMPARE_SEGMENTS or getattr(config, "type_vocab_size", 0) > highest


def require_pad_and_ids(tokenizer: PreTrainedTokenizerBase, model: Path) -> None:
    """Make sure that texts can be padded, and that every token id up to the last has a token.

    Raises
    ------
    InputError
        If not.
    """
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is None:
        raise InputError(
            f"{model / 'tokenizer_config.json'}: expected a pad_token or an eos_token to pad texts with, found neither"
        )
    ids = set(tokenizer.get_vocab().values())
    if holes := sorted(set(range(max(ids) + 1)) - ids):
        shown = ", ".join(map(str, holes[:5])) + (", ..." if len(holes) > 5 else "")
        raise InputError(f"{model / 'tokenizer.json'}: expected a token for every id, found none for {shown}")


def require_head(kind: TaskKind, model: Path) -> None:
    """Make sure that transformers has a head for a kind of task on a model.

    Raises
    ------
    InputError
        If it has none.
    """
    family = read_json(model / "config.json").get("model_type")
    if traits.of(kind).per_token and family in NO_TOKEN_HEAD:
        others = " or ".join(traits.pooled())
        raise InputError(
            f"{model / 'config.json'}: transformers has no head for tagging on a model of type {family}; expected "
            f"another model, or a task of kind {others}"
        )
