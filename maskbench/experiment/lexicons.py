"""The lexicons of a study: those whose words its masks ask for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from maskbench.config.lexicons import Lexicon
from maskbench.config.sources import LocalSource
from maskbench.experiment.experiment import Experiment
from maskbench.experiment.presets import presets


@cache
def _preset(name: str) -> Lexicon:
    return Lexicon.model_validate({"name": name, **presets()["lexicons"][name]})


def _known(experiment: Experiment) -> dict[str, Lexicon]:
    """Return all lexicons that masks may name: the experiment's own, and presets."""
    return {name: _preset(name) for name in presets()["lexicons"]} | {item.name: item for item in experiment.lexicons}


def lexicons(experiment: Experiment) -> dict[str, Lexicon]:
    """Return the lexicons that are needed, by name."""
    known = _known(experiment)
    wanted = {name for strategy in experiment.strategies for name in strategy.lexicons}
    return {name: known[name] for name in sorted(wanted)}


def unknown(experiment: Experiment) -> Iterator[str]:
    """Yield one line for each lexicon that a mask names and that there is not."""
    known = _known(experiment)
    for index, strategy in enumerate(experiment.strategies):
        for name in strategy.lexicons:
            if name not in known:
                names = ", ".join(sorted(known))
                place = f"strategies[{index}] ({strategy.name}): words"
                yield f"{place}: expected a lexicon, of `lexicons` or a preset, one of {names}, got {name!r}"


def missing(experiment: Experiment) -> Iterator[str]:
    """Yield one line for each file of a lexicon that is to be on this machine and is not, or must not be named so."""
    for index, lexicon in enumerate(experiment.lexicons):
        if not isinstance(lexicon.source, LocalSource):
            continue
        place = f"lexicons[{index}] ({lexicon.name})"
        try:
            file = lexicon.local_file()[1] if lexicon.source.path.exists() else lexicon.source.path
        except ValueError as error:
            yield f"{place}.file: {error}"
            continue
        if not file.is_file():
            here = f"relative paths start at {Path.cwd()}"
            yield f"{place}.source.local: expected an existing file, {file} does not exist or is a folder ({here})"
