"""From files, or prepared tasks, to the documents of a corpus: one row for each sentence, with a manifest."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from maskbench.config.corpora import TaskTexts
from maskbench.config.kinds import TASK_KINDS
from maskbench.data.corpora.manifests import CorpusManifest
from maskbench.data.corpora.readers import Document, documents
from maskbench.data.corpora.sentences import split
from maskbench.data.folders import new_folder
from maskbench.data.prepare import load_prepared, read_record
from maskbench.errors import InputError
from maskbench.io.files import canonical, sha256_file, verify
from maskbench.kinds import traits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from maskbench.config.corpora import Corpus
    from maskbench.data.manifests import PreparedManifest

DOCUMENTS = "documents.parquet"
"""File with the sentences of a corpus, in its folder."""


def make_corpus(corpus: Corpus, source: Path, destination: Path) -> None:
    """Read the files of a corpus.

    Parameters
    ----------
    corpus
        Says how the files are read.
    source
        Folder with source.json and the files that it lists; their hashes are checked.
    destination
        Folder to make, in one piece: documents.parquet (columns `document`, `sentence`, both int64 and from 0, and
        `text`) and manifest.json. The same input gives the same bytes.

    Raises
    ------
    InputError
        If a file is not what its format says, or there is no text in any.
    """
    record = read_record(source)
    found = list(documents(corpus, source, list(record["files"])))
    if corpus.words is not None:
        found = part_of(found, corpus.words)
        if not found:
            raise InputError(f"corpus {corpus.name}: words: no document is so short; expected more than {corpus.words}")
    _write(corpus, found, record, f"corpus {corpus.name}: {_where(corpus)}", destination)


def part_of(found: Sequence[Document], words: int) -> list[Document]:
    """Return whole documents with so many words at most together, in their order.

    They are taken in the order of the hashes of their text, which is as good as a random one and the same everywhere. A
    document that does not fit any more is left out, and shorter ones behind it are still taken.
    """
    by_hash = sorted(range(len(found)), key=lambda number: (_hash([found[number]]), number))
    taken = set()
    for number in by_hash:
        length = sum(len(sentence.split()) for sentence in found[number])
        if length <= words:
            taken.add(number)
            words -= length
    return [document for number, document in enumerate(found) if number in taken]


def make_task_corpus(corpus: Corpus, prepared: Sequence[Path], destination: Path) -> None:
    """Take the training texts of prepared tasks, and nothing else of them, for a corpus.

    Parameters
    ----------
    corpus
        Its source names the tasks.
    prepared
        The folder of each task, as `prepare` made it.
    destination
        As for `make_corpus`. Rows that say which document they are from are together one document; any other row is one
        by itself.

    Raises
    ------
    InputError
        If a folder is not what it should be, or the training split of all is empty.
    """
    found: list[Document] = []
    hashes = {}
    for folder in prepared:
        manifest, tables = load_prepared(folder)
        hashes[manifest.task] = manifest.hash
        found += _of_rows(manifest, tables["train"])
    _write(
        corpus,
        found,
        {"tasks": hashes},
        f"corpus {corpus.name}: the training texts of {', '.join(hashes)}",
        destination,
    )


def load_corpus(folder: Path) -> tuple[CorpusManifest, list[Document]]:
    """Read a corpus.

    Parameters
    ----------
    folder
        As `make_corpus` or `make_task_corpus` made it.

    Returns
    -------
    tuple
        The manifest, and the sentences of each document.

    Raises
    ------
    InputError
        If a file is missing or differs from the manifest.
    """
    manifest = CorpusManifest.read(folder)
    verify(folder, {DOCUMENTS: manifest.sha256})
    table = pq.read_table(folder / DOCUMENTS)
    found: list[Document] = []
    for number, text in zip(table["sentence"].to_pylist(), table["text"].to_pylist(), strict=True):
        if number == 0:
            found.append([])
        found[-1].append(text)
    return manifest, found


def sentences_of(manifest: PreparedManifest, table: pa.Table) -> Iterator[list[str]]:
    """Yield the sentences of each row of a prepared split; in tagging a row is one, its words joined by spaces."""
    if traits.of(manifest.kind).words_given:
        yield from ([" ".join(words)] for words in table["tokens"].to_pylist())
    else:
        yield from (split(text) for text in table["text"].to_pylist())


def _of_rows(manifest: PreparedManifest, table: pa.Table) -> Iterator[Document]:
    """Yield the documents of a prepared split."""
    whole = "document" in table.column_names
    numbers = table["document"].to_pylist() if whole else range(table.num_rows)
    once = len(TASK_KINDS[manifest.kind].texts) > 1  # the second text, a passage, stands there for each first one
    last, document = None, Document()
    for number, sentences in zip(numbers, sentences_of(manifest, table), strict=True):
        if once and number == last:
            continue
        if number != last and document:
            yield document
            document = []
        last = number
        document += sentences
    if document:
        yield document


def _where(corpus: Corpus) -> str:
    """Name what a corpus was read from."""
    return "no source" if isinstance(corpus.source, TaskTexts) else ", ".join(corpus.files) or "its files"


def _write(corpus: Corpus, found: Sequence[Document], record: Mapping[str, Any], where: str, destination: Path) -> None:
    """Write documents.parquet and its manifest in one piece."""
    if not found:
        raise InputError(f"{where}: no text: expected at least one document")
    lengths = [len(document) for document in found]
    texts = [sentence for document in found for sentence in document]
    table = pa.table(
        {
            "document": pa.array((number for number, length in enumerate(lengths) for _ in range(length)), pa.int64()),
            "sentence": pa.array((place for length in lengths for place in range(length)), pa.int64()),
            "text": pa.array(texts, pa.string()),
        }
    )
    with new_folder(destination) as folder:
        pq.write_table(table, folder / DOCUMENTS, compression="zstd")
        manifest = CorpusManifest(
            corpus=corpus.name,
            ordered=corpus.ordered,
            documents=len(found),
            sentences=len(texts),
            words=sum(len(text.split()) for text in texts),
            licence=corpus.licence,
            source=dict(record),
            sha256=sha256_file(folder / DOCUMENTS),
            hash=_hash(found),
        )
        manifest.write(folder)
    print(f"{corpus.name}: {manifest.documents} documents, {manifest.sentences} sentences, {manifest.words} words")


def _hash(found: Iterable[Document]) -> str:
    """Return a hash of documents."""
    digest = hashlib.sha256()
    for document in found:
        digest.update(canonical(document).encode() + b"\n")
    return digest.hexdigest()
