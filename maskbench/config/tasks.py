"""What is learnt: a text classification or tagging task, from any source, with three disjoint splits."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from maskbench.config.block import ConfigBlock, Count, Float, Name, Seed, Share
from maskbench.config.kinds import TASK_KINDS, Form, TaskKind
from maskbench.config.sources import HubSource, SyntheticSource, TaskSource
from maskbench.config.training import TrainingOverrides

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def _column(value: Any) -> Any:
    """Say in one error what a column is; the union alone would report one for each of its members."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise PydanticCustomError("column", "expected the name of a column, or its index")
    return value


Column = Annotated[str | int, BeforeValidator(_column)]
"""A column by its name, or by its index."""


def _encoding(name: str) -> str:
    """Refuse what Python cannot decode text with, such as ``base64``."""
    try:
        "a".encode(name).decode(name)
    except (LookupError, ValueError):
        raise PydanticCustomError(
            "encoding", "expected an encoding of text that Python knows, such as utf-8, utf-16 or cp1252"
        ) from None
    return name


TextEncoding = Annotated[str, AfterValidator(_encoding)]
"""An encoding of text by one of the names that Python knows."""

Scheme = Literal["auto", "iob1", "iob2", "bioes", "bmes", "io"]
"""How tags mark where an entity starts and ends (maskbench/kinds/token_classification/tags.py)."""

Stop = Literal[
    "header-row",
    "swallowed-rows",
    "label-of-its-own",
    "label-in-text",
    "test-in-training",
    "one-label",
    "no-entities",
    "entities-cut-off",
    "no-outside",
    "test-is-validation",
    "unknown-tokens",
]
"""Findings that stop a study, since a score would mean nothing (data/examine.py)."""

_SYNTHETIC_FILES: dict[Split, str] = {split: f"{split}.jsonl" for split in SPLITS}


class Cut(ConfigBlock):
    """How missing splits are cut from the training file: a seeded permutation, stratified by label if there is one."""

    validation: Share = 0.1
    """Share of the training file that becomes the validation split, if there is no file for it."""
    test: Share = 0.1
    """Share of the training file that becomes the test split, if there is no file for it."""
    seed: Seed = 0
    """Seed of the permutation; the same for all cells."""

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> Self:
        if self.validation + self.test >= 1.0:
            raise ValueError(f"validation {self.validation} and test {self.test} leave nothing to train on")
        return self


class Task(ConfigBlock):
    """One task: where its text is, which columns hold what, and how it is cut into splits."""

    name: Name
    """Name in results and figures."""
    kind: TaskKind
    """What is predicted: one label per text, or one tag per token."""
    source: TaskSource
    """Where the files come from."""
    format: Literal["csv", "tsv", "jsonl", "conll"] | None = None
    """Format of the files; null only with a hub or synthetic source, which knows its own."""
    files: dict[Split, Annotated[str, StringConstraints(min_length=1)]] = Field(default_factory=dict)
    """File of each split, relative to the source; `train` must be there (or in the hub source's splits). A synthetic
    source names its own."""
    encoding: TextEncoding = "utf-8"
    """Encoding of the files, such as `cp1252` or `utf-16`; a byte order mark may stand or not."""
    header: bool = True
    """CSV and TSV: whether the first row names the columns."""
    columns: list[str] | None = None
    """CSV and TSV without a header: the columns' names, in order; not needed if `text` and `label` are indices."""
    text: Column = "text"
    """Column of the text; for tagging, of the tokens (CoNLL: an index from 0)."""
    label: Column = "label"
    """Column of the label or the tags (CoNLL: an index, -1 is the last)."""
    separator: str | None = None
    """CoNLL: what separates columns; null: any white space. CSV: the delimiter; null: a comma. TSV: what separates
    columns; null: a tab."""
    comments: Annotated[str, StringConstraints(min_length=1)] | None = None
    """What lines begin with that are to be left out, such as `#`; null: there are none. In CoNLL files a line that has
    as many columns as the others and one of their tags is a token all the same."""
    scheme: Scheme = "auto"
    """Tags: how they mark entities. `auto` reads B- I- E- S- L- U- with an entity type; the others also read tags
    without a type (`B`), with `_` for the hyphen and with the prefix behind the type (`PER-B`); `bmes` has M- for I-;
    `io` has types alone."""
    empty_tokens: Literal["refuse", "drop"] = "refuse"
    """Tags: what becomes of tokens that are empty: refused, or left out and counted, with those of invisible characters
    alone."""
    labels: list[str] | None = None
    """The labels in order; null: those of the training split, sorted. Where they are words and the files have numbers,
    a number counts them from 0. Tags: the entity types (1 is then B- of the first type, 2 its I-), or all tags, O
    among them, in the order of their numbers."""
    binarize: Float | None = None
    """Labels that are numbers: above this is `positive`, below `negative`, equal rows are left out."""
    cut: Cut = Field(default_factory=Cut)
    """How missing splits are cut from the training file."""
    accept: list[Stop] = Field(default_factory=list)
    """Findings about the data that would stop the study and are to be reported alone (docs/data.md)."""
    max_length: Count = 128
    """Longest input in subword tokens; the rest of a text is cut off (words cut off count as errors in tagging)."""
    max_validation: Count | None = None
    """Score at most this many validation examples while training (a seeded subset); null: all."""
    max_test: Count | None = None
    """Score at most this many test examples (a seeded subset), and no more training examples than that; null: all."""
    training: TrainingOverrides = Field(default_factory=TrainingOverrides)
    """Hyperparameters of this task that differ from `training`."""
    licence: str | None = None
    """Licence of the text, for the documentation and the report."""
    citation: str | None = None
    """Who made it, for the documentation and the report."""

    @property
    def form(self) -> Form:
        """How tasks of this kind are written down."""
        return TASK_KINDS[self.kind]

    @model_validator(mode="before")
    @classmethod
    def _synthetic_text_has_its_files(cls, value: Any) -> Any:
        """Fill in what a synthetic source always writes."""
        if isinstance(value, dict):
            source = value.get("source")
            if isinstance(source, SyntheticSource) or (isinstance(source, dict) and "synthetic" in source):
                return {"format": "jsonl", "files": _SYNTHETIC_FILES, **value}
        return value

    @model_validator(mode="after")
    def _keys_have_a_meaning(self) -> Self:
        """Refuse keys that nothing would read, since a user who sets them expects something of them."""
        for key in (key for form in TASK_KINDS.values() for key in form.keys if key not in self.form.keys):
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} is for tags, and a {self.kind} task has none")
        if self.labels is not None and len(set(self.labels)) < len(self.labels):
            twice = next(label for label in self.labels if self.labels.count(label) > 1)
            raise ValueError(f"labels: expected each label once, got {twice!r} twice")
        marked = [label for label in self.labels or () if label[:2] in ("B-", "I-")]
        if self.form.tags and marked and "O" not in (self.labels or ()):
            raise ValueError(
                "labels: expected all tags in the order of their numbers, O among them, or the entity types alone; "
                f"got {marked[0]!r} without O"
            )
        if self.format == "jsonl" and self.separator is not None:
            raise ValueError("separator is for csv, tsv and conll; jsonl has none")
        if self.format in ("csv", "tsv") and self.header and self.columns is not None:
            raise ValueError("columns are for files without a header; add header: false, or leave columns out")
        return self

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if isinstance(self.source, SyntheticSource):
            if self.source.synthetic != self.form.synthetic:
                raise ValueError(f"source.synthetic: {self.source.synthetic} is no {self.kind} task")
            if self.format != "jsonl" or self.files != _SYNTHETIC_FILES:
                raise ValueError("source.synthetic writes files of its own; leave format and files out")
        if isinstance(self.source, HubSource):
            if "train" not in self.source.splits:
                raise ValueError("source.splits needs an entry for train")
            return self
        if self.format is None:
            raise ValueError("format is needed for files: csv, tsv, jsonl or conll")
        if "train" not in self.files:
            raise ValueError("files needs an entry for train")
        if self.format not in self.form.formats:
            raise ValueError(f"format {self.format} does not hold a {self.kind} task")
        by_index = isinstance(self.text, int) and isinstance(self.label, int)
        if not self.header and self.format in ("csv", "tsv") and self.columns is None and not by_index:
            raise ValueError("header: false needs columns, the names of the columns in order")
        if self.format == "conll" and not (isinstance(self.text, int) and isinstance(self.label, int)):
            raise ValueError("format conll needs the indices of two columns, such as text: 0 and label: -1")
        return self

    def content(self, *, max_length: bool = False) -> Task:
        """Return the task with all that does not change its text reset, so that no other change rereads it.

        Parameters
        ----------
        max_length
            Keep the length that texts are cut off at, which matters from the encoding on.
        """
        neutral = {"max_validation": None, "max_test": None, "licence": None, "citation": None}
        update: dict[str, Any] = neutral | {"training": TrainingOverrides()}
        if not max_length:
            update["max_length"] = Task.model_fields["max_length"].default
        return self.model_copy(update=update)
