"""What a model does with the held-out sequences, under masks that are the same for every recipe, seed and update."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from maskbench.channels import Fixed, Stream
from maskbench.config.science import MASKED_LM_RATE
from maskbench.masks.draws import Draws
from maskbench.training.pretraining.learner import log_frequencies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from maskbench.masks.batch import Batch
    from maskbench.training.pretraining.learner import Learner

    Counts = NDArray[np.int64]


@dataclass(frozen=True)
class HeldOut:
    """What N held-out sequences contribute; sums of them make the measures.

    Attributes
    ----------
    nll
        (N,) summed cross-entropy at the masked places, in nats.
    hit
        (N,) masked tokens that were the likeliest one for the model.
    weight
        (N,) masked tokens.
    unigram
        (N,) what the frequencies of the training text lose at the same places, in nats.
    pairs
        (N,) whether the model tells right if the pair's second segment follows; None without next sentences.
    """

    nll: NDArray[np.float64]
    hit: Counts
    weight: Counts
    unigram: NDArray[np.float64]
    pairs: Counts | None

    @property
    def loss(self) -> float:
        """Cross-entropy at the masked places, in nats per token."""
        return float(self.nll.sum() / max(1, self.weight.sum()))

    @property
    def unigram_loss(self) -> float:
        """What the frequencies of the training text lose at the same places, in nats per token."""
        return float(self.unigram.sum() / max(1, self.weight.sum()))

    @property
    def accuracy(self) -> float:
        """Share of the masked tokens that are predicted."""
        return float(self.hit.sum() / max(1, self.weight.sum()))

    @property
    def pseudo_perplexity(self) -> float:
        """Exponential of the loss. Each token is predicted with others masked beside it, not alone."""
        return math.exp(min(self.loss, 700.0))

    @property
    def pair_accuracy(self) -> float | None:
        """Share of the pairs that are told right; None without next sentences."""
        return None if self.pairs is None else float(self.pairs.mean())


@torch.no_grad()
def measure(learner: Learner, batches: Sequence[Callable[[], Batch]], frequencies: Tensor, *, mixed: bool) -> HeldOut:
    """Predict the masked tokens of held-out sequences; the places depend on the number of a sequence alone.

    Parameters
    ----------
    learner
        The model; it is in eval mode meanwhile.
    batches
        Each returns a batch.
    frequencies
        (V,) how often each token stands in the training text.
    mixed
        Whether passes are in bf16.
    """
    draws = Draws(Fixed.HOLES, Stream.HOLES)
    parts: list[tuple[NDArray[np.float64], Counts, Counts, NDArray[np.float64], Counts | None]] = []
    surprise = -log_frequencies(frequencies).double().cpu()
    training = learner.model.training
    learner.model.eval()
    for make in batches:
        clean = replace(make(), epoch=0)
        hit = (draws.uniform(clean) < MASKED_LM_RATE) & clean.maskable
        masked = clean.corrupted(hit, clean.mask_id)
        with torch.autocast(clean.input_ids.device.type, dtype=torch.bfloat16, enabled=mixed):
            logits, pairs = learner.outputs(masked)
        wanted, rows = clean.input_ids[hit], hit.nonzero()[:, 0].cpu().numpy()
        lost = torch.nn.functional.cross_entropy(logits, wanted, reduction="none").double().cpu().numpy()
        right = (logits.argmax(-1) == wanted).cpu().numpy()
        size = len(clean.input_ids)
        told: Counts | None = None
        if pairs is not None:
            assert clean.labels is not None
            told = (pairs.argmax(-1) == clean.labels).long().cpu().numpy()
        right_of, weight_of = np.bincount(rows, right, size).astype(np.int64), np.bincount(rows, minlength=size)
        plain = np.bincount(rows, surprise[wanted.cpu()].numpy(), size).astype(np.float64)
        parts.append(
            (np.bincount(rows, lost, size).astype(np.float64), right_of, weight_of.astype(np.int64), plain, told)
        )
    learner.model.train(training)
    nll, hits, weights, unigram = (np.concatenate([part[place] for part in parts]) for place in range(4))
    tolds = [part[4] for part in parts if part[4] is not None]
    return HeldOut(nll, hits, weights, unigram, np.concatenate(tolds) if tolds else None)
