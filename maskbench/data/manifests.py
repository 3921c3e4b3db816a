"""What a prepared and an encoded task say about themselves: checked on write and on read, without torch or datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from maskbench.config.block import Name, first_mistake
from maskbench.config.kinds import TaskKind
from maskbench.config.tasks import SPLITS
from maskbench.errors import InputError
from maskbench.io.files import read_json, write_json
from maskbench.kinds.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NAME = "manifest.json"
"""File name of a manifest, in the folder that it describes."""


def in_order(splits: Iterable[str]) -> list[str]:
    """Return names of splits, train, validation and test first."""
    return sorted(splits, key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name))


class Part(BaseModel):
    """A part of a manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Manifest(Part):
    """Schema 1; any other is refused."""

    schema_version: Literal[1] = Field(default=1, alias="schema")

    def write(self, folder: Path) -> None:
        """Write the manifest of a folder atomically; the same content gives the same bytes."""
        write_json(folder / NAME, self.model_dump(mode="json", by_alias=True))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the manifest of a folder.

        Raises
        ------
        InputError
            If it is missing, is not JSON, or does not follow the schema.
        """
        content = read_json(folder / NAME)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise InputError(f"{folder / NAME}: {first_mistake(error)}; delete {folder} and run again") from None


class PreparedSplit(Part):
    """One parquet file of a prepared task."""

    rows: int
    """Number of texts or sentences in the split."""
    sha256: str
    """SHA-256 of the file of the split."""
    labels: dict[str, int]
    """How often each label occurs: texts in classification, words in tagging."""


class Changed(Part):
    """What was done to one split."""

    counts: dict[str, int]
    """How many texts, mentions, letters or words there are, and how many of them were changed."""
    rates: dict[str, float | None]
    """The shares that follow; None where there is nothing to change."""


class Change(Part):
    """How a folder was made from the clean task."""

    what: str
    """The condition (``cue:0.95``), or ``shifted``."""
    words: list[str] = []
    """Cue: the word of each class; tagging: the trigger."""
    target: str | None = None
    """Cue in tagging: the entity type that the trigger stands for."""
    splits: dict[Name, Changed]
    """The splits that differ from those of the clean task."""
    clean: str
    """Hash of the clean task."""


class GroupsOfSplits(Part):
    """Which rows belong together, and how they are spread over the splits."""

    by: str
    """What they have in common: a column, ``document``, or a column in a file of its own."""
    groups: dict[Name, int]
    """How many groups each split has."""
    joined: int
    """By how many groups there are fewer that can be parted, since the others share a text with one of them."""
    without: dict[Name, int]
    """Rows of each split whose group is not known; none of them is cut from the training file."""
    shared_with_test: dict[Name, int]
    """Groups of test that also stand in another split: only where the splits are files."""
    shared_with_validation: dict[Name, int]
    """Groups of validation that also stand in training."""


class PreparedManifest(Manifest):
    """What is in the folder of a prepared task, and how it came about."""

    task: str
    kind: TaskKind
    labels: list[str]
    """Labels in the order of their indices; for tagging O, B-x, I-x, ..."""
    splits: dict[Name, PreparedSplit]
    cut: str | None
    """The rule by which missing splits were cut, in one sentence; None if all were given."""
    groups: GroupsOfSplits | None = None
    """The groups that splits are cut by; None if rows have none."""
    dropped: dict[str, int]
    """Rows that were left out, by reason."""
    scheme: str | None
    """Tagging: IOB1, IOB2, IOBES, BIOLU or mixed, as found in the training file; BMES or IO, as configured."""
    converted: dict[Name, int]
    """Tagging: tags that were changed to get IOB2, by split."""
    shared_with_test: dict[Name, int]
    """Rows of the other splits whose text also stands in test (case and white space aside); counted, never removed."""
    shared_with_validation: dict[Name, int]
    """Rows of the training split whose text also stands in validation."""
    findings: list[Finding] = []
    """What looks wrong with the data and did not stop the study."""
    source: dict[str, Any]
    """Content of source.json, which fetching wrote."""
    change: Change | None = None
    """Conditions and test-time sets: what was done to the clean task; None: this is the clean task."""
    hash: str
    """Hash over kind, labels and the splits' hashes."""


class EncodedSplit(Part):
    """One split of an encoded task."""

    rows: int
    """Texts or sentences; of long passages their windows."""
    words: int
    """Words, as the tokenizer takes a text apart; in tagging those of the file."""
    truncated_examples: int
    """Texts or sentences of which something was cut off at max_length."""
    entities: int | None = None
    """Number of mentions in the split; null where the kind of task has none."""
    truncated_entities: int | None = None
    """Tagging: mentions of which a word was cut off, so that no prediction can be right."""
    examples: int | None = None
    """Questions: how many there are; rows are the windows of their passages. Null where a row is an example."""
    lost_answers: int | None = None
    """Questions whose answer stands in no window as a whole, so that training never sees it; null where there are no
    questions."""
    truncated_words: int
    """Words of which nothing is left after the cut."""
    words_without_tokens: int
    """Words that the tokenizer maps to nothing (control characters, for instance); they carry no label."""
    tokens: int
    """Subword tokens, special ones included."""
    text_tokens: int = 0
    """Subword tokens of the texts themselves."""
    unknown_tokens: int = 0
    """Those of them that the tokenizer has no entry for."""


class TokenizerInfo(Part):
    """What training needs to know about the tokenizer."""

    tokenizer_class: str = Field(alias="class")
    mask_token_id: int | None
    pad_token_id: int | None
    vocab_size: int


class EncodedManifest(Manifest):
    """What is in the folder of an encoded task, and what it was made from."""

    task: str
    kind: TaskKind
    labels: list[str]
    max_length: int
    splits: dict[Name, EncodedSplit]
    tokenizer: TokenizerInfo
    prepared: str
    """Hash of the prepared task."""
    change: Change | None = None
    """As in the manifest of the prepared task."""
    findings: list[Finding] = []
    """What max_length cuts off, if it is much."""
    model: str
    """Hash of the model's tokenizer files."""
    files: dict[str, str]
    """Hash of each file, by its path in the folder."""
    hash: str
    """Hash over labels, max_length and the content of all columns, whatever files they are in."""
