# tune ─► choose: every strategy at every learning rate of the grid, on texts set apart for it, and the rates chosen by them.

if CALL.tuning and not CALL.recorded:

    use rule encode as encode_tuning with:
        input:
            prepared=LAYOUT.tuning.prepared("{task}", "{variant}"),
            model=LAYOUT.model_source("{model}"),
        output:
            manifest=LAYOUT.tuning.encoded("{task}", "{model}", "{variant}"),
        log:
            LAYOUT.tuning.log("encode/{task}.{model}.{variant}"),

    rule tune:
        input:
            lambda wildcards: CALL.tuning.inputs(CALL.tuning.by_id[wildcards.job], LAYOUT.tuning),
        output:
            # records are no outputs, as in `train`
            index=LAYOUT.tuning.index("{job}"),
        log:
            LAYOUT.tuning.job_log("{job}"),
        conda:
            ENVS / "training.yaml"
        threads: EXPERIMENT.training.threads
        resources:
            gpu=1,
            mem_mb=lambda wildcards, attempt: CALL.grown(EXPERIMENT.resources.memory_mb, attempt),
            runtime=lambda wildcards, attempt: CALL.grown(
                CALL.tuning.minutes(CALL.tuning.by_id[wildcards.job]), attempt
            ),
        params:
            key=lambda wildcards: CALL.tuning.key(CALL.tuning.by_id[wildcards.job]),
            results=LAYOUT.folder,
        shell:
            "trap : TERM; "
            'python "$MASKBENCH/scripts/train.py" --experiment "$MASKBENCH_EXPERIMENT" --results {params.results:q}'
            " --tuning --job {wildcards.job:q} --terminal 3 3>&1 > {log:q} 2>&1"

    rule choose:
        input:
            [LAYOUT.tuning.index(job) for job in CALL.tuning.by_id],
        output:
            LAYOUT.choices,
        log:
            LAYOUT.log("choose"),
        retries: 0
        localrule: True
        conda:
            ENVS / "analysis.yaml"
        params:
            results=LAYOUT.folder,
            tune=EXPERIMENT.tune.as_argument(),
            code=code_hash("choose.py"),
        shell:
            'python "$MASKBENCH/scripts/choose.py" --experiment "$MASKBENCH_EXPERIMENT" --results {params.results:q}'
            " > {log:q} 2>&1"
