"""One folder for each kind of task: all that a kind has of its own, and nothing of it stands elsewhere.

A kind has several parts. A part is imported when it is asked for, so that readers of results need no torch:

========= ==================================================================================== ========
part      says                                                                                 imports
========= ==================================================================================== ========
traits    what tasks of the kind have: given words, a label at each token, mentions            nothing
reading   what a row holds, how readers' fields become it, what is odd about it                pyarrow
changing  how label noise, cues and shifted sets treat its labels                              pyarrow
encoding  which columns an encoded row has for its labels                                      datasets
head      the model's head, its loss, and what is kept of its logits                           torch
score     what one example contributes, and how contributions become the score                 pandas
probing   how the probes read its predictions, and which of them make sense                    pandas
========= ==================================================================================== ========

Each part has an abstract class here (`kinds/<part>.py`, whose `of` returns that of a kind), and `PART`, an instance of
a subclass, in the module of the same name in the folder of the kind. A new kind is a folder, and a line in
config/kinds.py that makes its name known to configurations.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from maskbench.config.kinds import TASK_KINDS

PARTS = ("traits", "reading", "changing", "encoding", "head", "score", "probing")
"""The parts of a kind; for io/code.py, a module that imports a part imports that part of all kinds."""

FOR_TRAINING = ("encoding", "head", "probing", "metric", "iob2")
"""Modules of kinds that run only where text is encoded and models are trained or probed: readers of results may import
them for a name, but are without the libraries that these ask for when they work."""


def part(kind: str, name: str) -> Any:
    """Return a part of a kind.

    Raises
    ------
    KeyError
        If there is no such kind.
    """
    if kind not in TASK_KINDS:
        raise KeyError(kind)
    return import_module(f"{__name__}.{kind.replace('-', '_')}.{name}").PART
