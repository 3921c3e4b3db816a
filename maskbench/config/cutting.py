"""How missing splits are cut from a training file: shares, a seed, and which rows belong together."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, StringConstraints, Tag, model_validator
from pydantic_core import PydanticCustomError

from maskbench.config.block import ConfigBlock, Seed, Share
from maskbench.config.sources import FileSource, LocalSource


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

DOCUMENT = "document"
"""What groups the sentences of a CoNLL file: the documents that its -DOCSTART- lines begin."""


class GroupFile(ConfigBlock):
    """A file of its own that says which texts belong together; it is joined to the task by the letters of the texts."""

    source: FileSource
    """Where the file comes from."""
    file: Annotated[str, StringConstraints(min_length=1)]
    """Its name, relative to the source."""
    format: Literal["csv", "tsv", "jsonl"] = "csv"
    """Its format; it is read as the files of a task are."""
    encoding: TextEncoding = "utf-8"
    """Encoding of the file, such as `utf-8`."""
    separator: str | None = None
    """CSV: the delimiter; null: a comma. TSV: what separates columns; null: a tab."""
    text: Column = "text"
    """Column of the text, a name from the file's first row or an index. Texts are the same if they have the same
    letters and digits in the same order, whatever their case, white space, punctuation and accents."""
    group: Column = "group"
    """Column of the group that a text belongs to. A text with several groups joins them. A text of the task that the
    file does not have stays in the training split."""

    @property
    def title(self) -> str:
        """What messages call the file."""
        source = self.source
        place = source.local if isinstance(source, LocalSource) else f"package {source.package}=={source.version}"
        return f"{self.file} of {place}"


def _is_file(value: Any) -> str:
    return "group-file" if isinstance(value, dict | GroupFile) else "group-column"


Groups = Annotated[
    Annotated[Column, Tag("group-column")] | Annotated[GroupFile, Tag("group-file")], Discriminator(_is_file)
]
"""A column of the task's own files, or a file of its own."""


class Cut(ConfigBlock):
    """How missing splits are cut from the training file: a seeded permutation, stratified by label if there is one."""

    validation: Share = 0.1
    """Share of the training file that becomes the validation split, if there is no file for it."""
    test: Share = 0.1
    """Share of the training file that becomes the test split, if there is no file for it."""
    seed: Seed = 0
    """Seed of the permutation; the same for all cells."""
    group: Groups | None = None
    """What rows have in common that are to stay in one split, such as a film, an author or a document: a column of the
    task's files (CoNLL: `document`), or a file of its own; null: only equal texts stay together."""

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> Self:
        if self.validation + self.test >= 1.0:
            raise ValueError(f"validation {self.validation} and test {self.test} leave nothing to train on")
        return self
