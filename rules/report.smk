# tables, figures, page: everything that is shown, from recorded metrics and verdicts alone.

from maskbench.report.figures import FIGURES

TABLES = [
    "verdicts",
    "scores",
    "interference",
    "comparisons",
    "cost",
    "per_class",
    "tuning",
    "tuned",
    "recipes",
    "sensitivity",
]
SHOWN = [
    # what tables, figures and the page are made from
    LAYOUT.experiment,
    LAYOUT.file("metrics.csv"),
    *COMPARED,
    *JUDGED,
    *CALL.collected("along.csv"),
    *CALL.collected("manifest.json"),
]


rule tables:
    input:
        SHOWN,
        choices=choices,
    output:
        csv=[
            report(
                LAYOUT.file(f"tables/{name}.csv"),
                caption="captions/verdicts.rst" if name == "verdicts" else "captions/tables.rst",
                category="Tables",
                labels={"table": name},
            )
            for name in TABLES
        ],
        others=expand(str(LAYOUT.file("tables/{table}.{ending}")), table=TABLES, ending=["md", "tex"]),
    log:
        LAYOUT.log("tables"),
    retries: 0
    localrule: True
    conda:
        ENVS / "analysis.yaml"
    params:
        folder=subpath(output[0], parent=True),
        choices=choices_so_far,
        code=code_hash("tables.py"),
    shell:
        'python "$MASKBENCH/scripts/tables.py" --results $(dirname {params.folder:q}) --output-dir {params.folder:q}'
        " > {log:q} 2>&1"


rule plots:
    input:
        SHOWN,
        choices=choices,
    output:
        svg=[
            report(
                LAYOUT.file(f"figures/{name}.svg"),
                caption=str(LAYOUT.file(f"figures/{name}.rst").absolute()),
                category="Figures",
                labels={"about": about, "figure": name},
            )
            for name, about in FIGURES.items()
        ],
        others=expand(str(LAYOUT.file("figures/{figure}.{ending}")), figure=FIGURES, ending=["png", "rst"]),
        captions=LAYOUT.file("figures/captions.json"),
    log:
        LAYOUT.log("figures"),
    retries: 0
    localrule: True
    conda:
        ENVS / "analysis.yaml"
    params:
        folder=subpath(output.captions, parent=True),
        choices=choices_so_far,
        code=code_hash("figures.py"),
    shell:
        'python "$MASKBENCH/scripts/figures.py" --results $(dirname {params.folder:q}) --output-dir {params.folder:q}'
        " > {log:q} 2>&1"


rule figures:
    # The target of `snakemake --cores 1 figures`: tables and figures, nothing else.
    input:
        rules.tables.output,
        rules.plots.output,
    localrule: True


rule page:
    input:
        shown=SHOWN,
        choices=choices,
        manifest=CALL.collected("manifest.json"),
        tables=rules.tables.output,
        figures=rules.plots.output,
        # what the reference study found stands beside the study's own verdicts
        reference=record_files(EXPERIMENT.study),
    output:
        report(LAYOUT.file("report.html"), caption="captions/page.rst", category="Page", labels={"page": "report"}),
    log:
        LAYOUT.log("page"),
    retries: 0
    localrule: True
    conda:
        ENVS / "analysis.yaml"
    params:
        command=given(shlex.join(CALL.command)),
        choices=choices_so_far,
        reference=lambda wildcards, input: f"--reference {shlex.quote(str(RECORD))}" if input.reference else "",
        code=code_hash("page.py"),
    shell:
        'python "$MASKBENCH/scripts/page.py" --results $(dirname {output:q}) --experiment $(dirname {output:q})/experiment.json'
        " --command {params.command:q} {params.reference} > {log:q} 2>&1"


if not CALL.recorded:
    PACKED = [LAYOUT.file(name) for name in GZIPPED if EXPERIMENT.tune or not name.startswith("tuning/")]

    rule pack_record:
        input:
            PACKED,
        output:
            [packed_form(path) for path in PACKED],
        log:
            LAYOUT.log("pack-record"),
        retries: 0
        localrule: True
        conda:
            ENVS / "analysis.yaml"
        params:
            code=code_hash("record.py"),
        shell:
            'python "$MASKBENCH/scripts/record.py" pack {input:q} > {log:q} 2>&1'


rule record:
    # The target of `snakemake --cores 1 record`: all of the above from the cells that are finished so far, and packed.
    input:
        rules.page.output,
        [] if CALL.recorded else rules.pack_record.output,
    localrule: True
