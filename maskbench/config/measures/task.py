"""Measures of the family *task*: what two tasks do to each other, trained one after the other or together."""

from __future__ import annotations

from maskbench.config.measures.entry import Measure
from maskbench.config.measures.recipes import ALONE, TEST, ratio

_CONFLICT = "Yu et al. (2020), Gradient Surgery for Multi-Task Learning, NeurIPS, section 2"
_FORGETTING = "Lopez-Paz & Ranzato (2017), Gradient Episodic Memory for Continual Learning, NeurIPS"

TASK = (
    Measure(
        name="negative_transfer",
        title="negative transfer",
        unit="points",
        better="lower",
        family="task",
        definition=(
            "100 · (test score of the task trained alone − trained together with the other task), of the same "
            "strategy, train size and seed, on clean data."
        ),
        source="Wang et al. (2019), Characterizing and Avoiding Negative Transfer, CVPR",
        home="with-*",
        derived=True,
        made_of=ratio((f"{ALONE}{TEST}", 100.0), (TEST, -100.0)),
        flattered=True,
        shown=("interference", "profile"),
    ),
    Measure(
        name="gradient_cosine",
        title="cosine of the tasks' gradients",
        short="gradient cosine",
        unit="coefficient",
        better="higher",
        family="task",
        definition=(
            "Cosine of the two tasks' gradients on the shared parameters, the mean over updates spread evenly over "
            "joint training; of the whole encoder, or of one layer."
        ),
        source=_CONFLICT,
        by="layer",
        home="with-*",
        split="run",
        of_texts=False,
        shown=("interference", "profile"),
    ),
    Measure(
        name="gradient_conflict",
        title="share of conflicting gradients",
        unit="fraction",
        better="lower",
        family="task",
        definition="Share of these updates at which the cosine is below 0.",
        source=f"{_CONFLICT} (definition 1)",
        by="layer",
        home="with-*",
        split="run",
        of_texts=False,
    ),
    Measure(
        name="sequence_score",
        title="score after a stage, on a task",
        unit="fraction",
        better="neither",
        family="task",
        definition=(
            "`sequence_score:i-j` is the test score on task j after stage i of sequential training; 1-2 is that of the "
            "second task before its first update."
        ),
        source=f"{_FORGETTING} (the matrix R)",
        by="stage-task",
        home="after-*",
    ),
    Measure(
        name="forgetting",
        title="forgetting of the first task",
        short="forgetting",
        unit="points",
        better="lower",
        family="task",
        definition=(
            "100 · (test score on the first task after training on it − after training on the second, with the first "
            "task's own head)."
        ),
        source=("Chaudhry et al. (2018), Riemannian Walk for Incremental Learning, ECCV, section 3 (for two tasks)"),
        home="after-*",
        made_of=ratio(("1-1", 100.0), ("2-1", -100.0), other_task=True),
        flattered=True,
        along=True,
        shown=("interference", "profile", "profile at matched score"),
    ),
    Measure(
        name="backward_transfer",
        title="backward transfer",
        unit="points",
        better="higher",
        family="task",
        definition="Forgetting with its sign turned: above 0, the second task helped the first.",
        source=_FORGETTING,
        home="after-*",
        made_of=ratio(("1-1", -100.0), ("2-1", 100.0), other_task=True),
        flattered=True,
        matched="matched_forgetting",
    ),
)
