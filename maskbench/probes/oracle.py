"""An oracle: a model that cannot attend to the words of a distractor. It knows them, so no strategy has its score."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch

from maskbench.config.conditions import DISTRACTOR, DISTRACTOR_BLOCKED
from maskbench.errors import InputError
from maskbench.kinds import head
from maskbench.masks.visibility import require_reach, showing
from maskbench.probes.errors import UnmeasuredError
from maskbench.probes.registry import once
from maskbench.training.forward import outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from maskbench.kinds.score import Outcome
    from maskbench.masks.batch import Batch
    from maskbench.probes.subject import Subject
    from maskbench.training.forward import Passed, Rows


def first_words(clean: Rows, distracted: Rows) -> dict[int, int]:
    """Return by example the number of the first word that stands behind its text: the distractor's.

    Parameters
    ----------
    clean
        Encoded texts as they are.
    distracted
        The same texts with a sentence behind each; every one must be among the clean ones.
    """
    length = {row["example"]: max(row["words"], default=-1) + 1 + row["truncated"] for row in clean}
    return {row["example"]: length[row["example"]] for row in distracted}


def blocked(subject: Subject, rows: Rows) -> Outcome:
    """Return what the run's model does with distracted texts if no token can attend to the distractor's words.

    This is a test-time arm of its own, beside the evaluation that never masks: it knows which words were added, which
    no strategy can. What the distractor still costs then, comes of its place in the text alone; in a model that reads
    its answer at the last token (GPT-2), that is the distractor's last one, which still knows itself.

    Parameters
    ----------
    subject
        The run.
    rows
        Its fixed test texts, with a distractor behind each.

    Raises
    ------
    UnmeasuredError
        If nothing can be hidden from the model.
    """
    if why := _out_of_reach(subject):
        raise UnmeasuredError(why)
    passed = subject.passed_otherwise(DISTRACTOR_BLOCKED, lambda: _pass(subject, rows))
    return outcome(subject.cell.kind, subject.labels, rows, passed)


def _pass(subject: Subject, rows: Rows) -> Passed:
    """Pass over distracted texts with the distractor's words hidden from all other tokens."""
    begins, own = first_words(subject.texts.test, rows), subject.forward(subject.model)
    shown = own.shown

    @contextmanager
    def without(model: Any, batch: Batch) -> Iterator[None]:
        with ExitStack() as stack:
            if shown is not None:
                stack.enter_context(shown(model, batch))
            stack.enter_context(showing(model, visible(batch, begins)))
            yield

    own.shown = without
    return own.read(rows, head=head.of(subject.cell.kind))


@once
def _out_of_reach(subject: Subject) -> str | None:
    """Return why nothing can be hidden from a model, by passes over the longest of its texts; None if it can."""
    assert subject.sources.shifted is not None
    longest = max(subject.rows(subject.sources.shifted, DISTRACTOR), key=lambda row: len(row["input_ids"]))
    try:
        _, batch = next(subject.own.batches([longest]))
        require_reach(subject.model, batch.inputs())
    except InputError as error:
        return str(error)
    return None


def visible(batch: Batch, begins: Mapping[int, int]) -> torch.Tensor:
    """Return (B, 1, T, T) bool: whether a query may see a key, which is no word behind the text (`begins`)."""
    first = torch.tensor([begins[example] for example in batch.examples.tolist()], device=batch.words.device)
    shown = batch.words < first[:, None]
    return shown[:, None, None, :].expand(-1, 1, shown.shape[1], -1)
