"""Read the resolved experiment, which says what a study consists of."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from maskbench.config.block import first_mistake
from maskbench.errors import InputError
from maskbench.experiment.experiment import Experiment


def read_experiment(path: str | Path) -> Experiment:
    """Read experiment.json, as ``scripts/experiment.py`` writes it: no preset is left in it.

    Raises
    ------
    InputError
        If it is missing, or is no experiment of this version.
    """
    try:
        return Experiment.model_validate_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', 'expected UTF-8 text')}") from None
    except ValidationError as error:
        raise InputError(f"{path}: {first_mistake(error)}; delete it and run again") from None
