# experiment, collect ─► compare, verdicts: from run records to tables of numbers; no torch from here on.


rule experiment:
    output:
        f"{RESULTS}/experiment.json",
    log:
        f"{RESULTS}/logs/experiment.log",
    retries: 0
    localrule: True
    conda:
        ENVS / "analysis.yaml"
    params:
        experiment=given(EXPERIMENT.as_argument(exclude={"cache"})),
    shell:
        'python "$MASKBENCH/scripts/experiment.py" --experiment {params.experiment:q} --output {output:q} > {log:q} 2>&1'


if not RECORDED:

    rule collect:
        input:
            # A path, not rules.experiment.output: with one rule reference among its inputs, Snakemake hashes the whole
            # list of records once for each record.
            experiment=f"{RESULTS}/experiment.json",
            records=expand(f"{RESULTS}/training/{{run}}/metrics.json", run=CELLS),
            probes=expand(f"{RESULTS}/probes/{{run}}/metrics.json", run=CELLS if EXPERIMENT.probes.wanted else []),
        output:
            metrics=f"{RESULTS}/metrics.csv",
            parquet=f"{RESULTS}/metrics.parquet",
            along=f"{RESULTS}/along.csv",
            outcomes=f"{RESULTS}/outcomes.parquet",
            manifest=f"{RESULTS}/manifest.json",
        log:
            f"{RESULTS}/logs/collect.log",
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
        metrics=f"{RESULTS}/metrics.csv",
        outcomes=there("outcomes.parquet"),
    output:
        f"{RESULTS}/analysis/comparisons.csv",
    log:
        f"{RESULTS}/logs/compare.log",
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
        " --seed {params.settings.seed} --output {output:q} > {log:q} 2>&1"


rule verdicts:
    input:
        metrics=f"{RESULTS}/metrics.csv",
        outcomes=there("outcomes.parquet"),
        manifest=there("manifest.json"),
    output:
        verdicts=f"{RESULTS}/verdicts.csv",
        pairs=f"{RESULTS}/analysis/pairs.csv",
        gates=f"{RESULTS}/analysis/gates.csv",
        sensitivity=f"{RESULTS}/analysis/sensitivity.csv",
        claims=f"{RESULTS}/analysis/claims.json",
    log:
        f"{RESULTS}/logs/verdicts.log",
    retries: 0
    localrule: True
    conda:
        ENVS / "analysis.yaml"
    params:
        given=lambda wildcards, input: " ".join(
            f"--{name} {input[name]}" for name in ("outcomes", "manifest") if input[name]
        ),
        settings=EXPERIMENT.analysis,
        claims=given(os.path.relpath(claims_file(EXPERIMENT))),
        claims_hash=claims_hash(claims_file(EXPERIMENT)),
        code=code_hash("verdicts.py"),
    shell:
        'python "$MASKBENCH/scripts/verdicts.py" --metrics {input.metrics:q} --claims={params.claims:q} {params.given}'
        " --resamples {params.settings.resamples} --seed {params.settings.seed} --results $(dirname {output.verdicts:q})"
        " > {log:q} 2>&1"
