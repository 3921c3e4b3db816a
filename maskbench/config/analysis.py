"""How strategies are compared with the baseline."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from maskbench.config.block import ConfigBlock, Count, Seed, Share
from maskbench.config.limits import TrainSize


class Analysis(ConfigBlock):
    """Settings of the paired comparison."""

    resamples: Annotated[Count, Field(ge=100)] = 2000
    """Resamples of the test examples, from which the variance behind the intervals is estimated."""
    confidence: Share = 0.95
    """How often an interval is to hold the true difference."""
    matched_score: Share = 0.9
    """The matched score: how far on the way from the score of the majority class (0) to the baseline's best validation
    score (1) strategies are compared. Near 1 the curve is flat, and chance decides how long it took."""
    train_size: TrainSize | None = None
    """The train size at which claims are judged, unless a contrast is over train sizes; null: the mean of all sizes."""
    seed: Seed = 0
    """Seed of the generator of resamples and random sign flips."""
