# reference, probe: interference, measured on the trained model and on what it was before.

import atexit
import json
from collections import Counter

WANTED = set(EXPERIMENT.probes.wanted)
CUE = next((condition.name for condition in EXPERIMENT.conditions if condition.kind == "cue"), None)
# What decides how θ₀ is evaluated; learning rates and the like are no concern of it.
EVALUATED = {"precision", "attention", "threads", "eval_batch_size"}


def evaluated(task, model):
    """Hyperparameters of a task and model that an evaluation depends on, as JSON."""
    resolved = TASKS[task].training.apply(MODELS[model].training.apply(EXPERIMENT.training))
    return resolved.model_dump_json(include=EVALUATED)


def at(run, place, name):
    """The run that differs in one part of its id."""
    parts = run.split(".")
    parts[place] = name
    return ".".join(parts)


def missing_weights(run):
    """Why a finished run has to be trained once more for its probes; None if not for that."""
    folder = Path(f"{RESULTS}/training/{run}")
    try:
        record = json.loads((folder / "metrics.json").read_text())
    except (OSError, ValueError):
        return None
    if record.get("code") != code_hash("train.py") or record.get("parameters") != CELLS[run].model_dump(mode="json"):
        return None  # it would be trained again anyway
    if not (folder / "model").exists():
        return "their models were not kept (keep_models: true)"
    return "their weights along the way were not kept (probe: trajectory)" if ALONG else None


def announce():
    """Print how many finished runs are trained again, and why, before it starts or after a dry run."""
    if workflow.dag is None or RECORDED:
        return
    jobs = [job for job in workflow.dag.needrun_jobs(exclude_finished=False) if job.rule.name in TRAINS]
    runs = {Path(path).parent.name for job in jobs for path in job.output if Path(path).name == "metrics.json"}
    for why, count in Counter(filter(None, map(missing_weights, sorted(runs)))).items():
        print(f"{count} finished run{'s are' if count > 1 else ' is'} trained again: {why}", file=sys.stderr)


def announce_after_dry_run():
    """Do so at the end of a dry run, for which Snakemake does not call onstart."""
    if workflow.dryrun:
        announce()


atexit.register(announce_after_dry_run)


def probe_inputs(wildcards):
    """Everything that the probes of a run look at, by the names of maskbench/probes/base.py."""
    run = f"{wildcards.task}.{wildcards.model}.{wildcards.rest}"
    cell, encoded = CELLS[run], f"{RESULTS}/data/encoded/{wildcards.task}.{wildcards.model}"
    prepared = f"{RESULTS}/data/tasks/{wildcards.task}"
    cue = cell.condition.name if cell.condition.kind == "cue" else CUE
    inputs = {
        "record": f"{RESULTS}/training/{run}/metrics.json",
        "model": f"{RESULTS}/training/{run}/model",
        "pretrained": f"{RESULTS}/data/models/{wildcards.model}/source.json",
        "reference": f"{RESULTS}/probes/reference/{wildcards.task}.{wildcards.model}/manifest.json",
        "clean": f"{encoded}.clean/manifest.json",
        "encoded": f"{encoded}.{cell.condition.name}/manifest.json",
        "prepared": f"{prepared}/{cell.condition.name}/manifest.json",
    }
    if WANTED & {"distractor", "perturbation"}:
        inputs["shifted"] = f"{encoded}.{SHIFTED}/manifest.json"
    if "cue" in WANTED and cue is not None:
        inputs |= {"cue": f"{encoded}.{cue}/manifest.json", "cue_words": f"{prepared}/{cue}/manifest.json"}
    if "memorisation" in WANTED and cell.condition.kind == "label-noise":
        inputs["twin"] = f"{RESULTS}/training/{at(run, 4, 'clean')}/model"
    if WANTED & {"forgetting", "trajectory"} and cell.regime == "sequential":
        first = at(at(run, 0, cell.other), 3, "single")
        inputs["before"] = f"{RESULTS}/training/{first}/model"
        inputs["before_encoded"] = f"{RESULTS}/data/encoded/{cell.other}.{wildcards.model}.clean/manifest.json"
    return inputs


def probe_sources(wildcards, input):
    """The same as folders, as JSON."""
    named = {name: os.path.dirname(path) for name, path in input.items() if name != "model"}
    return json.dumps({"run" if name == "record" else name: folder for name, folder in named.items()})


rule reference:
    input:
        encoded=f"{RESULTS}/data/encoded/{{task}}.{{model}}.clean/manifest.json",
        model=f"{RESULTS}/data/models/{{model}}/source.json",
    output:
        manifest=f"{RESULTS}/probes/reference/{{task}}.{{model}}/manifest.json",
    log:
        f"{RESULTS}/logs/reference/{{task}}.{{model}}.log",
    conda:
        ENVS / "training.yaml"
    threads: EXPERIMENT.training.threads
    resources:
        gpu=1,
        mem_mb=EXPERIMENT.resources.memory_mb,
        runtime=max(10, EXPERIMENT.resources.minutes // 2),
    params:
        encoded=subpath(input.encoded, parent=True),
        model=subpath(input.model, parent=True),
        folder=subpath(output.manifest, parent=True),
        training=lambda wildcards: evaluated(wildcards.task, wildcards.model),
        sizes=lambda wildcards: " ".join(
            f"--{name} {size}"
            for name, size in (
                ("max-test", TASKS[wildcards.task].max_test),
                ("examples", EXPERIMENT.probes.examples),
            )
            if size is not None
        ),
        code=code_hash("reference.py"),
    shell:
        'python "$MASKBENCH/scripts/reference.py" --encoded {params.encoded:q} --model {params.model:q}'
        " --destination {params.folder:q} --training {params.training:q} {params.sizes} --code {params.code} > {log:q} 2>&1"


rule probe:
    input:
        unpack(probe_inputs),
    output:
        record=f"{RESULTS}/probes/{{task}}.{{model}}.{{rest}}/metrics.json",
        outcomes=f"{RESULTS}/probes/{{task}}.{{model}}.{{rest}}/outcomes.parquet",
    log:
        f"{RESULTS}/logs/probe/{{task}}.{{model}}.{{rest}}.log",
    conda:
        ENVS / "training.yaml"
    threads: EXPERIMENT.training.threads
    resources:
        gpu=1,
        mem_mb=EXPERIMENT.resources.memory_mb,
        runtime=max(10, EXPERIMENT.resources.minutes // 2),
    params:
        cell=lambda wildcards: CELLS[".".join(wildcards)].model_dump_json(),
        sources=probe_sources,
        folder=subpath(output.record, parent=True),
        probes=EXPERIMENT.probes.model_dump_json(exclude={"conflict_points"}),
        code=code_hash("probe.py"),
    shell:
        'python "$MASKBENCH/scripts/probe.py" --cell {params.cell:q} --probes {params.probes:q} --sources {params.sources:q}'
        " --output {params.folder:q} --code {params.code} > {log:q} 2>&1"
