"""Sentences of a corpus that stand in the validation or test texts of a task: found, so that they can be left out."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from maskbench.data.corpora.documents import sentences_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pyarrow as pa

    from maskbench.data.corpora.readers import Document
    from maskbench.data.manifests import PreparedManifest

LEAST = 32
"""Letters and digits (about seven words) from which on a part of a text is taken for a copy of it, not for a phrase."""

GUARDED = ("test", "validation")
"""The splits that nothing may be pretrained on."""

_WORD = re.compile(r"\S+")
_OTHER = re.compile(r"[\W_]+")

Key = tuple[str, str]
"""A task and a split."""


def letters(text: str) -> str:
    """Return the letters and digits of a text alone, case and accents aside: whatever a tokenizer did is undone."""
    if not text.isascii():
        text = "".join(mark for mark in unicodedata.normalize("NFKD", text) if not unicodedata.combining(mark))
    return _OTHER.sub("", text.casefold())


def _words(text: str) -> tuple[str, list[int]]:
    """Return the letters of a text, and where in them the words begin."""
    parts = [letters(word[0]) for word in _WORD.finditer(text)]
    starts, place = [], 0
    for part in parts:
        if part:
            starts.append(place)
        place += len(part)
    return "".join(parts), starts


@dataclass
class Guarded:
    """The validation and test texts of the configured tasks."""

    equal: dict[str, Key] = field(default_factory=dict)
    """Where a text, or a long enough sentence of one, stands; the first place counts."""
    begins: dict[str, list[tuple[str, Key]]] = field(default_factory=lambda: defaultdict(list))
    """Long enough texts and sentences by their first letters."""
    inside: dict[str, list[tuple[str, int, Key]]] = field(default_factory=lambda: defaultdict(list))
    """Texts, and where in them a word begins, by the letters from there on."""

    def add(self, manifest: PreparedManifest, tables: Mapping[str, pa.Table]) -> None:
        """Add the texts of a prepared task."""
        for split in GUARDED:
            for sentences in sentences_of(manifest, tables[split]):
                self._add(sentences, (manifest.task, split))

    def _add(self, sentences: list[str], key: Key) -> None:
        whole, starts = _words(" ".join(sentences))
        if not whole:
            return
        parts = {whole, *(part for part in map(letters, sentences) if len(part) >= LEAST)}
        for part in sorted(parts):
            if part not in self.equal:
                self.equal[part] = key
                if len(part) >= LEAST:
                    self.begins[part[:LEAST]].append((part, key))
        for start in starts:
            if len(whole) - start >= LEAST:
                self.inside[whole[start : start + LEAST]].append((whole, start, key))

    def find(self, sentence: str) -> Key | None:
        """Return where a sentence, a text that it contains, or a text that contains it, stands; None: nowhere."""
        found, starts = _words(sentence)
        if (key := self.equal.get(found)) is not None:
            return key
        if len(found) < LEAST:
            return None
        for text, start, place in self.inside.get(found[:LEAST], ()):
            if text.startswith(found, start):
                return place
        begins = self.begins
        for start in starts:
            if (near := begins.get(found[start : start + LEAST])) is not None:
                for part, place in near:
                    if found.startswith(part, start):
                        return place
        return None


def without(guarded: Guarded, document: Document, removed: Counter[Key]) -> Iterator[Document]:
    """Yield what is left of a document, in runs of sentences that followed each other.

    Parameters
    ----------
    guarded
        What is left out.
    document
        Its sentences.
    removed
        Counts them by task and split.
    """
    run: Document = []
    for sentence in document:
        if (key := guarded.find(sentence)) is None:
            run.append(sentence)
            continue
        removed[key] += 1
        if run:
            yield run
        run = []
    if run:
        yield run


def by_task(removed: Counter[Key], tasks: Iterable[str]) -> dict[str, dict[str, int]]:
    """Return the counts of each task and split; those of 0, too."""
    return {task: {split: removed[task, split] for split in GUARDED} for task in tasks}
