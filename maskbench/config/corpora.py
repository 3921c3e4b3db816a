"""Texts that models are pretrained on: where they come from, how they are read, and how they are packed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, Tag, model_validator

from maskbench.config.block import ConfigBlock, Count, Name, Share
from maskbench.config.cutting import TextEncoding
from maskbench.config.sources import LocalSource, PackageSource, by_key

VOCABULARY = 8000
"""Word pieces of a vocabulary that is trained on the corpora, unless the configuration says otherwise."""

CorpusFormat = Literal["text", "jsonl", "summaries", "brown", "wordnet"]
"""How the files of a corpus are read (data/corpora/readers.py)."""

SUFFIXES: dict[str, str] = {"text": ".txt", "jsonl": ".jsonl"}
"""How the names of a user's files end, where a folder is given and no names."""


class TaskTexts(ConfigBlock):
    """The training texts of tasks of the experiment; never those of validation or test."""

    tasks: Literal["all"] | Annotated[list[Name], Field(min_length=1)]
    """Names of tasks of the experiment, or `all` of them."""


CorpusSource = Annotated[
    Annotated[PackageSource, Tag("package")]
    | Annotated[LocalSource, Tag("local")]
    | Annotated[TaskTexts, Tag("tasks")],
    by_key("package, local or tasks"),
]
"""Where a corpus comes from, told apart by its key ``package``, ``local`` or ``tasks``."""


class Corpus(ConfigBlock):
    """Documents of plain text, each a list of sentences."""

    name: Name
    """Name in results; also the folder's."""
    source: CorpusSource
    """Where the files come from: a package, a folder or file of your own, or `tasks`."""
    format: CorpusFormat | None = None
    """How the files are read: `text` (documents are separated by empty lines), `jsonl` (one document in each line),
    `summaries` (a JSON mapping of titles to `extract`), `brown` (word/tag), `wordnet` (glosses of data.*); null only
    for the texts of tasks."""
    files: list[Annotated[str, StringConstraints(min_length=1)]] = Field(default_factory=list)
    """Files, relative to the source, in the order in which they are read. In a package `*`, `?` and `[...]` stand for
    several names, read in alphabetical order; in a folder of your own names are taken literally. Empty: `local` is one
    file, or all its .txt (text) or .jsonl files are meant."""
    encoding: TextEncoding = "utf-8"
    """Encoding of the files, such as `utf-8`."""
    text: str = "text"
    """JSON lines: the key of the text, which is a string or a list of sentences."""
    ordered: bool = True
    """Whether the sentences of a document follow each other, so that they can be used for next-sentence prediction."""
    words: Count | None = None
    """Take a part of it: whole documents with so many words at most together, those with the lowest hashes of their
    text, in their order; null: all of it. Not for the texts of tasks."""
    licence: str | None = None
    """Licence of the text, kept in the manifests."""
    citation: str | None = None
    """Who made it, for the documentation and the report."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        """Refuse keys that nothing would read, and a source of files of which nobody knows how to read them."""
        if isinstance(self.source, TaskTexts):
            for key in ("format", "files", "words"):
                if getattr(self, key):
                    raise ValueError(f"{key}: the texts of tasks are read from the prepared tasks; leave it out")
        elif self.format is None:
            raise ValueError("format is needed for files: text, jsonl, summaries, brown or wordnet")
        elif not self.files and (isinstance(self.source, PackageSource) or self.format not in SUFFIXES):
            raise ValueError("files: expected the names of the files to read")
        if self.format != "jsonl" and self.text != type(self).model_fields["text"].default:
            raise ValueError("text is the key of the text in jsonl; other formats have none")
        return self

    def local_files(self) -> dict[str, Path]:
        """Return the files of a corpus on disk by the name that they get, in the order in which they are read.

        Raises
        ------
        ValueError
            Saying what was expected, if a name leads out of the folder.
        """
        assert isinstance(self.source, LocalSource)
        place = self.source.path
        if self.files or place.is_file():
            return dict(self.source.file(given) for given in self.files or [place.name])
        suffix = SUFFIXES[self.format or ""]
        return {path.name: path for path in sorted(place.glob("*")) if path.name.endswith(suffix) and path.is_file()}

    def content(self) -> Corpus:
        """Return the corpus without what only describes it, so that no other change rereads it."""
        return self.model_copy(update={"citation": None})


class Packing(ConfigBlock):
    """What decides the packed text of a pretraining: models for which these agree share one pack."""

    corpora: Annotated[list[Corpus], Field(min_length=1)]
    """The texts that are packed, in this order."""
    tokenizer: Name | None = None
    """Name of the fetched model whose tokenizer is used; null: a vocabulary is trained on the corpora."""
    vocabulary: Annotated[int, Field(ge=100, le=100_000)] | None = None
    """Word pieces of the vocabulary that is trained; null with a `tokenizer`, and only then."""
    length: Annotated[int, Field(ge=8, le=4096)] = 128
    """Tokens of a packed sequence, special ones included."""
    held_out: Share = 0.02
    """Share of the documents that are not trained on, rounded up."""
    next_sentence: bool = False
    """Pairs of segments in place of running text, half of them random."""

    @model_validator(mode="after")
    def _keys_go_together(self) -> Self:
        if (self.tokenizer is None) == (self.vocabulary is None):
            raise ValueError(
                "expected either vocabulary or tokenizer, got " + ("both" if self.tokenizer else "neither")
            )
        names = [corpus.name for corpus in self.corpora]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"corpora: expected each corpus once, got {twice} twice")
        if self.next_sentence and (without := next((item.name for item in self.corpora if not item.ordered), None)):
            raise ValueError(
                f"next_sentence: the documents of the corpus {without} have no order (ordered: false); leave it out"
            )
        return self

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits, the name of the folder with the pack."""
        spec = self.model_dump(mode="json") | {
            "corpora": [corpus.model_dump(mode="json", exclude={"licence", "citation"}) for corpus in self.corpora]
        }
        return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:12]
