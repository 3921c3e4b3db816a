"""What of a study's experiment.json its findings tell: how runs were trained, and which strategies mask something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from maskbench.errors import InputError
from maskbench.io.files import read_json

if TYPE_CHECKING:
    from pathlib import Path

MASKED = ("input", "attention", "parameter", "objective")
"""What of a strategy may be masked; one with none of them is plain fine-tuning with other settings."""


@dataclass(frozen=True)
class Design:
    """The design of a study.

    Attributes
    ----------
    study
        Its name; None if the file does not say.
    baseline
        The strategy that the others are compared with.
    size
        Training texts of the runs that claims compare, unless they say otherwise.
    training
        The shared settings of a training.
    masks
        The strategies that mask something and are the twin of none.
    random
        The settings of the input mask `random`; None in a study without it.
    """

    study: str | None
    baseline: str
    size: str
    training: dict[str, Any]
    masks: list[str]
    random: dict[str, Any] | None

    @classmethod
    def read(cls, path: Path) -> Design:
        """Read the file.

        Raises
        ------
        InputError
            If it is not what `snakemake` writes.
        """
        found = read_json(path)
        try:
            listed = [one for one in found["strategies"] if not one.get("twin")]
            masks = [str(one["name"]) for one in listed if any(one.get(kind) for kind in MASKED)]
            drawn = next((one.get("input") for one in listed if one["name"] == "random"), None)
            size = str(found["analysis"].get("train_size") or found["train_sizes"][0])
            training = {name: found["training"][name] for name in ("epochs", "batch_size", "learning_rate")}
            random = drawn and {name: drawn[name] for name in ("rate", "replacement")}
            return cls(found.get("study"), str(found["baseline"]), size, training, masks, random)
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: expected the design of a study as `snakemake` writes it ({error}); restore it"
            ) from None
