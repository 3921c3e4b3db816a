# Configuration, paths and wildcards that the rules share.

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, workflow.basedir)
from maskbench.config.conditions import CLEAN, SETS, SHIFTED
from maskbench.config.sources import LocalSource
from maskbench.errors import InputError
from maskbench.experiment.cell import cells
from maskbench.experiment.load import load, typed
from maskbench.io.code import code_hash
from maskbench.training.leases import check_request

ENVS = Path(workflow.basedir) / "envs"

# A study may be there as its recorded metrics alone (results/reference, a download): then only the analysis and the
# report are made, nothing is trained, and what training needs may be elsewhere.
FOLDER = Path("results") / str(config.get("study"))
RECORDED = (FOLDER / "metrics.csv").exists() and not (FOLDER / "training").exists()
if RECORDED:
    print(
        f"{FOLDER}: metrics.csv without runs: analysis and report only; to train, remove metrics.csv", file=sys.stderr
    )

try:
    EXPERIMENT = load(config | typed(workflow.config_settings.config), workflow.configfiles, runs_here=not RECORDED)
    if workflow.local_exec and not workflow.remote_exec:
        asked = workflow.global_resources.get("gpu")
        check_request(asked and asked.value, EXPERIMENT.resources.slots_per_gpu)
except InputError as error:
    sys.exit(str(error))

TASKS = {task.name: task for task in EXPERIMENT.tasks}
MODELS = {model.name: model for model in EXPERIMENT.models}
CELLS = {cell.run: cell for cell in cells(EXPERIMENT)}
RESULTS = f"results/{EXPERIMENT.study}"
COMMAND = " ".join(
    ["snakemake --cores all", *(f"--configfile {os.path.relpath(path)}" for path in workflow.overwrite_configfiles)]
)


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
os.environ.update(
    # `python` in a rule is the one that runs Snakemake; a conda environment, if asked for, still goes before it.
    PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    MASKBENCH=workflow.basedir,
    MASKBENCH_SLOTS_PER_GPU=str(EXPERIMENT.resources.slots_per_gpu),
)
if EXPERIMENT.cache is not None:
    os.environ.update(MASKBENCH_CACHE=str(Path(EXPERIMENT.cache).expanduser().resolve()))


def local_files(source, names):
    """Files of a local source, so that a change in one of them is seen."""
    if not isinstance(source, LocalSource):
        return []
    folder = Path(source.local)
    if not folder.is_dir():
        return [str(folder)]
    return [str(path) for pattern in names for path in sorted(folder.glob(pattern)) if path.is_file()]


def kept(run):
    """The folder of a run's model, which goes when nothing needs it any more."""
    model = directory(f"{RESULTS}/training/{run}/model")
    return model if EXPERIMENT.keep_models else temp(model)


def sides(one, other):
    """The two cells of a joint run as JSON, from the wildcards that both have in common."""

    def cells(wildcards):
        start, end = f"{wildcards.model}.{wildcards.strategy}", f"clean.{wildcards.tail}"
        runs = (f"{one}.{start}.with-{other}.{end}", f"{other}.{start}.with-{one}.{end}")
        return [CELLS[run].model_dump_json() for run in runs]

    return cells


onstart:
    # Read by scripts/progress.py: how many cells this call trains, and since when.
    trained = [job.rule.name for job in workflow.dag.needrun_jobs() if job.rule.name in TRAINS]
    os.environ.update(
        MASKBENCH_CELLS=str(sum(TRAINS[name] for name in trained)),
        MASKBENCH_STARTED=str(time.time()),
    )
    announce()


onsuccess:
    if Path(f"{RESULTS}/report.html").exists():
        print(f"read {RESULTS}/report.html", file=sys.stderr)
