# reference, train: what is measured of the untrained model, and jobs of several cells that differ in their strategy.


rule reference:
    input:
        encoded=LAYOUT.encoded("{task}", "{model}", CLEAN.name),
        model=LAYOUT.model_source("{model}"),
    output:
        manifest=LAYOUT.reference("{task}", "{model}"),
    log:
        LAYOUT.log("reference/{task}.{model}"),
    conda:
        ENVS / "training.yaml"
    threads: EXPERIMENT.training.threads
    resources:
        gpu=1,
        mem_mb=lambda wildcards, attempt: CALL.grown(EXPERIMENT.resources.memory_mb, attempt),
        runtime=lambda wildcards, attempt: CALL.grown(JOBS.probe_minutes, attempt),
    params:
        encoded=subpath(input.encoded, parent=True),
        model=subpath(input.model, parent=True),
        folder=subpath(output.manifest, parent=True),
        training=lambda wildcards: JOBS.evaluated(wildcards.task, wildcards.model),
        head=lambda wildcards: "--no-masked-lm" if MODELS[wildcards.model].masked_lm is False else "",
        sizes=lambda wildcards: " ".join(
            f"--{name} {size}"
            for name, size in (
                ("max-test", TASKS[wildcards.task].max_test),
                ("examples", EXPERIMENT.probes.examples),
                ("drift-texts", EXPERIMENT.probes.drift_texts),
                ("drift-tokens", EXPERIMENT.probes.drift_tokens),
            )
            if size is not None
        ),
        code=code_hash("reference.py"),
    shell:
        'python "$MASKBENCH/scripts/reference.py" --encoded {params.encoded:q} --model {params.model:q}'
        " --destination {params.folder:q} --training {params.training:q} {params.sizes} {params.head} --code {params.code} > {log:q} 2>&1"


rule train:
    input:
        lambda wildcards: JOBS.inputs(JOBS.by_id[wildcards.job], LAYOUT),
    output:
        # Records, predictions and models are no outputs: Snakemake would delete those of finished cells before it runs
        # the job for another one (docs/architecture.md).
        index=LAYOUT.index("{job}"),
        # stands for the models of the job while others need them
        models=(
            [LAYOUT.models("{job}") if EXPERIMENT.keep_models else temp(LAYOUT.models("{job}"))]
            if JOBS.lending
            else []
        ),
    log:
        LAYOUT.job_log("{job}"),
    conda:
        ENVS / "training.yaml"
    threads: EXPERIMENT.training.threads
    resources:
        gpu=1,
        mem_mb=lambda wildcards, attempt: CALL.grown(EXPERIMENT.resources.memory_mb, attempt),
        runtime=lambda wildcards, attempt: CALL.grown(JOBS.minutes(JOBS.by_id[wildcards.job]), attempt),
    params:
        key=lambda wildcards: JOBS.key(JOBS.by_id[wildcards.job]),
        results=LAYOUT.folder,
    shell:
        # The key covers everything in the experiment that a job depends on.
        # A scheduler's SIGTERM reaches all processes of a job; the shell has to wait until the training has its checkpoint.
        # File descriptor 3 is the terminal, for a line whenever a cell ends.
        "trap : TERM; "
        'python "$MASKBENCH/scripts/train.py" --experiment "$MASKBENCH_EXPERIMENT" --results {params.results:q}'
        " --job {wildcards.job:q} --terminal 3 3>&1 > {log:q} 2>&1"
