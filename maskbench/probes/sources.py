"""The folders that the probes of one run look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sources:
    """Where everything about a run is; what it has no use for is None."""

    run: Path
    """Folder of the trained run: metrics.json, predictions.parquet, model/."""
    pretrained: Path
    """Folder of the pretrained model, θ₀."""
    reference: Path
    """Folder of what was measured of θ₀."""
    clean: Path
    """Folder of the encoded clean task."""
    encoded: Path
    """Encoded task of the run's own condition."""
    prepared: Path
    """Prepared task of the run's own condition: words as text."""
    shifted: Path | None = None
    """Encoded perturbed and distracted test sets."""
    elsewhere: Path | None = None
    """Encoded texts from elsewhere that the task is tested on."""
    cue: Path | None = None
    """Encoded task with a planted cue: its aligned and conflicting test sets."""
    cue_words: Path | None = None
    """The same task as text."""
    twin: Path | None = None
    """label-noise: folder of the run that differs from this in nothing but clean labels."""
    before: Path | None = None
    """sequential: folder of the run on the first task."""
    before_encoded: Path | None = None
    """sequential: encoded clean first task."""
