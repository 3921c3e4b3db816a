"""The corpora and packs of a study: those that its models are pretrained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from maskbench.config.corpora import Corpus, Packing, TaskTexts
from maskbench.config.sources import LocalSource
from maskbench.experiment.experiment import Experiment


def packs(experiment: Experiment) -> dict[str, Packing]:
    """Return what decides each pack of a study, by its id."""
    found = [model.pretrain.packing for model in experiment.models if model.pretrain is not None]
    return {packing.id: packing for packing in found}


def corpora(experiment: Experiment) -> dict[str, Corpus]:
    """Return the corpora of a study by name."""
    return {corpus.name: corpus for packing in packs(experiment).values() for corpus in packing.corpora}


def tasks_of(corpus: Corpus, experiment: Experiment) -> list[str]:
    """Return the names of the tasks whose training texts a corpus is made of; none for one that is read from files."""
    if not isinstance(corpus.source, TaskTexts):
        return []
    return [task.name for task in experiment.tasks] if corpus.source.tasks == "all" else list(corpus.source.tasks)


def contradictory(experiment: Experiment) -> Iterator[str]:
    """Yield one line for each corpus that cannot be meant: two of one name, or texts of a task that there is not."""
    seen: dict[str, tuple[str, Corpus]] = {}
    known = [task.name for task in experiment.tasks]
    for place, corpus in _placed(experiment):
        before, other = seen.setdefault(corpus.name, (place, corpus))
        if corpus.content() != other.content():
            yield f"{place}: expected the same corpus as {before}, or another name"
        for task in tasks_of(corpus, experiment):
            if task not in known:
                yield f"{place}.source.tasks: {task!r} is not among the tasks {', '.join(known)}"


def missing(experiment: Experiment) -> Iterator[str]:
    """Yield one line for each file of a corpus that is to be on this machine and is not, or must not be named so."""
    for place, corpus in _placed(experiment):
        if not isinstance(corpus.source, LocalSource):
            continue
        path = corpus.source.path
        try:
            files = corpus.local_files() if path.exists() else {"": path}
        except ValueError as error:
            yield f"{place}.files: {error}"
            continue
        if not files:
            yield f"{place}.source.local: expected files that end in .txt (text) or .jsonl in {path}, or their names"
        for file in files.values():
            if not file.exists():
                yield (
                    f"{place}.source.local: expected an existing file, {file} does not exist (relative paths start at "
                    f"{Path.cwd()})"
                )


def _placed(experiment: Experiment) -> Iterator[tuple[str, Corpus]]:
    """Yield each corpus of each recipe with the place that messages name; models of one recipe share theirs."""
    recipes = {model.recipe: model.pretrain for model in experiment.models if model.pretrain is not None}
    for recipe, pretrain in recipes.items():
        for index, corpus in enumerate(pretrain.corpora):
            yield f"models ({recipe}).pretrain.corpora[{index}] ({corpus.name})", corpus
