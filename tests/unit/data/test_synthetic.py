"""Text of which the truth is known, as functions and as a source of the configuration."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from maskbench.config.conditions import Condition, Cue
from maskbench.config.sources import SyntheticSource
from maskbench.config.tasks import Task
from maskbench.data.conditions import plant
from maskbench.data.encode import encode, load_encoded
from maskbench.data.prepare import load_prepared, prepare
from maskbench.data.sources import fetch_task
from maskbench.data.synthetic import FILLER, SECOND, TELLING, make, rows
from maskbench.errors import InputError
from maskbench.kinds.encoding import IGNORED
from maskbench.kinds.token_classification.tags import to_iob2
from tests.helpers.models import BAD, GOOD, make_model
from tests.helpers.models import FILLER as KNOWN

KINDS = {"classification": "sequence-classification", "tagging": "token-classification"}


def source(kind="classification", **dials):
    return SyntheticSource.model_validate({"synthetic": kind, **dials})


def task_of(made):
    """The task as a configuration has it."""
    content = {"name": "made-up", "kind": KINDS[made.synthetic], "source": made.model_dump(), "max_length": 32}
    return Task.model_validate(content)


def prepared(made, folder):
    """Fetch and prepare."""
    fetch_task(task_of(made), folder / "source", folder / "cache")
    prepare(task_of(made), folder / "source", folder / "clean")
    manifest, tables = load_prepared(folder / "clean")
    return manifest, {split: table.to_pylist() for split, table in tables.items()}


# --- what holds in the text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 5, 8])
def test_one_word_tells_the_label(kind, classes):
    dials = {"classes": classes, "length": 6, "train": 200, "validation": 50, "test": 80}
    split_of = make(source(kind, **dials))
    names = list(TELLING)
    seen = set()
    for split, made in split_of.items():
        assert len(made.words) == dials[split]
        for words, label, place in zip(made.words, made.classes, made.place, strict=True):
            assert len(words) == 6
            telling = [word for word in words if word.lower() not in {*FILLER, *SECOND}]
            assert telling == [words[place]]
            assert words[place].lower() in TELLING[names[label]]
            seen.add(tuple(words))
        counts = np.bincount(made.classes, minlength=classes)
        assert counts.max() - counts.min() <= 10
    assert len(seen) == sum(dials[split] for split in split_of), "no text stands twice"


def test_the_vocabulary_holds_no_word_twice():
    words = [*FILLER, *SECOND, *(word for telling in TELLING.values() for word in telling)]
    assert len(words) == len(set(words))
    assert set(words).isdisjoint(Cue().words)
    assert {len(telling) for telling in TELLING.values()} == {10}
    assert list(TELLING) == sorted(TELLING)


def test_tags_are_iob2_and_span_the_mention():
    made = make(source("tagging", train=300))["train"]
    lengths = []
    for row in rows(made, source("tagging")):
        assert row["label"] == to_iob2(row["label"])
        mention = [word for word, tag in zip(row["text"], row["label"], strict=True) if tag != "O"]
        assert len(mention) in (1, 2)
        assert all(word in SECOND for word in map(str.lower, mention[1:]))
        assert all(word[0].isupper() for word in mention)
        lengths.append(len(mention))
    assert lengths.count(2) / len(lengths) == pytest.approx(1 / 3, abs=0.09)


# --- dials


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("conflict", [0.0, 0.3, 0.5, 1.0])
def test_two_tasks_disagree_on_the_share_of_conflict(kind, conflict):
    dials = {"classes": 4, "train": 400, "validation": 80, "test": 120, "seed": 3}
    base, other = make(source(kind, **dials)), make(source(kind, **dials, conflict=conflict))
    for split in base:
        assert base[split].words == other[split].words
        differ = base[split].classes != other[split].classes
        assert differ.mean() == pytest.approx(conflict)
        assert (other[split].classes[differ] == (base[split].classes[differ] + 1) % 4).all()


def test_conflict_is_about_words_and_nested():
    found = []
    for conflict in (0.2, 0.5):
        base, other = make(source()), make(source(conflict=conflict))
        pairs = zip(base["test"].words, base["test"].place, base["test"].classes, other["test"].classes, strict=True)
        turned = {(words[place], one != two) for words, place, one, two in pairs}
        assert len(turned) == 20, "a word is turned everywhere or nowhere"
        found.append({word for word, hit in turned if hit})
    assert found[0] < found[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("noise", [0.0, 0.25, 0.333])
def test_noise_flips_exactly_its_share_of_training_labels(kind, noise):
    clean, noisy = make(source(kind, classes=3)), make(source(kind, classes=3, noise=noise))
    for split in clean:
        assert clean[split].words == noisy[split].words
        flipped = int((noisy[split].classes != noisy[split].true).sum())
        assert flipped == (round(noise * 400) if split == "train" else 0)
        assert (noisy[split].true == clean[split].classes).all()


def test_seeds_and_repetition():
    one, again, other = make(source()), make(source()), make(source(seed=1))
    assert one["train"].words == again["train"].words
    assert one["train"].words != other["train"].words


def test_too_short_for_so_many_texts():
    made = source().model_copy(update={"length": 2})  # 2 places × 41 words for each of 20
    with pytest.raises(InputError, match=r"^here: length: 2 words make too few different texts; expected longer"):
        make(made.model_copy(update={"train": 2000}), "here")


# --- as a source


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_of_the_configuration(kind, tmp_path):
    made = source(kind, classes=3, noise=0.1, train=120, validation=30, test=60)
    manifest, splits = prepared(made, tmp_path)
    assert {split: len(found) for split, found in splits.items()} == {"train": 120, "validation": 30, "test": 60}
    assert manifest.shared_with_test == {"train": 0, "validation": 0}
    assert manifest.source["source"] == made.model_dump(mode="json")
    expected = make(made)
    if kind == "classification":
        assert manifest.labels == ["animal", "building", "clothing"]
        assert [row["label"] for row in splits["train"]] == expected["train"].classes.tolist()
        assert [row["text"].split() for row in splits["test"]] == expected["test"].words
    else:
        assert manifest.labels == ["O", "B-animal", "I-animal", "B-building", "I-building", "B-clothing", "I-clothing"]
        assert [row["tokens"] for row in splits["test"]] == expected["test"].words
        tags = [max(row["tags"]) for row in splits["test"]]
        assert [(tag - 1) // 2 for tag in tags] == expected["test"].classes.tolist()


def test_the_same_bytes_every_time(tmp_path):
    for name in ("one", "two"):
        fetch_task(task_of(source("tagging", conflict=0.5)), tmp_path / name, tmp_path / "cache")
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two
    assert set(one) == {"train.jsonl", "validation.jsonl", "test.jsonl", "source.json"}
    first = json.loads(one["train.jsonl"].splitlines()[0])
    assert set(first) == {"text", "label"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("written", ["cue:0.9", "label-noise:0.3"])
def test_conditions_go_with_it(kind, written, tmp_path):
    prepared(source(kind, classes=4), tmp_path)
    plant(Condition.model_validate(written), Cue().words, tmp_path / "clean", tmp_path / "planted")
    assert load_prepared(tmp_path / "planted")[0].change.what == written


# --- learnable


def trained(encoded, tagging, labels):
    """Train a tiny random model by hand for some seconds; return its accuracy on the labelled places of test."""
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    from maskbench.training.collate import Collator

    torch.manual_seed(0)
    kind = AutoModelForTokenClassification if tagging else AutoModelForSequenceClassification
    model = kind.from_pretrained(encoded.parent / "model", num_labels=labels, hidden_dropout_prob=0.0)
    splits, collate = load_encoded(encoded), Collator(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    keys = ("input_ids", "attention_mask", "labels")

    def batch(dataset, chosen):
        made = collate([dataset[int(row)] for row in chosen])
        return {key: made[key] for key in keys}

    for _ in range(12):
        for chosen in torch.randperm(len(splits["train"])).split(32):
            model(**batch(splits["train"], chosen)).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        test = batch(splits["test"], range(len(splits["test"])))
        guess = model(**test).logits.argmax(-1)
    labelled = test["labels"] != IGNORED
    if tagging:
        labelled &= test["labels"] > 0
    return (guess == test["labels"])[labelled].float().mean().item()


@pytest.mark.parametrize("kind", KINDS)
def test_a_tiny_random_model_learns_it(kind, tmp_path):
    manifest, _ = prepared(source(kind), tmp_path)
    words = {*FILLER, *SECOND, *(word for telling in list(TELLING.values())[:2] for word in telling)}
    make_model(tmp_path / "model", more=sorted(words - {word.lower() for word in [*GOOD, *BAD, *KNOWN]}))
    encode(task_of(source(kind)), tmp_path / "clean", tmp_path / "model", tmp_path / "encoded")
    assert trained(tmp_path / "encoded", kind == "tagging", len(manifest.labels)) > 0.9
