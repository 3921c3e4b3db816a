"""What is done to a task's text: conditions to train under, and sets to test on."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, StringConstraints, model_serializer, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from maskbench.config.block import ConfigBlock, Rate

Perturbation = Literal["swap", "delete", "drop", "mask"]
"""Neighbouring letters swapped, letters deleted, words dropped, words replaced by the mask token."""
PERTURBATIONS: tuple[Perturbation, ...] = ("swap", "delete", "drop", "mask")
LEVELS = (5, 10, 20)
"""How much of a text each perturbation changes, in percent of its letters or words."""
SHIFTED = "shifted"
"""Folder of the sets that a task is tested on but never trained on: `distractor`, ``swap-5``, ..., ``mask-20``."""
OUT_OF_DOMAIN = "out-of-domain"
"""Folder of the sets of texts from elsewhere that a task is tested on but never trained on."""
DISTRACTOR = "distractor"
"""The set with a neutral sentence behind each text."""
DISTRACTOR_BLOCKED = "distractor-blocked"
"""The same set as an oracle answers it that cannot attend to the sentence; no folder has this name."""
SETS = (DISTRACTOR, *(f"{perturbation}-{level}" for perturbation in PERTURBATIONS for level in LEVELS))
"""Names of all test-time sets, distractors first."""
ALIGNED, CONFLICTING = "aligned", "conflicting"
"""Test splits of a cue condition: the cue agrees with the label everywhere, or nowhere."""


_WRITTEN = re.compile(r"(cue|label-noise):((0?\.\d{1,4})|1(\.0)?|0(\.0)?)", re.ASCII)


class Condition(ConfigBlock):
    """What the training data have gone through; written ``clean``, ``cue:0.95`` or ``label-noise:0.3``."""

    kind: Literal["clean", "cue", "label-noise"] = "clean"
    """Nothing; a planted cue; flipped labels."""
    rate: Rate = 0.0
    """cue: share of the training texts whose cue agrees with the label; label-noise: share of labels flipped."""

    @property
    def name(self) -> str:
        """Part of run ids and name of the folder of the data: ``clean``, ``cue-95``, ``noise-30``."""
        if self.kind == "clean":
            return "clean"
        return f"{self.kind.removeprefix('label-')}-{100 * self.rate:g}".replace(".", "p")

    @model_serializer
    def __str__(self) -> str:
        """Write the condition as a configuration does."""
        return self.kind if self.kind == "clean" else f"{self.kind}:{self.rate:g}"

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return value
        if value == "clean":
            return {}
        found = _WRITTEN.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise PydanticCustomError(
                "condition", "expected clean, cue:RATE or label-noise:RATE with a rate from 0 to 1, such as cue:0.95"
            )
        return {"kind": found[1], "rate": float(found[2])}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe the text, not the fields."""
        return {"type": "string", "pattern": f"^(clean|{_WRITTEN.pattern})$"}


CLEAN = Condition()

CueWords = Annotated[list[Annotated[str, StringConstraints(pattern=r"^\S+$")]], Field(min_length=2)]


class Cue(ConfigBlock):
    """The planted cue of the conditions ``cue:RATE``."""

    words: CueWords = ["limestone", "nitrogen", "orchid", "cortex", "sodium", "estuary", "mollusk", "antenna"]
    """Classification: one word for each class, in the order of the labels, put in front of the text; tagging: the first
    is the trigger before mentions of one type. They must not occur in the task's own text, and tokenizers should spell
    them in equally many pieces, or their length alone gives the label away when they are masked."""
