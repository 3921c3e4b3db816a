"""Models that are fetched: a folder in transformers' format, from any source."""

from __future__ import annotations

from hashlib import sha256

from maskbench.config.block import ConfigBlock, Name
from maskbench.config.sources import Source


class FetchedModel(ConfigBlock):
    """A model and where its folder comes from."""

    name: Name
    """Name that messages call the model by."""
    source: Source
    """Where the folder with config.json, the weights (safetensors) and the tokenizer comes from."""

    @property
    def id(self) -> str:
        """Its name and eight digits of a hash of its source, so that two sources of one name keep apart."""
        return f"{self.name[:31].rstrip('-')}-{sha256(self.source.model_dump_json().encode()).hexdigest()[:8]}"
