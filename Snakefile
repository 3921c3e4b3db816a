# maskbench: does masking reduce interference when a pretrained language model is fine-tuned?
#
#   config.yaml ─► experiment ─► cells ─► jobs              rules/common.smk
#   fetch ─► prepare ─► encode       real text, by hash     rules/data.smk
#   fetch ─► corpus ─► pack          texts for pretraining  rules/corpora.smk
#   pretrain                         the study's own models, one GPU slot each  rules/pretraining.smk
#   tune ─► choose                   learning rates of each strategy's own, if they are tuned  rules/tuning.smk
#   train                            jobs of several cells on one GPU slot each: training and probes  rules/training.smk
#   collect ─► compare, verdicts     no torch from here on  rules/analysis.smk
#   tables, figures, page            regenerate in seconds  rules/report.smk

from snakemake.utils import min_version

min_version("9.20")


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/corpora.smk"
include: "rules/pretraining.smk"
include: "rules/tuning.smk"
include: "rules/training.smk"
include: "rules/analysis.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        LAYOUT.file("report.html"),
