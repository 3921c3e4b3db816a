"""Small packs of made-up text for pretraining, made by the project's own code."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from maskbench.config.corpora import Corpus, Packing
from maskbench.data.corpora.documents import make_corpus
from maskbench.data.corpora.pack import pack
from maskbench.data.sources import fetch_corpus

if TYPE_CHECKING:
    from pathlib import Path

SUBJECTS = ["Anna", "Otto", "the cat", "a dog", "the old man", "my sister"]
VERBS = {"sees": "river", "eats": "apple", "hears": "song", "reads": "letter", "paints": "wall", "sells": "horse"}


def text(documents: int, seed: int = 0) -> str:
    """Return documents of six sentences each, in which the verb tells the object."""
    drawn = random.Random(seed)

    def sentence() -> str:
        verb = drawn.choice(list(VERBS))
        return f"{drawn.choice(SUBJECTS)} {verb} the {drawn.choice(['red', 'small', 'good'])} {VERBS[verb]}."

    return "\n\n".join(" ".join(sentence().capitalize() for _ in range(6)) for _ in range(documents)) + "\n"


def make_pack(
    folder: Path, *, documents: int = 120, length: int = 32, next_sentence: bool = False, model: Path | None = None
) -> Path:
    """Write a pack, and what it is made of, into a folder; return that of the pack.

    `model` is the folder of a model whose tokenizer is used.
    """
    folder.mkdir(parents=True)
    (folder / "text.txt").write_text(text(documents))
    source = {"local": str(folder / "text.txt")}
    corpus = Corpus.model_validate({"name": "made-up", "source": source, "format": "text"})
    fetch_corpus(corpus, folder / "source", folder / "cache")
    make_corpus(corpus, folder / "source", folder / "corpus")
    packing = Packing(
        corpora=[corpus],
        tokenizer=None if model is None else "given",
        vocabulary=120 if model is None else None,
        length=length,
        held_out=0.1,
        next_sentence=next_sentence,
    )
    pack(packing, [folder / "corpus"], [], folder / "pack", model)
    return folder / "pack"
