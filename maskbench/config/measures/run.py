"""Measures of the family *run*: facts about a run."""

from __future__ import annotations

from maskbench.config.measures.entry import Measure

RUN = (
    Measure(
        name="mask_rate",
        title="realised mask rate",
        unit="fraction",
        better="neither",
        family="run",
        definition="Share of ordinary tokens that the input mask replaced, over all of training.",
        split="run",
        of_texts=False,
    ),
    Measure(
        name="attention_mask_rate",
        title="realised share of hidden attention",
        unit="fraction",
        better="neither",
        family="run",
        definition="Share of the pairs of real tokens that the attention mask hid, over all of training.",
        split="run",
        of_texts=False,
    ),
    Measure(
        name="objective_mask_rate",
        title="realised mask rate of the objective's copy",
        unit="fraction",
        better="neither",
        family="run",
        definition="Share of ordinary tokens that were masked in the copy that an objective compares with.",
        split="run",
        of_texts=False,
    ),
    Measure(
        name="selected_epoch",
        title="epoch of the selected checkpoint",
        unit="epochs",
        better="neither",
        family="run",
        definition="When the checkpoint with the best validation score was taken.",
        split="run",
        of_texts=False,
    ),
    Measure(
        name="machine",
        title="kind of machine",
        unit="number",
        better="neither",
        family="run",
        definition=(
            "Runs of a study with the same number ran on the same kind of device with the same number of threads; "
            "manifest.json names them. Times and memory are compared within one kind alone."
        ),
        split="run",
        derived=True,
        of_texts=False,
    ),
    Measure(
        name="steps",
        title="updates",
        unit="updates",
        better="neither",
        family="run",
        definition="Optimiser updates that were made.",
        split="run",
        of_texts=False,
    ),
    Measure(
        name="trained_parameters",
        title="parameters trained",
        unit="parameters",
        better="neither",
        family="run",
        definition="Parameters that can move, held ones left out.",
        split="run",
        of_texts=False,
        shown=("cost",),
    ),
    Measure(
        name="parameters",
        title="parameters in all",
        unit="parameters",
        better="neither",
        family="run",
        definition="Parameters of the model with its head.",
        split="run",
        of_texts=False,
        shown=("cost",),
    ),
)
