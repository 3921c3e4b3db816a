"""Every path below results/ and every id in it: made here, and read back here."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from maskbench.config.block import NAME_PATTERN
from maskbench.errors import InputError

_NAME = NAME_PATTERN.strip("^$").replace("(", "(?:")
_FIELDS = {
    "task": _NAME,
    "model": _NAME,
    "strategy": _NAME,
    "regime": _NAME,
    "condition": r"[a-z0-9-]+",
    "variant": r"[a-z0-9-]+",
    "size": r"full|n[1-9][0-9]*",
    "start": _NAME,
    "corpus": _NAME,
    "lexicon": _NAME,
    "pack": r"[0-9a-f]{12}",
    "seed": r"0|[1-9][0-9]*",
    "piece": r"0|[1-9][0-9]*",
    "name": r"[a-z0-9_.-]+",
}
"""What may stand for each part of an id."""

_RUN = "{task}.{model}.{strategy}.{regime}.{condition}.{size}.s{seed}"
_JOB = "{task}.{model}.{regime}.{condition}.{size}.s{seed}.{piece}"

_FILES = {
    "task_source": "data/tasks/{task}/source/source.json",
    "model_source": "data/models/{model}/source.json",
    "start_source": "data/starts/{start}/source.json",
    "corpus_source": "data/corpora/{corpus}/source/source.json",
    "lexicon": "data/lexicons/{lexicon}/source.json",
    "corpus": "data/corpora/{corpus}/documents/manifest.json",
    "packed": "data/pretraining/{pack}/manifest.json",
    "prepared": "data/tasks/{task}/{variant}/manifest.json",
    "encoded": "data/encoded/{task}.{model}.{variant}/manifest.json",
    "reference": "probes/reference/{task}.{model}/manifest.json",
    "record": f"training/{_RUN}/metrics.json",
    "predictions": f"training/{_RUN}/predictions.parquet",
    "probe_record": f"probes/{_RUN}/metrics.json",
    "outcomes": f"probes/{_RUN}/outcomes.parquet",
    "index": f"jobs/{_JOB}.json",
    "models": f"jobs/{_JOB}.models",
    "forced": f"jobs/{_JOB}.forced",
    "train_log": f"logs/train/{_RUN}.log",
    "probe_log": f"logs/probe/{_RUN}.log",
    "job_log": f"logs/jobs/{_JOB}.log",
    "experiment": "experiment.json",
    "log": "logs/{name}.log",
}
"""Each kind of file of a study that depends on the experiment, by its name, and where it is in the study's folder."""


def _pattern(template: str) -> re.Pattern[str]:
    """Return what finds the parts of a template's texts."""
    escaped = re.sub(r"[^{}\w]", lambda found: re.escape(found[0]), template)
    return re.compile(re.sub(r"{(\w+)}", lambda found: f"(?P<{found[1]}>{_FIELDS[found[1]]})", escaped))


_PATTERNS = {kind: _pattern(template) for kind, template in _FILES.items()}
_RUN_PATTERN, _JOB_PATTERN = _pattern(_RUN), _pattern(_JOB)


@dataclass(frozen=True)
class RunId:
    """The parts of a run's id, such as ``conll2003.minilm-l6.random.single.clean.n2000.s1``.

    Attributes
    ----------
    task, model, strategy
        Names.
    regime
        With its other task: ``single``, ``after-conll2003``, ``with-conll2003``.
    condition
        ``clean``, ``cue-95``, ``noise-30``.
    size
        ``full``, or ``n2000``.
    seed
        A whole number.
    """

    task: str
    model: str
    strategy: str
    regime: str
    condition: str
    size: str
    seed: int

    def __str__(self) -> str:
        """Return the id of the run, as names of files and logs have it."""
        return _RUN.format(**vars(self))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an id.

        Raises
        ------
        InputError
            If the text is not the id of a run.
        """
        found = _RUN_PATTERN.fullmatch(text)
        if found is None:
            raise InputError(f"{text}: expected the id of a run: {_RUN}")
        parts: dict[str, Any] = found.groupdict() | {"seed": int(found["seed"])}
        return cls(**parts)


@dataclass(frozen=True)
class JobId:
    """The parts of a job's id, such as ``conll2003.minilm-l6.single.clean.n2000.s1.0``.

    Attributes
    ----------
    task, model, regime, condition, size, seed
        As in the ids of its runs; of a joint job, the first task and ``with-`` the second one.
    piece
        Number of the piece of the strategies that the job trains, from 0.
    """

    task: str
    model: str
    regime: str
    condition: str
    size: str
    seed: int
    piece: int

    def __str__(self) -> str:
        """Return the id of the job, as names of files and logs have it."""
        return _JOB.format(**vars(self))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an id.

        Raises
        ------
        InputError
            If the text is not the id of a job.
        """
        found = _JOB_PATTERN.fullmatch(text)
        if found is None:
            raise InputError(f"{text}: expected the id of a job: {_JOB}")
        parts: dict[str, Any] = found.groupdict() | {"seed": int(found["seed"]), "piece": int(found["piece"])}
        return cls(**parts)


@dataclass(frozen=True)
class Layout:
    """Where the files of a study are.

    Every method takes names or ids, or a wildcard of Snakemake in their place (``"{task}"``), and returns a path.

    Attributes
    ----------
    folder
        Of the study: ``results/<study>``.
    above
        Of a tuning: the folder of its study, which has the pretrained models and the lexicons.
    """

    folder: Path
    above: Path | None = None

    @classmethod
    def of(cls, study: str) -> Self:
        """Return the layout of a study, relative to the folder in which Snakemake runs."""
        return cls(Path("results") / study)

    @property
    def tuning(self) -> Self:
        """The layout of the study's tuning, which is a study of its own in a folder of it."""
        return replace(self, folder=self.folder / "tuning", above=self.folder)

    def _file(self, kind: str, **parts: str) -> Path:
        return self.folder / _FILES[kind].format(**parts)

    def _from_study(self, kind: str, **parts: str) -> Path:
        """Return a file that a tuning has from its study."""
        return (self.above or self.folder) / _FILES[kind].format(**parts)

    def _of_run(self, kind: str, run: str) -> Path:
        return self.folder / _FILES[kind].replace(_RUN, run)

    def _of_job(self, kind: str, job: str) -> Path:
        return self.folder / _FILES[kind].replace(_JOB, job)

    def parse(self, path: Path) -> tuple[str, dict[str, str]]:
        """Return what kind of file a path of this study is, which is the name of a method, and the parts of its ids.

        Raises
        ------
        InputError
            If nothing here makes such a path.
        """
        for folder in (self.folder, self.above):
            if folder is None or not path.is_relative_to(folder):
                continue
            inside = path.relative_to(folder).as_posix()
            for kind, pattern in _PATTERNS.items():
                if found := pattern.fullmatch(inside):
                    return kind, found.groupdict()
        raise InputError(f"{path}: not a path of {self.folder}")

    # of the whole study

    def file(self, name: str) -> Path:
        """Return a file of the whole study, by its path in the study's folder, such as ``analysis/pairs.csv``."""
        return self.folder / name

    def log(self, name: str) -> Path:
        """Return the log of a rule: ``collect``, or ``prepare/conll2003``."""
        return self.folder / "logs" / f"{name}.log"

    @property
    def experiment(self) -> Path:
        """File of the resolved experiment."""
        return self.folder / _FILES["experiment"]

    @property
    def choices(self) -> Path:
        """File of the learning rates that the study's tuning chose."""
        return self.tuning.folder / "choices.json"

    # text and models

    def task_source(self, task: str) -> Path:
        """Return the file that says where a task's text came from; the text is in its folder."""
        return self._file("task_source", task=task)

    def model_source(self, model: str) -> Path:
        """Return the file that says where a pretrained model came from; the model is in its folder."""
        return self._from_study("model_source", model=model)

    def start_source(self, start: str) -> Path:
        """Return the file that says where a model came from whose pretraining goes on; the model is in its folder."""
        return self._file("start_source", start=start)

    def corpus_source(self, corpus: str) -> Path:
        """Return the file that says where a corpus came from; its files are in its folder."""
        return self._file("corpus_source", corpus=corpus)

    def lexicon(self, lexicon: str) -> Path:
        """Return the file that says where a lexicon came from; its words are in its folder."""
        return self._from_study("lexicon", lexicon=lexicon)

    def corpus(self, corpus: str) -> Path:
        """Return the manifest of the documents of a corpus."""
        return self._file("corpus", corpus=corpus)

    def packed(self, pack: str) -> Path:
        """Return the manifest of the packed text of a pretraining."""
        return self._file("packed", pack=pack)

    def pretraining_work(self, model: str) -> Path:
        """Return the folder of the checkpoints of a pretraining that is going on."""
        return self.model_source(model).parent.parent / f".{model}.work"

    def prepared(self, task: str, variant: str) -> Path:
        """Return the manifest of a prepared task under a condition, or of its test-time sets (``shifted``)."""
        return self._file("prepared", task=task, variant=variant)

    def encoded(self, task: str, model: str, variant: str) -> Path:
        """Return the manifest of a task that was encoded for a model."""
        return self._file("encoded", task=task, model=model, variant=variant)

    def reference(self, task: str, model: str) -> Path:
        """Return the manifest of what was measured of the pretrained model."""
        return self._file("reference", task=task, model=model)

    # runs

    def record(self, run: str) -> Path:
        """Return the record of a run."""
        return self._of_run("record", run)

    def predictions(self, run: str) -> Path:
        """Return what a completed run predicted on its test split."""
        return self._of_run("predictions", run)

    def model(self, run: str) -> Path:
        """Return the folder of a run's trained model; empty if the run did not complete."""
        return self.record(run).parent / "model"

    def probe_record(self, run: str) -> Path:
        """Return the record of what was measured on a run's model."""
        return self._of_run("probe_record", run)

    def outcomes(self, run: str) -> Path:
        """Return the outcomes of a run's test-time sets."""
        return self._of_run("outcomes", run)

    def train_log(self, run: str) -> Path:
        """Return the log of a run's training."""
        return self._of_run("train_log", run)

    def probe_log(self, run: str) -> Path:
        """Return the log of a run's probes."""
        return self._of_run("probe_log", run)

    # jobs

    def index(self, job: str) -> Path:
        """Return the list of what a job left behind."""
        return self._of_job("index", job)

    def models(self, job: str) -> Path:
        """Return the small file that stands for the models of a job's runs while others need them."""
        return self._of_job("models", job)

    def forced(self, job: str) -> Path:
        """Return the empty file that is there while a job that was told to run again has not begun."""
        return self._of_job("forced", job)

    def job_log(self, job: str) -> Path:
        """Return the log of a job."""
        return self._of_job("job_log", job)
