"""What is found odd about the data of a task, and what stops a study."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from maskbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maskbench.config.tasks import Stop, Task

FEW = 10
"""Fewer texts than these in a split may share or lack something by accident."""


class Finding(BaseModel):
    """Something about the data that a reader of the scores has to know (data/examine.py)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: str
    """What kind of finding it is, such as ``shared-texts``."""
    message: str
    """One sentence that names the file, and the line where one stands for it."""


class Findings:
    """What is found of one task."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.told: list[Finding] = []

    def tell(self, about: str, message: str) -> None:
        """Note a finding that does not stop the study."""
        self.told.append(Finding(about=about, message=message))

    def stop(self, about: Stop, message: str) -> None:
        """Refuse to go on, unless the configuration accepts the finding.

        Raises
        ------
        InputError
            With the message, and how it is accepted.
        """
        if about not in self.task.accept:
            raise InputError(f"{message}; if it is meant, accept: [{about}]")
        self.tell(about, message)


def quoted(names: Sequence[str], most: int = 5) -> str:
    """Write some labels with quotation marks, the first of them if there are many.

    What is not in Unicode's usual form is escaped, so that it does not look like what is.
    """
    short = [name if len(name) <= 40 else f"{name[:37]}..." for name in names[:most]]
    shown = ", ".join(repr(name) if unicodedata.is_normalized("NFC", name) else ascii(name) for name in short)
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
