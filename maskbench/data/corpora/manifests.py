"""What a corpus and a pack say about themselves, without torch or datasets."""

from __future__ import annotations

from typing import Any

from maskbench.data.manifests import Manifest, Part, TokenizerInfo


class CorpusManifest(Manifest):
    """What is in the folder of a corpus, and where it came from."""

    corpus: str
    ordered: bool
    """Whether the sentences of a document follow each other."""
    documents: int
    sentences: int
    words: int
    """What stands between white space."""
    licence: str | None
    source: dict[str, Any]
    """Content of source.json; of the texts of tasks, the hash of each prepared task."""
    sha256: str
    """SHA-256 of the file documents.parquet."""
    hash: str
    """Hash of the documents, whatever file they are in."""


class PackedCorpus(Part):
    """What a pack took of one corpus."""

    corpus: str
    hash: str
    """Hash of the corpus that was packed."""
    licence: str | None
    documents: int
    """Documents that something is left of."""
    removed: dict[str, dict[str, int]]
    """Sentences that stand in a split of a task and were left out, by task and split."""
    held_out: int
    """Documents that are held out."""


class PackedSplit(Part):
    """One split of a pack."""

    sequences: int
    documents: int
    sentences: int
    words: int
    """What stands between white space in its sentences."""
    tokens: int
    """Number of tokens, special ones included."""
    text_tokens: int
    unknown_tokens: int
    """Tokens of text that the tokenizer has no entry for."""
    cut_words: int
    """Words that the border between two sequences goes through."""
    unpaired: int
    """Documents of a single sentence, which make no pair (with next_sentence)."""
    unigram_entropy: float
    """Entropy of the frequencies of its tokens of text, nats."""
    unigram_loss: float
    """What the frequencies of the training split, each count plus one, lose on it: nats per token of text."""


class PackManifest(Manifest):
    """What is in the folder of a pack, and what it was made from."""

    pack: str
    corpora: list[PackedCorpus]
    length: int
    held_out: float
    next_sentence: bool
    splits: dict[str, PackedSplit]
    """Counts of the two splits, `train` and `held-out`."""
    shared: int
    """Held-out sentences whose text also stands in training."""
    tokenizer: TokenizerInfo
    trained_vocabulary: bool
    """Whether the vocabulary was trained on the corpora; else the tokenizer is a given model's."""
    tasks: dict[str, str]
    """Hash of each prepared task whose validation and test texts were left out."""
    files: dict[str, str]
    """Hash of each file, by its path in the folder."""
    hash: str
    """Hash over the content of all columns and the tokenizer."""
