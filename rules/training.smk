# train: one cell, one GPU slot; two cells if they are trained at once. A run is
# <task>.<model>.<strategy>.<regime>.<condition>.<tail>, so that its inputs need no function: with 10,000 cells, every
# function call of a rule costs a second.

# A scheduler's SIGTERM reaches all processes of a job; the shell has to wait until the training has its checkpoint.
ENDS_ITSELF = "trap : TERM;"
TRAINS = {"train": 1, "train_after": 1}  # rules that train, and how many cells each of their jobs does
ALONG = "--along" if "trajectory" in EXPERIMENT.probes.wanted else ""


rule train:
    input:
        encoded=f"{RESULTS}/data/encoded/{{task}}.{{model}}.{{condition}}/manifest.json",
        model=f"{RESULTS}/data/models/{{model}}/source.json",
    output:
        record=f"{RESULTS}/training/{{task}}.{{model}}.{{strategy}}.single.{{condition}}.{{tail}}/metrics.json",
        model=kept("{task}.{model}.{strategy}.single.{condition}.{tail}"),
    log:
        f"{RESULTS}/logs/train/{{task}}.{{model}}.{{strategy}}.single.{{condition}}.{{tail}}.log",
    conda:
        ENVS / "training.yaml"
    threads: EXPERIMENT.training.threads
    resources:
        gpu=1,
        mem_mb=growing(EXPERIMENT.resources.memory_mb),
        runtime=growing(EXPERIMENT.resources.minutes),
    params:
        cell=lambda w: trained(f"{w.task}.{w.model}.{w.strategy}.single.{w.condition}.{w.tail}"),
        along=ALONG,
    shell:
        f"{ENDS_ITSELF} "
        'python "$MASKBENCH/scripts/train.py" --cell {params.cell:q} --encoded $(dirname {input.encoded:q})'
        " --model $(dirname {input.model:q}) --output $(dirname {output.record:q})"
        ' {params.along} > {log:q} 2>&1 && python "$MASKBENCH/scripts/progress.py" --record {output.record:q}'


rule train_after:
    # sequential: the task, starting from the model that was trained on the other one
    input:
        encoded=f"{RESULTS}/data/encoded/{{task}}.{{model}}.clean/manifest.json",
        model=f"{RESULTS}/data/models/{{model}}/source.json",
        before=f"{RESULTS}/training/{{other}}.{{model}}.{{strategy}}.single.clean.{{tail}}/metrics.json",
        before_model=f"{RESULTS}/training/{{other}}.{{model}}.{{strategy}}.single.clean.{{tail}}/model",
    output:
        record=f"{RESULTS}/training/{{task}}.{{model}}.{{strategy}}.after-{{other}}.clean.{{tail}}/metrics.json",
        model=kept("{task}.{model}.{strategy}.after-{other}.clean.{tail}"),
    log:
        f"{RESULTS}/logs/train/{{task}}.{{model}}.{{strategy}}.after-{{other}}.clean.{{tail}}.log",
    conda:
        ENVS / "training.yaml"
    threads: EXPERIMENT.training.threads
    resources:
        gpu=1,
        mem_mb=growing(EXPERIMENT.resources.memory_mb),
        runtime=growing(EXPERIMENT.resources.minutes),
    params:
        cell=lambda w: trained(f"{w.task}.{w.model}.{w.strategy}.after-{w.other}.clean.{w.tail}"),
        along=ALONG,
    shell:
        f"{ENDS_ITSELF} "
        'python "$MASKBENCH/scripts/train.py" --cell {params.cell:q} --encoded $(dirname {input.encoded:q})'
        " --model $(dirname {input.model:q}) --start $(dirname {input.before:q}) --output $(dirname {output.record:q})"
        ' {params.along} > {log:q} 2>&1 && python "$MASKBENCH/scripts/progress.py" --record {output.record:q}'


for one, other in EXPERIMENT.task_pairs if "joint" in EXPERIMENT.regimes else []:
    # joint: two tasks in one job, with a record and a model for each
    TRAINS[f"train_{one}_with_{other}"] = 2

    rule:
        name:
            f"train_{one}_with_{other}"
        input:
            encoded=expand(f"{RESULTS}/data/encoded/{{task}}.{{{{model}}}}.clean/manifest.json", task=[one, other]),
            model=f"{RESULTS}/data/models/{{model}}/source.json",
        output:
            record=f"{RESULTS}/training/{one}.{{model}}.{{strategy}}.with-{other}.clean.{{tail}}/metrics.json",
            other=f"{RESULTS}/training/{other}.{{model}}.{{strategy}}.with-{one}.clean.{{tail}}/metrics.json",
            model=kept(f"{one}.{{model}}.{{strategy}}.with-{other}.clean.{{tail}}"),
            other_model=kept(f"{other}.{{model}}.{{strategy}}.with-{one}.clean.{{tail}}"),
        log:
            f"{RESULTS}/logs/train/{one}.{{model}}.{{strategy}}.with-{other}.clean.{{tail}}.log",
        conda:
            ENVS / "training.yaml"
        threads: EXPERIMENT.training.threads
        resources:
            gpu=1,
            mem_mb=growing(EXPERIMENT.resources.memory_mb),
            runtime=growing(EXPERIMENT.resources.minutes),
        params:
            cells=sides(one, other),
            points=EXPERIMENT.probes.conflict_points,
            along=ALONG,
        shell:
            f"{ENDS_ITSELF} "
            'python "$MASKBENCH/scripts/train.py" --cell {params.cells:q} --encoded $(dirname {input.encoded:q})'
            " --model $(dirname {input.model:q}) --output $(dirname {output.record:q} {output.other:q})"
            " --conflict-points {params.points} {params.along} > {log:q} 2>&1"
            ' && python "$MASKBENCH/scripts/progress.py" --record {output.record:q}'
