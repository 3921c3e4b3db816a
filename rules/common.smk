# What the rules share of Snakemake itself. All that needs no `workflow` is typed Python in maskbench/experiment: call.py
# reads and checks the call, layout.py makes every path, jobs.py every job, planned.py says what is about to happen.

import atexit
import json
import os
import shlex
import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)
from maskbench.config.conditions import CLEAN, OUT_OF_DOMAIN, SETS, SHIFTED
from maskbench.errors import InputError
from maskbench.experiment.call import Call, missing_scheduler
from maskbench.experiment.code import pretraining_code
from maskbench.experiment.claims import claims_file, claims_hash
from maskbench.experiment.corpora import corpora, packs, tasks_of
from maskbench.experiment.forced import Forced, forced_jobs
from maskbench.experiment.lexicons import lexicons
from maskbench.experiment.planned import Planned
from maskbench.experiment.recorded import RECORD, record_files
from maskbench.experiment.tuning import reserve
from maskbench.experiment.user_files import corpus_content, lexicon_content, model_content, task_content
from maskbench.io.code import code_hash
from maskbench.io.files import sha256_text
from maskbench.records.packed import GZIPPED, packed_form

ENVS = Path(workflow.basedir) / "envs"
GPUS = workflow.global_resources.get("gpu")

try:
    CALL = Call.read(
        workflow.overwrite_configfiles,
        workflow.config_settings.config_args,
        slots=GPUS and GPUS.value,
        nodes=workflow.resource_settings.nodes,  # only later does Snakemake say which executor it is
        is_job=workflow.remote_exec,
        say=lambda line: print(line, file=sys.stderr),
    )
except InputError as error:
    sys.exit(str(error))

workflow.config_settings.config_args = CALL.handed_on
os.environ |= CALL.environment(workflow.basedir)
CALL.remove_void()

EXPERIMENT, LAYOUT, JOBS = CALL.experiment, CALL.layout, CALL.jobs
FOLDERS = {"train": LAYOUT} | ({"tune": LAYOUT.tuning} if EXPERIMENT.tune else {})
TASKS = {task.name: task for task in EXPERIMENT.tasks}
MODELS = {model.name: model for model in EXPERIMENT.models}


wildcard_constraints:
    task="|".join(TASKS),
    model="|".join(MODELS),
    variant=r"[a-z0-9-]+",
    condition=r"[a-z0-9-]+",
    job=r"[a-z0-9.-]+",


# Scripts import maskbench from here, and from no other checkout. Said in the command, since Snakemake takes PYTHONPATH out
# of the environment where a rule has a conda environment.
shell.prefix('set -euo pipefail; export PYTHONPATH="$MASKBENCH${{PYTHONPATH:+:$PYTHONPATH}}"; ')


def given(value):
    """A parameter that reaches its job as it is: in a text, Snakemake would take {word} for a wildcard."""
    return lambda wildcards: value


def so_far():
    """Whether the call makes the record of the cells that are finished so far (`snakemake record`), and trains nothing.

    Snakemake knows its targets only when it asks for inputs and parameters, after the rules are read.
    """
    return "record" in workflow.dag_settings.targets


def choices(wildcards):
    """The tuned learning rates, if there are any; a record of what is finished so far waits for none."""
    return CALL.collected("tuning/choices.json") if EXPERIMENT.tune and not so_far() else []


def choices_so_far(wildcards):
    """A hash that changes with the choices, for a record that takes them as they are."""
    return CALL.so_far if EXPERIMENT.tune and so_far() else ""


def planned():
    """What this call trains and probes, said before it starts or after a dry run, and the jobs that it was told to force."""
    # needrun_jobs() leaves out jobs that a dry run has already planned
    jobs = [job for job in workflow.dag.jobs if workflow.dag.needrun(job)]
    names = {rule: [job.wildcards.job for job in jobs if job.rule.name == rule] for rule in ("train", "tune")}
    made = {Path(path) for job in jobs if job.rule.name not in names for path in job.output}
    pretrained = [job.wildcards.model for job in jobs if job.rule.name == "pretrain"]
    forced = {rule: forced_jobs(names[rule], layout, workflow.dag_settings, rule) for rule, layout in FOLDERS.items()}
    plan = Planned.of(
        JOBS, LAYOUT, names["train"], made, forced=forced["train"], pretrained=pretrained, slots=CALL.at_once
    )
    if CALL.tuning:
        chosen = Planned.of(CALL.tuning, LAYOUT.tuning, names["tune"], made, forced=forced["tune"], what="tuning cells")
        plan = chosen.before(plan)
    print(*plan.lines, sep="\n", end="\n" if plan.lines else "", file=sys.stderr)
    return plan, forced


# Snakemake does not call onstart for a dry run.
atexit.register(lambda: planned() if workflow.dryrun and workflow.dag is not None and not CALL.recorded else None)


onstart:
    if problem := missing_scheduler(workflow.executor_plugin and workflow.executor_plugin.name):
        sys.exit(problem)
    CALL.write_resolved()
    # a record may be made while another call trains
    if not (CALL.recorded or so_far()):
        plan, forced = planned()
        os.environ |= plan.environment()
        for rule, layout in FOLDERS.items():
            Forced(layout).replace(() if workflow.touch else forced[rule])


onsuccess:
    if LAYOUT.file("report.html").exists():
        print(f"read {LAYOUT.file('report.html')}", file=sys.stderr)
