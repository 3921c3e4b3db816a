# fetch_start, pretrain: the models that a study pretrains, each by one job on a GPU slot; they are fine-tuned as fetched ones.

PRETRAINED = {name: model for name, model in MODELS.items() if model.pretrain is not None}
STARTS = {model.start.id: model.start for model in PRETRAINED.values() if model.start is not None}


rule fetch_start:
    output:
        manifest=LAYOUT.start_source("{start}"),
    log:
        LAYOUT.log("fetch/start-{start}"),
    wildcard_constraints:
        start="|".join(STARTS) or "(?!)",
    retries: 0
    localrule: True
    conda:
        ENVS / "data.yaml"
    params:
        model=lambda wildcards: STARTS[wildcards.start].as_argument(),
        files=lambda wildcards: model_content(STARTS[wildcards.start]),
        folder=subpath(output.manifest, parent=True),
        code=code_hash("fetch.py"),
    shell:
        'python "$MASKBENCH/scripts/fetch.py" model --spec {params.model:q} --destination {params.folder:q} > {log:q} 2>&1'


rule pretrain:
    input:
        pack=lambda wildcards: LAYOUT.packed(PRETRAINED[wildcards.model].pretrain.packing.id),
        start=lambda wildcards: [
            LAYOUT.start_source(start.id) for start in [PRETRAINED[wildcards.model].start] if start is not None
        ],
    output:
        # The other files of the folder are no outputs: Snakemake would delete a model that only has to be looked at.
        manifest=LAYOUT.model_source("{model}"),
    log:
        LAYOUT.log("pretrain/{model}"),
    wildcard_constraints:
        model="|".join(PRETRAINED) or "(?!)",
    conda:
        ENVS / "training.yaml"
    threads: lambda wildcards: PRETRAINED[wildcards.model].pretrain.threads
    resources:
        gpu=1,
        mem_mb=lambda wildcards, attempt: CALL.grown(EXPERIMENT.resources.memory_mb, attempt),
        runtime=lambda wildcards, attempt: CALL.grown(EXPERIMENT.resources.minutes, attempt),
    params:
        recipe=lambda wildcards: PRETRAINED[wildcards.model].pretrain.content().as_argument(),
        pack=subpath(input.pack, parent=True),
        start=lambda wildcards, input: f"--start {shlex.quote(os.path.dirname(input.start[0]))}" if input.start else "",
        work=lambda wildcards: LAYOUT.pretraining_work(wildcards.model),
        folder=subpath(output.manifest, parent=True),
        code=lambda wildcards: pretraining_code(PRETRAINED[wildcards.model].pretrain),
    shell:
        # As in `train`: the shell waits until the pretraining has its checkpoint; descriptor 3 is the terminal.
        "trap : TERM; "
        'python "$MASKBENCH/scripts/pretrain.py" --name {wildcards.model:q} --recipe {params.recipe:q} --pack {params.pack:q}'
        " {params.start} --work {params.work:q} --destination {params.folder:q} --code {params.code} --terminal 3"
        " 3>&1 > {log:q} 2>&1"
