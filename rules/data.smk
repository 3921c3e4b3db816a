# fetch ─► prepare ─► condition, shift, out_of_domain ─► encode: text and models by pinned hash, each once. On a cluster
# these rules run where Snakemake does, which has a network; if one of them fails, the input is wrong, and a second try
# would fail, too.

RESERVE = reserve(EXPERIMENT)
LEXICONS = lexicons(EXPERIMENT)
PLANTED = {condition.name: condition for condition in EXPERIMENT.conditions if condition != CLEAN}


rule fetch_task:
    output:
        manifest=LAYOUT.task_source("{task}"),
    log:
        LAYOUT.log("fetch/task-{task}"),
    retries: 0
    localrule: True
    conda:
        ENVS / "data.yaml"
    params:
        task=lambda wildcards: TASKS[wildcards.task].content(elsewhere=True).as_argument(),
        files=lambda wildcards: task_content(TASKS[wildcards.task]),
        folder=subpath(output.manifest, parent=True),
        code=code_hash("fetch.py"),
    shell:
        'python "$MASKBENCH/scripts/fetch.py" task --spec {params.task:q} --destination {params.folder:q} > {log:q} 2>&1'


rule fetch_model:
    output:
        manifest=LAYOUT.model_source("{model}"),
    log:
        LAYOUT.log("fetch/model-{model}"),
    wildcard_constraints:
        model="|".join(name for name, model in MODELS.items() if model.source is not None) or "(?!)",
    retries: 0
    localrule: True
    conda:
        ENVS / "data.yaml"
    params:
        model=lambda wildcards: MODELS[wildcards.model].fetched.as_argument(),
        files=lambda wildcards: model_content(MODELS[wildcards.model].fetched),
        folder=subpath(output.manifest, parent=True),
        code=code_hash("fetch.py"),
    shell:
        'python "$MASKBENCH/scripts/fetch.py" model --spec {params.model:q} --destination {params.folder:q} > {log:q} 2>&1'


rule fetch_lexicon:
    output:
        manifest=LAYOUT.lexicon("{lexicon}"),
    log:
        LAYOUT.log("fetch/lexicon-{lexicon}"),
    wildcard_constraints:
        lexicon="|".join(LEXICONS) or "(?!)",
    retries: 0
    localrule: True
    conda:
        ENVS / "data.yaml"
    params:
        lexicon=lambda wildcards: LEXICONS[wildcards.lexicon].content().as_argument(),
        files=lambda wildcards: lexicon_content(LEXICONS[wildcards.lexicon]),
        folder=subpath(output.manifest, parent=True),
        code=code_hash("fetch.py"),
    shell:
        'python "$MASKBENCH/scripts/fetch.py" lexicon --spec {params.lexicon:q} --destination {params.folder:q} > {log:q} 2>&1'


rule prepare:
    input:
        source=rules.fetch_task.output.manifest,
    output:
        manifest=LAYOUT.prepared("{task}", CLEAN.name),
        # what is set apart for tuning
        apart=[LAYOUT.tuning.prepared("{task}", CLEAN.name)] if RESERVE else [],
    log:
        LAYOUT.log("prepare/{task}"),
    retries: 0
    localrule: True
    conda:
        ENVS / "data.yaml"
    params:
        task=lambda wildcards: TASKS[wildcards.task].content().as_argument(),
        source=subpath(input.source, parent=True),
        folder=subpath(output.manifest, parent=True),
        apart=lambda wildcards, output: (
            shlex.join(["--reserve", RESERVE.as_argument(), "--reserved", os.path.dirname(output.apart[0])])
            if RESERVE
            else ""
        ),
        code=code_hash("prepare.py"),
    shell:
        'python "$MASKBENCH/scripts/prepare.py" --spec {params.task:q} --source {params.source:q}'
        " --destination {params.folder:q} {params.apart} > {log:q} 2>&1"


rule condition:
    input:
        clean=rules.prepare.output.manifest,
    output:
        manifest=LAYOUT.prepared("{task}", "{condition}"),
    log:
        LAYOUT.log("condition/{task}.{condition}"),
    wildcard_constraints:
        condition="|".join(PLANTED) or "(?!)",
    retries: 0
    localrule: True
    conda:
        ENVS / "data.yaml"
    params:
        condition=lambda wildcards: str(PLANTED[wildcards.condition]),
        words=lambda wildcards: json.dumps(EXPERIMENT.cue.words if PLANTED[wildcards.condition].kind == "cue" else []),
        clean=subpath(input.clean, parent=True),
        folder=subpath(output.manifest, parent=True),
        code=code_hash("condition.py"),
    shell:
        'python "$MASKBENCH/scripts/condition.py" --condition {params.condition:q} --words {params.words:q}'
        " --clean {params.clean:q} --destination {params.folder:q} > {log:q} 2>&1"


rule shift:
    input:
        clean=rules.prepare.output.manifest,
    output:
        manifest=LAYOUT.prepared("{task}", SHIFTED),
    log:
        LAYOUT.log("shift/{task}"),
    retries: 0
    localrule: True
    conda:
        ENVS / "data.yaml"
    params:
        sets=SETS,
        clean=subpath(input.clean, parent=True),
        folder=subpath(output.manifest, parent=True),
        code=code_hash("shift.py"),
    shell:
        'python "$MASKBENCH/scripts/shift.py" --sets {params.sets:q}'
        " --clean {params.clean:q} --destination {params.folder:q} > {log:q} 2>&1"


rule out_of_domain:
    input:
        source=rules.fetch_task.output.manifest,
        clean=rules.prepare.output.manifest,
    output:
        manifest=LAYOUT.prepared("{task}", OUT_OF_DOMAIN),
    log:
        LAYOUT.log("out-of-domain/{task}"),
    wildcard_constraints:
        task="|".join(name for name, task in TASKS.items() if task.out_of_domain) or "(?!)",
    retries: 0
    localrule: True
    conda:
        ENVS / "data.yaml"
    params:
        task=lambda wildcards: TASKS[wildcards.task].content(elsewhere=True).as_argument(),
        source=subpath(input.source, parent=True),
        clean=subpath(input.clean, parent=True),
        folder=subpath(output.manifest, parent=True),
        code=code_hash("out_of_domain.py"),
    shell:
        'python "$MASKBENCH/scripts/out_of_domain.py" --spec {params.task:q} --source {params.source:q}'
        " --clean {params.clean:q} --destination {params.folder:q} > {log:q} 2>&1"


rule encode:
    input:
        prepared=LAYOUT.prepared("{task}", "{variant}"),
        model=LAYOUT.model_source("{model}"),
    output:
        manifest=LAYOUT.encoded("{task}", "{model}", "{variant}"),
    log:
        LAYOUT.log("encode/{task}.{model}.{variant}"),
    retries: 0
    localrule: True
    conda:
        ENVS / "data.yaml"
    params:
        task=lambda wildcards: TASKS[wildcards.task].content(max_length=True).as_argument(),
        prepared=subpath(input.prepared, parent=True),
        model=subpath(input.model, parent=True),
        folder=subpath(output.manifest, parent=True),
        code=code_hash("encode.py"),
    shell:
        'python "$MASKBENCH/scripts/encode.py" --spec {params.task:q} --prepared {params.prepared:q} --model {params.model:q}'
        " --destination {params.folder:q} > {log:q} 2>&1"
