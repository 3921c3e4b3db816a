"""What masks do with the masked-LM head of θ₀: samples for holes, and an auxiliary loss on the encoder in training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from maskbench.kinds.encoding import IGNORED
from maskbench.masks.passes import precision
from maskbench.models.anatomy import base_of
from maskbench.models.masked_lm import MaskedLMHead, pretrained, require_same_encoder

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from maskbench.masks.batch import Batch
    from maskbench.masks.setting import Setting


def _places(hit: Tensor) -> Tensor:
    """Return (N,) places of a flattened (B, T) mask: those that are hit; on a card all, since it is not waited for."""
    everywhere = hit.flatten()
    return everywhere.nonzero()[:, 0] if hit.device.type == "cpu" else torch.arange(len(everywhere), device=hit.device)


class Shared:
    """The masked-LM head on the encoder of the model in training, which both losses then train."""

    def __init__(self, setting: Setting) -> None:
        model = pretrained(setting.folder, setting.model)
        require_same_encoder(model, setting.model)
        self.head = MaskedLMHead(model, setting.model)

    def loss(self, model: Module, hidden: Tensor, hit: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy of the true tokens in nats, a mean over the hit positions; 0 if there are none.

        Parameters
        ----------
        model
            The model in training.
        hidden
            (B, T, H) its last hidden states.
        hit
            (B, T) bool.
        targets
            (B, T) the text's own token ids.
        """
        self.head.train(model.training)
        with precision(model):
            # only the positions that are hit: logits of all B times T take much more time on a CPU
            places = _places(hit)
            logits = self.head(hidden.flatten(0, 1)[places])
        wanted = torch.where(hit, targets, IGNORED).flatten()[places]
        total = torch.nn.functional.cross_entropy(logits, wanted, ignore_index=IGNORED, reduction="sum")
        return total / hit.sum().clamp(min=1)


class Sampler:
    """Fills holes with samples of the pretrained masked LM (θ₀), which stays frozen.

    Parameters
    ----------
    setting
        The setting of the run; only tokens of its `vocabulary` are sampled.
    temperature
        What logits are divided by: below 1 likelier tokens are preferred, above 1 unlikelier ones.
    """

    def __init__(self, setting: Setting, temperature: float) -> None:
        model = pretrained(setting.folder, setting.model).requires_grad_(False)
        self._trained, self._encoder = setting.model, base_of(model)
        self._head = MaskedLMHead(model, model).eval()
        self._vocabulary = setting.vocabulary.to(setting.model.device)
        self._temperature = temperature

    @torch.no_grad()
    def sample(self, batch: Batch, uniform: Tensor) -> Tensor:
        """Return (B, T) token ids for the positions in `batch.hit`, which hold [MASK]; any ids elsewhere.

        Each is the inverse of the cumulative distribution at one uniform number, so a sample depends on its text
        and its number alone.

        Parameters
        ----------
        uniform
            (B, T) numbers in [0, 1).
        """
        assert batch.hit is not None
        places = _places(batch.hit)
        with precision(self._trained):
            hidden = self._encoder(**batch.inputs()).last_hidden_state
            logits = self._head(hidden.flatten(0, 1)[places])
        shares = (logits[:, self._vocabulary] / self._temperature).softmax(-1).cumsum(-1)
        # the last cumulative share is 1 up to rounding, so the number is scaled by it
        drawn = uniform.flatten()[places, None] * shares[:, -1:]
        rank = torch.searchsorted(shares, drawn, right=True)[:, 0]
        tokens = self._vocabulary[rank.clamp(max=len(self._vocabulary) - 1)]
        return batch.input_ids.flatten().index_copy(0, places, tokens).view_as(batch.input_ids)
