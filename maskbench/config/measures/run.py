"""Measures of the family *run*: facts about a run."""

from __future__ import annotations

from maskbench.config.measures.entry import Measure

_BEFORE = "(before the first update; models with a decoder beside an encoder have none)."

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
        name="padding_mass",
        title="attention to padding",
        unit="fraction",
        better="lower",
        family="run",
        definition=(
            "Largest attention weight that a token has on all [PAD] together, over heads and layers, of the longest "
            f"and the shortest training text side by side {_BEFORE}"
        ),
        split="run",
        of_texts=False,
    ),
    Measure(
        name="padding_gradient",
        title="gradient at padding",
        unit="fraction",
        better="lower",
        family="run",
        definition=(
            "Largest gradient at a [PAD] of what the last layer computes at a token, as a share of the largest one at "
            f"the text's tokens, of the same texts {_BEFORE}"
        ),
        split="run",
        of_texts=False,
    ),
    Measure(
        name="hidden_mass",
        title="attention to hidden keys",
        unit="fraction",
        better="lower",
        family="run",
        definition=(
            "Largest attention weight that a token has on all keys together that the run's attention mask hides from "
            f"it, over heads and layers, of the same texts {_BEFORE}"
        ),
        split="run",
        of_texts=False,
    ),
    Measure(
        name="hidden_gradient",
        title="gradient at hidden tokens",
        unit="fraction",
        better="lower",
        family="run",
        definition=(
            "Largest gradient, of what the last layer computes at a token, at tokens that no chain of visible ones "
            "reaches, as a share of the largest one at visible tokens: under the run's attention mask, and under one "
            f"that keeps tokens at even and at odd places apart {_BEFORE}"
        ),
        split="run",
        of_texts=False,
    ),
    Measure(
        name="multiplied_mass",
        title="attention left on keys whose scores are multiplied with 0",
        short="attention left by multiplying",
        unit="fraction",
        better="lower",
        family="run",
        definition=(
            "Attention weight that every second key of the longest training text keeps if its scores are multiplied "
            "with 0, softmax(QKᵀ/√d ⊙ M), instead of lowered; the mean over tokens, heads and layers, with the model's "
            f"own scores {_BEFORE} A key that is hidden has 0."
        ),
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
            "Runs of a study with the same number ran on the same kind of device with the same number of threads, "
            "alone or in a stack of as many cells; manifest.json names them. "
            "Times and memory are compared within one kind alone."
        ),
        split="run",
        derived=True,
        of_texts=False,
    ),
    Measure(
        name="stack",
        title="cells in its stack",
        unit="number",
        better="neither",
        family="run",
        definition=(
            "How many cells were trained in one stack, this one included; none for a cell that was trained alone. A "
            "cell of a stack has no time per update and no memory of its own."
        ),
        split="run",
        derived=True,
        of_texts=False,
    ),
    Measure(
        name="device",
        title="kind of device",
        unit="number",
        better="neither",
        family="run",
        definition=(
            "Runs of a study with the same number ran on the same kind of device, a processor or cards of one name, in "
            "the same precision; manifest.json names them. No two runs on different kinds are compared."
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
