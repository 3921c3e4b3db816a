# train: one cell, one GPU slot. A run is <task>.<model>.<rest>, so that its inputs need no function: with 10,000 cells,
# every function call of a rule costs a second.


rule train:
    input:
        encoded=f"{RESULTS}/data/encoded/{{task}}.{{model}}.clean/manifest.json",
        model=f"{RESULTS}/data/models/{{model}}/source.json",
    output:
        record=f"{RESULTS}/training/{{task}}.{{model}}.{{rest}}/metrics.json",
    log:
        f"{RESULTS}/logs/train/{{task}}.{{model}}.{{rest}}.log",
    conda:
        ENVS / "training.yaml"
    threads: EXPERIMENT.training.threads
    resources:
        gpu=1,
        mem_mb=EXPERIMENT.resources.memory_mb,
        runtime=EXPERIMENT.resources.minutes,
    params:
        cell=lambda wildcards: CELLS[".".join(wildcards)].model_dump_json(),
        keep="--keep-model" if EXPERIMENT.keep_models else "",
        code=code_hash("train.py"),
    shell:
        'python "$MASKBENCH/scripts/train.py" --cell {params.cell:q} --encoded $(dirname {input.encoded:q})'
        " --model $(dirname {input.model:q}) --output $(dirname {output.record:q})"
        ' --code {params.code} {params.keep} > {log:q} 2>&1 && python "$MASKBENCH/scripts/progress.py" --record {output.record:q}'
