"""From the files of a corpus to its documents, each a list of sentences in order."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any

from maskbench.config.sources import LocalSource, PackageSource
from maskbench.data.columns import decode, lines
from maskbench.data.corpora.sentences import split
from maskbench.errors import InputError
from maskbench.kinds.files import Place, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from maskbench.config.corpora import Corpus

Document = list[str]
"""Sentences in order; none is empty."""


def documents(corpus: Corpus, folder: Path, names: Sequence[str]) -> Iterator[Document]:
    """Yield the documents of a corpus.

    Parameters
    ----------
    corpus
        Says how the files are read.
    folder
        Where they are, under the names that they were fetched with.
    names
        Those names; they are read in the order in which the corpus lists them.

    Raises
    ------
    InputError
        If a file is not what the format says, in one line: file, line and reason.
    """
    assert corpus.format is not None, "the texts of tasks have no files"
    read = partial(_json_lines, key=corpus.text) if corpus.format == "jsonl" else _READERS[corpus.format]
    for name in _in_order(corpus, names):
        place = Place(_shown(corpus, folder, name))
        for found in read(decode(corpus, folder / name, place, Seen()), place):
            if sentences := [sentence for sentence in found if sentence]:
                yield sentences


def _in_order(corpus: Corpus, names: Sequence[str]) -> list[str]:
    """Return the names of fetched files in the order in which the corpus lists them, each once."""
    found = sorted(names)
    if isinstance(corpus.source, PackageSource):
        found = [
            name for pattern in corpus.files for name in sorted(names) if name == pattern or fnmatchcase(name, pattern)
        ]
    elif len(names) > 1 and corpus.files and isinstance(corpus.source, LocalSource):
        found = [corpus.source.file(given)[0] for given in corpus.files]
    return list(dict.fromkeys(found))


def _shown(corpus: Corpus, folder: Path, name: str) -> str:
    """Return what messages call a file: the user's own, not its copy."""
    if not isinstance(corpus.source, LocalSource):
        return str(folder / name)
    place = corpus.source.path
    return str(place if place.is_file() else place / name)


def _text(content: str, _place: Place) -> Iterator[Document]:
    """Yield what stands between empty lines."""
    paragraph: list[str] = []
    for _, line in lines(content):
        if line.strip():
            paragraph.append(line)
        elif paragraph:
            yield split(" ".join(paragraph))
            paragraph = []
    yield split(" ".join(paragraph))


def _json_lines(content: str, place: Place, key: str) -> Iterator[Document]:
    """Yield the text of each line, which is a string, or a list of sentences."""
    for number, line in lines(content):
        if not line.strip():
            continue
        value = _parsed(line, place.at(number))
        text = value.get(key) if isinstance(value, dict) else None
        if isinstance(text, list) and all(isinstance(sentence, str) for sentence in text):
            yield [" ".join(sentence.split()) for sentence in text]
        elif isinstance(text, str):
            yield split(text)
        else:
            raise place.error(number, f"expected an object with a text, or a list of sentences, under {key!r}")


def _summaries(content: str, place: Place) -> Iterator[Document]:
    """Yield the extract of each title."""
    value = _parsed(content, place.file)
    if not isinstance(value, dict):
        raise InputError(f"{place.file}: expected a mapping of titles")
    for title, entry in value.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("extract"), str):
            raise InputError(f"{place.file}: {title!r}: expected a mapping with a text under 'extract'")
        yield split(entry["extract"])


def _parsed(text: str, where: str) -> Any:
    """Parse JSON, and name the line of a mistake."""
    try:
        value = json.loads(text)
        text.encode()
        if "\\u" in text:  # an escape may be half a surrogate pair
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as found:
        raise InputError(f"{where}: not valid JSON: {found.msg} at position {found.colno}") from None
    except (ValueError, RecursionError) as found:
        raise InputError(f"{where}: not valid JSON: {found}") from None
    return value


# --- Brown

_CLOSING = re.compile(r"[,.;:?!)\]]+|''")
_DOUBLED = frozenset(";?!:")
"""Marks that end a sentence, which the tagged Brown corpus writes twice."""


def _brown(content: str, place: Place) -> Iterator[Document]:
    """Yield one document: a sentence in each line, its words with their tags behind the last slash."""
    document = []
    for number, line in lines(content):
        words = []
        for token in line.split():
            word, slash, tag = token.rpartition("/")
            if not (word and slash and tag):
                raise place.error(number, f"expected word/tag, found {token!r}")
            words.append(word)
        if words:
            document.append(_printed(words))
    yield document


def _printed(words: Sequence[str]) -> str:
    """Put the tokens of a sentence together as they were printed."""
    text, before, quoted = "", "(", False
    for word in words:
        if word.startswith("**") or (word == before and word in _DOUBLED):
            continue  # marks of formulas and the like; marks that are written twice
        opens = word == "``" or (word == "'" and not quoted)
        closes = _CLOSING.fullmatch(word) is not None or (word == "'" and quoted)
        if word == "'":
            quoted = not quoted
        written = '"' if word in ("``", "''") else word
        text += written if closes or before in ("(", "[", "``") or before == "'(" else f" {written}"
        before = "'(" if opens and word == "'" else word
    return text.strip()


# --- WordNet

_EXAMPLE = re.compile(r";\s*(?=\")")


def _wordnet(content: str, place: Place) -> Iterator[Document]:
    """Yield the gloss of each synset: its definition, then its examples."""
    for number, line in lines(content):
        if not line or line.startswith("  "):  # the licence on top
            continue
        _, bar, gloss = line.partition("| ")
        if not bar:
            raise place.error(number, "expected a synset of WordNet with its gloss behind `| `")
        parts = [" ".join(part.split()) for part in _EXAMPLE.split(gloss)]
        yield [part.replace('"', "").strip() if part.startswith('"') else part for part in parts]


_READERS: dict[str, Callable[[str, Place], Iterator[Document]]] = {
    "text": _text,
    "summaries": _summaries,
    "brown": _brown,
    "wordnet": _wordnet,
}
