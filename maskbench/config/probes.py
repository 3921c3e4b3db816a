"""What is measured on every trained model."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from maskbench.config.block import ConfigBlock, Count, Share
from maskbench.config.conditions import PERTURBATIONS, Perturbation

ProbeName = Literal[
    "calibration",
    "memorisation",
    "distractor",
    "perturbation",
    "cue",
    "out-of-domain",
    "seen-mentions",
    "forgetting",
    "probing",
    "representation-drift",
    "parameter-drift",
    "masked-lm",
    "attributions",
    "trajectory",
]
PROBES: tuple[ProbeName, ...] = get_args(ProbeName)


class Attributions(ConfigBlock):
    """How much each word of a text adds to the answer: of classification, whose texts have one answer each."""

    method: Literal["integrated-gradients", "gradient-input"] = "integrated-gradients"
    """`integrated-gradients` follows the embeddings from padding to the text (Sundararajan et al. 2017);
    `gradient-input` takes the slope at the text alone, in a single pass."""
    texts: Count = 32
    """On how many of the fixed test texts."""
    steps: Annotated[Count, Field(ge=2)] = 16
    """Integrated gradients: points on the way, each a pass forward and back over all these texts."""
    share: Share = 0.2
    """Share of a text's words that is taken away to see what the answer rests on, at least one of them."""


class Probes(ConfigBlock):
    """What is measured on every trained model, on unmasked input in eval mode."""

    measure: list[ProbeName] | Literal["all"] = "all"
    """Names of probes (docs/measures.md); [] measures nothing. A run leaves out what it has no use for: forgetting, if
    it is of a single task. `trajectory` calls the others again for each evaluation of the training and costs as much as
    they do each time: values at matched score need it."""
    along: list[ProbeName] | Literal["all"] = "all"
    """Which of these probes `trajectory` calls at each evaluation, beside drift, forgetting and the generalisation gap,
    which it always measures; others have no value at matched score."""
    examples: Count | None = 200
    """Examples of each test-time set, and of the fixed text that drift is measured on; null: all of the test split."""
    perturbations: list[Perturbation] = list(PERTURBATIONS)
    """Names of the perturbations whose effect is measured."""
    levels: list[Literal[5, 10, 20]] = [10]
    """How much of a text they change, in percent; the sets are built for 5, 10 and 20."""
    drift_texts: Count = 64
    """Of how many of these examples the representations are compared; a pass over them is what each evaluation costs
    that `trajectory` measures."""
    drift_tokens: Annotated[Count, Field(ge=4)] = 1000
    """How many of their tokens, at most, are compared, drawn once for a task and model."""
    smallest_group: Count = 5
    """Examples that a group of class and cue must have to count as the worst one: the score of fewer is mostly luck."""
    attributions: Attributions | None = None
    """How attributions are measured, such as `{}` for the defaults; null: they are not, since they cost more than all
    other probes together."""
    conflict_points: Count = 8
    """Joint training: at how many updates, evenly spread, the gradients of the two tasks are compared."""

    @property
    def wanted(self) -> tuple[ProbeName, ...]:
        """The probes, in the order in which they are measured."""
        wanted = PROBES if self.measure == "all" else tuple(name for name in PROBES if name in self.measure)
        return tuple(name for name in wanted if name != "attributions" or self.attributions is not None)

    @model_validator(mode="after")
    def _attributions_are_described(self) -> Self:
        if self.measure != "all" and "attributions" in self.measure and self.attributions is None:
            raise ValueError("measure: attributions needs the key attributions, {} for the defaults")
        return self
