# Configuration, paths and wildcards that the rules share.

import atexit
import json
import os
import shlex
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, workflow.basedir)
from maskbench.config.conditions import CLEAN, SETS, SHIFTED
from maskbench.config.sources import LocalSource, model_files
from maskbench.errors import InputError
from maskbench.experiment.call import missing_scheduler, packed, read_call, unpacked
from maskbench.experiment.cell import cells
from maskbench.experiment.claims import claims_file, claims_hash, read_claims
from maskbench.experiment.code import probe_code, training_code
from maskbench.experiment.load import load
from maskbench.io import environment
from maskbench.io.code import code_hash
from maskbench.io.files import fingerprint
from maskbench.slots.cards import check_request

ENVS = Path(workflow.basedir) / "envs"

# Whether jobs go to a scheduler, or this is such a job; which executor it is, Snakemake says only later.
SUBMITS = workflow.resource_settings.nodes is not None or workflow.remote_exec

ARGUMENTS = workflow.config_settings.config_args  # the texts behind --config as they were typed
try:
    # An experiment file is complete by itself: config.yaml is read only when no other file is named.
    CONFIG, CONFIG_FILE = read_call(workflow.overwrite_configfiles, ARGUMENTS)

    # A study may be there as its recorded metrics alone (results/reference, a download): then only the analysis and the
    # report are made, nothing is trained, and what training needs may be elsewhere.
    FOLDER = Path("results") / str(CONFIG.get("study"))
    RECORDED = (FOLDER / "metrics.csv").exists() and not (FOLDER / "training").exists()
    if RECORDED:
        print(
            f"{FOLDER}: metrics.csv without runs: analysis and report only; to train, remove metrics.csv",
            file=sys.stderr,
        )

    EXPERIMENT = load(CONFIG, [CONFIG_FILE], runs_here=not RECORDED)
    read_claims(claims_file(EXPERIMENT))  # mistakes in the claims are told before anything starts
    if not SUBMITS:
        asked = workflow.global_resources.get("gpu")
        check_request(asked and asked.value, EXPERIMENT.resources.slots_per_gpu)
except InputError as error:
    sys.exit(str(error))

if ARGUMENTS:
    # A job of a scheduler reads them once more, from a command line that Snakemake quotes its own way.
    workflow.config_settings.config_args = [packed(ARGUMENTS)]

TASKS = {task.name: task for task in EXPERIMENT.tasks}
MODELS = {model.name: model for model in EXPERIMENT.models}
CELLS = {cell.run: cell for cell in cells(EXPERIMENT)}
RESULTS = f"results/{EXPERIMENT.study}"
COMMAND = ["snakemake", "--cores", "all"]
if workflow.overwrite_configfiles:
    COMMAND += ["--configfile", os.path.relpath(CONFIG_FILE)]
if ARGUMENTS:
    COMMAND += ["--config", *unpacked(ARGUMENTS)]


wildcard_constraints:
    task="|".join(TASKS),
    model="|".join(MODELS),
    rest=r"[a-z0-9.-]+",
    variant=r"[a-z0-9-]+",
    # the parts of a run id behind task and model
    strategy=r"[a-z0-9-]+",
    condition=r"[a-z0-9-]+",
    other="|".join(TASKS),
    tail=r"(full|n\d+)\.s\d+",


# What jobs need to know and what must rerun nothing when it changes: no parameters of rules, but the environment.
os.environ |= {
    # `python` in a rule is the one that runs Snakemake; a conda environment, if asked for, still goes before it.
    environment.PATH: os.pathsep.join([str(Path(sys.executable).parent), os.environ.get(environment.PATH, "")]),
    environment.CHECKOUT: workflow.basedir,
    environment.CLAIMS: claims_hash(claims_file(EXPERIMENT)),  # in the record of each run: what was claimed before it
    environment.SLOTS_PER_GPU: str(EXPERIMENT.resources.slots_per_gpu),
}
if EXPERIMENT.cache is not None:
    os.environ[environment.CACHE] = str(Path(EXPERIMENT.cache).expanduser().resolve())

# Scripts import maskbench from here, and from no other checkout. Said in the command, since Snakemake takes PYTHONPATH out
# of the environment where a rule has a conda environment.
shell.prefix('set -euo pipefail; export PYTHONPATH="$MASKBENCH${{PYTHONPATH:+:$PYTHONPATH}}"; ')


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
    path = f"{RESULTS}/{name}"
    return [path] if not RECORDED or Path(path).exists() else []


def shown(path, caption, category, **labels):
    """A file of Snakemake's own report (snakemake --report report.zip)."""
    return report(path, caption=f"captions/{caption}.rst", category=category, labels=labels)


def growing(amount):
    """An amount of memory or time that a job may use: that, and again as much at every further attempt."""
    if not SUBMITS:
        return amount  # nothing limits it here, and with 10,000 cells every function costs a second
    return lambda wildcards, attempt: amount * attempt


def kept(run):
    """The folder of a run's model, which goes when nothing needs it any more."""
    model = directory(f"{RESULTS}/training/{run}/model")
    return model if EXPERIMENT.keep_models else temp(model)


def trained(run):
    """A cell as JSON and the hash of its code, together: a plan takes time by the function."""
    return [CELLS[run].as_argument(), "--code", training_code(CELLS[run].strategy)]


def probed(run):
    """The same, of what probes it."""
    return [CELLS[run].as_argument(), "--code", probe_code(CELLS[run].strategy, EXPERIMENT.probes)]


def sides(one, other):
    """The two cells of a joint run as JSON, and the hash of their code, from the wildcards that both have in common."""

    def cells(wildcards):
        start, end = f"{wildcards.model}.{wildcards.strategy}", f"clean.{wildcards.tail}"
        runs = (f"{one}.{start}.with-{other}.{end}", f"{other}.{start}.with-{one}.{end}")
        return [CELLS[runs[0]].as_argument(), *trained(runs[1])]

    return cells


WANTED = set(EXPERIMENT.probes.wanted)
CUE = next((condition.name for condition in EXPERIMENT.conditions if condition.kind == "cue"), None)
# What decides how θ₀ is evaluated; learning rates and the like are no concern of it.
EVALUATED = {"precision", "attention", "threads", "eval_batch_size"}


def evaluated(task, model):
    """Hyperparameters of a task and model that an evaluation depends on, as JSON."""
    resolved = TASKS[task].training.apply(MODELS[model].training.apply(EXPERIMENT.training))
    return resolved.model_dump_json(include=EVALUATED, ensure_ascii=True)


def at(run, place, name):
    """The run that differs in one part of its id."""
    parts = run.split(".")
    parts[place] = name
    return ".".join(parts)


def probe_sources(run):
    """Folders that the probes of a run look at, by the names of maskbench/probes/base.py."""
    cell, (task, model) = CELLS[run], run.split(".")[:2]
    data, condition = f"{RESULTS}/data", cell.condition
    cue = condition.name if condition.kind == "cue" else CUE
    folders = {
        "run": f"{RESULTS}/training/{run}",
        "pretrained": f"{data}/models/{model}",
        "reference": f"{RESULTS}/probes/reference/{task}.{model}",
        "clean": f"{data}/encoded/{task}.{model}.clean",
        "encoded": f"{data}/encoded/{task}.{model}.{condition.name}",
        "prepared": f"{data}/tasks/{task}/{condition.name}",
    }
    if WANTED & {"distractor", "perturbation"}:
        folders["shifted"] = f"{data}/encoded/{task}.{model}.{SHIFTED}"
    if "cue" in WANTED and cue is not None:
        folders |= {"cue": f"{data}/encoded/{task}.{model}.{cue}", "cue_words": f"{data}/tasks/{task}/{cue}"}
    if "memorisation" in WANTED and condition.kind == "label-noise":
        folders["twin"] = f"{RESULTS}/training/{at(run, 4, 'clean')}"
    if WANTED & {"forgetting", "trajectory"} and cell.regime == "sequential":
        folders["before"] = f"{RESULTS}/training/{at(at(run, 0, cell.other), 3, 'single')}"
        folders["before_encoded"] = f"{data}/encoded/{cell.other}.{model}.clean"
    return folders


def probe_inputs(wildcards):
    """Files that the probes of a run wait for beside its own; what those were made of needs no line in the plan."""
    folders = probe_sources(".".join(wildcards))
    models = [f"{folders[name]}/model" for name in ("twin", "before") if name in folders]
    return models + ([f"{folders['cue']}/manifest.json"] if "cue" in folders else [])


def missing_weights(run):
    """Why a finished run has to be trained once more for its probes; None if not for that."""
    folder = Path(f"{RESULTS}/training/{run}")
    try:
        record = json.loads((folder / "metrics.json").read_text())
    except (OSError, ValueError):
        return None
    cell = CELLS[run]
    if record.get("code") != training_code(cell.strategy) or record.get("parameters") != cell.model_dump(mode="json"):
        return None  # it would be trained again anyway
    if not (folder / "model").exists():
        return "models were not kept (keep_models: true)"
    return "weights along the way were not kept (probe: trajectory)" if ALONG else None


def announce():
    """Print how many finished runs are trained again, and why, before it starts or after a dry run."""
    if workflow.dag is None or RECORDED:
        return
    # needrun_jobs() leaves out what a dry run has gone through
    jobs = [job for job in workflow.dag.jobs if job.rule.name in TRAINS and workflow.dag.needrun(job)]
    runs = {Path(path).parent.name for job in jobs for path in job.output if Path(path).name == "metrics.json"}
    for why, count in Counter(filter(None, map(missing_weights, sorted(runs)))).items():
        print(f"{count} finished run{'s are' if count > 1 else ' is'} trained again: {why}", file=sys.stderr)


def announce_after_dry_run():
    """Do so at the end of a dry run, for which Snakemake does not call onstart."""
    if workflow.dryrun:
        announce()


atexit.register(announce_after_dry_run)


onstart:
    if problem := missing_scheduler(workflow.executor_plugin and workflow.executor_plugin.name):
        sys.exit(problem)
    # Read by scripts/progress.py: how many cells this call trains, and since when.
    trained = [job.rule.name for job in workflow.dag.needrun_jobs() if job.rule.name in TRAINS]
    os.environ |= {
        environment.CELLS: str(sum(TRAINS[name] for name in trained)),
        environment.STARTED: str(time.time()),
    }
    announce()


onsuccess:
    if Path(f"{RESULTS}/report.html").exists():
        print(f"read {RESULTS}/report.html", file=sys.stderr)
