"""The label of an encoded text: its index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datasets import Value

from maskbench.kinds.encoding import Encoding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class _Encoding(Encoding):
    def feature(self) -> Any:
        """Return the type of `labels`: one whole number for each text."""
        return Value("int64")

    def labels(self, batch: Mapping[str, list[Any]], words: Sequence[Sequence[int]]) -> list[Any]:
        """Return the labels as they are."""
        return batch["label"]


PART = _Encoding()
