"""A call of Snakemake: what its command line names, the experiment that this makes, and what its jobs are told."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from maskbench.errors import InputError
from maskbench.experiment.claims import claims_file, claims_hash, read_claims
from maskbench.experiment.experiment import Experiment
from maskbench.experiment.finished import finished, void
from maskbench.experiment.jobs import Jobs, only_runs
from maskbench.experiment.layout import Layout
from maskbench.experiment.load import load, parse_yaml, read_mapping, show
from maskbench.experiment.tuning import tuning
from maskbench.io import environment
from maskbench.io.files import canonical, read_json, sha256_file, sha256_text, write_text
from maskbench.records.choices import Choices
from maskbench.records.packed import GZIPPED, METRICS, packed_form
from maskbench.slots.cards import check_request

_PACKED = "maskbench"
"""The key under which all ``--config`` arguments of a call reach the jobs of a scheduler."""


def packed(arguments: Sequence[str]) -> str:
    """Return ``--config`` arguments as one that no shell and no quoting changes: letters, digits, =, - and _."""
    return f"{_PACKED}={base64.urlsafe_b64encode(json.dumps(unpacked(arguments)).encode()).decode()}"


def unpacked(arguments: Sequence[str]) -> list[str]:
    """Return ``--config`` arguments as they were typed."""
    if len(arguments) == 1 and arguments[0].strip("'\"").startswith(f"{_PACKED}="):
        content = arguments[0].strip("'\"").removeprefix(f"{_PACKED}=")
        try:
            return [str(item) for item in json.loads(base64.urlsafe_b64decode(content))]
        except ValueError:  # a user typed the key; it is reported as any other unknown key is
            return list(arguments)
    return list(arguments)


def read_arguments(arguments: Sequence[str]) -> dict[str, Any]:
    """Read ``--config`` arguments: each is ``KEY=VALUE``, and the value is YAML as in a file, read once.

    Raises
    ------
    InputError
        If one is no ``KEY=VALUE``, is not YAML, or has a key that another one has.
    """
    found: dict[str, Any] = {}
    for argument in unpacked(arguments):
        key, equals, value = argument.partition("=")
        if not equals:
            raise InputError(f"--config: expected KEY=VALUE, got {show(argument)}")
        if key in found:
            raise InputError(f"--config: expected each key once, got {key} twice")
        found[key] = parse_yaml(value, f"--config {key}")
    return found


def read_call(files: Sequence[str | Path], arguments: Sequence[str]) -> tuple[dict[str, Any], Path]:
    """Read what a call of Snakemake names: one configuration file, and other values for some of its keys.

    Parameters
    ----------
    files
        Files behind ``--configfile``; config.yaml if there is none.
    arguments
        Texts behind ``--config``; each replaces a key of the file as a whole.

    Returns
    -------
    tuple
        The configuration, not yet checked, and its file, relative to the working folder if it lies below it.

    Raises
    ------
    InputError
        If there are two files (an experiment file is complete by itself), or one cannot be read.
    """
    shown = [Path(os.path.relpath(path)) if Path(path).is_relative_to(Path.cwd()) else Path(path) for path in files]
    if len(shown) > 1:
        raise InputError(_one_file(", ".join(map(str, shown))))
    file = shown[0] if shown else Path("config.yaml")
    return {**read_mapping(file), **read_arguments(arguments)}, file


def _one_file(found: str) -> str:
    return (
        f"--configfile: expected one file, got {found}: an experiment file is complete by itself and never merged with "
        "another; change single keys with --config KEY=VALUE"
    )


def check_files(files: Sequence[str | Path], command: Sequence[str] = ()) -> None:
    """End the call, with one line, if a file behind ``--configfile`` is missing, is no YAML or holds no mapping.

    Snakemake reads such files before it reads the Snakefile, and its own messages name neither file nor line.

    Parameters
    ----------
    files
        That Snakemake was given.
    command
        All arguments of the call: of an option that stands twice, Snakemake keeps the last one without a word.
    """
    try:
        times = sum(word.partition("=")[0] in ("--configfile", "--configfiles") for word in command)
        if times > 1:
            raise InputError(_one_file(f"the option {times} times"))
        for file in files:
            read_mapping(Path(file))
    except InputError as error:
        sys.exit(str(error))


def missing_scheduler(executor: str | None) -> str | None:
    """Return what keeps jobs from being submitted by an executor of Snakemake; None if nothing is known."""
    if executor != "slurm":
        return None
    try:
        asked = subprocess.run(["sinfo", "--noheader"], capture_output=True, text=True, timeout=60, check=False)
    except OSError as error:
        why = f"sinfo: {error.strerror}"
    except subprocess.TimeoutExpired:
        why = "sinfo did not answer within a minute"
    else:
        if not asked.returncode:
            return None
        why = " ".join(asked.stderr.split()) or f"sinfo ended with status {asked.returncode}"
    return (
        "executor slurm (--profile profiles/slurm): expected a machine that SLURM jobs can be submitted from; to run "
        f"the jobs on this machine, leave the profile out; {why}"
    )


@dataclass(frozen=True)
class Call:
    """A call of Snakemake, read and checked.

    Attributes
    ----------
    experiment
        The experiment.
    layout
        Where its files are.
    recorded
        Whether the study is there as its recorded metrics alone, without runs: then only analysis and report are made.
        The metrics may be packed (records/packed.py).
    file
        The configuration file, relative to the working folder if it lies below it.
    named
        Whether the call names this file; else it is config.yaml.
    arguments
        The texts behind ``--config`` as they were typed.
    slots
        N of ``--resources gpu=N``; None if it was not given.
    nodes
        Jobs that may be with a scheduler at once; None if jobs run on this machine.
    is_job
        Whether this process is a job that another call of Snakemake has submitted.
    """

    experiment: Experiment
    layout: Layout
    recorded: bool
    file: Path
    named: bool
    arguments: tuple[str, ...]
    slots: int | None
    nodes: int | None
    is_job: bool

    @classmethod
    def read(
        cls,
        files: Sequence[str | Path],
        arguments: Sequence[str],
        *,
        slots: int | None,
        nodes: int | None,
        is_job: bool,
        say: Callable[[str], None],
    ) -> Self:
        """Read what a call names, and check all that can be checked before anything starts.

        Parameters
        ----------
        files
            Files behind ``--configfile``; config.yaml if there is none.
        arguments
            Texts behind ``--config``, typed or `packed`.
        slots, nodes, is_job
            As the attributes of these names.
        say
            Is given a line that the user should know before any mistake is told.

        Raises
        ------
        InputError
            With one line for each mistake, in the configuration, in its claims or in the number of slots.
        """
        # An experiment file is complete by itself: config.yaml is read only when no other file is named.
        config, file = read_call(files, arguments)
        layout = Layout.of(str(config.get("study")))
        # metrics alone may be there (results/reference, a download), and what training needs may be elsewhere
        metrics = layout.file(METRICS)
        there = [path.name for path in (metrics, packed_form(metrics)) if path.exists()]
        # a study that was made here has the lists of its jobs, also where its runs were removed to be made again
        made_here = layout.file("training").exists() or (not metrics.exists() and layout.file("jobs").exists())
        recorded = bool(there) and not made_here
        if recorded:
            names = " and ".join(there)
            say(f"{layout.folder}: {there[0]} without runs: analysis and report only; to train, remove {names}")
        experiment = load(config, [file], given=read_arguments(arguments), runs_here=not recorded)
        read_claims(claims_file(experiment))
        call = cls(experiment, layout, recorded, file, bool(files), tuple(unpacked(arguments)), slots, nodes, is_job)
        call.jobs  # noqa: B018 (says what is wrong with the runs that the call is restricted to)
        if call.judged:
            say(f"{layout.folder}: verdicts as they are: outcomes.parquet, which they rest on, is not here")
        if not call.submits:
            check_request(slots, experiment.resources.slots_per_gpu)
        return call

    @property
    def submits(self) -> bool:
        """Whether jobs go to a scheduler, or this process is such a job."""
        return self.nodes is not None or self.is_job

    @property
    def at_once(self) -> int | None:
        """Jobs that the call would train at once; None if it does not say."""
        return self.nodes if self.slots is None else self.slots

    @cached_property
    def jobs(self) -> Jobs:
        """All jobs of the experiment."""
        return Jobs(self.experiment, self._choices, self.only)

    @cached_property
    def only(self) -> list[str] | None:
        """The runs that the call is restricted to; None if it is not."""
        return only_runs()

    @property
    def _choices(self) -> Choices | None:
        """The tuned learning rates, if they were chosen; what cannot be read is told by the jobs that need it."""
        if self.experiment.tune is None or not self.layout.choices.exists():
            return None
        with suppress(InputError):
            return Choices.read(self.layout.choices)
        return None

    @cached_property
    def tuning(self) -> Jobs | None:
        """The jobs that choose learning rates; None if nothing is tuned, or the call is restricted to some runs."""
        return Jobs(tuning(self.experiment)) if self.experiment.tune and self.only is None else None

    @property
    def command(self) -> list[str]:
        """The command that makes the study, as the page shows it."""
        command = ["snakemake", "--cores", "all"]
        if self.named:
            command += ["--configfile", os.path.relpath(self.file)]
        if self.arguments:
            command += ["--config", *self.arguments]
        return command

    @property
    def handed_on(self) -> list[str]:
        """The ``--config`` arguments for jobs of a scheduler, which read them from a command line that is quoted."""
        return [packed(self.arguments)] if self.arguments else []

    def grown(self, amount: int, attempt: int) -> int:
        """Return an amount of memory or time that a job asks a scheduler for: as much again at each further attempt.

        On this machine nobody enforces the amount, and it is the same at each attempt.
        """
        return amount * attempt if self.submits else amount

    def collected(self, name: str) -> list[Path]:
        """Return a file that `collect` makes, as the list of inputs that it is: a recorded study may lack it."""
        path = self.layout.file(name)
        return [path] if not self.recorded or path.exists() or path in self.packed else []

    @cached_property
    def packed(self) -> list[Path]:
        """The files of a recorded study that are there in their packed form."""
        files = [self.layout.file(name) for name in (METRICS, *GZIPPED)] if self.recorded else []
        # where verdicts are made anew, pairs are, too
        return [path for path in files if packed_form(path).exists() and (self.judged or path.name != "pairs.csv")]

    @cached_property
    def judged(self) -> bool:
        """Whether a recorded study has verdicts that rest on outcomes which are not there: these verdicts stay.

        Made anew without outcomes, they would be over seeds alone.

        Raises
        ------
        InputError
            If some of the verdicts' files are missing.
        """
        about = self.layout.file("analysis/claims.json")
        if not self.recorded or self.layout.file("outcomes.parquet").exists() or not about.exists():
            return False
        try:
            if read_json(about)["outcomes"] is not True:
                return False
        except (KeyError, TypeError):  # made before this was noted
            return False
        for name in ("verdicts.csv", "analysis/comparisons.csv", "analysis/gates.csv", "analysis/sensitivity.csv"):
            if not self.layout.file(name).exists():
                raise InputError(
                    f"{about}: the verdicts rest on outcomes.parquet, which is not here: expected {name} beside them, "
                    "found none; restore it, or remove claims.json to judge again over seeds alone"
                )
        return True

    @cached_property
    def so_far(self) -> str:
        """A hash of what a record of the cells that are finished so far is made of: their records, and the choices."""
        records = [self.layout.record(run) for run in finished(self.jobs, self.layout)]
        times = [[path.parent.name, path.stat().st_mtime_ns] for path in records]
        choices = sha256_file(self.layout.choices) if self.layout.choices.exists() else None
        return sha256_text(canonical([times, choices]))[:16]

    @property
    def resolved(self) -> Path:
        """File from which jobs read the experiment.

        It is no input of theirs: then all of them would run again whenever a word of the configuration changed.
        """
        return Path(f".snakemake/maskbench-experiment-{self.experiment.study}.json")

    def write_resolved(self) -> None:
        """Write the experiment for the jobs."""
        write_text(self.resolved, self.experiment.as_argument(exclude={"cache"}))

    def environment(self, checkout: str) -> dict[str, str]:
        """Return the variables of jobs: what they need to know, but need not run again for when it changes.

        Parameters
        ----------
        checkout
            Folder of the Snakefile.
        """
        path = os.environ.get(environment.PATH, "")
        found = {
            # `python` in a rule is the one that runs Snakemake; a conda environment, if asked for, still goes before it
            environment.PATH: os.pathsep.join([str(Path(sys.executable).parent), path]),
            environment.CHECKOUT: checkout,
            # for the record of each run: what was claimed before it
            environment.CLAIMS: claims_hash(claims_file(self.experiment)),
            environment.SLOTS_PER_GPU: str(self.experiment.resources.slots_per_gpu),
            environment.EXPERIMENT: str(self.resolved),
        }
        if self.experiment.cache is not None:
            found[environment.CACHE] = str(Path(self.experiment.cache).expanduser().resolve())
        return found

    def remove_void(self, locks: Path = Path(".snakemake/locks")) -> None:
        """Remove the indexes of jobs whose records or models are gone, so that Snakemake plans these jobs again.

        Not while another call works in this folder: its jobs may be making, or may just have removed, what is missing.

        Parameters
        ----------
        locks
            Folder of Snakemake's locks.
        """
        if not (self.recorded or self.is_job or any(locks.glob("*"))):
            for path in void(self.jobs, self.layout):
                path.unlink(missing_ok=True)
            for path in void(self.tuning, self.layout.tuning) if self.tuning else ():
                path.unlink(missing_ok=True)
