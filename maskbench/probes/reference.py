"""What is measured of θ₀: once for each task and model, shared by all runs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple, Self, cast

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from maskbench.channels import Fixed
from maskbench.config.block import first_mistake
from maskbench.data.encode import load_encoded
from maskbench.data.folders import new_folder
from maskbench.data.manifests import NAME, EncodedManifest
from maskbench.errors import InputError
from maskbench.io.files import read_json, sha256_files, verify, write_json
from maskbench.models.fetched import model_hash
from maskbench.models.loading import under_fresh_head
from maskbench.models.masked_lm import original_head
from maskbench.probes import holes, linear
from maskbench.probes.drift import layer_names
from maskbench.probes.errors import UnmeasuredError, require_finite
from maskbench.records.probe import ProbeTimings
from maskbench.records.run import Environment
from maskbench.training.collate import Collator, collator_for
from maskbench.training.forward import Forward
from maskbench.training.subsets import at_most
from maskbench.training.subsets import examples as count

if TYPE_CHECKING:
    from pathlib import Path

    from datasets import Dataset
    from numpy.typing import NDArray
    from torch import Tensor
    from transformers import PreTrainedModel

    from maskbench.config.kinds import TaskKind
    from maskbench.slots.device import Device
    from maskbench.training.forward import Rows

STATES = "states.safetensors"


@dataclass(frozen=True)
class Texts:
    """The fixed texts of a task, the same for all runs."""

    test: Rows
    """The first of a seeded permutation of the test texts that runs are scored on."""
    train: Rows
    """As many training texts: linear probes are trained on them."""

    @classmethod
    def of(cls, splits: dict[str, Dataset], max_test: int | None, examples: int | None) -> Self:
        """Choose from an encoded task's clean splits."""
        test = at_most(at_most(splits["test"], max_test), examples)
        return cls(test.to_list(), at_most(splits["train"], count(test)).to_list())


def places_of(rows: Rows, texts: int, tokens: int) -> NDArray[np.int64]:
    """Return (P, 2) row and token of a fixed sample of the first texts' own tokens, no special ones, in order.

    Parameters
    ----------
    rows
        Encoded texts.
    texts
        How many of them the tokens are drawn from.
    tokens
        How many are drawn at most: P is no larger.
    """
    words = enumerate(text["words"] for text in rows[:texts])
    own = np.array(
        [(row, token) for row, text in words for token, word in enumerate(text) if word >= 0], dtype=np.int64
    ).reshape(-1, 2)
    if len(own) <= tokens:
        return own
    return own[np.sort(np.random.default_rng(Fixed.DRIFT_PLACES).permutation(len(own))[:tokens])]


def collator(folder: Path, device: Device) -> Collator:
    """Return the collator that training uses with the tokenizer of a folder."""
    return collator_for(AutoTokenizer.from_pretrained(folder, local_files_only=True), device, folder)


def start(folder: Path, kind: TaskKind, labels: int, attention: str, pad: int) -> PreTrainedModel:
    """Load θ₀ as a run on a task starts from it, under a head that is fresh.

    So it is the same class of encoder as the run's: Funnel and T5 have others for classification than for tagging. What
    its file lacks (the head, a pooler) is marked as fresh.

    Parameters
    ----------
    folder
        Of the pretrained model.
    kind, labels
        Of the task: what is predicted, and the number of classes or tags.
    attention
        Implementation.
    pad
        Token id of padding, which GPT-2's classifier looks for.
    """
    model = under_fresh_head(folder, kind, attention, num_labels=labels)
    model.config.pad_token_id = pad
    return model


class ReferenceManifest(BaseModel):
    """What is in the folder of a reference."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: Literal[1] = Field(default=1, alias="schema")
    examples: list[int]
    """Ids of the fixed test texts."""
    layers: list[str]
    """Names of the kept hidden states."""
    masked_lm: float | None
    """Masked-LM loss of θ₀ in nats; None: it has no masked-LM head."""
    notes: list[str]
    """Why something that is usually measured is missing."""
    probing: dict[str, float]
    """Accuracy of a linear probe on θ₀'s features, by property."""
    files: dict[str, str]
    """SHA-256 of each file, by its name in the folder."""
    code: str
    data: dict[str, str]
    environment: Environment
    timings: ProbeTimings


@dataclass(frozen=True)
class Reference:
    """What was measured of θ₀, read back."""

    folder: Path
    manifest: ReferenceManifest

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a reference.

        Raises
        ------
        InputError
            If a file is missing or differs from the manifest.
        """
        try:
            manifest = ReferenceManifest.model_validate(read_json(folder / NAME))
        except ValidationError as error:
            raise InputError(f"{folder / NAME}: {first_mistake(error)}; delete {folder} and run again") from None
        verify(folder, manifest.files)
        return cls(folder, manifest)

    @cached_property
    def _tensors(self) -> dict[str, Tensor]:
        return load_file(self.folder / STATES)

    @property
    def states(self) -> Tensor:
        """(L + 1, P, H) hidden states of θ₀."""
        return self._tensors["states"]

    @property
    def places(self) -> NDArray[np.int64]:
        """(P, 2) row and token of each."""
        return cast("NDArray[np.int64]", self._tensors["places"].numpy())


def make(
    encoded: Path,
    model: Path,
    destination: Path,
    *,
    max_test: int | None,
    examples: int | None,
    drift_texts: int,
    drift_tokens: int,
    batch_size: int | str,
    device: Device,
    code: str,
    gpu_uuid: str | None = None,
    masked_lm: bool = True,
) -> None:
    """Measure θ₀ on the fixed texts of a task.

    Parameters
    ----------
    encoded
        Folder of the encoded clean task.
    model
        Folder of the pretrained model.
    destination
        Folder to make, in one piece: manifest.json and states.safetensors.
    max_test, examples
        How many test texts runs are scored on, and how many of them are probed; None: all.
    drift_texts, drift_tokens
        On how many of these texts drift is measured, and on how many of their tokens at most.
    masked_lm
        Whether a masked-LM head in the model's file is used; not if it was trained for something else.

    Raises
    ------
    InputError
        If the folders do not hold what they should, or θ₀ computes numbers that are not finite.
    """
    began, clock, about = datetime.now(UTC), time.perf_counter(), EncodedManifest.read(encoded)
    texts = Texts.of(load_encoded(encoded), max_test, examples)
    collate = collator(model, device)
    theta = start(model, about.kind, len(about.labels), device.attention, collate.pad_id)
    forward = Forward(theta, collate, device, batch_size, about.tokenizer.mask_token_id or 0)
    places = places_of(texts.test, drift_texts, drift_tokens)
    found = _measure(forward, model, texts, places, masked_lm)
    with new_folder(destination) as folder:
        save_file({"states": found.states.cpu().contiguous(), "places": torch.as_tensor(places)}, folder / STATES)
        manifest = ReferenceManifest(
            schema=1,
            examples=[row["example"] for row in texts.test],
            layers=layer_names(len(found.states)),
            masked_lm=found.masked_lm,
            notes=found.notes,
            probing=found.probing,
            files=sha256_files([folder / STATES], folder),
            code=code,
            data={"encoded": about.hash, "model": model_hash(model)},
            environment=device.environment(gpu_uuid),
            timings=ProbeTimings(started=began.isoformat(timespec="seconds"), wall_s=time.perf_counter() - clock),
        )
        write_json(folder / NAME, manifest.model_dump(mode="json", by_alias=True))


class _Measured(NamedTuple):
    """What θ₀ computes on the fixed texts."""

    states: Tensor
    """(L + 1, P, H) hidden states at the places."""
    masked_lm: float | None
    notes: list[str]
    probing: dict[str, float]


def _measure(forward: Forward, model: Path, texts: Texts, places: NDArray[np.int64], masked_lm: bool) -> _Measured:
    """Pass over the texts, and measure.

    Raises
    ------
    InputError
        If θ₀ computes numbers that are not finite.
    """
    try:
        test = require_finite(forward.read(texts.test, places, hidden=True))
        train = require_finite(forward.read(texts.train, hidden=True))
        loss, notes = (
            _masked_lm(forward, model, texts.test)
            if masked_lm
            else (None, ["masked-lm: the configuration says masked_lm: false"])
        )
    except UnmeasuredError as error:
        raise InputError(f"{model}: expected a model that computes finite numbers: {error}") from None
    assert test.states is not None
    assert test.pooled is not None
    assert train.pooled is not None
    found = linear.properties(texts.train, texts.test)
    probing = {name: linear.accuracy(train.pooled, test.pooled, classes) for name, classes in found.items()}
    return _Measured(test.states, loss, notes, probing)


def _masked_lm(forward: Forward, folder: Path, rows: Rows) -> tuple[float | None, list[str]]:
    """Return the masked-LM loss of θ₀, or None and why there is none."""
    try:
        head = original_head(folder, forward.model)
    except InputError as error:
        return None, [f"masked-lm: {str(error).partition(': ')[2]}"]
    return holes.loss(forward, head, rows), []
