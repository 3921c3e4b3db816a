"""Of the reference study git keeps the record, and nothing that is large or that is not ours to give."""

from __future__ import annotations

from tests.helpers.recorded import ignored

RUN = "rt-snippets.minilm-l6.none.single.clean.n1000.s1"
KEPT = (
    *(
        "plan.txt",
        "experiment.json",
        "claims.yaml",
        "metrics.parquet",
        "manifest.json.gz",
        "along.csv.gz",
        "verdicts.csv",
    ),
    *("analysis/claims.json", "analysis/comparisons.csv", "analysis/pairs.csv.gz", "analysis/gates.csv"),
    *("tuning/choices.json", "tuning/verdicts.csv", "tuning/analysis/gates.csv", "tuning/analysis/pairs.csv.gz"),
    *("tables/scores.csv", "figures/scores.svg", "figures/scores.png", "figures/captions.json", "report.html"),
)
NOT_KEPT = (
    *(
        "metrics.csv",
        "manifest.json",
        "along.csv",
        "outcomes.parquet",
        "analysis/pairs.csv",
        "tuning/analysis/pairs.csv",
    ),
    *("data/tasks/conll2003/clean/train.parquet", "data/models/minilm-l6/model.safetensors", "logs/collect.log"),
    *(f"training/{RUN}/metrics.json", f"training/{RUN}/predictions.parquet", f"probes/{RUN}/metrics.json"),
    *(f"tuning/training/{RUN}/metrics.json", f"tuning/probes/{RUN}/metrics.json", "tuning/data/x", "jobs/x.json"),
)


def test_git_tracks_the_record_of_the_reference_study_and_nothing_else_of_it():
    assert ignored([*KEPT, *NOT_KEPT]) == set(NOT_KEPT)
