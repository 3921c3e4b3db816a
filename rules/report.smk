# tables, figures, page: everything that is shown, from recorded metrics alone.

TABLES = ["scores", "interference", "comparisons", "cost", "per_class"]
FIGURES = ["scores", "interference", "differences", "gaps", "cost"]


rule tables:
    input:
        metrics=f"{RESULTS}/metrics.csv",
        comparisons=rules.compare.output,
    output:
        expand(f"{RESULTS}/tables/{{table}}.{{ending}}", table=TABLES, ending=["csv", "md", "tex"]),
    log:
        f"{RESULTS}/logs/tables.log",
    localrule: True
    conda:
        ENVS / "analysis.yaml"
    params:
        baseline=EXPERIMENT.baseline,
        folder=subpath(output[0], parent=True),
        code=code_hash("tables.py"),
    shell:
        'python "$MASKBENCH/scripts/tables.py" --metrics {input.metrics:q} --comparisons {input.comparisons:q}'
        " --baseline {params.baseline} --output-dir {params.folder:q} > {log:q} 2>&1"


rule plots:
    input:
        metrics=f"{RESULTS}/metrics.csv",
        comparisons=rules.compare.output,
    output:
        expand(f"{RESULTS}/figures/{{figure}}.{{ending}}", figure=FIGURES, ending=["svg", "png"]),
        captions=f"{RESULTS}/figures/captions.json",
    log:
        f"{RESULTS}/logs/figures.log",
    localrule: True
    conda:
        ENVS / "analysis.yaml"
    params:
        baseline=EXPERIMENT.baseline,
        folder=subpath(output.captions, parent=True),
        code=code_hash("figures.py"),
    shell:
        'python "$MASKBENCH/scripts/figures.py" --metrics {input.metrics:q} --comparisons {input.comparisons:q}'
        " --baseline {params.baseline} --output-dir {params.folder:q} > {log:q} 2>&1"


rule figures:
    # The target of `snakemake --cores 1 figures`: tables and figures, nothing else.
    input:
        rules.tables.output,
        rules.plots.output,
    localrule: True


rule page:
    input:
        experiment=rules.experiment.output,
        metrics=f"{RESULTS}/metrics.csv",
        comparisons=rules.compare.output,
        manifest=[f"{RESULTS}/manifest.json"] if not RECORDED or Path(f"{RESULTS}/manifest.json").exists() else [],
        tables=rules.tables.output,
        figures=rules.plots.output,
    output:
        f"{RESULTS}/report.html",
    log:
        f"{RESULTS}/logs/page.log",
    localrule: True
    conda:
        ENVS / "analysis.yaml"
    params:
        command=COMMAND,
        code=code_hash("page.py"),
    shell:
        'python "$MASKBENCH/scripts/page.py" --results $(dirname {output:q}) --experiment {input.experiment:q}'
        " --command {params.command:q} > {log:q} 2>&1"
