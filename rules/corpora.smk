# fetch_corpus ─► corpus ─► pack: the texts that models are pretrained on, by pinned hash, each read and packed once.

CORPORA = corpora(EXPERIMENT)
PACKS = packs(EXPERIMENT)
OF_TASKS = {name: tasks_of(corpus, EXPERIMENT) for name, corpus in CORPORA.items() if tasks_of(corpus, EXPERIMENT)}


wildcard_constraints:
    corpus="|".join(CORPORA) or "(?!)",
    pack="|".join(PACKS) or "(?!)",


rule fetch_corpus:
    output:
        manifest=LAYOUT.corpus_source("{corpus}"),
    log:
        LAYOUT.log("fetch/corpus-{corpus}"),
    retries: 0
    localrule: True
    conda:
        ENVS / "data.yaml"
    params:
        corpus=lambda wildcards: CORPORA[wildcards.corpus].content().as_argument(),
        files=lambda wildcards: corpus_content(CORPORA[wildcards.corpus]),
        folder=subpath(output.manifest, parent=True),
        code=code_hash("fetch.py"),
    shell:
        'python "$MASKBENCH/scripts/fetch.py" corpus --spec {params.corpus:q} --destination {params.folder:q} > {log:q} 2>&1'


rule corpus:
    input:
        texts=lambda wildcards: (
            [LAYOUT.prepared(task, CLEAN.name) for task in OF_TASKS[wildcards.corpus]]
            if wildcards.corpus in OF_TASKS
            else [LAYOUT.corpus_source(wildcards.corpus)]
        ),
    output:
        manifest=LAYOUT.corpus("{corpus}"),
    log:
        LAYOUT.log("corpus/{corpus}"),
    retries: 0
    localrule: True
    conda:
        ENVS / "data.yaml"
    params:
        corpus=lambda wildcards: CORPORA[wildcards.corpus].content().as_argument(),
        given=lambda wildcards: "--prepared" if wildcards.corpus in OF_TASKS else "--source",
        texts=lambda wildcards, input: [os.path.dirname(path) for path in input.texts],
        folder=subpath(output.manifest, parent=True),
        code=code_hash("corpus.py"),
    shell:
        'python "$MASKBENCH/scripts/corpus.py" --spec {params.corpus:q} {params.given} {params.texts:q}'
        " --destination {params.folder:q} > {log:q} 2>&1"


rule pack:
    input:
        corpora=lambda wildcards: [LAYOUT.corpus(corpus.name) for corpus in PACKS[wildcards.pack].corpora],
        tasks=[LAYOUT.prepared(task, CLEAN.name) for task in TASKS],
        model=lambda wildcards: [
            LAYOUT.start_source(start) for start in [PACKS[wildcards.pack].tokenizer] if start is not None
        ],
    output:
        manifest=LAYOUT.packed("{pack}"),
    log:
        LAYOUT.log("pack/{pack}"),
    retries: 0
    localrule: True
    conda:
        ENVS / "data.yaml"
    params:
        packing=lambda wildcards: PACKS[wildcards.pack].as_argument(),
        corpora=lambda wildcards, input: [os.path.dirname(path) for path in input.corpora],
        tasks=lambda wildcards, input: [os.path.dirname(path) for path in input.tasks],
        model=lambda wildcards, input: f"--model {shlex.quote(os.path.dirname(input.model[0]))}" if input.model else "",
        folder=subpath(output.manifest, parent=True),
        code=code_hash("pack.py"),
    shell:
        'python "$MASKBENCH/scripts/pack.py" --spec {params.packing:q} --corpora {params.corpora:q} --tasks {params.tasks:q}'
        " {params.model} --destination {params.folder:q} > {log:q} 2>&1"
