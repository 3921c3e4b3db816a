from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import pre_tokenizers
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertTokenizer,
    GPT2Config,
    GPT2Tokenizer,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaTokenizer,
)

from maskbench.data.encode import encode, load_encoded
from maskbench.data.manifests import EncodedManifest
from maskbench.data.prepare import prepare
from maskbench.errors import InputError
from maskbench.kinds.encoding import IGNORED
from tests.helpers.tasks import make_source, make_tagging, make_task

ROOT = Path(__file__).resolve().parents[3]
THREE = {"train": "train.csv", "validation": "dev.csv", "test": "test.csv"}
THREE_TAGGED = {"train": "train.txt", "validation": "dev.txt", "test": "test.txt"}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = [*SPECIAL, "a", "good", "bad", "film", "un", "##believ", "##able", "paris", "visits", "ada", ".", "-"]
PAD, UNK, CLS, SEP, MASK = range(5)
ID = {piece: number for number, piece in enumerate(PIECES)}


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    BertTokenizer(vocab=ID).save_pretrained(folder)
    BertConfig(vocab_size=len(PIECES), max_position_embeddings=16).save_pretrained(folder)
    return folder


def byte_level(folder, tokenizer, config):
    """Save a byte-level tokenizer that knows some words with the space before them."""
    pieces = [
        "<s>",
        "<pad>",
        "</s>",
        "<unk>",
        "<mask>",
        *sorted(pre_tokenizers.ByteLevel.alphabet()),
        "Ġa",
        "Ġi",
        "Ġin",
    ]
    tokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, merges=[("Ġ", "a"), ("Ġ", "i"), ("Ġi", "n")]
    ).save_pretrained(folder)
    config.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory):
    config = GPT2Config(vocab_size=300, n_positions=16, bos_token_id=0, eos_token_id=0)
    return byte_level(tmp_path_factory.mktemp("gpt2"), GPT2Tokenizer, config)


@pytest.fixture(scope="session")
def roberta(tmp_path_factory):
    config = RobertaConfig(vocab_size=300, max_position_embeddings=18)
    return byte_level(tmp_path_factory.mktemp("roberta"), RobertaTokenizer, config)


def texts(tmp_path, content, model, **keys):
    """Encode one classification text in each split."""
    task = make_task(files=THREE, **{"max_length": 16, **keys})
    files = dict.fromkeys(THREE.values(), f"text,label\n{content},x\ngood film,y\n")
    return task, run(tmp_path, task, files, model)


def sentence(tmp_path, lines, model, **keys):
    """Encode one tagged sentence (and one to fix the labels) in each split."""
    task = make_tagging(files=THREE_TAGGED, **{"max_length": 16, **keys})
    files = dict.fromkeys(THREE_TAGGED.values(), "\n".join(lines) + "\n\nParis B-LOC\nAda B-PER\n")
    return task, run(tmp_path, task, files, model)


def run(tmp_path, task, files, model):
    prepare(task, make_source(tmp_path / "source", files), tmp_path / "prepared")
    encode(task, tmp_path / "prepared", model, tmp_path / "encoded")
    return load_encoded(tmp_path / "encoded")


def manifest(tmp_path):
    return EncodedManifest.read(tmp_path / "encoded")


def test_classification(tmp_path, bert):
    _, splits = texts(tmp_path, "Unbelievable film.", bert)
    assert splits["train"][0] == {
        "example": 0,
        "input_ids": [CLS, ID["un"], ID["##believ"], ID["##able"], ID["film"], ID["."], SEP],
        "words": [-1, 0, 0, 0, 1, 2, -1],
        "capitals": [False] * 7,
        "labels": 0,
        "length": 7,
        "truncated": 0,
    }
    assert splits["train"]["example"][:] == [0, 1]
    assert splits["test"]["labels"][:] == [0, 1]
    made = manifest(tmp_path)
    assert made.labels == ["x", "y"]
    assert made.splits["train"].model_dump() == {
        "rows": 2,
        "examples": None,  # of questions alone, whose rows are windows
        "lost_answers": None,
        "words": 5,
        "entities": None,
        "truncated_entities": None,
        "tokens": 11,
        "truncated_examples": 0,
        "text_tokens": 7,
        "unknown_tokens": 0,
        "truncated_words": 0,
        "words_without_tokens": 0,
    }
    assert made.tokenizer.model_dump(by_alias=True) == {
        "class": "BertTokenizer",
        "mask_token_id": MASK,
        "pad_token_id": PAD,
        "vocab_size": len(PIECES),
    }


def test_capitals_mark_the_subwords_of_words_that_look_like_names(tmp_path, bert):
    _, splits = texts(tmp_path, "in Unbelievable film.", bert)
    assert splits["train"][0]["words"] == [-1, 0, 1, 1, 1, 2, 3, -1]
    assert splits["train"][0]["capitals"] == [False, False, True, True, True, False, False, False]


def test_capitals_of_given_words(tmp_path, bert):
    _, splits = sentence(tmp_path, ["in O", "a O", "film O", "Unbelievable B-PER"], bert)
    marked = [
        word
        for word, capital in zip(*(splits["train"][0][key] for key in ("words", "capitals")), strict=True)
        if capital
    ]
    assert marked == [3, 3, 3]


def test_types(tmp_path, bert):
    _, splits = sentence(tmp_path, ["Ada B-PER"], bert)
    integers = {name: str(feature) for name, feature in splits["train"].features.items()}
    assert integers == {
        "example": "Value('int64')",
        "input_ids": "List(Value('int32'))",
        "words": "List(Value('int32'))",
        "capitals": "List(Value('bool'))",
        "labels": "List(Value('int64'))",
        "length": "Value('int32')",
        "truncated": "Value('int32')",
        "tags": "List(Value('int64'))",
    }


def test_tagging_labels_the_first_subword(tmp_path, bert):
    _, splits = sentence(tmp_path, ["Ada B-PER", "visits O", "Unbelievable B-LOC", "Paris- I-LOC"], bert)
    row = splits["train"][0]
    labels = manifest(tmp_path).labels
    b_loc, i_loc, b_per = (labels.index(name) for name in ("B-LOC", "I-LOC", "B-PER"))
    pieces = ["[CLS]", "ada", "visits", "un", "##believ", "##able", "paris", "-", "[SEP]"]
    assert row["input_ids"] == [ID[piece] for piece in pieces]
    assert row["words"] == [-1, 0, 1, 2, 2, 2, 3, 3, -1]
    assert row["labels"] == [IGNORED, b_per, 0, b_loc, IGNORED, IGNORED, i_loc, IGNORED, IGNORED]
    assert row["tags"] == [b_per, 0, b_loc, i_loc]


def test_truncation(tmp_path, bert):
    lines = ["Ada B-PER", "Unbelievable O", "visits O", "Paris B-LOC", "Unbelievable O"]
    _, splits = sentence(tmp_path, lines, bert, max_length=5)
    row = splits["train"][0]
    assert row["words"] == [-1, 0, 1, 1, -1]
    assert [label != IGNORED for label in row["labels"]] == [False, True, True, False, False]
    assert len(row["tags"]) == 5
    counts = manifest(tmp_path).splits["train"]
    assert (counts.truncated_examples, counts.truncated_words, counts.words_without_tokens) == (1, 3, 0)


def test_words_that_the_tokenizer_makes_nothing_of(tmp_path, bert):
    lines = ["Ada B-PER", "\u00ad B-LOC", "visits O", "\u200b O", "Paris B-LOC", "\u00ad O"]
    _, splits = sentence(tmp_path, lines, bert, max_length=4)
    row = splits["train"][0]
    assert row["words"] == [-1, 0, 2, -1]
    assert len(row["tags"]) == 6
    counts = manifest(tmp_path).splits["train"]
    assert (counts.truncated_words, counts.words_without_tokens) == (1, 3)


def test_a_sentence_of_nothing(tmp_path, bert):
    _, splits = sentence(tmp_path, ["\u00ad B-LOC"], bert)
    assert splits["train"][0]["labels"] == [IGNORED, IGNORED]


@pytest.mark.parametrize("model", ["gpt2", "roberta"])
def test_byte_level_words_get_their_space(tmp_path, request, model):
    folder = request.getfixturevalue(model)
    words = ["a", "in", "-a", "in"]
    _, splits = sentence(
        tmp_path, [f"{word} {tag}" for word, tag in zip(words, ["B-PER", "I-PER", "O", "O"], strict=True)], folder
    )
    wanted = AutoTokenizer.from_pretrained(folder, add_prefix_space=True)(words, is_split_into_words=True)
    row = splits["train"][0]
    assert row["input_ids"] == wanted["input_ids"]
    assert row["words"] == [-1 if word is None else word for word in wanted.word_ids()]
    assert AutoTokenizer.from_pretrained(folder).convert_ids_to_tokens(row["input_ids"])[-2:] in (
        ["a", "Ġin"],
        ["Ġin", "</s>"],
    )


def test_byte_level_without_a_class_of_its_own(tmp_path, roberta):
    folder = tmp_path / "model"
    original = AutoTokenizer.from_pretrained(roberta)
    generic = PreTrainedTokenizerFast(
        tokenizer_object=original.backend_tokenizer, mask_token="<mask>", pad_token="<pad>"
    )
    generic.save_pretrained(folder)
    RobertaConfig(vocab_size=300, max_position_embeddings=18).save_pretrained(folder)
    _, splits = sentence(tmp_path, ["a B-PER", "in O"], folder)
    assert generic.convert_ids_to_tokens(splits["train"][0]["input_ids"]) == ["<s>", "Ġa", "Ġin", "</s>"]


def test_a_model_without_mask_token(tmp_path, gpt2):
    texts(tmp_path, "a in", gpt2)
    info = manifest(tmp_path).tokenizer
    assert info.mask_token_id is None
    assert info.pad_token_id is None
    assert info.tokenizer_class == "GPT2Tokenizer"


def test_token_types_are_kept_where_they_matter(tmp_path, bert):
    from tokenizers.processors import TemplateProcessing

    folder = tmp_path / "model"
    tokenizer = AutoTokenizer.from_pretrained(bert)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A [SEP] [CLS]:2", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        model_input_names=["input_ids", "token_type_ids"],
        pad_token="[PAD]",
    ).save_pretrained(folder)
    BertConfig(vocab_size=len(PIECES), max_position_embeddings=16).save_pretrained(folder)
    _, splits = texts(tmp_path, "good film", folder)
    assert splits["train"][0]["token_type_ids"] == [0, 0, 0, 2]


# --- limits and refusals


@pytest.mark.parametrize(("model", "limit"), [("bert", 16), ("gpt2", 16), ("roberta", 16)])
def test_the_models_limit(tmp_path, request, model, limit):
    folder = request.getfixturevalue(model)
    texts(tmp_path / "fits", "a in", folder, max_length=limit)
    with pytest.raises(InputError) as error:
        texts(tmp_path / "exceeds", "a in", folder, max_length=limit + 1)
    assert (
        str(error.value)
        == f"task mine: max_length: the model in {folder} takes at most {limit} tokens, got {limit + 1}"
    )
    assert not (tmp_path / "exceeds" / "encoded").exists()


def test_room_for_text(tmp_path, bert):
    with pytest.raises(InputError, match="max_length: 2 tokens leave no room for text beside the special ones"):
        texts(tmp_path, "good", bert, max_length=2)


def test_a_text_without_any_token(tmp_path, bert):
    folder = tmp_path / "model"
    tokenizer = AutoTokenizer.from_pretrained(bert)
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    tokenizer.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, pad_token="[PAD]").save_pretrained(folder)
    BertConfig(vocab_size=len(PIECES), max_position_embeddings=16).save_pretrained(folder)
    with pytest.raises(InputError, match=r"train\.parquet: example 0: the tokenizer makes no token of it"):
        texts(tmp_path, "\u00ad", folder)


def test_a_slow_tokenizer(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "canine"}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CanineTokenizer"}))
    with pytest.raises(InputError, match=r"CanineTokenizer: expected a fast tokenizer \(tokenizer.json\)"):
        texts(tmp_path, "good", folder)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tokenizer.json", "{", "the tokenizer cannot be loaded: "),
        ("config.json", None, "the tokenizer cannot be loaded: |config.json: cannot be loaded: "),
        ("config.json", '{"model_type": "bert", "vocab_size": 3}', "tokens, but the model embeddings for 3"),
    ],
)
def test_a_broken_model_folder(tmp_path, bert, file, content, message):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in bert.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    with pytest.raises(InputError, match=message) as error:
        texts(tmp_path, "good", folder)
    assert "\n" not in str(error.value)


def test_no_model_folder(tmp_path):
    with pytest.raises(InputError, match="expected a folder in transformers' format"):
        texts(tmp_path, "good", tmp_path / "model")


def test_a_changed_tokenizer_is_noticed(tmp_path, bert):
    folder = make_source(tmp_path / "model", {path.name: path.read_bytes() for path in bert.iterdir()})
    texts(tmp_path / "whole", "good", folder)
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(InputError, match="content differs from its manifest"):
        texts(tmp_path / "changed", "good", folder)


def test_the_task_of_another_folder(tmp_path, bert):
    task, _ = texts(tmp_path, "good", bert)
    with pytest.raises(
        InputError, match="expected the sequence-classification task other, found sequence-classification mine"
    ):
        encode(task.model_copy(update={"name": "other"}), tmp_path / "prepared", bert, tmp_path / "again")


# --- bytes, hashes and reading


def test_the_same_input_gives_the_same_bytes(tmp_path, bert):
    task, _ = texts(tmp_path, "good", bert)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "old").touch()
    encode(task, tmp_path / "prepared", bert, tmp_path / "again")
    first, second = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "encoded", tmp_path / "again")
    )
    assert first == second
    assert {path.name for path in tmp_path.iterdir()} == {"source", "prepared", "encoded", "again"}


def test_the_hash_follows_the_columns(tmp_path, bert):
    texts(tmp_path / "a", "good", bert)
    texts(tmp_path / "b", "bad", bert)
    texts(tmp_path / "c", "good ", bert)
    first, other, same = (manifest(tmp_path / name) for name in "abc")
    assert first.hash == same.hash != other.hash
    assert first.model == other.model
    assert first.prepared == same.prepared != other.prepared


def test_splits_are_memory_mapped(tmp_path, bert):
    _, splits = texts(tmp_path, "good", bert)
    assert [Path(file["filename"]).parent.name for file in splits["test"].cache_files] == ["test"]


@pytest.mark.parametrize("spoil", ["change", "remove"])
def test_an_encoded_folder_is_checked_on_reading(tmp_path, bert, spoil):
    texts(tmp_path, "good", bert)
    file = next((tmp_path / "encoded" / "test").glob("*.arrow"))
    if spoil == "change":
        file.write_bytes(file.read_bytes()[:-8])
    else:
        file.unlink()
    with pytest.raises(InputError, match="run again"):
        load_encoded(tmp_path / "encoded")


def test_script(tmp_path, bert):
    task, _ = texts(tmp_path, "good", bert)
    command = [sys.executable, str(ROOT / "scripts" / "encode.py"), "--prepared", str(tmp_path / "prepared")]
    command += ["--model", str(bert), "--destination", str(tmp_path / "again"), "--spec"]
    subprocess.run(
        [*command, task.model_dump_json()], check=True, stderr=subprocess.STDOUT, stdout=(tmp_path / "log").open("w")
    )
    assert "%" not in (tmp_path / "log").read_text()
    assert EncodedManifest.read(tmp_path / "again") == manifest(tmp_path)


# --- real data


@pytest.mark.network
def test_real_conll_with_minilm(tmp_path):
    from maskbench.data.sources import cache_folder, fetch_model, fetch_task
    from maskbench.experiment.load import load

    experiment = load(
        {"study": "s", "tasks": ["conll2003"], "models": ["minilm-l6"], "strategies": ["none"], "seeds": [1]}
    )
    task, model = experiment.tasks[0], experiment.models[0]
    fetch_task(task, tmp_path / "source", cache_folder(None))
    fetch_model(model, tmp_path / "model", cache_folder(None))
    prepare(task, tmp_path / "source", tmp_path / "prepared")
    encode(task, tmp_path / "prepared", tmp_path / "model", tmp_path / "encoded")
    made = manifest(tmp_path)
    assert {split: info.rows for split, info in made.splits.items()} == {
        "train": 14041,
        "validation": 3250,
        "test": 3453,
    }
    assert made.splits["train"].tokens == 280_089
    assert {split: info.truncated_words for split, info in made.splits.items()} == {
        "train": 24,
        "validation": 19,
        "test": 10,
    }
    for split in load_encoded(tmp_path / "encoded").values():
        for row in split.select(range(200)):
            shown = [label for label in row["labels"] if label != IGNORED]
            assert shown == row["tags"][: len(shown)]
