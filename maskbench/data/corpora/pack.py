"""From corpora to a pack: duplicates out, documents held out, a vocabulary, and sequences of token ids."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import tokenizers
import transformers
from datasets import Dataset

from maskbench.data.corpora import vocabulary
from maskbench.data.corpora.documents import load_corpus
from maskbench.data.corpora.duplicates import Guarded, by_task, letters, without
from maskbench.data.corpora.manifests import PackedCorpus, PackedSplit, PackManifest
from maskbench.data.corpora.sequences import Sequences, pairs, running, tokenize
from maskbench.data.encode import column_digests, load_tokenizer, tokenizer_files, tokenizer_info
from maskbench.data.folders import new_folder
from maskbench.data.manifests import NAME
from maskbench.data.prepare import load_prepared
from maskbench.errors import InputError
from maskbench.io.files import canonical, sha256_files, sha256_text, verify
from maskbench.kinds import draws
from maskbench.models.tokens import require_pad_and_ids

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    from maskbench.config.corpora import Packing
    from maskbench.data.corpora.readers import Document

TRAIN, HELD_OUT = "train", "held-out"
"""The splits of a pack."""
TOKENIZER = "tokenizer"
"""Folder with the tokenizer of a pack, in its folder."""


@dataclass
class _Texts:
    """The documents of a pack by split, and what was left out."""

    splits: dict[str, list[Document]] = field(default_factory=lambda: {TRAIN: [], HELD_OUT: []})
    corpora: list[PackedCorpus] = field(default_factory=list)
    tasks: dict[str, str] = field(default_factory=dict)


def pack(
    packing: Packing, corpora: Sequence[Path], tasks: Sequence[Path], destination: Path, model: Path | None = None
) -> None:
    """Make the packed text of a pretraining.

    Parameters
    ----------
    packing
        Says how.
    corpora
        The folder of each corpus (data/corpora/documents.py), in the order of `packing.corpora`.
    tasks
        The folder of every clean prepared task of the experiment: nothing of their validation and test texts is packed.
    destination
        Folder to make, in one piece: `train` and `held-out` (datasets.save_to_disk), `tokenizer` and manifest.json;
        docs/data.md lists the columns. The same input gives the same bytes.
    model
        Transformers folder whose tokenizer is used, where `packing` names one.

    Raises
    ------
    InputError
        If a folder does not hold what it should, a corpus has too few documents, or the tokenizer does not do.
    """
    where = f"pack {packing.id}"
    texts = _read(packing, corpora, tasks, where)
    with new_folder(destination) as folder:
        tokenizer = _tokenizer(packing, texts.splits[TRAIN], model, folder / TOKENIZER, where)
        identity = [packing.id, [corpus.hash for corpus in texts.corpora], texts.tasks, _hashes(folder)]
        fingerprint = sha256_text(canonical([*identity, transformers.__version__, tokenizers.__version__]))
        trained: NDArray[np.int64] | None = None
        splits: dict[str, PackedSplit] = {}
        digests = {}
        for split, documents in texts.splits.items():
            tokens = tokenize(tokenizer, documents)
            counts = np.bincount(tokens.ids, minlength=len(tokenizer))
            trained = counts if trained is None else trained
            made = Sequences(tokens, _id(tokenizer, "cls_token", where), _id(tokenizer, "sep_token", where))
            cut, alone = _arrange(packing, made, f"{where}: {split}")
            dataset = made.dataset(sha256_text(f"{fingerprint} {split}")[:16], segments=packing.next_sentence)
            dataset.save_to_disk(folder / split)
            digests[split] = column_digests(dataset.data.table)
            splits[split] = PackedSplit(
                documents=len(documents),
                sentences=sum(map(len, documents)),
                words=sum(len(sentence.split()) for document in documents for sentence in document),
                cut_words=cut,
                unpaired=alone,
                unknown_tokens=int((tokens.ids == tokenizer.unk_token_id).sum()),
                **_sizes(dataset),
                **_entropies(counts, trained),
            )
        _write(packing, texts, tokenizer, splits, digests, folder)
    for split, about in splits.items():
        print(f"{split}: {about.words} words, {about.text_tokens} tokens of text, {about.sequences} sequences")


def load_packed(folder: Path) -> dict[str, Dataset]:
    """Open a pack.

    Parameters
    ----------
    folder
        As `pack` made it.

    Returns
    -------
    dict
        The sequences of `train` and `held-out`, memory-mapped.

    Raises
    ------
    InputError
        If a file is missing or differs from the manifest.
    """
    manifest = PackManifest.read(folder)
    if lost := [split for split in (TRAIN, HELD_OUT) if f"{split}/state.json" not in manifest.files]:
        raise InputError(f"{folder / NAME}: files: expected those of {lost[0]}; delete {folder} and run again")
    verify(folder, manifest.files)
    return {split: Dataset.load_from_disk(str(folder / split), keep_in_memory=False) for split in (TRAIN, HELD_OUT)}


# --- text


def _read(packing: Packing, corpora: Sequence[Path], tasks: Sequence[Path], where: str) -> _Texts:
    """Read corpora, without what stands in the validation and test texts of tasks, and part them."""
    if len(corpora) != len(packing.corpora):
        raise InputError(f"{where}: expected {len(packing.corpora)} folders of corpora, got {len(corpora)}")
    texts, guarded = _Texts(), Guarded()
    for folder in tasks:
        prepared, tables = load_prepared(folder)
        guarded.add(prepared, tables)
        texts.tasks[prepared.task] = prepared.hash
    for corpus, folder in zip(packing.corpora, corpora, strict=True):
        manifest, documents = load_corpus(folder)
        if manifest.corpus != corpus.name:
            raise InputError(f"{folder / NAME}: expected the corpus {corpus.name}, found {manifest.corpus}")
        removed: Counter[tuple[str, str]] = Counter()
        left = [runs for document in documents if (runs := list(without(guarded, document, removed)))]
        held = _held_out(left, packing.held_out, f"{where}: corpus {corpus.name}")
        for number, runs in enumerate(left):
            texts.splits[HELD_OUT if number in held else TRAIN] += runs
        texts.corpora.append(
            PackedCorpus(
                corpus=corpus.name,
                hash=manifest.hash,
                licence=manifest.licence,
                documents=len(left),
                removed=by_task(removed, texts.tasks),
                held_out=len(held),
            )
        )
        print(f"{corpus.name}: {len(left)} documents, {len(held)} held out; {removed.total()} sentences stand in tasks")
    return texts


def _held_out(documents: Sequence[Sequence[Document]], share: float, where: str) -> set[int]:
    """Return which documents are held out: those whose text has the lowest hashes; equal ones are on one side."""
    if not documents:
        raise InputError(f"{where}: every sentence of it stands in the validation or test texts of the tasks")
    hashes = [hashlib.sha256(canonical(document).encode()).hexdigest() for document in documents]
    highest = sorted(hashes)[math.ceil(share * len(hashes)) - 1]
    held = {number for number, found in enumerate(hashes) if found <= highest}
    if len(held) == len(documents):
        raise InputError(
            f"{where}: held_out: {share:g} of its {len(documents)} documents leaves nothing to train on; expected more "
            "documents (in a text file, empty lines stand between them), or a smaller share"
        )
    return held


def _shared(texts: _Texts) -> int:
    """Return how many held-out sentences also stand in training."""
    trained = {letters(sentence) for document in texts.splits[TRAIN] for sentence in document}
    return sum(letters(sentence) in trained for document in texts.splits[HELD_OUT] for sentence in document)


# --- token ids


def _tokenizer(
    packing: Packing, documents: Sequence[Document], model: Path | None, folder: Path, where: str
) -> PreTrainedTokenizerBase:
    """Write the tokenizer of a pack into a folder: a given model's, or of a vocabulary of the training documents."""
    if (model is None) != (packing.tokenizer is None):
        raise InputError(f"{where}: tokenizer: expected the folder of a model exactly where one is named")
    if model is not None:
        tokenizer_files(model)  # are as they were fetched
        given = load_tokenizer(model)
        require_pad_and_ids(given, model)
        given.save_pretrained(folder)
    else:
        assert packing.vocabulary is not None
        counts = vocabulary.count_words(_sentences(documents))
        vocabulary.make_tokenizer(vocabulary.train(counts, packing.vocabulary, where), folder)
    return load_tokenizer(folder)


def _sentences(documents: Sequence[Document]) -> Iterator[str]:
    """Yield the sentences of documents."""
    return (sentence for document in documents for sentence in document)


def _id(tokenizer: PreTrainedTokenizerBase, name: str, where: str) -> int:
    """Return the id of a special token that sequences are made with."""
    found = getattr(tokenizer, f"{name}_id")
    if not isinstance(found, int):
        raise InputError(f"{where}: tokenizer: expected one with a {name}, as BERT's has, found none")
    return found


def _arrange(packing: Packing, made: Sequences, where: str) -> tuple[int, int]:
    """Make the sequences of a split; return how many words a border cuts, and how many documents make no pair."""
    if not packing.next_sentence:
        return running(made, packing.length), 0
    return 0, pairs(made, packing.length, draws.generator("next sentence", where.rpartition(" ")[2]), where)


def _sizes(dataset: Dataset) -> dict[str, int]:
    """Return the counts of sequences and of tokens."""
    table = dataset.data.table
    lengths = table.column("length").to_numpy()
    words = np.concatenate([chunk.flatten().to_numpy() for chunk in table.column("words").chunks])
    return {"sequences": len(dataset), "tokens": int(lengths.sum()), "text_tokens": int((words >= 0).sum())}


def _entropies(counts: NDArray[np.int64], trained: NDArray[np.int64]) -> dict[str, float]:
    """Return the entropy of a split's tokens, and what the frequencies of training lose on it, in nats per token."""
    shares = counts / counts.sum()
    known = shares[shares > 0]
    expected = (trained + 1) / (trained + 1).sum()
    return {
        "unigram_entropy": float(-(known * np.log(known)).sum()),
        "unigram_loss": float(-(shares * np.log(expected)).sum()),
    }


def _hashes(folder: Path) -> dict[str, str]:
    """Return the hash of each file below a folder."""
    return sha256_files((path for path in folder.rglob("*") if path.is_file()), folder)


def _write(
    packing: Packing,
    texts: _Texts,
    tokenizer: PreTrainedTokenizerBase,
    splits: dict[str, PackedSplit],
    digests: Mapping[str, Mapping[str, str]],
    folder: Path,
) -> None:
    """State what was made of what."""
    files = _hashes(folder)
    own = {name: digest for name, digest in files.items() if name.startswith(f"{TOKENIZER}/")}
    PackManifest(
        pack=packing.id,
        corpora=texts.corpora,
        length=packing.length,
        held_out=packing.held_out,
        next_sentence=packing.next_sentence,
        splits=splits,
        shared=_shared(texts),
        tokenizer=tokenizer_info(tokenizer),
        trained_vocabulary=packing.tokenizer is None,
        tasks=texts.tasks,
        files=files,
        hash=sha256_text(canonical({"columns": digests, "tokenizer": own, "length": packing.length})),
    ).write(folder)
