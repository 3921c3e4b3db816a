# reference, probe: interference, measured on the trained model and on what it was before.


rule reference:
    input:
        encoded=f"{RESULTS}/data/encoded/{{task}}.{{model}}.clean/manifest.json",
        model=f"{RESULTS}/data/models/{{model}}/source.json",
        # not for θ₀, but every probe waits for it here and not in a line of its own: a plan takes time by the line
        shifted=(
            f"{RESULTS}/data/encoded/{{task}}.{{model}}.{SHIFTED}/manifest.json"
            if WANTED & {"distractor", "perturbation"}
            else []
        ),
    output:
        manifest=f"{RESULTS}/probes/reference/{{task}}.{{model}}/manifest.json",
    log:
        f"{RESULTS}/logs/reference/{{task}}.{{model}}.log",
    conda:
        ENVS / "training.yaml"
    threads: EXPERIMENT.training.threads
    resources:
        gpu=1,
        mem_mb=growing(EXPERIMENT.resources.memory_mb),
        runtime=growing(max(10, EXPERIMENT.resources.minutes // 2)),
    params:
        encoded=subpath(input.encoded, parent=True),
        model=subpath(input.model, parent=True),
        folder=subpath(output.manifest, parent=True),
        training=lambda wildcards: evaluated(wildcards.task, wildcards.model),
        head=lambda wildcards: "--no-masked-lm" if MODELS[wildcards.model].masked_lm is False else "",
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
        " --destination {params.folder:q} --training {params.training:q} {params.sizes} {params.head} --code {params.code} > {log:q} 2>&1"


rule probe:
    input:
        record=f"{RESULTS}/training/{{task}}.{{model}}.{{rest}}/metrics.json",
        model=f"{RESULTS}/training/{{task}}.{{model}}.{{rest}}/model",
        reference=f"{RESULTS}/probes/reference/{{task}}.{{model}}/manifest.json",
        more=probe_inputs if {"single"} != set(EXPERIMENT.regimes) or len(EXPERIMENT.conditions) > 1 else [],
    output:
        record=f"{RESULTS}/probes/{{task}}.{{model}}.{{rest}}/metrics.json",
        outcomes=f"{RESULTS}/probes/{{task}}.{{model}}.{{rest}}/outcomes.parquet",
    log:
        f"{RESULTS}/logs/probe/{{task}}.{{model}}.{{rest}}.log",
    priority: 1  # before the next training: its model can go then
    conda:
        ENVS / "training.yaml"
    threads: EXPERIMENT.training.threads
    resources:
        gpu=1,
        mem_mb=growing(EXPERIMENT.resources.memory_mb),
        runtime=growing(max(10, EXPERIMENT.resources.minutes // 2)),
    params:
        cell=lambda wildcards: probed(".".join(wildcards)),
        sources=lambda wildcards: json.dumps(probe_sources(".".join(wildcards))),
        folder=subpath(output.record, parent=True),
        probes=given(EXPERIMENT.probes.as_argument(exclude={"conflict_points"})),
    shell:
        'python "$MASKBENCH/scripts/probe.py" --cell {params.cell:q} --probes {params.probes:q} --sources {params.sources:q}'
        " --output {params.folder:q} > {log:q} 2>&1"
