"""How probes read the predicted classes of texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from maskbench.kinds.probing import Probing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from maskbench.kinds.probing import Flip, Groups
    from maskbench.kinds.score import Outcome, Rows


class _Probing(Probing):
    without = frozenset({"seen-mentions"})
    attributed = True

    def confidences(self, outcome: Outcome) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
        """Return (N,) probability of each text's prediction, (N,) whether it was right, and (N,) the text's example."""
        table = outcome.table
        sure = np.stack(table["probabilities"].tolist()).max(-1)
        right = (table["prediction"] == table["label"]).to_numpy()
        return sure.astype(np.float64), right, table["example"].to_numpy()

    def flipped(self, before: Any, after: Any, labels: Sequence[str]) -> list[Flip]:
        """Return the other label of the text."""
        return [([], after)]

    def given(self, prediction: Any, flip: Flip, labels: Sequence[str]) -> bool:
        """Tell whether the predicted class is the flipped label."""
        return int(prediction) == flip[1]

    def changed(self, before: Outcome, after: Outcome, clean: Rows, shifted: Rows) -> NDArray[np.bool_]:
        """Return (N,) bool: the texts whose predicted class is another one in the other version."""
        found: NDArray[np.bool_] = before.table["prediction"].to_numpy() != after.table["prediction"].to_numpy()
        return found

    def groups(
        self, labels: Sequence[str], words: Sequence[str], sets: Iterable[tuple[pd.DataFrame, pd.DataFrame]]
    ) -> Groups:
        """Return whether each text was right, by its class and the class of its cue."""
        named = dict(zip(words, labels, strict=True))
        groups: Groups = {f"{label} with the cue of {of}": [] for label in labels for of in labels}
        for rows, table in sets:
            texts = rows["text"]
            for example, label, hit in zip(table["example"], table["label"], table["hit"], strict=True):
                of = named[texts.loc[example].partition(" ")[0]]
                groups[f"{labels[label]} with the cue of {of}"].append((example, bool(hit)))
        return groups

    def answers(self, outcome: Outcome) -> NDArray[np.int64]:
        """Return (N,) the predicted class of each text."""
        return outcome.table["prediction"].to_numpy(dtype=np.int64)

    def probabilities(self, outcome: Outcome) -> NDArray[np.float64]:
        """Return (N, C) the probability of each class."""
        return np.stack(outcome.table["probabilities"].tolist()).astype(np.float64)

    def constant(self, table: pd.DataFrame) -> str | None:
        """Say that the model predicts one class."""
        if (table["prediction"] == table["prediction"].iloc[0]).all():
            return "the model predicts one class for all test texts"
        return None


PART = _Probing()
