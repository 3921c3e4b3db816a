"""A masked language model that is asked what it sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM, set_seed

from docs.exhibits.exhibit import Damage, Exhibit, percent
from docs.exhibits.material import REVIEWS, Material
from maskbench.kinds.encoding import IGNORED
from maskbench.masks.draws import Draws
from maskbench.masks.input.random import Random
from maskbench.training.trainer import PairedOrder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from maskbench.masks.batch import Batch

Way = Callable[["Batch"], tuple[Tensor, Tensor]]
EPOCHS, REVIEWS_READ, SCORED = 3, 640, 300


def zero_one(batch: Batch) -> tuple[Tensor, Tensor]:
    """Ask where the mask is, not which token it hides; the input is whole."""
    hit = Random(rate=0.15).where(batch, Draws(1)) & batch.maskable
    return batch.input_ids, hit.long().masked_fill(~batch.padding, IGNORED)


def unmasked(batch: Batch) -> tuple[Tensor, Tensor]:
    """Ask for the tokens at the drawn places, but put no [MASK] into the input."""
    hit = Random(rate=0.15).where(batch, Draws(1)) & batch.maskable
    return batch.input_ids, batch.input_ids.masked_fill(~hit, IGNORED)


def right(batch: Batch) -> tuple[Tensor, Tensor]:
    """Put [MASK] into the input and ask for the tokens that it hides, and for no other."""
    masked = Random(rate=0.15).corrupt(batch, Draws(1))
    return masked.input_ids, batch.input_ids.where(masked.hit, IGNORED)


def train(material: Material, way: Way) -> PreTrainedModel:
    """Train MiniLM with a fresh head on some reviews; every way sees the same batches."""
    set_seed(1)
    model = AutoModelForMaskedLM.from_pretrained(material.folder, local_files_only=True, attn_implementation="eager")
    dataset = material.shuffled(REVIEWS, "train").select(range(REVIEWS_READ))
    order = PairedOrder(1, 32, list(dataset["length"]), group=True)
    steps = EPOCHS * -(-len(dataset) // 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-4, total_steps=steps, pct_start=0.1)
    for epoch in range(EPOCHS):
        order.set_epoch(epoch)
        rows = list(order)
        for start in range(0, len(rows), 32):
            batch = material.batch_of([dataset[row] for row in rows[start : start + 32]], epoch=epoch)
            optimizer.zero_grad()
            ids, targets = way(batch)
            with torch.autocast("cpu", torch.bfloat16, enabled=material.device.precision == "bf16"):
                loss = cross_entropy(model, batch, ids, targets)[0]
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return model.eval()


def cross_entropy(model: PreTrainedModel, batch: Batch, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean loss in nats, predictions and targets at the places that have a target."""
    states = model.base_model(input_ids=ids, attention_mask=batch.padding.long()).last_hidden_state
    asked = targets != IGNORED
    logits = model.cls(states[asked])
    return torch.nn.functional.cross_entropy(logits.float(), targets[asked]), logits.argmax(-1), targets[asked]


@torch.no_grad()
def score(model: PreTrainedModel, batch: Batch, way: Way) -> tuple[float, float]:
    """Return loss in nats and accuracy by a way of asking."""
    loss, predicted, wanted = cross_entropy(model, batch, *way(batch))
    return float(loss), float((predicted == wanted).float().mean())


def measure(material: Material) -> Damage:
    """Train in three ways; ask each model its own question, then all of them the right one."""
    batch = material.batch(REVIEWS, "test", SCORED)
    rows = []
    for name, way in (("articles, targets 0/1", zero_one), ("articles, input not masked", unmasked), ("right", right)):
        model = train(material, way)
        own, real = score(model, batch, way), score(model, batch, right)
        rows.append((name, f"{own[0]:.2f}", percent(own[1]), f"{real[0]:.2f}", percent(real[1])))
    wanted = right(batch)[1]
    wanted = wanted[wanted != IGNORED]
    seen = material.batch(REVIEWS, "train", REVIEWS_READ)
    guess = seen.input_ids[seen.maskable].mode().values
    rows.append(
        ("most frequent token of the training text", "–", "–", "–", percent(float((wanted == guess).float().mean())))
    )
    return Damage(
        headline=f"reported accuracy {rows[0][2]} and {rows[1][2]}; on tokens that are hidden {rows[0][4]} and "
        f"{rows[1][4]} (right: {rows[2][4]})",
        columns=("", "reported loss (nats)", "reported accuracy", "loss on hidden tokens", "accuracy on hidden tokens"),
        rows=rows,
        note=f"MiniLM's encoder with a *fresh* masked-LM head (the package has none), {EPOCHS} passes over "
        f"{REVIEWS_READ} reviews; scored on {SCORED} test reviews, the same masks for all.",
    )


EXHIBIT = Exhibit(
    name="answers_in_sight",
    title="A masked LM without masks, or without tokens to guess",
    mistakes=("targets 0/1 instead of token ids", "inputs never masked"),
    why="With 0/1 targets the model learns to answer one class, since nothing in the input tells where the mask would "
    "have been; with an unmasked input it learns to copy. Both scores are high, and neither says anything about "
    "guessing a hidden word.",
    article=(zero_one, unmasked),
    right=(right,),
    measure=measure,
    trains=True,
)
