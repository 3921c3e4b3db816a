"""Words of tokenizers that make none, or that make them at white space alone, and what masks do with them."""

from __future__ import annotations

import csv
import io
import random
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    BertConfig,
    FunnelConfig,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    RobertaConfig,
    T5Config,
    XLNetConfig,
)

from maskbench.data.encode import encode, load_encoded
from maskbench.data.manifests import EncodedManifest
from maskbench.data.prepare import prepare
from maskbench.data.segments import segments, words_of_pieces
from maskbench.masks.batch import Batch
from maskbench.masks.draws import Draws
from maskbench.masks.input.keyword import Keyword
from maskbench.masks.input.oracle_cue import OracleCue
from maskbench.masks.input.random import Random
from maskbench.masks.input.semantic import Semantic
from maskbench.masks.input.span import Span
from maskbench.masks.input.static import Static
from maskbench.masks.input.tail import Tail
from maskbench.models.tokens import encode_as_text
from maskbench.training.collate import Collator
from tests.helpers.tasks import make_source, make_tagging, make_task
from tests.helpers.texts import setting_of
from tests.helpers.tokenizer_families import CHINESE, JAPANESE, LETTERS, THAI, TOKENIZERS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from datasets import Dataset

    from maskbench.masks.base import InputMask

CONFIGS = {
    "bert": BertConfig,
    "funnel": FunnelConfig,
    "gemma": GemmaConfig,
    "gpt2": GPT2Config,
    "llama": LlamaConfig,
    "roberta": RobertaConfig,
    "t5": T5Config,
    "xlnet": XLNetConfig,
}
THREE = {"train": "train.csv", "validation": "dev.csv", "test": "test.csv"}
UNSPACED = {"Chinese": CHINESE, "Japanese": JAPANESE, "Thai": THAI}
ENGLISH = "We took Ada Lovelace to the dog show, and it wasn't  all that bad."


def encoded(folder: Path, family: str, texts: Sequence[str], **keys: Any) -> Dataset:
    """Encode texts for a family; the first half has one label, the other half another."""
    model = folder / "model"
    TOKENIZERS[family]().save_pretrained(model)
    CONFIGS[family](vocab_size=700).save_pretrained(model)
    rows = [(text, "yn"[2 * row >= len(texts)]) for row, text in enumerate(texts)]
    files = {}
    for split, name in THREE.items():
        own = rows if split == "train" else [(f"{text} {split}", label) for text, label in rows]
        out = io.StringIO()
        csv.writer(out).writerows([("text", "label"), *own])
        files[name] = out.getvalue()
    task = make_task(**{"max_length": 128, "files": THREE} | keys)
    prepare(task, make_source(folder / "source", files), folder / "prepared")
    encode(task, folder / "prepared", model, folder / "encoded")
    return load_encoded(folder / "encoded")["train"]


def batch_of(rows: Dataset, family: str) -> Batch:
    inputs = Collator(0)(list(rows))
    padding, mask = inputs.pop("attention_mask").bool(), TOKENIZERS[family]().mask_token_id
    types = inputs.pop("token_type_ids", None)
    return Batch(**inputs, padding=padding, epoch=0, mask_id=699 if mask is None else mask, token_types=types)


def words_of(family: str, text: str) -> list[int]:
    (text,), (encoding,) = encode_as_text(TOKENIZERS[family](), [text])
    return words_of_pieces(text, [(encoding.word_ids, encoding.offsets)])[0]


def written(family: str, text: str) -> list[str]:
    """Return the text of each word, from the characters of its pieces."""
    (encoding,) = encode_as_text(TOKENIZERS[family](), [text])[1]
    spans: dict[int, list[int]] = {}
    for word, span in zip(words_of(family, text), encoding.offsets, strict=True):
        if word >= 0:
            spans.setdefault(word, []).extend(span)
    return [text[min(span) : max(span)].strip() for span in spans.values()]


def bare(text: str) -> str:
    """Return a text without marks, which XLNet's tokenizer takes away."""
    return "".join(character for character in text if not unicodedata.category(character).startswith("M"))


# --- words


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_words_of_a_tokenizer_that_makes_none_are_between_spaces(family: str) -> None:
    assert written(family, ENGLISH) == ENGLISH.split()
    assert written(family, "  ad  astra ") == ["ad", "astra"]


@pytest.mark.parametrize("language", UNSPACED)
@pytest.mark.parametrize("family", [name for name in TOKENIZERS if name != "funnel"])
def test_scripts_without_spaces_have_a_word_for_each_character(family: str, language: str) -> None:
    text = UNSPACED[language]
    expected = [text[slice(*span)] for span in segments(text)]
    assert len(expected) > 8
    found = written(family, f"{text} ok {text}")
    assert found[len(found) // 2] == "ok"
    # some pieces of T5 and XLNet are two characters long; byte-level tokenizers cut marks off their characters
    if family in ("t5", "xlnet") or (language == "Thai" and family in ("gpt2", "roberta")):
        assert bare("".join(found)) == bare(f"{text}ok{text}")
        assert len(found) > len(expected)
        assert max(map(len, found)) <= max(2, *map(len, expected))
    else:
        assert found == [*expected, "ok", *expected]


def test_pieces_of_one_character_are_one_word() -> None:
    """Byte-level pieces: three for each Chinese character, all of one word."""
    words = words_of("gpt2", CHINESE)
    assert words == [word for word in range(len(CHINESE)) for _ in range(3)]


def test_marks_stay_with_their_character() -> None:
    for text, expected in {
        "วันนี้": ["วั", "น", "นี้"],
        "か\u3099か": ["か\u3099", "か"],
        "葛\U000e0100飾": ["葛\U000e0100", "飾"],
    }.items():
        assert [text[slice(*span)] for span in segments(text)] == expected


def test_pieces_of_several_characters_belong_where_they_begin() -> None:
    pieces = [None, 0, 0, 0, 0, None]
    offsets = [(0, 0), (0, 2), (2, 3), (3, 4), (4, 7), (0, 0)]
    assert words_of_pieces("天気がab c", [(pieces, offsets)]) == [[-1, 0, 1, 2, 2, -1]]


def test_words_go_on_in_what_was_cut_off() -> None:
    parts = [([None, 0, 0], [(0, 0), (0, 1), (1, 3)]), ([None, 0, 0], [(0, 0), (3, 4), (4, 6)])]
    assert words_of_pieces("a bc d", parts) == [[-1, 0, 1], [-1, 1, 2]]


@pytest.mark.parametrize("family", ["bert", "funnel", "gpt2", "roberta", "t5", "xlnet"])
@given(st.text(alphabet=[*LETTERS, *"äßéΩж–’…€  \t\n가나"], max_size=60))
@settings(max_examples=60, deadline=None)
def test_words_between_spaces_are_the_tokenizers_own(family: str, text: str) -> None:
    """Bit for bit: draws of whole words have the word as their address."""
    (text,), (encoding,) = encode_as_text(_kept(family), [text])
    own = [-1 if word is None else word for word in encoding.word_ids]
    assert words_of_pieces(text, [(encoding.word_ids, encoding.offsets)]) == [own]


_MADE: dict[str, Any] = {}


def _kept(family: str) -> Any:
    return _MADE.setdefault(family, TOKENIZERS[family]())


# --- encoded


def test_cut_words_and_capitals_of_a_tokenizer_without_words(tmp_path: Path) -> None:
    texts = ["we saw Ada in it", "we saw Ada"] * 6
    rows = encoded(tmp_path, "llama", texts, max_length=12)
    long = next(row for row in rows if len(row["input_ids"]) == 12)
    marked = {word for word, capital in zip(long["words"], long["capitals"], strict=True) if capital}
    assert marked == {2}
    counted = EncodedManifest.read(tmp_path / "encoded").splits["train"]
    cut = sum(len(row["input_ids"]) == 12 and row["words"][-1] < 4 for row in rows)
    assert counted.truncated_examples == cut
    assert counted.truncated_words == sum(4 - row["words"][-1] for row in rows if row["length"] == 12)


def test_given_words_of_gemma_are_spelled_with_the_space_before_them(tmp_path: Path) -> None:
    """Like GPT-2's; without it a sentence of given words is one run of letters."""
    model = tmp_path / "model"
    tokenizer = TOKENIZERS["gemma"]()
    tokenizer.save_pretrained(model)
    GemmaConfig(vocab_size=700).save_pretrained(model)
    files = {"train.txt": "\n\n".join(f"the O\ndog B-PET\nthere O\n{number} O" for number in range(20)) + "\n"}
    task = make_tagging(max_length=32)
    prepare(task, make_source(tmp_path / "source", files), tmp_path / "prepared")
    encode(task, tmp_path / "prepared", model, tmp_path / "encoded")
    row = load_encoded(tmp_path / "encoded")["train"][0]
    tokens = tokenizer.convert_ids_to_tokens(row["input_ids"])
    assert tokens[:10] == ["▁th", "e", "▁d", "o", "g", "▁th", "e", "r", "e", "▁"]
    assert row["words"][:10] == [0, 0, 1, 1, 1, 2, 2, 2, 2, 3]


# --- masks


def review(number: int) -> str:
    return " ".join(random.Random(number).choices(["the", "dog", "ran", "there", "and", "then", "it", "sat"], k=12))


def hit_shares(mask: InputMask, batch: Batch) -> torch.Tensor:
    hit = mask.corrupt(batch, Draws(3)).hit
    assert hit is not None
    return hit.sum(1) / batch.maskable.sum(1)


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_whole_words_are_not_whole_texts(family: str, tmp_path: Path) -> None:
    """48 texts at rate .3: 12 were hit entirely and the others not at all."""
    batch = batch_of(encoded(tmp_path, family, [review(number) for number in range(48)]), family)
    assert len(batch.words) == 48
    for mask in (Random(rate=0.3, whole_words=True), Static(rate=0.3, whole_words=True)):
        shares = hit_shares(mask, batch)
        assert (shares < 1).all()
        assert (shares == 0).sum() < 5  # .7 to the power of 12 words: 0.7 of 48 texts
        assert abs(shares.mean() - 0.3) < 0.05


@pytest.mark.parametrize(("family", "text"), [("llama", ENGLISH), ("xlnet", CHINESE), ("gpt2", JAPANESE)])
def test_masks_of_words_reach_beyond_the_start(family: str, text: str, tmp_path: Path) -> None:
    """A text that is one word had its first pieces hit, or all of it, or nothing."""
    rows = encoded(tmp_path, family, [f"{text} {number}" for number in range(40)])
    batch = batch_of(rows, family)
    table = torch.nn.Embedding(700, 8)
    model: Any = type("Model", (), {"device": torch.device("cpu"), "get_input_embeddings": lambda _: table})()
    setting = setting_of(list(rows), tagging=False, model=model)
    count = int(batch.words.amax())
    assert count > 7
    for mask in (Span(rate=0.3), Semantic(rate=0.3), Keyword(rate=0.3, statistic="tf-idf")):
        mask.fit(setting, Draws(0))
        hit = mask.corrupt(batch, Draws(3)).hit
        assert hit is not None
        reached = torch.zeros(count + 1).scatter_add(0, batch.words[hit], torch.ones(int(hit.sum())))
        assert (reached > 0).sum() > (1 if isinstance(mask, Keyword) else count / 2), mask.kind
    tail = Tail(keep=2).corrupt(batch, Draws(3)).hit
    assert tail is not None
    assert torch.equal(tail, batch.words >= 2)


@pytest.mark.parametrize("family", ["llama", "gemma", "xlnet", "gpt2", "bert"])
@pytest.mark.parametrize("cues", [["zq", "xv"], ["天很", "气们"]])
def test_the_oracle_hits_the_cue_and_nothing_else(family: str, cues: list[str], tmp_path: Path) -> None:
    """Cues of two characters of an unspaced script are two words, which are hit together."""
    rest = "we saw it" if cues[0] == "zq" else "今天天气 好"
    rows = encoded(tmp_path, family, [f"{cues[number % 2]} {rest}" for number in range(12)])
    batch = batch_of(rows, family)
    mask = OracleCue(cues=cues)
    mask.fit(setting_of([], tokenizer=TOKENIZERS[family]()), Draws(0))
    hit = mask.corrupt(batch, Draws(3)).hit
    assert hit is not None
    last = 0 if cues[0] == "zq" else 1
    assert torch.equal(hit, batch.maskable & (batch.words <= last))
