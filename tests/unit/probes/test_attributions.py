"""Attributions of words: what integrated gradients promise, what is taken away, and agreement of seeds."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from transformers import AutoModelForSequenceClassification

from maskbench.analysis.agreement import attribution_agreement, tau_b
from maskbench.analysis.derived import RunSummary
from maskbench.config.probes import Attributions, Probes
from maskbench.errors import InputError
from maskbench.probes import attributions as own
from maskbench.probes.errors import UnmeasuredError
from maskbench.slots.device import Device
from maskbench.training.collate import Collator
from maskbench.training.forward import Forward
from tests.helpers.families import build, texts
from tests.helpers.models import make_model

CPU = Device("cpu", "fp32", "eager", 1)


def row(words, example=0):
    """Return an encoded text of tokens of the given words, with one special token on either side."""
    ids = [2, *(6 + number % 10 for number in range(len(words))), 3]
    return {
        "input_ids": ids,
        "words": [-1, *words, -1],
        "capitals": [False] * len(ids),
        "labels": 0,
        "example": example,
        "length": len(ids),
        "truncated": 0,
    }


@pytest.fixture(scope="module")
def forward(tmp_path_factory):
    folder = make_model(tmp_path_factory.mktemp("model") / "model")
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)
    for parameter in model.parameters():  # tiny models answer every text alike
        torch.nn.init.normal_(parameter, std=0.3) if parameter.dim() > 1 else None
    return Forward(model, Collator(0), CPU, 2, 4)


TEXTS = [row([0, 1, 1, 2], 0), row([0, 0, 1], 1), row([0, 1, 2, 3, 4, 4], 2)]


def logit(forward, ids, classes):
    with torch.no_grad():
        found = forward.model(input_ids=ids, attention_mask=torch.ones_like(ids))["logits"]
    return found[range(len(classes)), classes].double().numpy()


def test_attributions_add_up_to_what_the_words_change(forward):
    """Completeness: the sum over all tokens is the logit of the text less that of a text of padding."""
    classes = np.array([0, 1, 2])
    found = own.of_words(forward, TEXTS, classes, Attributions(steps=64))
    assert [len(values) for values in found] == [3, 2, 5]
    for text, values, label in zip(TEXTS, found, classes, strict=True):
        ids = torch.tensor([text["input_ids"]])
        start = torch.where(torch.tensor([text["words"]]) >= 0, 0, ids)
        change = logit(forward, ids, [label]) - logit(forward, start, [label])
        assert values.sum() == pytest.approx(change[0], abs=0.02 * max(1, abs(change[0])))


@pytest.mark.parametrize(
    "name",
    ["roberta", "distilbert", "electra", "albert", "deberta-v2", "modernbert", "funnel", "gpt2", "llama", "bloom"],
)
def test_attributions_add_up_in_every_family(name):
    batch, model = texts(name), build(name, "sequence-classification")
    pad = model.config.pad_token_id
    of_family = SimpleNamespace(model=model, shown=None, collate=Collator(pad))
    target = torch.tensor([0, 1, 2])
    steps = 300 if name == "llama" else 50  # its norm makes the way bend sharply near the end
    found = own._method(of_family, Attributions(steps=steps))(batch, target)
    table, changed = model.get_input_embeddings(), []
    with torch.no_grad():
        for ids in (batch.input_ids, torch.where(batch.maskable, pad, batch.input_ids)):
            # embeddings alone are replaced: RoBERTa's positions and GPT-2's last token go by the ids
            replaced = table(ids)
            handle = table.register_forward_hook(lambda *_, found=replaced: found)
            changed.append(own._logits(of_family, batch, batch.input_ids, torch.arange(3)))
            handle.remove()
    change = (changed[0] - changed[1])[range(3), target].double().numpy()
    assert found.sum(1) == pytest.approx(change, abs=0.1 * max(1, abs(change).max()))
    assert abs(found[~batch.maskable.numpy()]).max() < 1e-9  # special tokens and padding stay as they are


@pytest.mark.parametrize("name", ["xlnet", "t5", "bart"])
def test_models_that_look_tokens_up_otherwise_are_not_measured(name):
    of_family = SimpleNamespace(model=build(name, "sequence-classification"), shown=None, collate=Collator(0))
    with pytest.raises(UnmeasuredError, match="does not look tokens up once"):
        own._method(of_family, Attributions())(texts(name), torch.tensor([0, 1, 2]))


def test_a_text_has_the_same_attributions_in_any_batch(forward):
    together = own.of_words(forward, TEXTS, np.arange(3), Attributions(steps=4))
    alone = [
        own.of_words(forward, [text], np.array([label]), Attributions(steps=4))[0] for label, text in enumerate(TEXTS)
    ]
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_gradient_times_input_is_the_slope_at_the_text(forward):
    found = own.of_words(forward, TEXTS[:1], np.array([1]), Attributions(method="gradient-input"))[0]
    ids = torch.tensor([TEXTS[0]["input_ids"]])
    embedded = forward.model.get_input_embeddings()(ids).detach().requires_grad_()
    forward.model(inputs_embeds=embedded, attention_mask=torch.ones_like(ids))["logits"][0, 1].backward()
    tokens = (embedded.grad * embedded.detach()).sum(-1)[0].double().numpy()
    assert found == pytest.approx([tokens[1], tokens[2] + tokens[3], tokens[4]], abs=1e-6)


def test_words_are_taken_away_with_all_their_tokens():
    text = row([0, 1, 1, 2])
    shorter = own.without(text, np.array([1]))
    assert shorter["words"] == [-1, 0, 2, -1]
    assert shorter["input_ids"] == [2, 6, 9, 3]
    assert (shorter["length"], shorter["example"], shorter["labels"]) == (4, 0, 0)
    assert text["words"] == [-1, 0, 1, 1, 2, -1]


def test_how_many_words_go():
    assert [own.how_many(words, 0.2) for words in (2, 7, 8, 13, 20)] == [1, 1, 2, 3, 4]
    assert own.highest(np.array([0.1, 0.5, -2.0, 0.5]), 0.5).tolist() == [1, 3]
    drawn = own.drawn(TEXTS, 0.5)
    assert [len(places) for places in drawn] == [2, 1, 2]
    assert [places.tolist() for places in drawn] == [places.tolist() for places in own.drawn(TEXTS, 0.5)]
    many = [row(list(range(10)), example) for example in range(300)]
    counts = np.bincount(np.concatenate(own.drawn(many, 0.2)), minlength=10)
    assert counts.sum() == 600
    assert (abs(counts - 60) < 30).all()  # each word is drawn as often as any other


def test_attributions_have_to_be_described_to_be_measured():
    assert "attributions" not in Probes().wanted
    assert "attributions" in Probes.model_validate({"attributions": {}}).wanted
    with pytest.raises(ValueError, match="measure: attributions needs the key attributions"):
        Probes.model_validate({"measure": ["attributions"]})


# --- agreement of seeds


def test_tau_b_is_that_of_scipy():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 5, (6, 9)).astype(float)
    values[5] = 1.0
    wanted = [[kendalltau(one, other).statistic for other in values] for one in values]
    assert tau_b(values) == pytest.approx(np.array(wanted), nan_ok=True)
    assert np.isnan(tau_b(values)[5]).all()


def summary(seed, words, strategy="none"):
    about = ("a", "m", strategy, "single", "clean", "n100")
    return RunSummary(f"r{strategy}{seed}", *about, seed, completed=True, attributions=words)


def alike(run):
    """Read the predictions of runs that give one answer to every text."""
    return np.arange(6), np.zeros(6, dtype=int)


def test_agreement_is_the_mean_over_texts_and_other_seeds():
    runs = [
        summary(1, {0: [1.0, 2.0, 3.0], 4: [1.0, 2.0]}),
        summary(2, {0: [1.0, 2.0, 3.0], 4: [2.0, 1.0]}),
        summary(3, {0: [3.0, 2.0, 1.0], 4: [1.0, 1.0]}),
        summary(1, {}, "x"),
    ]
    kept = {}
    found = {
        value.run: value.value
        for value in attribution_agreement(
            runs, alike, Path("probes"), lambda run, ids, hit, weight: kept.update({run: (ids, hit, weight)})
        )
    }
    # text 0: 1 with 2, −1 with 3; text 4: −1 with 2, and 3 has no order there
    assert found == {"rnone1": pytest.approx(-1 / 3), "rnone2": pytest.approx(-1 / 3), "rnone3": pytest.approx(-1.0)}
    wanted = {"rnone1": [[0, 4], [0, -1], [2, 1]], "rnone3": [[0, 4], [-2, 0], [2, 0]]}
    assert all(np.stack(kept[run]) == pytest.approx(np.array(parts)) for run, parts in wanted.items())


def test_a_seed_alone_agrees_with_nobody_and_other_texts_are_refused():
    assert [value.value for value in attribution_agreement([summary(1, {0: [1.0, 2.0]})], alike, Path())] == [None]
    runs = [summary(1, {0: [1.0, 2.0]}), summary(2, {1: [1.0, 2.0]})]
    with pytest.raises(InputError, match=r"probes/rnone2/metrics.json: attributions: expected those of"):
        list(attribution_agreement(runs, alike, Path("probes")))


def test_attributions_of_different_answers_are_not_compared():
    """Two models that are one but for the threshold: words that speak for a class speak against the other."""
    runs = [summary(1, {0: [1.0, 2.0], 4: [1.0, 2.0, 3.0]}), summary(2, {0: [-1.0, -2.0], 4: [1.0, 2.0, 3.0]})]
    answers = {"rnone1": np.array([0, 1]), "rnone2": np.array([1, 1])}
    kept = {}
    found = attribution_agreement(
        runs,
        lambda run: (np.array([0, 4]), answers[run]),
        Path("probes"),
        lambda run, ids, hit, weight: kept.update({run: weight.tolist()}),
    )
    assert [value.value for value in found] == pytest.approx([1.0, 1.0])
    assert kept == {"rnone1": [0, 1], "rnone2": [0, 1]}
    answers["rnone2"] = np.array([1, 0])
    assert [
        value.value for value in attribution_agreement(runs, lambda run: (np.array([0, 4]), answers[run]), Path())
    ] == [
        None,
        None,
    ]
