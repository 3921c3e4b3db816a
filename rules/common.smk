# Configuration, paths and wildcards that the rules share. What can be typed and tested without Snakemake is in
# maskbench/experiment: layout.py makes every path, jobs.py every job, planned.py what a call has to do.

import atexit
import json
import os
import shlex
import sys
import time
from pathlib import Path

sys.path.insert(0, workflow.basedir)
from maskbench.config.conditions import CLEAN, SETS, SHIFTED
from maskbench.config.sources import LocalSource, model_files
from maskbench.errors import InputError
from maskbench.experiment.call import missing_scheduler, packed, read_call, unpacked
from maskbench.experiment.claims import claims_file, claims_hash, read_claims
from maskbench.experiment.finished import void
from maskbench.experiment.jobs import Jobs
from maskbench.experiment.layout import Layout
from maskbench.experiment.load import load
from maskbench.experiment.planned import Planned
from maskbench.io import environment
from maskbench.io.code import code_hash
from maskbench.io.files import fingerprint, write_text
from maskbench.slots.cards import check_request

ENVS = Path(workflow.basedir) / "envs"

# Whether jobs go to a scheduler, or this process is such a job; only later does Snakemake say which executor it is.
SUBMITS = workflow.resource_settings.nodes is not None or workflow.remote_exec
SLOTS = workflow.global_resources.get("gpu")

ARGUMENTS = workflow.config_settings.config_args  # the texts behind --config as they were typed
try:
    # An experiment file is complete by itself: config.yaml is read only when no other file is named.
    CONFIG, CONFIG_FILE = read_call(workflow.overwrite_configfiles, ARGUMENTS)

    # A study may be there as its recorded metrics alone (results/reference, a download): then only the analysis and the
    # report are made, nothing is trained, and what training needs may be elsewhere.
    FOLDER = Layout.of(str(CONFIG.get("study")))
    RECORDED = FOLDER.file("metrics.csv").exists() and not FOLDER.file("training").exists()
    if RECORDED:
        print(
            f"{FOLDER.folder}: metrics.csv without runs: analysis and report only; to train, remove metrics.csv",
            file=sys.stderr,
        )

    EXPERIMENT = load(CONFIG, [CONFIG_FILE], runs_here=not RECORDED)
    read_claims(claims_file(EXPERIMENT))  # mistakes in the claims are reported before anything starts
    if not SUBMITS:
        check_request(SLOTS and SLOTS.value, EXPERIMENT.resources.slots_per_gpu)
except InputError as error:
    sys.exit(str(error))

if ARGUMENTS:
    # A job of a scheduler reads them again, from a command line that Snakemake quotes in a way of its own.
    workflow.config_settings.config_args = [packed(ARGUMENTS)]

TASKS = {task.name: task for task in EXPERIMENT.tasks}
MODELS = {model.name: model for model in EXPERIMENT.models}
JOBS = Jobs(EXPERIMENT)
LAYOUT = Layout.of(EXPERIMENT.study)
COMMAND = ["snakemake", "--cores", "all"]
if workflow.overwrite_configfiles:
    COMMAND += ["--configfile", os.path.relpath(CONFIG_FILE)]
if ARGUMENTS:
    COMMAND += ["--config", *unpacked(ARGUMENTS)]


wildcard_constraints:
    task="|".join(TASKS),
    model="|".join(MODELS),
    variant=r"[a-z0-9-]+",
    condition=r"[a-z0-9-]+",
    job=r"[a-z0-9.-]+",


# What jobs need to know, but must not rerun them when it changes: it is in the environment, not in parameters of rules.
os.environ |= {
    # `python` in a rule is the one that runs Snakemake; a conda environment, if asked for, still goes before it.
    environment.PATH: os.pathsep.join([str(Path(sys.executable).parent), os.environ.get(environment.PATH, "")]),
    environment.CHECKOUT: workflow.basedir,
    environment.CLAIMS: claims_hash(claims_file(EXPERIMENT)),  # in the record of each run: what was claimed before it
    environment.SLOTS_PER_GPU: str(EXPERIMENT.resources.slots_per_gpu),
    environment.EXPERIMENT: f".snakemake/maskbench-experiment-{EXPERIMENT.study}.json",
}
if EXPERIMENT.cache is not None:
    os.environ[environment.CACHE] = str(Path(EXPERIMENT.cache).expanduser().resolve())

# Scripts import maskbench from here, and from no other checkout. Said in the command, since Snakemake takes PYTHONPATH out
# of the environment where a rule has a conda environment.
shell.prefix('set -euo pipefail; export PYTHONPATH="$MASKBENCH${{PYTHONPATH:+:$PYTHONPATH}}"; ')

# Not while another call works here: its jobs may be making, or may just have removed, what these files stand for.
if not (RECORDED or workflow.remote_exec or list(Path(".snakemake/locks").glob("*"))):
    for path in void(JOBS, LAYOUT):
        path.unlink(missing_ok=True)


def given(value):
    """A parameter that reaches its job as it is: in a text, Snakemake would take {word} for a wildcard."""
    return lambda wildcards: value


def fingerprints(paths):
    """What the user's own files hold, as a parameter, so that a change in one of them is seen.

    No file of a rule: in those, Snakemake takes {word} and <word> for something to fill in.
    """
    return json.dumps(fingerprint(paths, Path(".snakemake/maskbench-files.json")))


def task_files(wildcards):
    """What the files of a task hold, if they are on this machine."""
    task = TASKS[wildcards.task]
    if not isinstance(task.source, LocalSource):
        return ""
    return fingerprints(dict(task.source.file(name) for name in task.files.values()))


def weights_files(wildcards):
    """What the files of a model hold, if they are on this machine."""
    source = MODELS[wildcards.model].source
    if not isinstance(source, LocalSource) or not source.path.is_dir():
        return ""
    return fingerprints(model_files(source.path))


def there(name):
    """A file that `collect` makes; of a recorded study it may be missing."""
    path = LAYOUT.file(name)
    return [path] if not RECORDED or path.exists() else []


def shown(path, caption, category, **labels):
    """A file of Snakemake's own report (snakemake --report report.zip)."""
    return report(path, caption=f"captions/{caption}.rst", category=category, labels=labels)


def growing(amount):
    """An amount of memory or time that a job may use: that, and again as much at every further attempt."""
    return lambda wildcards, attempt: amount(wildcards) * attempt if SUBMITS else amount(wildcards)


def planned():
    """What this call trains and probes; None if nothing was planned."""
    if workflow.dag is None or RECORDED:
        return None
    # needrun_jobs() leaves out jobs that a dry run has already planned
    jobs = [job for job in workflow.dag.jobs if workflow.dag.needrun(job)]
    names = [job.wildcards.job for job in jobs if job.rule.name == "train"]
    made = {Path(path) for job in jobs if job.rule.name != "train" for path in job.output}
    return Planned.of(JOBS, LAYOUT, names, made, slots=SLOTS.value if SLOTS else workflow.resource_settings.nodes)


def announce():
    """Say before it starts, or after a dry run, what is trained and why finished runs are trained again."""
    if (plan := planned()) is not None:
        print(*plan.lines, sep="\n", end="\n" if plan.lines else "", file=sys.stderr)
        # For the line at the end of each cell: how many cells this call trains, and since when.
        os.environ |= {environment.CELLS: str(plan.cells), environment.STARTED: str(time.time())}


def announce_after_dry_run():
    """Do so at the end of a dry run, for which Snakemake does not call onstart."""
    if workflow.dryrun:
        announce()


atexit.register(announce_after_dry_run)


onstart:
    if problem := missing_scheduler(workflow.executor_plugin and workflow.executor_plugin.name):
        sys.exit(problem)
    # Jobs read their cells from it. As an input it would run all of them again whenever a word of the configuration changed.
    write_text(os.environ[environment.EXPERIMENT], EXPERIMENT.as_argument(exclude={"cache"}))
    announce()


onsuccess:
    if LAYOUT.file("report.html").exists():
        print(f"read {LAYOUT.file('report.html')}", file=sys.stderr)
