"""How the fields that readers find in files become the rows of a prepared task, for each kind of task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, cast

from maskbench.errors import InputError
from maskbench.kinds import part

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import pyarrow as pa

    from maskbench.config.tasks import Split, Task
    from maskbench.kinds.files import File, FileTable, Place
    from maskbench.kinds.findings import Findings
    from maskbench.kinds.rows import Rows


@dataclass
class Content:
    """All of a task, before it is cut and written."""

    labels: list[str]
    """Labels in the order of their indices."""
    rows: dict[Split, Rows]
    dropped: Counter[str] = field(default_factory=Counter)
    """Rows that were left out, by reason."""
    scheme: str | None = None
    """Tags: the scheme that the training file has."""
    converted: dict[Split, int] = field(default_factory=dict)
    """Tags: how many were changed to get IOB2, by split."""


class Reading(ABC):
    """What a row of a kind of task holds, and how it is read.

    A prepared row has the columns `example` (its number), `text` or `tokens`, and those of its labels. Of a pair of
    texts the first has a column of its own, called as its key (`Form.texts`).
    """

    noun: ClassVar[str]
    """What messages call a row."""
    class_noun: ClassVar[str]
    """What messages call a class of labels, such as an entity type."""
    stratified: ClassVar[bool]
    """Whether a row has one class, in whose proportions splits are cut, and which the training split must have."""
    cut_words: ClassVar[str]
    """How splits are cut, for the manifest."""

    @abstractmethod
    def row(self, file: File, line: int, text: Any, label: Any, lines: list[int] | None = None) -> Any | None:
        """Read one row; None if nothing is left of it, which is counted in `file.seen`.

        Parameters
        ----------
        file
            The file.
        line
            Line that the row starts on, from 1.
        text, label
            Values of its two columns, as the format has them; CoNLL: the lists of words and of tags. Of kinds with
            several texts (`Form.texts`) `text` is the tuple of theirs.
        lines
            CoNLL: the line of each word; None: all of the row stands on one line.

        Raises
        ------
        InputError
            If it is no row of this kind.
        """

    def objects(self, document: Any, place: Place) -> Iterator[dict[str, Any]]:
        """Yield the rows of a JSON document, each as an object of a JSON lines file is.

        Raises
        ------
        InputError
            If it has another form; the message names the place in the document.
        """
        raise NotImplementedError(f"{type(self).__name__} is not read from a JSON document")

    def tag(self, file: File, tag: str) -> str:
        """Read the tag of one word of a CoNLL file.

        Raises
        ------
        ValueError
            If it is none; the message says what was expected.
        """
        raise NotImplementedError(f"{type(self).__name__} has no tags")

    def names_of_numbers(self, task: Task) -> list[str]:
        """Return the tags that the numbers 0, 1, ... stand for (`Seen.numbered` counts them)."""
        raise NotImplementedError(f"{type(self).__name__} has no tags")

    @abstractmethod
    def content(self, task: Task, tables: Mapping[Split, FileTable]) -> Content:
        """Turn the labels of all rows into what the task predicts.

        Raises
        ------
        InputError
            For the first label that has no meaning, or if there is nothing to predict.
        """

    def adopted(
        self, task: Task, rows: Rows, own: Sequence[str], labels: Sequence[str], relabel: Mapping[str, str | None]
    ) -> Rows:
        """Return rows of another file with the labels of a task; those without one are left out.

        Parameters
        ----------
        task
            What read the rows: for messages.
        rows
            Their targets are of the file's own labels (`own`).
        labels
            Labels of the task.
        relabel
            What labels of the file are called in the task; None: they have no name there.

        Raises
        ------
        InputError
            For the first label that the task has not, or if labels of this kind have no names.
        """
        if list(own) != list(labels) or relabel:
            raise InputError(f"{rows.place.file}: relabel: {type(self).__name__} has no labels with names")
        return rows

    @abstractmethod
    def classes(self, labels: Sequence[str]) -> list[str]:
        """Return the names of the classes that every split should have; empty where there are none."""

    @abstractmethod
    def classes_of(self, target: Any) -> Collection[int]:
        """Return the classes of one row, as indices of `classes`."""

    @abstractmethod
    def table(self, rows: Rows) -> pa.Table:
        """Return the rows of one split as they are written, numbered from 0."""

    @abstractmethod
    def counts(self, table: pa.Table, labels: Sequence[str]) -> dict[str, int]:
        """Return how often each label occurs in a table; empty where labels are not counted."""

    def counted(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Return what the report says of `counts`: how often each class occurs."""
        return dict(counts)

    def synthetic(self, words: list[str], label: str, place: int, second: bool) -> dict[str, Any]:
        """Return a made-up text as a JSON line has it: `text` and `label`.

        Parameters
        ----------
        words
            Its words.
        label
            The label, or the type of the one mention.
        place
            Of the telling word.
        second
            Whether the telling word has a second one behind it, which is part of the mention.
        """
        raise NotImplementedError(f"{type(self).__name__} makes no synthetic text")

    # --- what is odd

    def known(self, table: FileTable) -> set[str]:
        """Return the labels of a file as they are compared with the names of columns; empty where they are not."""
        return set()

    def examine_files(self, found: Findings, tables: Mapping[str, FileTable], train: FileTable) -> None:
        """Examine labels before they are read.

        Parameters
        ----------
        found
            Where findings go.
        tables
            By name, all files.
        train
            The training file.
        """

    def examine_split(
        self, found: Findings, split: Split, rows: Rows, counts: Sequence[int], names: Sequence[str]
    ) -> None:
        """Examine the labels of a split, of whose classes (`names`) there are so many texts (`counts`)."""


def of(kind: str) -> Reading:
    """Return the reading of a kind."""
    return cast("Reading", part(kind, "reading"))
