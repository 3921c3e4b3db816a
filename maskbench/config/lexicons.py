"""Lists of words that masks may choose from: where they come from, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import StringConstraints, model_validator

from maskbench.config.block import ConfigBlock, Name
from maskbench.config.cutting import TextEncoding
from maskbench.config.sources import FileSource, LocalSource

WORDS = "words.json"
"""File in the folder of a fetched lexicon: a mapping of lower-case words to weights."""


class Lexicon(ConfigBlock):
    """Words, each with a weight that says how much it matters; upper and lower case are the same."""

    name: Name
    """Name by which masks ask for it (`words`)."""
    source: FileSource
    """Where the file comes from: a package, or a folder or file of your own."""
    file: Annotated[str, StringConstraints(min_length=1)] | None = None
    """Its name, relative to the source; null: `local` is the file itself."""
    format: Literal["words", "vader"] = "words"
    """words: one word in each line, perhaps a tab and its weight behind it (a number of at least 0; 1 without one);
    vader: a word, a tab and the mean of its ratings, whose distance from 0 is the weight, and more columns."""
    encoding: TextEncoding = "utf-8"
    """Encoding of the file, such as `utf-8`."""
    licence: str | None = None
    """Under which licence the words may be used."""
    citation: str | None = None
    """Who made the list, for the documentation."""

    @model_validator(mode="after")
    def _names_a_file(self) -> Self:
        if self.file is None and not isinstance(self.source, LocalSource):
            raise ValueError("file: expected the name of the file in the package")
        return self

    def local_file(self) -> tuple[str, Path]:
        """Return the name that a file of one's own gets when it is fetched, and where it is.

        Raises
        ------
        ValueError
            Saying what was expected, if the name leads out of the folder.
        """
        assert isinstance(self.source, LocalSource)
        return self.source.file(self.source.path.name if self.file is None else self.file)

    def content(self) -> Lexicon:
        """Return the lexicon without what only describes it, so that no other change rereads it."""
        return self.model_copy(update={"licence": None, "citation": None})
