"""Scores beside hand-computed cases and other implementations; padding; the metric modules through evaluate."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2
from sklearn.metrics import classification_report
from transformers import DataCollatorForTokenClassification, DataCollatorWithPadding

from maskbench.data.encode import load_encoded
from maskbench.kinds import head, score
from maskbench.kinds.encoding import IGNORED
from maskbench.kinds.score import Outcome  # noqa: TC001
from maskbench.kinds.sequence_classification.score import classify
from maskbench.kinds.token_classification.iob2 import agreement, as_iob2
from maskbench.kinds.token_classification.score import tag
from maskbench.training.collate import Collator
from tests.helpers.models import make_encoded, make_model

ROOT = Path(__file__).resolve().parents[3]
TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def tagged(gold: list[list[int]], found: list[list[int]]) -> Outcome:
    """Return the outcome of predicting `found`, one subword a word."""
    width = max(map(len, gold))
    labels = np.full((len(gold), width), IGNORED)
    classes = np.zeros((len(gold), width), dtype=np.int64)
    for row, (one, other) in enumerate(zip(gold, found, strict=True)):
        labels[row, : len(one)], classes[row, : len(one)] = one, other
    ones = np.ones_like(labels, dtype=np.float32)
    places = [np.arange(len(tags)) for tags in gold]
    return tag(np.arange(len(gold)), labels, classes, ones, ones, ones, gold, places, TAGS)


# --- tags


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["I-PER", "I-PER", "O"], ["B-PER", "I-PER", "O"]),
        (["B-PER", "I-LOC", "I-LOC"], ["B-PER", "B-LOC", "I-LOC"]),
        (["O", "I-LOC", "B-LOC", "I-LOC"], ["O", "B-LOC", "B-LOC", "I-LOC"]),
        ([], []),
    ],
)
def test_stray_inside_tags_start_an_entity(tags, expected):
    assert as_iob2(tags) == expected


def test_entities_count_only_if_words_and_type_are_right():
    gold = ["B-PER", "I-PER", "O", "B-LOC"]
    assert agreement(gold, gold) == (2, 2, 2)
    assert agreement(["B-PER", "O", "O", "B-LOC"], gold) == (1, 2, 2)
    assert agreement(["O"] * 4, gold) == (0, 0, 2)


lines = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=9)


@given(st.lists(lines, min_size=1, max_size=8))
def test_the_score_is_hits_over_weights_and_seqevals_strict_f1(sentences):
    gold = [[TAGS.index(name) for name in as_iob2([TAGS[one] for one, _ in line])] for line in sentences]
    outcome = tagged(gold, [[other for _, other in line] for line in sentences])
    measured = outcome.measures()
    assert measured["score"] == pytest.approx(outcome.score, abs=1e-12)
    names = [[TAGS[one] for one in line] for line in gold]
    found = [as_iob2([TAGS[other] for _, other in line]) for line in sentences]
    if any(name != "O" for side in (names, found) for line in side for name in line):
        expected = f1_score(names, found, mode="strict", scheme=IOB2, zero_division=0)
        assert measured["entity_f1"] == pytest.approx(expected)
    assert measured["loss"] == pytest.approx(1.0)


def test_a_tagger_that_finds_nothing_scores_zero_without_an_error():
    measured = tagged([[1, 2, 0]], [[0, 0, 0]]).measures()
    assert (measured["entity_f1"], measured["entity_precision"], measured["f1:PER"]) == (0.0, 0.0, 0.0)
    assert measured["support:PER"] == 1
    assert tagged([[0, 0]], [[0, 0]]).measures()["entity_f1"] == 0.0


def test_confusions_count_words_by_entity_type_and_texts_by_class():
    outcome = tagged([[1, 2, 0], [3, 0, 0]], [[1, 0, 0], [2, 0, 3]])
    assert outcome.confusion() == {"LOC>PER": 1, "O>LOC": 1, "O>O": 2, "PER>O": 1, "PER>PER": 1}
    logits = np.log(np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]))
    outcome = classify(np.arange(3), np.array([0, 1, 1]), logits, np.ones(3), ["a", "b"])
    assert outcome.confusion() == {"a>a": 1, "b>a": 1, "b>b": 1}


def test_words_that_were_cut_off_count_as_missed():
    labels, classes = np.array([[1, IGNORED]]), np.array([[1, 0]])
    ones = np.ones((1, 2))
    outcome = tag(np.array([0]), labels, classes, ones, ones, ones, [[1, 0, 3]], [np.array([0])], TAGS)
    assert outcome.table.loc[0, ["hit", "weight", "units"]].tolist() == [2.0, 3.0, 1]
    assert outcome.score == pytest.approx(2 / 3)


# --- classes


def test_classification_measures_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(60, 3)).astype(np.float32))
    labels = torch.from_numpy(rng.integers(0, 3, 60))
    reduced = head.of("sequence-classification").reduced(logits, labels)
    log_probabilities, losses = (part.numpy() for part in reduced)
    outcome = classify(np.arange(60), labels.numpy(), log_probabilities, losses, ["a", "b", "c"])
    measured = outcome.measures()
    report = classification_report(labels, logits.argmax(-1), output_dict=True)
    assert measured["accuracy"] == measured["score"] == pytest.approx(report["accuracy"])
    assert measured["f1_macro"] == pytest.approx(report["macro avg"]["f1-score"])
    assert measured["recall_weighted"] == pytest.approx(report["weighted avg"]["recall"])
    assert measured["precision:b"] == pytest.approx(report["1"]["precision"])
    assert measured["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-5)
    assert np.allclose(np.stack(outcome.table["probabilities"]).sum(1), 1)


def test_a_class_that_is_absent_has_no_support_and_does_not_crash():
    outcome = classify(
        np.arange(2), np.array([0, 0]), np.log(np.array([[0.9, 0.1], [0.8, 0.2]])), np.ones(2), ["a", "b"]
    )
    measured = outcome.measures()
    assert (measured["support:b"], measured["f1:b"], measured["mcc"]) == (0.0, 0.0, 0.0)


def test_the_majority_class_is_that_of_training():
    splits = {"labels": [1, 1, 0]}, {"labels": [0, 0, 1, 0]}
    assert score.of("sequence-classification").majority(*splits) == 0.25
    assert score.of("token-classification").majority(*splits) == 0.0


def test_losses_of_tagging_leave_out_what_has_no_label():
    logits = torch.tensor([[[2.0, 0.0], [0.0, 0.0]]])
    reduced = head.of("token-classification").reduced(logits, torch.tensor([[0, IGNORED]]))
    classes, losses, briers, confidences = reduced
    assert classes.tolist() == [[0, 0]]
    assert losses.tolist() == [[pytest.approx(math.log(1 + math.exp(-2))), 0.0]]
    sure = 1 / (1 + math.exp(-2))
    assert briers.tolist() == [[pytest.approx(2 * (1 - sure) ** 2), 0.0]]
    assert confidences.tolist() == [[pytest.approx(sure), 0.5]]


def test_words_that_are_cut_off_have_no_confidence_and_do_not_count_in_the_brier_score():
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(1, 4, 5)).astype(np.float32))
    labels = torch.tensor([[IGNORED, 2, IGNORED, 0]])
    reduced = [part.numpy() for part in head.of("token-classification").reduced(logits, labels)]
    row = tag(np.array([7]), labels.numpy(), *reduced, [[2, 0, 1]], [np.array([0, 1])], TAGS).table.iloc[0]
    probabilities = logits.softmax(-1)[0, [1, 3]].numpy()
    assert row["confidence"][:2] == pytest.approx(probabilities.max(-1))
    assert math.isnan(row["confidence"][2])
    assert row["brier"] == pytest.approx(np.square(probabilities - np.eye(5)[[2, 0]]).sum(-1).mean())


def test_the_brier_score_of_classes_is_the_squared_distance_from_the_right_one():
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(60, 3)).astype(np.float32))
    labels = torch.from_numpy(rng.integers(0, 3, 60))
    reduced = head.of("sequence-classification").reduced(logits, labels)
    log_probabilities, losses = (part.numpy() for part in reduced)
    outcome = classify(np.arange(60), labels.numpy(), log_probabilities, losses, ["a", "b", "c"])
    expected = np.square(logits.softmax(-1).numpy() - np.eye(3)[labels.numpy()]).sum(-1)
    assert np.allclose(outcome.table["brier"], expected, atol=1e-6)


# --- the metric modules, as anybody would load them


def test_the_metric_modules_load_offline_through_evaluate(tmp_path):
    code = f"""
import evaluate
folder = {str(ROOT / "maskbench/kinds")!r}
one = evaluate.load(folder + "/sequence_classification/metric.py").compute(
    predictions=[0, 1, 1], references=[0, 1, 0], labels=["a", "b"])
two = evaluate.load(folder + "/token_classification/metric.py").compute(
    predictions=[["B-PER", "O"]], references=[["B-PER", "O"]], types=["PER"])
print(round(one["accuracy"], 4), two["entity_f1"])
"""
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path),
        "HF_MODULES_CACHE": str(tmp_path / "m"),
    }
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert output.stdout.split() == ["0.6667", "1.0"], output.stderr


# --- padding


@pytest.mark.parametrize("kind", ["sequence-classification", "token-classification"])
def test_padding_is_that_of_the_collators_of_transformers(kind, tmp_path):
    from transformers import AutoTokenizer

    model = make_model(tmp_path / "model")
    dataset = load_encoded(make_encoded(tmp_path, model, kind))["train"]
    rows = [dataset[number] for number in range(7)]
    tokenizer = AutoTokenizer.from_pretrained(model)
    theirs = (DataCollatorForTokenClassification if kind.startswith("token") else DataCollatorWithPadding)(tokenizer)(
        [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in rows]
    )
    ours = Collator(tokenizer.pad_token_id)(rows)
    for name in ("input_ids", "attention_mask", "labels"):
        assert torch.equal(ours[name], theirs[name]), name
    assert ((ours["words"] >= 0) <= (ours["attention_mask"] == 1)).all()
    assert ours["examples"].tolist() == [row["example"] for row in rows]


def test_padding_on_the_left_and_to_a_multiple():
    rows = [
        {"input_ids": [7] * size, "words": [0] * size, "capitals": [True] * size, "labels": 0, "example": size}
        for size in (2, 5)
    ]
    batch = Collator(0, left=True, multiple=8)(rows)
    assert batch["input_ids"].tolist() == [[0] * 6 + [7] * 2, [0] * 3 + [7] * 5]
    assert batch["attention_mask"].sum(1).tolist() == [2, 5]
    assert torch.equal(batch["capitals"], batch["attention_mask"].bool())
