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
        # The experiment itself may be longer than a command may be.
        experiment=sha256_text(EXPERIMENT.as_argument(exclude={"cache"})),
    shell:
        'python "$MASKBENCH/scripts/experiment.py" --experiment "$MASKBENCH_EXPERIMENT" --output {output:q} > {log:q} 2>&1'


if CALL.packed:

    rule unpack:
        input:
            [packed_form(path) for path in CALL.packed],
        output:
            CALL.packed,
        log:
            LAYOUT.log("unpack"),
        retries: 0
        localrule: True
        conda:
            ENVS / "analysis.yaml"
        params:
            code=code_hash("record.py"),
        shell:
            'python "$MASKBENCH/scripts/record.py" unpack {output:q} > {log:q} 2>&1'


if not CALL.recorded:

    rule collect:
        input:
            experiment=LAYOUT.experiment,
            jobs=lambda wildcards: [] if so_far() else [LAYOUT.index(job) for job in JOBS.by_id],
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
            finished=lambda wildcards: "--finished" if so_far() else "",
            cells=lambda wildcards: CALL.so_far if so_far() else "",
            code=code_hash("collect.py"),
        shell:
            'python "$MASKBENCH/scripts/collect.py" --experiment {input.experiment:q} --results $(dirname {output.metrics:q})'
            " {params.finished} > {log:q} 2>&1"


HALVES = ["", "tuning/"] if EXPERIMENT.tune else [""]
AT_BOTH_RATES = (
    "verdicts.csv",
    *(f"analysis/{name}" for name in ("pairs.csv", "gates.csv", "sensitivity.csv", "components.csv", "claims.json")),
)
COMPARED = [LAYOUT.file(f"{folder}analysis/comparisons.csv") for folder in HALVES]
JUDGED = [LAYOUT.file(f"{folder}{name}") for folder in HALVES for name in AT_BOTH_RATES]

# Verdicts that rest on outcomes which are not here stay as they are.
if not CALL.judged:

    rule compare:
        input:
            metrics=LAYOUT.file("metrics.csv"),
            outcomes=CALL.collected("outcomes.parquet"),
        output:
            shared=COMPARED[0],
            tuned=COMPARED[1:],
        log:
            LAYOUT.log("compare"),
        retries: 0
        localrule: True
        conda:
            ENVS / "analysis.yaml"
        params:
            outcomes=lambda wildcards, input: f"--outcomes {input.outcomes}" if input.outcomes else "",
            baseline=EXPERIMENT.baseline,
            tuned="--tuned" if EXPERIMENT.tune else "",
            settings=EXPERIMENT.analysis,
            code=code_hash("compare.py"),
        shell:
            'python "$MASKBENCH/scripts/compare.py" --metrics {input.metrics:q} {params.outcomes} {params.tuned} --baseline {params.baseline}'
            " --resamples {params.settings.resamples} --confidence {params.settings.confidence}"
            " --seed {params.settings.seed} --output {output.shared:q} > {log:q} 2>&1"

    rule verdicts:
        input:
            metrics=LAYOUT.file("metrics.csv"),
            outcomes=CALL.collected("outcomes.parquet"),
            manifest=CALL.collected("manifest.json"),
        output:
            JUDGED,
            claims=LAYOUT.file("claims.yaml"),
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
            tuned="--tuned" if EXPERIMENT.tune else "",
            settings=EXPERIMENT.analysis,
            size="" if EXPERIMENT.analysis.train_size is None else f"--train-size {EXPERIMENT.analysis.train_size}",
            claims=given(os.path.relpath(claims_file(EXPERIMENT))),
            claims_hash=claims_hash(claims_file(EXPERIMENT)),
            code=code_hash("verdicts.py"),
        shell:
            'python "$MASKBENCH/scripts/verdicts.py" --metrics {input.metrics:q} --claims={params.claims:q} {params.given} {params.tuned}'
            " --resamples {params.settings.resamples} --seed {params.settings.seed} {params.size} --results $(dirname {output.claims:q})"
            " > {log:q} 2>&1"
