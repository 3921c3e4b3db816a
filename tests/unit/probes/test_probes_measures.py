"""Measures of interference against hand-computed cases, their libraries too, and dials that they must follow."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from cka.hsic import hsic as hsic_of_grams
from scipy.stats import spearmanr
from torchmetrics.functional.classification import binary_calibration_error
from transformers import AutoModel, AutoModelForMaskedLM

from maskbench.config.measures import MEASURES
from maskbench.kinds import probing
from maskbench.kinds.score import Outcome
from maskbench.kinds.token_classification.probing import shared_words
from maskbench.models.masked_lm import original_head
from maskbench.probes import drift, fit, holes, linear
from maskbench.probes.errors import UnmeasuredError
from maskbench.probes.input import flips
from maskbench.probes.task import transplant
from maskbench.slots.device import Device
from maskbench.training.collate import Collator
from maskbench.training.forward import Forward
from tests.helpers.models import make_model

CPU = Device("cpu", "fp32", "eager", 1)
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def follows(dial, values):
    """Tell whether the values rise with the dial, without ties."""
    return spearmanr(dial, values).statistic == pytest.approx(1.0)


# --- calibration


def texts_outcome(probabilities, labels):
    table = pd.DataFrame(
        {
            "example": range(len(labels)),
            "label": labels,
            "prediction": np.argmax(probabilities, 1),
            "probabilities": list(np.asarray(probabilities)),
            "units": 1,
            "brier": ((np.asarray(probabilities) - np.eye(len(probabilities[0]))[labels]) ** 2).sum(1),
        }
    )
    return Outcome("sequence-classification", ("down", "up"), table)


def test_ece_and_brier_by_hand():
    # bins of 1/15: 0.70 alone in [10/15, 11/15), right; 0.80 and 0.81 in [12/15, 13/15), one of them right
    outcome = texts_outcome([[0.7, 0.3], [0.2, 0.8], [0.19, 0.81]], [0, 1, 0])
    assert fit.ece(*fit.confidences(outcome)[:2]) == pytest.approx(0.3 / 3 + abs(0.805 - 0.5) * 2 / 3)
    assert fit.brier(outcome) == pytest.approx((2 * 0.3**2 + 2 * 0.2**2 + 2 * 0.81**2) / 3)


def test_certainty_shares_the_last_bin_and_is_no_logit():
    sure, right = np.array([1.0, 1.0 + 1e-7, 0.95, 0.94]), np.array([True, True, False, False])
    assert fit.ece(sure, right) == pytest.approx(abs(sure.mean() - 0.5), abs=1e-6)


def test_ece_is_that_of_torchmetrics():
    rng = np.random.default_rng(0)
    sure = np.concatenate([rng.uniform(0.2, 1, 500), np.linspace(0, 1, 16)[1:-1], [0.999999]])
    right = rng.random(len(sure)) < sure**2
    wanted = binary_calibration_error(torch.tensor(sure), torch.tensor(right).long(), n_bins=15, norm="l1")
    assert fit.ece(sure, right) == pytest.approx(float(wanted), rel=1e-6)


def test_ece_of_tags_leaves_out_words_that_were_cut_off():
    table = pd.DataFrame(
        {
            "example": [0, 1],
            "confidence": [[0.9, np.nan], [0.9]],
            "prediction": [[1, 0], [0]],
            "label": [[1, 1], [1]],
            "units": [1, 1],
            "brier": [0.02, 1.6],
        }
    )
    outcome = Outcome("token-classification", tuple(LABELS), table)
    assert fit.ece(*fit.confidences(outcome)[:2]) == pytest.approx(abs(0.9 - 0.5))
    assert fit.brier(outcome) == pytest.approx(0.81)


def test_no_prediction_is_no_zero():
    with pytest.raises(UnmeasuredError, match="no predictions"):
        fit.ece(np.array([]), np.array([], dtype=bool))


def test_ece_follows_a_temperature():
    """Labels drawn from softmax(z), confidence from softmax(z · t): the excess of confidence is known."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, 20_000)
    right_is_one = rng.random(20_000) < 1 / (1 + np.exp(-logits))
    dial, found = [1.0, 1.5, 2.0, 3.0, 5.0], []
    honest = 1 / (1 + np.exp(-np.abs(logits)))
    for sharpness in dial:
        sure = 1 / (1 + np.exp(-np.abs(logits) * sharpness))
        found.append(fit.ece(sure, (logits > 0) == right_is_one))
        assert found[-1] == pytest.approx((sure - honest).mean(), abs=0.02)
    assert follows(dial, found)


# --- memorisation of labels, mentions


def test_agreement_with_flipped_mentions_by_hand():
    table = pd.DataFrame({"example": [4, 9], "prediction": [[0, 3, 4, 1], [3, 0]]})
    outcome = Outcome("token-classification", tuple(LABELS), table)
    # words 1-2 now LOC: found; word 3 now LOC: still PER; word 0 now LOC, found; word 1 now PER: O
    flips = [[([1, 2], 3), ([3], 3)], [([0], 3), ([1], 1)]]
    assert fit.agreement(outcome, flips, LABELS)[["hit", "weight"]].to_numpy().tolist() == [[1, 2], [1, 2]]
    partly = Outcome(outcome.kind, outcome.labels, pd.DataFrame({"example": [4], "prediction": [[0, 3, 0]]}))
    assert fit.agreement(partly, [[([1, 2], 3)]], LABELS)["hit"].tolist() == [0]


def test_flipped_mentions_are_found():
    before, after = [0, 1, 2, 0, 3, 1], [0, 3, 4, 0, 3, 3]
    assert probing.of("token-classification").flipped(before, after, LABELS) == [([1, 2], 3), ([5], 3)]


def test_seen_and_unseen_mentions_by_hand(tmp_path):
    """Gold: Anna PER (seen), Rome LOC (known as PER: seen), Oslo LOC (new). Predicted: Anna, Rome (PER), Oslo, Anna."""
    train = pd.DataFrame({"example": [0, 1], "tokens": [["Anna", "saw"], ["Rome", "saw"]], "tags": [[1, 0], [1, 0]]})
    test = pd.DataFrame({"example": [0], "tokens": [["Anna", "Rome", "Oslo", "Anna"]], "tags": [[1, 3, 3, 0]]})
    train.to_parquet(tmp_path / "train.parquet")
    test.to_parquet(tmp_path / "test.parquet")
    table = pd.DataFrame({"example": [0], "prediction": [[1, 1, 3, 3]], "label": [[1, 3, 3, 0]]})
    subject = SimpleNamespace(
        sources=SimpleNamespace(prepared=tmp_path),
        labels=LABELS,
        trained_on={"example": [0, 1]},
        predictions=Outcome("token-classification", tuple(LABELS), table),
        words=lambda folder, name: pd.read_parquet(folder / f"{name}.parquet").set_index("example"),
    )
    counts = fit.split_by_seen(subject)
    # right, predicted, gold. seen: Anna right; Rome as PER and Anna as LOC are wrong, with a surface that was seen
    assert counts["seen"].tolist() == [[1, 3, 2]]
    assert counts["unseen"].tolist() == [[1, 1, 1]]
    assert fit._f1(counts["seen"]) == pytest.approx(2 / 5)
    with pytest.raises(UnmeasuredError, match="no such gold mention"):
        fit._f1(np.array([[0, 1, 0]]))
    subject.trained_on = {"example": [1]}  # a run that did not see Anna
    assert fit.split_by_seen(subject)["seen"].tolist() == [[0, 1, 1]]


def test_a_seen_text_of_another_type_is_a_seen_mention_in_gold_and_in_prediction(tmp_path):
    """Trained on Washington as LOC; gold PER, predicted LOC: one miss and one false alarm, both of a seen text."""
    train = pd.DataFrame({"example": [0], "tokens": [["Washington"]], "tags": [[3]]})
    test = pd.DataFrame({"example": [0], "tokens": [["Washington"]], "tags": [[1]]})
    train.to_parquet(tmp_path / "train.parquet")
    test.to_parquet(tmp_path / "test.parquet")
    table = pd.DataFrame({"example": [0], "prediction": [[3]], "label": [[1]]})
    subject = SimpleNamespace(
        sources=SimpleNamespace(prepared=tmp_path),
        labels=LABELS,
        trained_on={"example": [0]},
        predictions=Outcome("token-classification", tuple(LABELS), table),
        words=lambda folder, name: pd.read_parquet(folder / f"{name}.parquet").set_index("example"),
    )
    counts = fit.split_by_seen(subject)
    assert counts["seen"].tolist() == [[0, 1, 1]]
    assert counts["unseen"].tolist() == [[0, 0, 0]]
    assert "of whatever type" in MEASURES["seen_f1"].definition


# --- predictions that flip


def row(words, tags):
    """Return a sentence whose words are given as subword ids."""
    return {
        "example": 0,
        "tags": tags,
        "words": [-1, *(index for index, word in enumerate(words) for _ in word), -1],
        "input_ids": [2, *(token for word in words for token in word), 3],
    }


def test_words_of_two_versions_are_paired():
    clean = row([[7], [8, 9], [7], [5]], [0, 1, 2, 0])
    assert list(shared_words(clean, row([[7], [1], [7], [5]], [0, 1, 2, 0]))) == [(0, 0), (1, 1), (2, 2), (3, 3)]
    # a distractor behind it
    assert list(shared_words(clean, row([[7], [8, 9], [7], [5], [4]], [0, 1, 2, 0, 0]))) == [(i, i) for i in range(4)]
    # the first word of the mention dropped: what is left of it begins it now; the first 7 is O and so another word
    assert list(shared_words(clean, row([[7], [5]], [1, 0]))) == [(2, 0), (3, 1)]
    # the last two words cut off by max_length
    cut = row([[7], [8, 9], [7], [5]], [0, 1, 2, 0])
    cut["words"], cut["input_ids"] = [*cut["words"][:3], -1], [*cut["input_ids"][:3], 3]
    assert list(shared_words(clean, cut)) == [(0, 0), (1, 1)]


def test_flip_rate_by_hand():
    before = pd.DataFrame({"prediction": [0, 1, 1, 0]})
    after = pd.DataFrame({"prediction": [0, 0, 1, 1]})
    outcomes = [Outcome("sequence-classification", ("a", "b"), table) for table in (before, after)]
    assert flips(SimpleNamespace(texts=SimpleNamespace(test=[])), *outcomes, []).mean() == 0.5
    clean = row([[7], [8]], [0, 1])
    subject = SimpleNamespace(texts=SimpleNamespace(test=[clean]))
    longer = row([[7], [8], [4]], [0, 1, 0])
    for predicted, rate in (([0, 1, 3], 0.0), ([0, 3, 0], 1.0)):
        outcomes = [
            Outcome("token-classification", tuple(LABELS), pd.DataFrame({"prediction": [tags]}))
            for tags in ([0, 1], predicted)
        ]
        assert flips(subject, *outcomes, [longer]).mean() == rate


# --- drift


def hsic_by_hand(one, other):
    """Return the unbiased estimator of Song et al. (2012), written out."""
    n = len(one)
    k, m = ((x - x.mean(0)) @ (x - x.mean(0)).T for x in (one, other))
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    first, second = k.sum(1), m.sum(1)
    whole = np.trace(k @ m) + first.sum() * second.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * first @ second
    return whole / (n * (n - 3))


def biased_cka(one, other):
    one, other = one - one.mean(0), other - other.mean(0)
    return np.linalg.norm(one.T @ other) ** 2 / (np.linalg.norm(one.T @ one) * np.linalg.norm(other.T @ other))


def test_debiased_cka_by_hand():
    one = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0], [1.0, 1.0], [0.0, 0.5]])
    other = np.array([[2.0], [1.0], [4.0], [0.0], [1.0]])
    wanted = hsic_by_hand(one, other) / math.sqrt(hsic_by_hand(one, one) * hsic_by_hand(other, other))
    assert drift.debiased_cka(torch.tensor(one), torch.tensor(other)) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("count", [4, 30, 400])
def test_hsic_is_that_of_a_library_that_makes_the_gram_matrices(count):
    rng = np.random.default_rng(count)
    one = torch.tensor(rng.normal(size=(count, 12)) * np.arange(1, 13) + 5)
    other = torch.tensor(np.tanh(one.numpy()[:, :7]) + rng.normal(size=(count, 7)))
    grams = [(features @ features.T)[None] for features in (one, other)]
    wanted = [float(value.squeeze()) for value in hsic_of_grams(*grams)]
    found = [drift.hsic(one, other), drift.hsic(one, one), drift.hsic(other, other)]
    assert found == pytest.approx(wanted, rel=1e-9)


def test_debiased_cka_has_its_known_properties():
    rng = np.random.default_rng(1)
    one = rng.normal(size=(60, 12))
    turned = one @ np.linalg.qr(rng.normal(size=(12, 12)))[0] * 7 + 3
    assert drift.debiased_cka(torch.tensor(one), torch.tensor(turned)) == pytest.approx(1)
    values = [
        (drift.debiased_cka(torch.tensor(a), torch.tensor(b)), biased_cka(a, b))
        for a, b in (rng.normal(size=(2, 20, 40)) for _ in range(50))
    ]
    debiased, biased = np.mean(values, 0)
    assert abs(debiased) < 0.03
    assert biased > 0.5


def test_a_constant_representation_has_no_drift():
    with pytest.raises(UnmeasuredError, match="does not vary"):
        drift.debiased_cka(torch.ones(10, 3), torch.randn(10, 3))


def test_cka_drift_follows_noise():
    """With isotropic features and noise of scale σ the true value is 1 / (1 + σ²)."""
    rng = np.random.default_rng(2)
    features, noise = rng.normal(size=(2, 1000, 16))
    dial = [0.0, 0.5, 1.0, 2.0, 4.0]
    found = [1 - drift.debiased_cka(torch.tensor(features), torch.tensor(features + s * noise)) for s in dial]
    assert follows(dial, found)
    for scale, value in zip(dial, found, strict=True):
        assert value == pytest.approx(1 - 1 / (1 + scale**2), abs=0.03)


def test_parameter_drift_is_exactly_the_step(tmp_path):
    """θ₀ + α·Δ drifts by α·‖Δ‖/‖θ₀‖, in each block."""
    folder = make_model(tmp_path / "model")
    model = AutoModel.from_pretrained(folder)
    start = {name: weight.clone() for name, weight in drift.weights_of(model).items()}
    generator = torch.Generator().manual_seed(0)
    delta = {name: torch.randn(weight.shape, generator=generator) for name, weight in start.items()}
    parts = drift.blocks(model)
    assert list(parts) == ["", "embeddings", "layer-0", "layer-1"]
    assert sum(len(parts[name]) for name in parts if name) == len(start) - 2  # the pooler is in no block
    dial, found = [0.0, 0.1, 0.3, 1.0, 3.0], []
    for alpha in dial:
        moved = {name: weight + alpha * delta[name] for name, weight in start.items()}
        rows = {part: (far, changed) for part, far, changed in drift.parameter_drift(moved, start, parts)}
        for part, names in parts.items():
            step, norm = (
                math.sqrt(sum(float(of[name].double().square().sum()) for name in names)) for of in (delta, start)
            )
            assert rows[part][0] == pytest.approx(alpha * step / norm, rel=1e-5)
            assert rows[part][1] == pytest.approx(float(alpha > 0), abs=1e-3)
        found.append(rows[""][0])
    assert follows(dial, found)


def test_changed_weights_by_hand():
    start = {"a": torch.tensor([1.0, 2.0, 2.0]), "b": torch.tensor([[4.0]]), "fresh": torch.ones(5)}
    trained = {"a": torch.tensor([1.0, 2.0, 5.0]), "b": torch.tensor([[4.0], [9.0]])}
    parts = {"": ["a", "b", "fresh"], "first": ["a"], "none": ["fresh"]}
    # 3 / 5 of the whole; a row that b gained has no start
    assert list(drift.parameter_drift(trained, start, parts)) == [("", 3 / 5, 1 / 4), ("first", 1.0, 1 / 3)]
    assert drift.moved_drift(trained, start, parts[""]) == 3 / 2  # of the one weight that moved
    assert drift.moved_drift(start, start, parts[""]) == 0.0


def test_what_is_frozen_does_not_make_the_drift_of_the_rest_smaller(tmp_path):
    """With all but one layer held, the drift of all weights is small; that of the weights that moved is as it was."""
    model = AutoModel.from_pretrained(make_model(tmp_path / "model"))
    start = {name: weight.clone() for name, weight in drift.weights_of(model).items()}
    parts = drift.blocks(model)
    free = {name: weight * 1.1 if name in parts["layer-1"] else weight for name, weight in start.items()}
    both = {name: weight * 1.1 if weight.dim() else weight for name, weight in start.items()}
    whole = {part: far for part, far, _ in drift.parameter_drift(free, start, parts)}
    assert whole[""] < 0.07
    assert drift.moved_drift(free, start, parts[""]) == pytest.approx(0.1, rel=1e-4)
    assert drift.moved_drift(both, start, parts[""]) == pytest.approx(0.1, rel=1e-4)


# --- masked LM


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """A tiny BERT that has learnt that a text repeats one word, its folder, and such texts."""
    folder = make_model(tmp_path_factory.mktemp("lm") / "model", head=True)
    model = AutoModelForMaskedLM.from_pretrained(folder)
    generator = torch.Generator().manual_seed(0)

    def draw(count):
        return 5 + torch.randint(0, 8, (count, 1), generator=generator).expand(count, 10)

    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    model.train()
    for _ in range(250):
        ids = draw(32)
        hit = torch.rand(ids.shape, generator=generator) < 0.2
        loss = torch.nn.functional.cross_entropy(model(input_ids=ids.masked_fill(hit, 4)).logits[hit], ids[hit])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval().save_pretrained(folder)
    rows = [
        {
            "example": index,
            "input_ids": ids.tolist(),
            "words": list(range(10)),
            "capitals": [False] * 10,
            "labels": 0,
        }
        for index, ids in enumerate(draw(60))
    ]
    return SimpleNamespace(folder=folder, rows=rows)


def noisy(folder, scale):
    """Return the encoder with noise of one direction in all its weights."""
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="eager")
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight += scale * torch.randn(weight.shape, generator=generator)
    return model


def test_masked_lm_loss_by_hand(spoken):
    whole = AutoModelForMaskedLM.from_pretrained(spoken.folder).eval()
    forward = Forward(noisy(spoken.folder, 0.0), Collator(0), CPU, 7, 4)
    found = holes.loss(forward, original_head(spoken.folder, forward.model), spoken.rows)
    total, count = 0.0, 0
    again = Forward(whole, Collator(0), CPU, 60, 4)
    (_, batch) = next(again.batches(spoken.rows))
    hit = (holes.Draws(holes.Fixed.HOLES, holes.Stream.HOLES).uniform(batch) < 0.15) & batch.maskable
    with torch.no_grad():
        logits = whole(input_ids=batch.input_ids.masked_fill(hit, 4), attention_mask=batch.padding.long()).logits
    total = torch.nn.functional.cross_entropy(logits[hit], batch.input_ids[hit], reduction="sum")
    count = int(hit.sum())
    assert 0.1 < count / 600 < 0.2
    assert found == pytest.approx(float(total) / count, rel=1e-4)


def test_masked_lm_loss_follows_noise_in_the_weights(spoken):
    dial, found = [0.0, 0.05, 0.1, 0.2, 0.4], []
    for scale in dial:
        forward = Forward(noisy(spoken.folder, scale), Collator(0), CPU, 16, 4)
        found.append(holes.loss(forward, original_head(spoken.folder, forward.model), spoken.rows))
    assert follows(dial, found)
    assert found[0] < 0.5  # it knows the language
    assert found[-1] > math.log(8)  # and knows no more than that there are eight words, or less


def test_the_original_head_keeps_its_own_decoder(spoken):
    trained = noisy(spoken.folder, 0.5)
    head = original_head(spoken.folder, trained)
    hidden = torch.randn(3, 16)
    whole = AutoModelForMaskedLM.from_pretrained(spoken.folder).eval()
    torch.testing.assert_close(head(hidden), whole.cls(hidden))


# --- probing


def probing_rows(count, seed):
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        length = int(rng.integers(4, 20))
        tokens = rng.integers(10, 14, length)
        rows.append({"example": index, "input_ids": [2, *tokens, 3], "words": [-1, *range(length), -1]})
    return rows


def test_properties_by_hand():
    def text(*tokens):
        return {"input_ids": [2, *tokens, 3], "words": [-1, *range(len(tokens)), -1]}

    train = [text(7), text(7, 8), text(8, 9, 9), text(9, 9, 9, 9)]
    test = [text(7, 7, 7, 7, 7, 8)]
    found = linear.properties(train, test)
    (known, wanted) = found["length"][0]
    assert known.tolist() == [0, 1, 2, 3]
    assert wanted.tolist() == [3]
    # 7, 8 and 9 each stand in two of the four texts
    assert [known.tolist() for known, _ in found["word-content"]] == [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    assert [wanted.tolist() for _, wanted in found["word-content"]] == [[1], [1], [0]]
    assert "length" not in linear.properties([text(7), text(8)], test)


def test_probing_follows_noise_in_the_features():
    """Features that hold the length and the words, under noise: from nearly all known to nearly nothing."""
    train, test = probing_rows(400, 0), probing_rows(400, 1)
    classes = linear.properties(train, test)
    rng = np.random.default_rng(2)

    def features(rows, scale):
        lengths = np.array([len(row["words"]) - 2 for row in rows])
        onehot = np.eye(20)[lengths]
        return torch.tensor(onehot + scale * rng.normal(size=onehot.shape))

    dial = [0.0, 0.3, 0.6, 1.2, 5.0]
    found = [linear.accuracy(features(train, s), features(test, s), classes["length"]) for s in dial]
    assert follows(dial, [-value for value in found])
    assert found[0] > 0.98
    assert found[-1] == pytest.approx(0.25, abs=0.1)


# --- one task after another


def test_a_transplant_moves_the_encoder_and_nothing_else(tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    folder = make_model(tmp_path / "model")
    donor = AutoModelForTokenClassification.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        for weight in donor.parameters():
            weight.add_(1)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    transplant(donor, model)
    given = donor.state_dict()
    for name, weight in model.state_dict().items():
        whose = before if name.startswith("classifier") or "pooler" in name else given
        assert torch.equal(weight, whose[name]), name
