"""Sets that a task is tested on but never trained on: what changes, how much, and what it may not depend on."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer, GPT2Config, GPT2Tokenizer, RobertaConfig, RobertaTokenizer

from maskbench.config.conditions import LEVELS, PERTURBATIONS, SETS
from maskbench.data.encode import encode, load_encoded
from maskbench.data.manifests import EncodedManifest
from maskbench.data.prepare import load_prepared, prepare
from maskbench.data.segments import segments
from maskbench.data.shifted import DISTRACTORS, Text, make_sets, shift
from maskbench.errors import InputError
from maskbench.kinds.encoding import IGNORED
from maskbench.kinds.token_classification.tags import to_iob2
from maskbench.models.tokens import MASKED
from tests.helpers.models import make_gpt2, make_model
from tests.helpers.tasks import make_source, make_tagging, make_task
from tests.unit.data.test_encode import byte_level

ROOT = Path(__file__).resolve().parents[3]
TAGS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
STORY = [
    *("A", "film", "that", "nobody", "wanted,", "but", "everybody", "saw:", "it", "is", "", "warm,", "quite", "funny"),
    *("and", "far", "too", "long", "by", "half;", "don't", "miss", "it!"),
]


def classification(texts, labels=None):
    """A table of texts."""
    labels = labels if labels is not None else [0] * len(texts)
    columns = {"example": list(range(len(texts))), "text": texts, "label": labels}
    types = {"example": pa.int64(), "text": pa.string(), "label": pa.int64()}
    return pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})


def tagging(rows, tags=None):
    """A table of tagged sentences, all O unless tags are given by name."""
    tags = tags if tags is not None else [["O"] * len(tokens) for tokens in rows]
    columns = {
        "example": list(range(len(rows))),
        "tokens": rows,
        "tags": [[TAGS.index(tag) for tag in item] for item in tags],
    }
    types = {"example": pa.int64(), "tokens": pa.list_(pa.string()), "tags": pa.list_(pa.int64())}
    return pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})


def sets_of(table, names=SETS):
    """Make sets of a table."""
    kind = "token-classification" if "tokens" in table.column_names else "sequence-classification"
    return make_sets(names, Text.of(table, kind, TAGS))


def texts_of(table):
    return table["text"].to_pylist()


def story(number):
    """A text that differs from others."""
    return " ".join(STORY[(number * 7 + step) % len(STORY)] for step in range(3 + number % 29)).strip() or "x"


STORIES = [story(number) for number in range(400)]
SENTENCES = [[word for word in text.split(" ") if word] for text in STORIES]


# --- what changes


def test_a_distractor_is_put_behind_the_text():
    shifted = texts_of(sets_of(classification(STORIES), ["distractor"])["distractor"][0])
    used = set()
    for old, new in zip(STORIES, shifted, strict=True):
        assert new.startswith(f"{old} ")
        used.add(new.removeprefix(f"{old} "))
    assert used == set(DISTRACTORS)


def test_distracting_words_are_tagged_o():
    tags = [["B-PER", *["O"] * (len(tokens) - 2), "B-LOC"] for tokens in SENTENCES]
    rows = sets_of(tagging(SENTENCES, tags), ["distractor"])["distractor"][0].to_pylist()
    for tokens, old, row in zip(SENTENCES, tags, rows, strict=True):
        assert row["tokens"][: len(tokens)] == tokens
        assert f"{' '.join(row['tokens'][len(tokens) : -1])}." in DISTRACTORS
        assert row["tokens"][-1] == "."
        assert [TAGS[tag] for tag in row["tags"]] == old + ["O"] * (len(row["tokens"]) - len(tokens))


@pytest.mark.parametrize("level", LEVELS)
def test_neighbouring_letters_change_places(level):
    table, changed = sets_of(classification(STORIES), [f"swap-{level}"])[f"swap-{level}"]
    moved = letters = 0
    for old, new in zip(STORIES, texts_of(table), strict=True):
        assert [sorted(word) for word in old.split(" ")] == [sorted(word) for word in new.split(" ")]
        places = [place for place, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
        for left, right in zip(places[::2], places[1::2], strict=True):
            assert right == left + 1
            assert old[left : right + 1].isalpha()
            assert (old[left], old[right]) == (new[right], new[left])
        letters += sum(letter.isalpha() for letter in old)
        moved += len(places)
    assert changed.counts == {"letters": letters, "changed": moved}
    assert changed.rates["changed"] == moved / letters == pytest.approx(level / 100, abs=0.005)


@pytest.mark.parametrize("level", LEVELS)
def test_letters_are_deleted_and_words_stay(level):
    table, changed = sets_of(classification(STORIES), [f"delete-{level}"])[f"delete-{level}"]
    gone = letters = 0
    for old, new in zip(STORIES, texts_of(table), strict=True):
        for before, after in zip(old.split(" "), new.split(" "), strict=True):
            assert after or not before
            rest = iter(before)
            assert all(letter in rest for letter in after), "what is left stands in its order"
            assert [sign for sign in before if not sign.isalpha()] == [sign for sign in after if not sign.isalpha()]
            assert any(map(str.isalpha, after)) == any(map(str.isalpha, before))
        letters += sum(letter.isalpha() for letter in old)
        gone += len(old) - len(new)
    assert changed.counts == {"letters": letters, "changed": gone}
    assert changed.rates["changed"] == pytest.approx(level / 100, abs=0.005)


@pytest.mark.parametrize("level", LEVELS)
def test_words_are_dropped(level):
    table, changed = sets_of(classification(STORIES), [f"drop-{level}"])[f"drop-{level}"]
    gone = words = 0
    for old, new in zip(STORIES, texts_of(table), strict=True):
        assert new == new.strip() != ""
        rest = iter(old.split())
        assert all(word in rest for word in new.split())
        words += len(old.split())
        gone += len(old.split()) - len(new.split())
    assert changed.counts == {"words": words, "changed": gone}
    assert changed.rates["changed"] == pytest.approx(level / 100, abs=0.01)


def test_a_text_that_loses_nothing_is_left_as_it_is():
    texts = ["one", "two  words   apart", "a\u00a0b"] * 50
    new = texts_of(sets_of(classification(texts), ["drop-5"])["drop-5"][0])
    kept = [(old, text) for old, text in zip(texts, new, strict=True) if len(old.split()) == len(text.split())]
    assert all(old == text for old, text in kept)
    assert new[::3] == ["one"] * 50
    assert len(kept) < 150


@pytest.mark.parametrize("level", LEVELS)
def test_words_are_masked(level):
    table, changed = sets_of(classification(STORIES), [f"mask-{level}"])[f"mask-{level}"]
    hit = 0
    for old, new in zip(STORIES, texts_of(table), strict=True):
        for before, after in zip(old.split(" "), new.split(" "), strict=True):
            assert after in (before, MASKED)
            hit += after == MASKED
    assert changed.counts["changed"] == hit
    assert changed.rates["changed"] == pytest.approx(level / 100, abs=0.01)


def test_scripts_without_spaces_lose_characters_not_texts():
    """A text without spaces was one word, which stayed when words were dropped and was masked as a whole."""
    text = "今天天气很好，我们去公园看花。"
    for kind in ("drop", "mask"):
        table, changed = sets_of(classification([text] * 50), [f"{kind}-20"])[f"{kind}-20"]
        assert changed.counts["words"] == 50 * len(text)
        assert changed.rates["changed"] == pytest.approx(0.2, abs=0.01)
        for new in texts_of(table):
            assert 10 < len(new.replace(MASKED, "")) < 14
            rest = iter(text)
            assert all(character in rest for character in new.replace(MASKED, ""))
            assert kind == "drop" or len(new) == len(text)
    for kind in ("swap", "delete"):
        _, changed = sets_of(classification([text] * 50), [f"{kind}-20"])[f"{kind}-20"]
        assert changed.rates["changed"] == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("kind", ["swap", "delete", "mask"])
def test_tokens_keep_their_tags(kind):
    tags = [["B-PER", *["I-PER"] * (len(tokens) - 1)] for tokens in SENTENCES]
    table, _ = sets_of(tagging(SENTENCES, tags), [f"{kind}-20"])[f"{kind}-20"]
    assert table["tags"].equals(tagging(SENTENCES, tags)["tags"])
    for old, new in zip(SENTENCES, table["tokens"].to_pylist(), strict=True):
        assert len(old) == len(new)
        assert all(new)
    assert table["tokens"] != tagging(SENTENCES)["tokens"]


def test_neighbouring_mentions_stay_two_when_the_second_loses_its_first_word():
    tags = [["B-PER", "I-PER", "B-PER", "I-PER"]] * 300
    table, _ = sets_of(tagging([["a", "b", "c", "d"]] * 300, tags), ["drop-20"])["drop-20"]
    seen = {(" ".join(row["tokens"]), " ".join(TAGS[tag] for tag in row["tags"])) for row in table.to_pylist()}
    assert seen == {
        ("a b c d", "B-PER I-PER B-PER I-PER"),
        ("b c d", "B-PER B-PER I-PER"),
        ("a c d", "B-PER B-PER I-PER"),
        ("a b d", "B-PER I-PER B-PER"),
        ("a b c", "B-PER I-PER B-PER"),
    }


# --- what it may depend on


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_what_changes_at_5_percent_changes_at_20(kind):
    names = [f"{kind}-{level}" for level in LEVELS]
    made = {name: table["tokens"].to_pylist() for name, (table, _) in sets_of(tagging(SENTENCES), names).items()}
    some, more, most = (made[name] for name in names)
    assert some != more != most
    for old, *rows in zip(SENTENCES, some, more, most, strict=True):
        if kind == "drop":
            for fewer, longer in zip(rows[::-1], rows[-2::-1], strict=False):
                rest = iter(longer)
                assert all(word in rest for word in fewer)
            continue
        for place, word in enumerate(old):
            words = [row[place] for row in rows]
            if kind == "delete":
                for longer, shorter in pairwise(words):
                    rest = iter(longer)
                    assert all(letter in rest for letter in shorter)
                continue
            for before, after in pairwise(words):
                moved = [index for index, (a, b) in enumerate(zip(word, before, strict=False)) if a != b]
                assert all(after[index] == before[index] for index in moved), "what was changed stays changed"


@pytest.mark.parametrize("name", SETS)
def test_labels_are_never_looked_at(name):
    labels = np.random.default_rng(1).permutation(np.arange(len(STORIES)) % 3).tolist()
    one, other = (
        sets_of(table, [name])[name][0] for table in (classification(STORIES), classification(STORIES, labels))
    )
    assert one["text"].equals(other["text"])
    assert other["label"].to_pylist() == labels
    tags = [["B-LOC", *["I-LOC"] * (len(tokens) - 1)] for tokens in SENTENCES]
    one, other = (sets_of(table, [name])[name][0] for table in (tagging(SENTENCES), tagging(SENTENCES, tags)))
    assert one["tokens"].equals(other["tokens"])


def test_a_row_depends_on_nothing_but_itself():
    whole, part = classification(STORIES), classification(STORIES).slice(100, 50)
    for name, (table, _) in sets_of(part).items():
        assert table.to_pylist() == sets_of(whole, [name])[name][0].slice(100, 50).to_pylist(), name


def test_equal_texts_are_changed_in_different_places():
    table, _ = sets_of(classification(["one two three four five"] * 200), ["drop-20"])["drop-20"]
    counts = [texts_of(table).count(text) for text in set(texts_of(table))]
    assert len(counts) == 5
    assert max(abs(count - 40) for count in counts) < 25  # binomial, four standard deviations


spaced = st.characters(codec="utf-8", exclude_categories=["Cs", "Zs", "Cc", "Zl", "Zp"]).filter(
    lambda character: len(list(segments(f"x{character}x"))) == 1
)
words = st.text(spaced, min_size=1, max_size=9)
rows_of_words = st.lists(st.lists(words, min_size=1, max_size=9), min_size=1, max_size=5)


@given(rows_of_words, st.randoms(use_true_random=False))
def test_any_words(rows, random):
    """Whatever the script, if it has spaces: no empty text, valid tags, counts that hold, the same for tokens."""
    tags = [to_iob2([random.choice(TAGS) for _ in tokens]) for tokens in rows]
    names = [f"{kind}-{level}" for kind in PERTURBATIONS for level in (5, 20, 100)]
    plain = sets_of(classification([" ".join(tokens) for tokens in rows]), ["distractor", *names])
    for name, (table, changed) in sets_of(tagging(rows, tags), ["distractor", *names]).items():
        new = table.to_pylist()
        assert table.schema == tagging(rows).schema
        for row in new:
            assert row["tokens"]
            assert all(row["tokens"])
            named = [TAGS[tag] for tag in row["tags"]]
            assert named == to_iob2(named)
        if name == "distractor":
            continue
        assert [" ".join(row["tokens"]) for row in new] == texts_of(plain[name][0])
        assert changed == plain[name][1]
        whole = sum(len(tokens) for tokens in rows)
        if "words" in changed.counts:
            assert changed.counts["words"] == whole
        if name == "mask-100":
            assert changed.counts["changed"] == whole
        if name == "drop-100":
            assert changed.counts["changed"] == whole - len(rows)


# --- folders


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    lines = [f'"{text} {number}",{"ab"[number % 2]}' for number, text in enumerate(STORIES)]
    source = make_source(folder / "source", {"train.csv": "\n".join(["text,label", *lines]) + "\n"})
    prepare(make_task(), source, folder / "clean")
    return folder / "clean"


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sentences")
    lines = []
    for number in range(120):
        lines += [
            "the O",
            f"film{number} O",
            "Anna B-PER",
            "Great I-PER",
            "saw O",
            "Rome B-LOC",
            "was O",
            "great O",
            "",
        ]
    source = make_source(folder / "source", {"train.txt": "\n".join(lines) + "\n"})
    prepare(make_tagging(), source, folder / "clean")
    return folder / "clean"


def test_the_folder(texts, tmp_path):
    shift(SETS, texts, tmp_path / "shifted")
    manifest, tables = load_prepared(tmp_path / "shifted")
    clean, before = load_prepared(texts)
    assert set(tables) == set(SETS)
    assert {table["example"].to_pylist() == before["test"]["example"].to_pylist() for table in tables.values()} == {
        True
    }
    assert manifest.change.what == "shifted"
    assert manifest.change.clean == clean.hash
    assert set(manifest.change.splits) == set(SETS)
    assert manifest.shared_with_test == {}
    assert manifest.splits["swap-5"].labels == clean.splits["test"].labels


def test_the_same_bytes_every_time(sentences, tmp_path):
    shift(SETS, sentences, tmp_path / "one")
    shift(SETS, sentences, tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_a_text_that_holds_the_sign_for_masks_is_refused(tmp_path):
    lines = [f"text {number} {MASKED},{'ab'[number % 2]}" for number in range(40)]
    source = make_source(tmp_path / "source", {"train.csv": "\n".join(["text,label", *lines]) + "\n"})
    prepare(make_task(), source, tmp_path / "clean")
    with pytest.raises(InputError, match=r"^task mine: test, example 0: text has the noncharacter '\\ufdd0'$"):
        shift(SETS, tmp_path / "clean", tmp_path / "shifted")


@pytest.mark.parametrize("name", ["swap", "swap-", "swap-0", "swap-101", "swap-5.5", "shuffle-5", "distractor-5"])
def test_an_unknown_set_is_refused(texts, tmp_path, name):
    with pytest.raises(InputError, match=f"^{name}: expected distractor, or one of swap, delete, drop, mask and a "):
        shift([name], texts, tmp_path / "shifted")


def test_shifted_text_is_not_shifted_again(texts, tmp_path):
    shift(["drop-5"], texts, tmp_path / "shifted")
    with pytest.raises(InputError, match="expected the clean task with its test split"):
        shift(["drop-5"], tmp_path / "shifted", tmp_path / "again")


def test_the_script(texts, tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "shift.py"), "--clean", str(texts)]
    command += ["--destination", str(tmp_path / "out"), "--sets"]
    subprocess.run([*command, "distractor", "mask-5"], check=True, cwd=tmp_path)
    assert set(load_prepared(tmp_path / "out")[1]) == {"distractor", "mask-5"}
    failed = subprocess.run([*command, "mask"], capture_output=True, text=True, cwd=tmp_path)
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1


# --- encoded


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    config = RobertaConfig(vocab_size=300, max_position_embeddings=130)
    return byte_level(tmp_path_factory.mktemp("roberta"), RobertaTokenizer, config)


def encoded(task, clean, model, tmp_path, names):
    shift(names, clean, tmp_path / "shifted")
    encode(task, tmp_path / "shifted", model, tmp_path / "encoded")
    return load_prepared(tmp_path / "shifted"), load_encoded(tmp_path / "encoded")


def test_masks_are_the_tokenizers_own(texts, sentences, tmp_path, roberta):
    for model in (make_model(tmp_path / "bert"), roberta):
        mask = AutoTokenizer.from_pretrained(model).mask_token_id
        for clean, task in ((texts, make_task(max_length=64)), (sentences, make_tagging(max_length=64))):
            folder = tmp_path / f"{model.name} {task.kind}"
            (manifest, tables), splits = encoded(task, clean, model, folder, ["mask-20", "drop-5", "swap-10"])
            assert list(splits) == ["drop-5", "mask-20", "swap-10"]
            if model is roberta and task.kind == "sequence-classification":
                continue  # letters are tokens there, and long texts are cut off
            ids = np.concatenate(splits["mask-20"]["input_ids"][:])
            assert (ids == mask).sum() == manifest.change.splits["mask-20"].counts["changed"]
            for row, old in zip(splits["mask-20"], tables["mask-20"].to_pylist(), strict=True):
                hit = {word for token, word in zip(row["input_ids"], row["words"], strict=True) if token == mask}
                if task.kind == "token-classification":
                    assert hit == {place for place, word in enumerate(old["tokens"]) if word == MASKED}
                    assert sum(word in hit for word in row["words"]) == len(hit), "a mask is one subword"
                    shown = [label for label in row["labels"] if label != IGNORED]
                    assert shown == row["tags"]
                assert -1 not in hit


def test_words_around_masks_are_spelled_as_ever(texts, tmp_path):
    """In a text, a mask is a word of its own, and all other words have the ids that they have in clean text."""
    task, model = make_task(max_length=64), make_model(tmp_path / "bert")
    (_, tables), splits = encoded(task, texts, model, tmp_path, ["mask-20"])
    tokenizer = AutoTokenizer.from_pretrained(model)
    for row, old in zip(splits["mask-20"], tables["mask-20"]["text"].to_pylist(), strict=True):
        expected = [tokenizer.cls_token_id]
        for word in old.split():
            own = [tokenizer.mask_token_id] if word == MASKED else tokenizer.encode(word, add_special_tokens=False)
            expected += own
        assert row["input_ids"] == [*expected, tokenizer.sep_token_id]
        assert [word for word in row["words"] if word >= 0] == list(range(len(expected) - 1))


def test_a_tokenizer_without_a_mask_token_gets_the_one_of_training(sentences, tmp_path):
    from maskbench.models.tokens import add_mask_token

    model = make_gpt2(tmp_path / "gpt2")
    tokenizer = AutoTokenizer.from_pretrained(model)
    size = len(tokenizer)
    (manifest, tables), splits = encoded(make_tagging(max_length=64), sentences, model, tmp_path, ["mask-20"])
    for row, old in zip(splits["mask-20"], tables["mask-20"]["tokens"].to_pylist(), strict=True):
        assert [token == size for token in row["input_ids"]] == [word == MASKED for word in old]
    assert manifest.change.splits["mask-20"].counts["changed"] > 0
    info = EncodedManifest.read(tmp_path / "encoded").tokenizer
    assert (info.mask_token_id, info.vocab_size) == (None, size), "the model's own"
    assert add_mask_token(tokenizer)
    assert tokenizer.mask_token_id == size
    assert not add_mask_token(tokenizer)


def test_a_byte_level_tokenizer_without_a_mask_token(sentences, texts, tmp_path):
    """The space before a mask is the mask's, as in RoBERTa: no lone space becomes a token."""
    pieces = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġa"]
    ids = {piece: number for number, piece in enumerate(pieces)}
    model = tmp_path / "gpt2"
    GPT2Tokenizer(vocab=ids, merges=[("Ġ", "a")]).save_pretrained(model)
    GPT2Config(vocab_size=300, n_positions=200, bos_token_id=0, eos_token_id=0).save_pretrained(model)
    size, lone = len(ids), ids["Ġ"]
    (manifest, _), splits = encoded(make_task(max_length=200), texts, model, tmp_path / "a", ["mask-20"])
    rows = splits["mask-20"]["input_ids"][:]
    assert sum(row.count(size) for row in rows) == manifest.change.splits["mask-20"].counts["changed"]
    assert not any((a, b) == (lone, size) for row in rows for a, b in pairwise(row))


def test_only_shifted_text_has_masks(tmp_path):
    """The sign for masks in a user's own clean text is text like any other."""
    lines = [f"text {number} {MASKED} here,{'ab'[number % 2]}" for number in range(40)]
    source = make_source(tmp_path / "source", {"train.csv": "\n".join(["text,label", *lines]) + "\n"})
    prepare(make_task(), source, tmp_path / "clean")
    model = make_model(tmp_path / "model")
    encode(make_task(max_length=32, accept=["unknown-tokens"]), tmp_path / "clean", model, tmp_path / "encoded")
    mask = AutoTokenizer.from_pretrained(model).mask_token_id
    assert all(mask not in row for row in load_encoded(tmp_path / "encoded")["train"]["input_ids"][:])


def test_long_texts_are_cut_off(sentences, tmp_path):
    _, splits = encoded(make_tagging(max_length=8), sentences, make_model(tmp_path / "bert"), tmp_path, ["distractor"])
    counts = EncodedManifest.read(tmp_path / "encoded").splits["distractor"]
    assert counts.truncated_examples == counts.rows
    for row in splits["distractor"]:
        assert row["length"] == 8
        shown = [label for label in row["labels"] if label != IGNORED]
        assert shown == row["tags"][: len(shown)]
        assert len(row["tags"]) > len(shown)
