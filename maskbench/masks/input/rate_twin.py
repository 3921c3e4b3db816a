"""Input mask that hits as many tokens as another one at random places: a control."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from maskbench.channels import Channel
from maskbench.masks.batch import Batch
from maskbench.masks.shared.within import OfAnother
from maskbench.masks.slots import InnerInput

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.draws import Draws


class RateTwin(OfAnother):
    """As many tokens of each text are hit as another mask hits, at random places drawn anew in every pass.

    What they become is `replacement`: by default that of the other mask, or [MASK] if the other mask replaces tokens in
    a way of its own. If the other mask follows the training (adaptive, learned), it follows the twin's training here.

    References
    ----------
    A control of this project: the twin of every mask that chooses its places.
    """

    kind: Literal["rate-twin"] = "rate-twin"
    of: InnerInput
    """The mask whose rate this one has."""

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Return (B, T) bool: as many random tokens of each text as the other mask hits with its own draws."""
        from maskbench.masks.shared.budget import first

        counts = (self.of.where(batch, rng) & batch.maskable).sum(1)
        return first(batch, rng.uniform(batch, channel=Channel.TWIN_PLACE), counts)
