"""How a model is pretrained: on which text, under which mask, for how long."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from maskbench.config.block import ConfigBlock, Count, NonNegative, Positive, Rate, Seed, Share
from maskbench.config.corpora import VOCABULARY, Corpus, Packing
from maskbench.config.models import FetchedModel
from maskbench.config.pretraining import CONFIGS, Architecture, Size
from maskbench.experiment.presets import FetchedPreset, Preset
from maskbench.masks.slots import InputSlot

MASKS = ("random", "static", "span", "fixed-positions", "tail")
"""The input masks that need nothing but a text: no labels, no trained model."""

UPDATES = 2000
"""The budget of a pretraining, in updates, unless the configuration says otherwise."""


SizeField = bool | int | float | str | list[str]
"""What a field of a configuration of transformers may be."""


def _expanded(value: Any) -> Any:
    """Say in one error what a size is; the union alone would report one for each of its members."""
    if value in ("tiny", "mini") or isinstance(value, dict):
        return value
    raise PydanticCustomError(
        "size", f"expected tiny, mini, or a mapping of fields of transformers' {' or '.join(CONFIGS.values())}"
    )


class Pretrain(ConfigBlock):
    """A pretraining by masked-language modelling, from scratch or from a given model.

    The loss is taken at masked places only, and embeddings of input and output are tied.

    References
    ----------
    Devlin et al. (2019), BERT, section 3.1; Geiping & Goldstein (2023), Cramming (the defaults: packed sequences, one
    cycle of the learning rate that ends with the budget, no dropout).
    """

    continues: Annotated[FetchedModel, FetchedPreset()] | None = None
    """Model whose pretraining goes on: the name of a preset, or `{name, source}`; null: a model from scratch."""
    weights: Literal["given", "random"] = "given"
    """With `continues`: begin with that model's weights, or with random ones: a control of the same architecture and
    vocabulary."""
    corpora: Annotated[list[Annotated[Corpus, Preset("corpora")]], Field(min_length=1)]
    """Texts: names of presets, or full definitions (docs/data.md); `tasks` are the training texts of the tasks."""
    vocabulary: Annotated[int, Field(ge=100, le=100_000)] | None = None
    """Word pieces of the vocabulary that is trained on the corpora; null: 8000, and with `continues` that model's own,
    which cannot be changed."""
    length: Annotated[int, Field(ge=8, le=4096)] = 128
    """Tokens of a packed sequence, special ones included."""
    held_out: Share = 0.02
    """Share of the documents that are not trained on, rounded up: the held-out loss is measured on them."""
    next_sentence: bool = False
    """Whether the model also learns to tell whether two segments follow each other, as BERT did: pairs of segments in
    place of running text, half of them random."""
    architecture: Architecture | None = None
    """What a model from scratch is: `bert` (absolute positions), or `modernbert` (rotary positions, windows, norms
    before the maps, no biases), which learns more than frequencies from much less text (docs/pretraining-study.md);
    null: `bert`, and with `continues` that model's own, which cannot be changed."""
    size: Annotated[Size | dict[str, SizeField], BeforeValidator(_expanded)] | None = None
    """`tiny` (2 layers of 128), `mini` (4 of 256), or fields of transformers' BertConfig or ModernBertConfig; null:
    `tiny`, and with `continues` that model's own, which cannot be changed."""
    input: InputSlot = Field(default_factory=lambda: _default_mask(), validate_default=True)
    """What is masked, and so predicted: an input mask that needs no labels (docs/masks.md); its `schedule` says how its
    rate goes over the training."""
    updates: Annotated[int, Field(ge=0, le=10**9)] | None = None
    """Budget in updates; 0: random weights beside the vocabulary; null: 2000, unless `epochs` is given."""
    epochs: Positive | None = None
    """Budget in passes over the packed text, in the place of `updates`."""
    batch_size: Count = 16
    """Packed sequences that an update is made of."""
    learning_rate: Positive = 1e-3
    """Peak learning rate of AdamW."""
    scheduler: Literal["one-cycle", "linear", "constant"] = "one-cycle"
    """Learning-rate schedule: one-cycle rises in a straight line to the peak during `warmup`, and falls as a cosine to
    0 at the last update; linear falls in a straight line; constant stays at the peak after `warmup`."""
    warmup: Rate = 0.25
    """Share of all updates in which the learning rate rises from 0."""
    weight_decay: NonNegative = 0.01
    """AdamW's decoupled weight decay; biases and layer norms are left out."""
    max_grad_norm: NonNegative = 0.5
    """Gradient norm is clipped to this; 0 switches clipping off."""
    dropout: Rate = 0.0
    """Dropout of hidden states and attention."""
    evaluations: Count = 5
    """How often the held-out loss is measured, at equal distances; a checkpoint is written each time."""
    evaluated: Count = 256
    """Most held-out sequences on which it is measured."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 autocast where the hardware computes in bf16, fp32 elsewhere."""
    threads: Count = 1
    """CPU threads of a pretraining; results are bit-identical only at the same number."""
    seeds: Annotated[list[Seed], Field(min_length=1)] | None = None
    """One model for each, called NAME-p1, NAME-p2, ...; null: a single model of the seed 1, called NAME."""
    seed: Seed = 1
    """Filled in by the program: the seed of initialisation, order of the text and masks."""

    @model_validator(mode="before")
    @classmethod
    def _schedule_is_the_masks(cls, value: Any) -> Any:
        """Say where the schedule of the rate stands, which was a key of the recipe before fine-tuning had one."""
        if isinstance(value, dict) and "schedule" in value:
            place = "input: {kind: random, schedule: ...}"
            raise PydanticCustomError(
                "unknown_key", "unknown key schedule; it is a key of the mask: {place}", {"place": place}
            )
        return value

    @model_validator(mode="after")
    def _keys_go_together(self) -> Self:
        if self.updates is not None and self.epochs is not None:
            raise ValueError("expected updates or epochs, got both")
        if self.continues is not None:
            for key in ("architecture", "size", "vocabulary"):
                if getattr(self, key) is not None:
                    raise ValueError(f"{key}: with `continues` it is that of {self.continues.name}; leave it out")
        elif self.weights != "given":
            raise ValueError("weights: a model from scratch has random ones; leave it out, or name a model to continue")
        if self.next_sentence and self.made != "bert":
            raise ValueError(
                "next_sentence: only a BERT has a head for it; leave it out, or expected architecture: bert"
            )
        _ = self.packing  # refuses corpora that do not go together
        if len(set(self.seeds or [])) < len(self.seeds or []):
            raise ValueError("seeds: expected each seed once")
        return self

    @model_validator(mode="after")
    def _mask_needs_text_alone(self) -> Self:
        if self.input.kind not in MASKS:
            raise ValueError(f"input: expected one of the masks {', '.join(MASKS)}, got {self.input.kind}")
        if not self.input.apply:
            raise ValueError("input: apply: false leaves nothing to predict; expected true")
        return self

    @property
    def packing(self) -> Packing:
        """What decides the packed text."""
        alone = self.continues is None
        return Packing(
            corpora=self.corpora,
            tokenizer=None if self.continues is None else self.continues.id,
            vocabulary=(self.vocabulary or VOCABULARY) if alone else None,
            length=self.length,
            held_out=self.held_out,
            next_sentence=self.next_sentence,
        )

    @property
    def made(self) -> Architecture:
        """The architecture of a model from scratch."""
        return self.architecture or "bert"

    @property
    def budget(self) -> int:
        """The budget in updates, if `epochs` does not say it."""
        return UPDATES if self.updates is None else self.updates

    def content(self) -> Pretrain:
        """Return the recipe without what only describes its text, so that no other change pretrains again."""
        plain = [corpus.model_copy(update={"licence": None, "citation": None}) for corpus in self.corpora]
        return self.model_copy(update={"corpora": plain})

    @property
    def seeded(self) -> list[int]:
        """The seeds of its models."""
        return [self.seed] if self.seeds is None else list(self.seeds)


def _default_mask() -> dict[str, Any]:
    return {"kind": "random", "rate": 0.15, "replacement": "bert"}
