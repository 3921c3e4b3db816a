# experiment, collect ─► compare, verdicts: from run records to tables of numbers; no torch from here on.


rule experiment:
    output:
        LAYOUT.experiment,
    log:
        LAYOUT.log("experiment"),
    retries: 0
    localrule: True
    conda:
        ENVS / "analysis.yaml"
    params:
        experiment=given(EXPERIMENT.as_argument(exclude={"cache"})),
    shell:
        'python "$MASKBENCH/scripts/experiment.py" --experiment {params.experiment:q} --output {output:q} > {log:q} 2>&1'


if not CALL.recorded:

    rule collect:
        input:
            experiment=LAYOUT.experiment,
            jobs=[LAYOUT.index(job) for job in JOBS.by_id],
        output:
            metrics=LAYOUT.file("metrics.csv"),
            parquet=LAYOUT.file("metrics.parquet"),
            along=LAYOUT.file("along.csv"),
            outcomes=LAYOUT.file("outcomes.parquet"),
            manifest=LAYOUT.file("manifest.json"),
        log:
            LAYOUT.log("collect"),
        retries: 0
        localrule: True
        conda:
            ENVS / "analysis.yaml"
        params:
            code=code_hash("collect.py"),
        shell:
            'python "$MASKBENCH/scripts/collect.py" --experiment {input.experiment:q} --results $(dirname {output.metrics:q})'
            " > {log:q} 2>&1"


rule compare:
    input:
        metrics=LAYOUT.file("metrics.csv"),
        outcomes=CALL.collected("outcomes.parquet"),
    output:
        shared=LAYOUT.file("analysis/comparisons.csv"),
        tuned=[LAYOUT.file("tuning/analysis/comparisons.csv")] if EXPERIMENT.tune else [],
    log:
        LAYOUT.log("compare"),
    retries: 0
    localrule: True
    conda:
        ENVS / "analysis.yaml"
    params:
        outcomes=lambda wildcards, input: f"--outcomes {input.outcomes}" if input.outcomes else "",
        baseline=EXPERIMENT.baseline,
        settings=EXPERIMENT.analysis,
        code=code_hash("compare.py"),
    shell:
        'python "$MASKBENCH/scripts/compare.py" --metrics {input.metrics:q} {params.outcomes} --baseline {params.baseline}'
        " --resamples {params.settings.resamples} --confidence {params.settings.confidence}"
        " --seed {params.settings.seed} --output {output.shared:q} > {log:q} 2>&1"


AT_BOTH_RATES = (
    "verdicts.csv",
    *(f"analysis/{name}" for name in ("pairs.csv", "gates.csv", "sensitivity.csv", "components.csv", "claims.json")),
)


rule verdicts:
    input:
        metrics=LAYOUT.file("metrics.csv"),
        outcomes=CALL.collected("outcomes.parquet"),
        manifest=CALL.collected("manifest.json"),
    output:
        verdicts=LAYOUT.file("verdicts.csv"),
        pairs=LAYOUT.file("analysis/pairs.csv"),
        gates=LAYOUT.file("analysis/gates.csv"),
        sensitivity=LAYOUT.file("analysis/sensitivity.csv"),
        components=LAYOUT.file("analysis/components.csv"),
        claims=LAYOUT.file("analysis/claims.json"),
        tuned=[LAYOUT.file(f"tuning/{name}") for name in AT_BOTH_RATES] if EXPERIMENT.tune else [],
    log:
        LAYOUT.log("verdicts"),
    retries: 0
    localrule: True
    conda:
        ENVS / "analysis.yaml"
    params:
        given=lambda wildcards, input: " ".join(
            f"--{name} {input[name]}" for name in ("outcomes", "manifest") if input[name]
        ),
        settings=EXPERIMENT.analysis,
        size="" if EXPERIMENT.analysis.train_size is None else f"--train-size {EXPERIMENT.analysis.train_size}",
        claims=given(os.path.relpath(claims_file(EXPERIMENT))),
        claims_hash=claims_hash(claims_file(EXPERIMENT)),
        code=code_hash("verdicts.py"),
    shell:
        'python "$MASKBENCH/scripts/verdicts.py" --metrics {input.metrics:q} --claims={params.claims:q} {params.given}'
        " --resamples {params.settings.resamples} --seed {params.settings.seed} {params.size} --results $(dirname {output.verdicts:q})"
        " > {log:q} 2>&1"
