"""What is learnt: a task of one of the kinds, from any source, with three disjoint splits."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, ValidationError, model_validator

from maskbench.config.block import ConfigBlock, Count, Float, Name, first_mistake
from maskbench.config.cutting import DOCUMENT, Column, Cut, GroupFile, TextEncoding
from maskbench.config.kinds import TASK_KINDS, Form, TaskKind
from maskbench.config.sources import HubSource, LocalSource, PackageSource, SyntheticSource, TaskSource
from maskbench.config.training import TrainingOverrides

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


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


def _with_own_source(schema: dict[str, Any]) -> None:
    """Let a set leave its source out in the JSON schema, since the task fills it in."""
    schema["required"].remove("source")


class OutOfDomain(ConfigBlock):
    """Texts from elsewhere that a task is tested on and never trained on.

    A set that names no `source` is in the task's own. One that names no `format` is read as the task's files are: the
    keys from `header` to `binarize` that it leaves out are the task's. One that names a format is described by itself.
    """

    model_config = ConfigDict(json_schema_extra=_with_own_source)

    name: Name
    """Name of the set in results."""
    source: TaskSource
    """Where the file comes from. A hub source names in `splits` which of its splits is our `test`; a synthetic one has
    a test split of its own."""
    format: Literal["csv", "tsv", "jsonl", "conll"] | None = None
    """Format of the file; null only with a hub or synthetic source."""
    file: Annotated[str, StringConstraints(min_length=1)] | None = None
    """Its name, relative to the source; null only with a hub or synthetic source."""
    encoding: TextEncoding = "utf-8"
    """Encoding of the file, such as `utf-8`."""
    header: bool = True
    """CSV and TSV: whether the first row names the columns."""
    skip_lines: Annotated[int, Field(ge=0, le=10**6)] = 0
    """Lines at the top of the file that are left out before anything is read."""
    columns: list[str] | None = None
    """CSV and TSV without a header: the columns' names, in order."""
    text: Column = "text"
    """Column of the text or of the tokens."""
    label: Column = "label"
    """Column of the label or the tags."""
    separator: str | None = None
    """What separates columns, as in a task."""
    comments: Annotated[str, StringConstraints(min_length=1)] | None = None
    """What lines begin with that are to be left out."""
    scheme: Scheme = "auto"
    """Tags: how they mark entities."""
    empty_tokens: Literal["refuse", "drop"] = "refuse"
    """Tags: what becomes of tokens that are empty."""
    binarize: Float | None = None
    """Labels that are numbers: above this is `positive`, below `negative`, equal rows are left out."""
    labels: list[str] | None = None
    """What the file's own labels are, where `relabel` gives them other names and the file has numbers for them."""
    relabel: dict[str, str | None] = Field(default_factory=dict)
    """What labels of the file (tags: entity types) are called in the task, such as `person: PER`; null: such texts are
    left out (tags: such entities are outside of any). Labels that stand in both need no entry."""
    group: Column | None = None
    """Column that says which texts belong together, such as the sentences of one review: intervals draw them together.
    null: each text is drawn by itself. CoNLL files say it with -DOCSTART- lines instead."""
    group_before: Annotated[str, StringConstraints(min_length=1)] | None = None
    """The group is what stands in that column before the last of these, such as `_` for the 12 of `12_3`; null: all."""
    max_examples: Count | None = None
    """Keep at most this many texts, drawn once for all runs; null: all. Of these, `probes: examples` are scored."""

    @property
    def split(self) -> Split:
        """Which split of `as_task` has the texts: a synthetic source has others beside it."""
        return "test" if isinstance(self.source, SyntheticSource) else "train"

    def as_task(self, task: Task) -> Task:
        """Return a task that reads the set; its labels are those of the file.

        Raises
        ------
        ValidationError
            If the keys do not describe a file of the task's kind.
        """
        source, files = self.source, {}
        read: dict[str, Any] = {key: getattr(self, key) for key in _READING}
        if isinstance(source, SyntheticSource):
            read, files = _SYNTHETIC_READING, _SYNTHETIC_FILES
        elif isinstance(source, HubSource):
            splits = {"train": source.splits["test"]} if "test" in source.splits else {}
            source = source.model_copy(update={"splits": splits})
        elif self.file is not None:
            files = {"train": self.file}
        own = {"source": source, "files": files, "labels": self.labels, "out_of_domain": []}
        cut = task.cut.model_copy(update={"group": self.group})
        # every key of a task is there, so that no default counts for what reads a set (io/code.py)
        return Task.model_validate_json(task.model_copy(update=read | own | {"cut": cut}).as_argument())


_READING = (
    *("format", "encoding", "header", "skip_lines", "columns", "text", "label", "separator", "comments", "scheme"),
    *("empty_tokens", "binarize"),
)
"""Keys that say how a file is read."""
_SYNTHETIC_READING: dict[str, Any] = {
    **{"format": "jsonl", "encoding": "utf-8", "header": True, "skip_lines": 0, "columns": None, "text": "text"},
    **{"label": "label", "separator": None, "comments": None, "scheme": "auto", "empty_tokens": "refuse"},
    "binarize": None,
}
"""How the files of a synthetic source are read."""


class Task(ConfigBlock):
    """One task: where its text is, which columns hold what, and how it is cut into splits."""

    name: Name
    """Name in results and figures."""
    kind: TaskKind
    """What is predicted: one label per text, one tag per token, or the answer to a question, a span of a passage."""
    source: TaskSource
    """Where the files come from."""
    format: Literal["csv", "tsv", "jsonl", "json", "conll"] | None = None
    """Format of the files; null only with a hub or synthetic source, which knows its own. `json` is one document, which
    the kind of task takes apart: that of SQuAD."""
    files: dict[Split, Annotated[str, StringConstraints(min_length=1)]] = Field(default_factory=dict)
    """File of each split, relative to the source; `train` must be there (or in the hub source's splits). A synthetic
    source names its own."""
    encoding: TextEncoding = "utf-8"
    """Encoding of the files, such as `cp1252` or `utf-16`; a byte order mark may stand or not."""
    header: bool = True
    """CSV and TSV: whether the first row names the columns."""
    skip_lines: Annotated[int, Field(ge=0, le=10**6)] = 0
    """Lines at the top of each file that are left out before anything is read, header included, such as a preamble."""
    columns: list[str] | None = None
    """CSV and TSV without a header: the columns' names, in order; not needed if `text` and `label` are indices."""
    text: Column = "text"
    """Column of the text; for tagging, of the tokens (CoNLL: an index from 0)."""
    label: Column = "label"
    """Column of the label or the tags (CoNLL: an index, -1 is the last); of questions, of their answers."""
    question: Column = "question"
    """Questions: column of the question; `text` is that of the passage, such as `context`."""
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
    out_of_domain: list[OutOfDomain] = Field(default_factory=list)
    """Sets of texts from elsewhere that the task's models are tested on (docs/data.md)."""
    accept: list[Stop] = Field(default_factory=list)
    """Findings about the data that would stop the study and are to be reported alone (docs/data.md)."""
    max_length: Count = 128
    """Longest input in subword tokens; the rest of a text is cut off (words cut off count as errors in tagging). A
    passage that is longer is read in windows."""
    stride: Count = 64
    """Questions: tokens that two neighbouring windows of a passage share. An answer that is no longer stands in one of
    them as a whole."""
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

    @model_validator(mode="before")
    @classmethod
    def _sets_are_read_as_the_task(cls, value: Any) -> Any:
        """Fill in what sets from elsewhere leave out: the task's own source, and how its files are read."""
        if not isinstance(value, dict) or not isinstance(value.get("out_of_domain"), list):
            return value
        read, made = {key: value[key] for key in _READING if key in value}, []
        for one in value["out_of_domain"]:
            if isinstance(one, dict):
                one = one if "format" in one else {**read, **one}
                one = {"source": value["source"], **one} if "source" in value else one
            made.append(one)
        return {**value, "out_of_domain": made}

    @model_validator(mode="after")
    def _keys_have_a_meaning(self) -> Self:
        """Refuse keys that nothing would read, since a user who sets them expects something of them."""
        for key in (key for form in TASK_KINDS.values() for key in form.keys if key not in self.form.keys):
            if getattr(self, key) != type(self).model_fields[key].default:
                owner = next(kind for kind, form in TASK_KINDS.items() if key in form.keys)
                what = (
                    "for tags, and a {} task has none" if TASK_KINDS[owner].tags else f"for {owner}, and not for {{}}"
                )
                raise ValueError(f"{key} is {what.format(self.kind)}")
        if not self.form.labels and (self.labels is not None or self.binarize is not None):
            key = "labels" if self.labels is not None else "binarize"
            raise ValueError(f"{key}: {self.kind} has no labels of a set; leave it out")
        if self.labels is not None and len(set(self.labels)) < len(self.labels):
            twice = next(label for label in self.labels if self.labels.count(label) > 1)
            raise ValueError(f"labels: expected each label once, got {twice!r} twice")
        marked = [label for label in self.labels or () if label[:2] in ("B-", "I-")]
        if self.form.tags and marked and "O" not in (self.labels or ()):
            raise ValueError(
                "labels: expected all tags in the order of their numbers, O among them, or the entity types alone; "
                f"got {marked[0]!r} without O"
            )
        if self.format in ("jsonl", "json") and self.separator is not None:
            raise ValueError(f"separator is for csv, tsv and conll; {self.format} has none")
        if self.format == "json" and self.comments is not None:
            raise ValueError("comments are lines, and json is one document, which has none")
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
            if self.skip_lines:
                raise ValueError("skip_lines is for files, and a dataset of the hub has rows alone")
            return self
        if self.format is None:
            raise ValueError("format is needed for files: csv, tsv, jsonl, json or conll")
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

    @model_validator(mode="after")
    def _groups_are_somewhere(self) -> Self:
        """Refuse groups that the task's files cannot name."""
        group = self.cut.group
        if group is None or isinstance(group, GroupFile):
            return self
        if isinstance(self.source, SyntheticSource):
            raise ValueError("cut.group: a synthetic source has its splits, and no column of groups")
        if self.format == "conll" and not isinstance(self.source, HubSource) and group != DOCUMENT:
            raise ValueError(
                f"cut.group: in conll files sentences are grouped by {DOCUMENT} (-DOCSTART-); got {group!r}"
            )
        if isinstance(group, int) and self.format in ("jsonl", "json"):
            raise ValueError(f"cut.group: expected the name of a key, since {self.format} has no indices; got {group}")
        return self

    @model_validator(mode="after")
    def _sets_can_be_read(self) -> Self:
        """Refuse sets from elsewhere that could not be read, or that have a name twice."""
        names = [one.name for one in self.out_of_domain]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"out_of_domain: expected each name once, got {twice} twice")
        for one in self.out_of_domain:
            where = f"out_of_domain ({one.name})"
            if one.name in SPLITS:
                raise ValueError(f"{where}: {one.name} is a split of the task; expected another name")
            if isinstance(one.source, HubSource) and "test" not in one.source.splits:
                raise ValueError(f"{where}: source.splits needs an entry for test")
            if isinstance(one.source, PackageSource | LocalSource) and one.file is None:
                raise ValueError(f"{where}: file is needed, the name of the file in its source")
            if isinstance(one.source, HubSource | SyntheticSource) and one.file is not None:
                raise ValueError(f"{where}: file is for packages and folders; leave it out")
            if one.labels is not None and not one.relabel:
                raise ValueError(f"{where}: labels are for files whose labels get other names with relabel")
            in_lines = one.format == "conll" and not isinstance(one.source, HubSource)
            if one.group is not None and (in_lines or isinstance(one.source, SyntheticSource)):
                raise ValueError(f"{where}: group is a column of the file, and this one has none for groups")
            if one.group_before is not None and one.group is None:
                raise ValueError(f"{where}: group_before needs group, the column that it is looked for in")
            try:
                one.as_task(self)
            except ValidationError as error:
                why = error.errors()[0].get("ctx", {}).get("error") or first_mistake(error)
                raise ValueError(f"{where}: {why}") from None
        return self

    def content(self, *, max_length: bool = False, elsewhere: bool = False) -> Task:
        """Return the task with all that does not change its text reset, so that no other change rereads it.

        Parameters
        ----------
        max_length
            Keep the length that texts are cut off at, and what windows share, which matter from the encoding on.
        elsewhere
            Keep the sets from elsewhere, which are fetched with the task and made of it.
        """
        neutral = {"max_validation": None, "max_test": None, "licence": None, "citation": None}
        update: dict[str, Any] = neutral | {"training": TrainingOverrides()}
        if not max_length:
            fields = {"max_length": Task.model_fields["max_length"], "stride": Task.model_fields["stride"]}
            update |= {key: field.default for key, field in fields.items()}
        if not elsewhere:
            update["out_of_domain"] = []
        return self.model_copy(update=update)
