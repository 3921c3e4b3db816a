"""Forward passes over texts: each text once, in batches that a device holds, and what is read of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from maskbench.data.encode import load_encoded
from maskbench.kinds import head
from maskbench.slots import device as slots
from maskbench.slots.device import Device
from maskbench.training.collate import Collator
from maskbench.training.forward import Forward, outcome
from tests.helpers.models import make_encoded, make_model

CPU = Device("cpu", "fp32", "eager", 1)
TEXTS, TAGS = KINDS = "sequence-classification", "token-classification"
AUTO = {TEXTS: AutoModelForSequenceClassification, TAGS: AutoModelForTokenClassification}
LABELS = {TEXTS: ["down", "up"], TAGS: ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model and the encoded texts of each kind of task."""
    folder = tmp_path_factory.mktemp("made")
    model = make_model(folder / "model")
    return model, {
        kind: load_encoded(make_encoded(folder / kind, model, kind))["train"].to_list()[:30] for kind in KINDS
    }


def forward_of(model, kind, batch_size="auto", collate=Collator(0), **keys):  # noqa: B008
    torch.manual_seed(0)
    model = AUTO[kind].from_pretrained(model, num_labels=len(LABELS[kind]), attn_implementation="eager")
    return Forward(model, collate, CPU, batch_size, 4, **keys)


def shapes_of(forward):
    """Return a list to which each pass adds the shape of its batch."""
    found = []
    forward.model.base_model.register_forward_pre_hook(
        lambda module, args, keys: found.append(tuple((args[0] if args else keys["input_ids"]).shape)), with_kwargs=True
    )
    return found


@pytest.mark.parametrize(
    ("kind", "collate"),
    # BERT tells the class of a text by its first place, which must not be padding
    [(TEXTS, Collator(0)), (TAGS, Collator(0)), (TAGS, Collator(0, left=True, multiple=8))],
    ids=["texts", "tags", "tags, padded on the left"],
)
def test_what_is_read_in_batches_is_what_each_text_gives_alone(made, kind, collate):
    model, rows = made[0], made[1][kind]
    places = np.array([[4, 1], [0, 2], [17, 1], [0, 1]])
    together, alone = forward_of(model, kind, 7, collate), forward_of(model, kind, 1)
    for forward in (together, alone):  # without places, left and right padding come to the same
        torch.nn.init.zeros_(forward.model.base_model.embeddings.position_embeddings.weight)
    passed = together.read(rows, places, hidden=True, head=head.of(kind))
    single = [alone.read([row], np.array([[0, 1], [0, 2]]), hidden=True, head=head.of(kind)) for row in rows]
    for index, one in enumerate(single):
        for found, wanted in zip(passed.reduced[index], one.reduced[0], strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(passed.pooled[index], one.pooled[0], rtol=1e-4, atol=1e-6)
    for place, (row, token) in enumerate(places):
        torch.testing.assert_close(passed.states[:, place], single[row].states[:, token - 1], rtol=1e-4, atol=1e-6)
    assert passed.finite.all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_that_stands_in_several_places_is_passed_over_once(made, kind):
    model, rows = made[0], made[1][kind]
    forward = forward_of(model, kind)
    shapes = shapes_of(forward)
    again = [dict(row, example=row["example"] + 1000) for row in rows[::-1]]
    twice = forward.read([*rows, *again], hidden=True, head=head.of(kind))
    distinct = {(tuple(row["input_ids"]), str(row["labels"])) for row in rows}
    assert sum(count for count, _ in shapes) == len(distinct) <= len(rows)
    table = outcome(kind, LABELS[kind], [*rows, *again], twice).table
    assert table["example"].tolist() == [row["example"] for row in (*rows, *again)]
    assert table["nll"].tolist()[: len(rows)] == table["nll"].tolist()[len(rows) :][::-1]
    assert torch.equal(twice.pooled[: len(rows)], twice.pooled[len(rows) :].flip(0))


def test_labels_and_drawn_masks_keep_equal_texts_apart(made):
    model, rows = made[0], made[1][TEXTS][:1]
    other = dict(rows[0], labels=1 - rows[0]["labels"])
    forward = forward_of(model, TEXTS)
    losses = [parts[1] for parts in forward.read([rows[0], other], head=head.of(TEXTS)).reduced]
    assert np.exp(-losses[0]) + np.exp(-losses[1]) == pytest.approx(1)
    from contextlib import nullcontext

    drawn = forward_of(model, TEXTS, shown=lambda model, batch: nullcontext())
    shapes = shapes_of(drawn)
    drawn.read([rows[0], dict(rows[0], example=7)], head=head.of(TEXTS))
    assert sum(count for count, _ in shapes) == 2


def test_a_batch_has_as_many_texts_as_the_device_holds(made, monkeypatch):
    monkeypatch.setitem(slots.TOKENS, "cpu", 40)
    model, rows = made[0], made[1][TEXTS]
    forward = forward_of(model, TEXTS)
    shapes = shapes_of(forward)
    forward.read(rows, head=head.of(TEXTS))
    assert all(count * width <= 40 for count, width in shapes)
    assert [width for _, width in shapes] == sorted((width for _, width in shapes), reverse=True)
    assert max(count for count, _ in shapes) > min(count for count, _ in shapes[:-1])
    monkeypatch.setitem(slots.TOKENS, "cpu", 1)  # a text that is longer than the budget is a batch of its own
    alone = forward.read(rows, head=head.of(TEXTS))
    assert len(alone.reduced) == len(rows)


def test_a_batch_that_does_not_fit_is_halved(made):
    model, rows = made[0], made[1][TEXTS]
    whole = forward_of(model, TEXTS).read(rows, hidden=True, head=head.of(TEXTS))
    tight = forward_of(model, TEXTS)
    tried = []

    def refuse(module, args, keys):
        tried.append(len(args[0] if args else keys["input_ids"]))
        if tried[-1] > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")

    tight.model.base_model.register_forward_pre_hook(refuse, with_kwargs=True)
    found = tight.read(rows, hidden=True, head=head.of(TEXTS))
    assert max(tried) > 4 >= min(tried)
    torch.testing.assert_close(found.pooled, whole.pooled, rtol=1e-4, atol=1e-6)
    for one, other in zip(found.reduced, whole.reduced, strict=True):
        np.testing.assert_allclose(one[0], other[0], rtol=1e-4, atol=1e-6)
    handle = tight.model.base_model.register_forward_pre_hook(
        lambda module, args: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory"))
    )
    with pytest.raises(torch.OutOfMemoryError):
        tight.read(rows[:1], head=head.of(TEXTS))
    handle.remove()


def test_what_is_not_finite_is_known_of_each_text(made):
    model, rows = made[0], made[1][TEXTS]
    forward = forward_of(model, TEXTS)
    odd = rows[3]["input_ids"][1]
    with torch.no_grad():
        forward.model.get_input_embeddings().weight[odd] = float("nan")
    passed = forward.read(rows, hidden=True, head=head.of(TEXTS))
    wanted = [odd not in row["input_ids"] for row in rows]
    assert passed.finite.tolist() == [[one, one] for one in wanted]
    assert any(wanted)
    assert not all(wanted)
