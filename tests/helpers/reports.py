"""Made-up studies for the report: metrics with everything, and verdicts as the statistics write them."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from maskbench.analysis.compare import Settings, compare_files
from maskbench.analysis.findings import GATE_COLUMNS, PAIR_COLUMNS, SENSITIVITY_COLUMNS, VERDICT_COLUMNS
from maskbench.analysis.metrics import ALONG_COLUMNS, OLD_COLUMNS, with_kind
from maskbench.config.measures import measure
from maskbench.records.choices import Choice, Choices, Tried
from maskbench.report.study import Study

if TYPE_CHECKING:
    from pathlib import Path

HASH = "c1a1m5" * 4

STRATEGIES = {
    "none": {},
    "random": {"input": {"kind": "random", "rate": 0.15, "replacement": "mask"}},
    "static": {"input": {"kind": "static", "rate": 0.15, "replacement": "mask"}},
    "random-05": {"input": {"kind": "random", "rate": 0.05, "replacement": "mask"}},
    "random-30": {"input": {"kind": "random", "rate": 0.3, "replacement": "mask"}},
    "random-60": {"input": {"kind": "random", "rate": 0.6, "replacement": "mask"}},
    "span": {"input": {"kind": "span", "rate": 0.15, "replacement": "mask"}},
    "span-30": {"input": {"kind": "span", "rate": 0.3, "replacement": "mask"}},
    "freeze": {"parameter": {"kind": "freeze", "layers": 3}},
}
"""Strategies as experiment.json has them, as far as the report reads them."""

EFFECTS = {"random": 0.4, "static": -1.2, "random-05": 0.2, "random-30": -0.8, "random-60": -4.0, "freeze": -3.0}
"""Effect on the score in points."""

LABELS = {"rt-snippets": ["negative", "positive"], "conll2003": ["LOC", "MISC", "ORG", "PER"]}
LAYERS = ["embeddings", *(f"layer-{number}" for number in range(6))]


def _measured(task: str, strategy: str, settings: dict, regime: str, condition: str, size: str, rng) -> dict:
    """Return the measures of one run by (split, measure)."""
    effect = EFFECTS.get(strategy, 0.3 * (zlib.crc32(strategy.encode()) % 7 - 3))
    if strategy == "none":
        effect = 0.0
    learned = {"500": -6.0, "2000": 0.0, "full": 4.0}.get(size, 0.0)
    score = ({"conll2003": 78.0}.get(task, 80.0) + learned + effect + rng.normal(0, 0.5)) / 100
    gap = 0.12 + effect / 60 + rng.normal(0, 0.01)
    rate = (settings.get("input") or {}).get("rate")
    found = {
        ("test", "score"): score,
        ("test", "majority_score"): 0.0 if task == "conll2003" else 0.503,
        ("test", "entity_f1" if task == "conll2003" else "accuracy"): score,
        ("test", "loss_gap"): gap,
        ("test", "score_gap"): 40 * gap + rng.normal(0, 0.4),
        ("test", "ece"): 0.08 + rng.normal(0, 0.01),
        ("test", "disagreement"): 0.1 + rng.normal(0, 0.01),
        ("test", "distractor_drop"): 3 - effect / 2 + rng.normal(0, 0.4),
        ("test", "representation_drift"): 0.3 + effect / 30 + rng.normal(0, 0.01),
        ("run", "parameter_drift"): 0.05 + effect / 500 + rng.normal(0, 0.001),
        ("test", "probing_drop"): 2 + rng.normal(0, 0.4),
        ("run", "step_time"): (58.0 if strategy == "freeze" else 95.0) * rng.lognormal(0, 0.02),
        ("run", "train_time"): 60.0,
        ("run", "peak_memory"): 1234.0 + rng.normal(0, 5),
        ("run", "trained_parameters"): 5.3e6 if strategy == "freeze" else 22.7e6,
        ("run", "parameters"): 22.7e6,
        ("run", "mask_rate"): None if rate is None else rate + rng.normal(0, 0.002),
    }
    for kind in ("swap", "delete", "drop", "mask"):
        stem = "masking_drop" if kind == "mask" else "perturbation_drop"
        strong = {"swap": 0.9, "delete": 0.7, "drop": 0.5, "mask": 0.6 if rate is None else 0.3}[kind]
        for level in (5, 10, 20):
            found["test", f"{stem}:{kind}-{level}"] = strong * level - effect / 4 + rng.normal(0, 0.4)
    labels = LABELS.get(task, ["no", "yes"])
    for index, label in enumerate(labels):
        found["test", f"f1:{label}"] = score - 0.03 * index + rng.normal(0, 0.004)
    found |= _confused(labels, task == "conll2003", score, rng)
    if regime.startswith("after-"):
        lost = 12.0 + 2 * effect + rng.normal(0, 0.6)
        found |= {("test", "forgetting"): lost, ("test", "matched_forgetting"): lost - 2 + rng.normal(0, 0.3)}
    if regime.startswith("with-"):
        found |= {
            ("test", "negative_transfer"): 1.0 - effect / 3 + rng.normal(0, 0.3),
            ("run", "gradient_cosine"): 0.1 + effect / 60 + rng.normal(0, 0.02),
        }
    if condition.startswith("cue"):
        found["test", "cue_reliance"] = 25 - 2 * effect + rng.normal(0, 1)
    if condition.startswith("noise"):
        found["train", "noise_memorisation"] = 0.3 - effect / 40 + rng.normal(0, 0.02)
    return found


def _confused(labels: list[str], tags: bool, score: float, rng) -> dict:
    """Return the non-zero counts of a confusion matrix; tagging has words outside of entities as well."""
    names = [*labels, "O"] if tags else labels
    found = {}
    for row, true in enumerate(names):
        total = 4000 if true == "O" else 300 + 40 * row
        right = 0.99 if true == "O" else score
        wrong = rng.multinomial(round(total * (1 - right)), np.full(len(names) - 1, 1 / (len(names) - 1)))
        others = [name for name in names if name != true]
        counts = {true: total - wrong.sum(), **dict(zip(others, wrong, strict=True))}
        found |= {("test", f"confusion:{true}>{given}"): float(count) for given, count in counts.items() if count}
    return found


def settings_of(tasks: list[str], sizes: list[str], full: bool) -> list[tuple[str, str, str, str]]:
    """Return task, regime, condition and train size of every block."""
    blocks = [(task, "single", "clean", size) for task in tasks for size in sizes]
    if full:
        blocks += [(task, "single", name, sizes[-1]) for task in tasks for name in ("cue-95", "noise-30")]
        pairs = [(one, other) for one in tasks[:2] for other in tasks[:2] if one != other]
        blocks += [(one, f"{word}-{other}", "clean", sizes[-1]) for one, other in pairs for word in ("after", "with")]
    return blocks


def write_metrics(
    folder: Path,
    tasks: list[str],
    strategies: dict[str, dict],
    seeds: int,
    *,
    sizes: list[str] | None = None,
    full: bool = True,
    failed: dict[tuple[str, str, int], str] | None = None,
) -> None:
    """Write metrics.csv and along.csv of a study with every regime and condition (or of tasks alone)."""
    rows, along = [], []
    for task, regime, condition, size in settings_of(tasks, sizes or ["2000"], full):
        for strategy, settings in strategies.items():
            for seed in range(1, seeds + 1):
                run = (
                    f"{task}.minilm-l6.{strategy}.{regime}.{condition}.{size if size == 'full' else 'n' + size}.s{seed}"
                )
                status = (failed or {}).get((task, strategy, seed), "completed")
                cell = (run, task, "minilm-l6", strategy, regime, condition, size, seed, status)
                if status != "completed":
                    rows.append((*cell, "run", "wall_time", 3.0, "s"))
                    continue
                rng = np.random.default_rng([zlib.crc32(run.encode()), 7])
                found = _measured(task, strategy, settings, regime, condition, size, rng)
                rows += [(*cell, split, name, value, measure(name).unit) for (split, name), value in found.items()]
                along += _along(run, regime, rng)
    with_kind(pd.DataFrame(rows, columns=list(OLD_COLUMNS))).to_csv(folder / "metrics.csv", index=False)
    pd.DataFrame(along, columns=list(ALONG_COLUMNS)).to_csv(folder / "along.csv", index=False)


def _along(run: str, regime: str, rng) -> list[tuple]:
    """Return what is measured along training."""
    steps = range(20, 121, 20)
    rows = [(run, step, "validation_score", 0.8 - 8 / step) for step in steps]
    if regime.startswith("with-"):
        for step in steps:
            level = 0.25 - step / 400
            for part, shift in (("", 0.0), *((f":{layer}", 0.05 * (place - 3)) for place, layer in enumerate(LAYERS))):
                rows.append((run, step, f"gradient_cosine{part}", level + shift + rng.normal(0, 0.04)))
    return rows


WANTED = (
    ("C01", "random input masking reduces interference and overfitting", "random", ("loss_gap", "cue_reliance")),
    ("C02", "random input masking raises the task score", "random", ("score",)),
    ("C05", "too high a mask rate hurts", "random-60", ("score",)),
    ("C16", "freezing lower layers reduces interference and cost", "freeze", ("forgetting", "step_time", "score")),
    (
        "C23",
        "masking makes models robust to small perturbations",
        "random",
        ("distractor_drop", "perturbation_drop:swap-10"),
    ),
    ("C26", "masking changes interpretability", "attribution-twin", ("score",)),
)
"""Claims: id, sentence, the strategy that is set against none, measures."""

DELTAS = {"points": 0.5, "nats": 0.02, "per cent": 5.0, "fraction": 0.02}


def _values(metrics: pd.DataFrame, strategy: str, name: str) -> pd.DataFrame:
    """Return the runs of a strategy that have a measure, on the blocks that it is about."""
    rows = metrics[(metrics["strategy"] == strategy) & (metrics["measure"] == name) & metrics["value"].notna()]
    if name in ("forgetting", "cue_reliance"):
        return rows
    return rows[(rows["regime"] == "single") & (rows["condition"] == "clean")]


def _verdict(estimate: float, low: float, high: float, delta: float, seeds: int) -> str:
    if seeds >= 5 and low > 0 and estimate >= delta:
        return "supported"
    if seeds >= 5 and high < 0:
        return "contradicted"
    return "equivalent" if seeds >= 5 and -delta < low and high < delta else "inconclusive"


def _row(claim: str, contrast: str, name: str, scope: str, values: np.ndarray, unit: str) -> dict:
    """Return one row of verdicts.csv: a t interval and a made-up p value."""
    n, delta = len(values), DELTAS[unit]
    half = 2.8 * values.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    estimate = values.mean()
    verdict = _verdict(estimate, estimate - half, estimate + half, delta, n) if n > 1 else "inconclusive"
    note = f"It takes about {4 * n + 9} seeds to find {delta:g}." if verdict == "inconclusive" else ""
    return {
        **dict(zip(("claim", "contrast", "measure", "scope"), (claim, contrast, name, scope), strict=True)),
        **{"estimate": estimate, "ci_low": estimate - half, "ci_high": estimate + half, "delta": delta, "unit": unit},
        **{"p": 0.01, "p_holm": 0.0234, "n_seeds": n, "mde": None if n < 2 else 1.4 * half, "verdict": verdict},
        **{"note": note, "claims_hash": HASH},
    }


def write_evidence(folder: Path, *, changed: str | None = None, wanted=WANTED) -> None:
    """Write verdicts.csv and what belongs to it for the runs of metrics.csv; the numbers are simple ones."""
    metrics = pd.read_csv(folder / "metrics.csv", keep_default_na=False, low_memory=False)
    metrics["value"] = pd.to_numeric(metrics["value"].replace("", None))
    verdicts, pairs = [], []
    keys = ["task", "model", "regime", "condition", "train_size", "seed"]
    for claim, _, strategy, names in wanted:
        contrast = f"{strategy} vs none"
        for name in names:
            sides = [_values(metrics, arm, name).set_index(keys)[["run", "value"]] for arm in (strategy, "none")]
            both = sides[0].join(sides[1].add_suffix("_none"), how="inner").reset_index()
            if both.empty:
                row = dict.fromkeys(VERDICT_COLUMNS)
                row |= {"claim": claim, "contrast": contrast, "measure": name, "scope": "pooled", "unit": "points"}
                note = f"{strategy} has no runs with {name} beside those of none"
                verdicts.append(row | {"verdict": "not tested", "note": note, "claims_hash": HASH})
                continue
            entry = measure(name)
            unit = "points" if entry.unit == "fraction" else "per cent" if entry.unit == "ms" else entry.unit
            scale = 100.0 if entry.unit in ("fraction", "ms") else 1.0
            sign = 1.0 if entry.better == "higher" else -1.0
            base = both["value_none"] if unit == "per cent" else 1.0
            both["difference"] = sign * scale * (both["value"] - both["value_none"]) / base
            by_task = both.groupby(["task", "seed"], sort=False)["difference"].mean()
            for scope, values in (
                ("pooled", by_task.groupby("seed").mean()),
                *by_task.groupby(level="task", sort=False),
            ):
                verdicts.append(_row(claim, contrast, name, str(scope), values.to_numpy(), unit))
            both = both.assign(claim=claim, contrast=contrast, measure=name, unit=unit)
            pairs.append(both.rename(columns={"run": "of", "run_none": "against"})[list(PAIR_COLUMNS)])
    _write(folder / "verdicts.csv", verdicts, VERDICT_COLUMNS)
    (folder / "analysis").mkdir(exist_ok=True)
    none = pd.DataFrame(columns=list(PAIR_COLUMNS))
    (pd.concat(pairs) if pairs else none).to_csv(folder / "analysis" / "pairs.csv", index=False)
    _write(folder / "analysis" / "gates.csv", GATES, GATE_COLUMNS)
    _write(folder / "analysis" / "sensitivity.csv", _sensitivity(verdicts), SENSITIVITY_COLUMNS)
    claims = [
        {"id": claim, "claim": words, "expectation": "mixed", "source": "Longpre (2020)"} for claim, words, *_ in wanted
    ]
    content = {"file": "claims.yaml", "hash": HASH, "changed": changed, "claims": claims, "gates": []}
    (folder / "analysis" / "claims.json").write_text(json.dumps(content), encoding="utf-8")


GATES = [
    {
        **{
            "gate": "identical",
            "sentence": "A mask at rate 0 gives the same bits as none.",
            "contrast": "rate-zero vs none",
        },
        **{"measure": "score", "scope": "pooled", "estimate": 0.0, "n_seeds": 5, "outcome": "passed", "note": ""},
    },
    {
        **{"gate": "positive", "sentence": "A rate of 90 % must hurt the score.", "contrast": "", "measure": ""},
        **{"scope": "", "outcome": "not run", "note": "The study has no strategy at rate 0.9."},
    },
]


def _sensitivity(verdicts: list[dict]) -> list[dict]:
    """Return a row of every method for each pooled row that was tested."""
    rows = []
    for row in verdicts:
        if row["scope"] == "pooled" and row["estimate"] is not None:
            kept = {key: row[key] for key in ("claim", "contrast", "measure", "scope", "estimate", "ci_low", "ci_high")}
            rows += [{**kept, "method": name, "agrees": "yes", "note": ""} for name in ("mixed model", "IQM", "ROPE")]
    return rows


def _write(path: Path, rows: list[dict], columns: tuple[str, ...]) -> None:
    frame = pd.DataFrame(rows, columns=list(columns))
    if "n_seeds" in frame:
        frame["n_seeds"] = pd.array(frame["n_seeds"], dtype="Int64")
    frame.to_csv(path, index=False)


def write_design(folder: Path, strategies: dict[str, dict]) -> None:
    """Write experiment.json as far as figures and tables read it."""
    listed = [{"name": name, **settings} for name, settings in strategies.items()]
    design = {
        "baseline": "none",
        "strategies": listed,
        "training": {"epochs": 3.0, "batch_size": 32, "learning_rate": 0.001},
        "analysis": {"train_size": None},
        "train_sizes": [2000],
    }
    (folder / "experiment.json").write_text(json.dumps(design), encoding="utf-8")


def write_choices(folder: Path, tasks: list[str], strategies: dict[str, dict]) -> None:
    """Write the choices of a tuning of three rates with two seeds; the last strategy failed at the highest rate."""
    rates, last = [1e-4, 1e-3, 1e-2], list(strategies)[-1]
    choices = []
    for task, name in ((task, name) for task in tasks for name in strategies):
        tried = [Tried(learning_rate=1e-4, scores=[0.6, 0.62], failed=0, mean=0.61)]
        tried.append(Tried(learning_rate=1e-3, scores=[0.8, 0.82], failed=0, mean=0.81))
        failed = {"scores": [], "failed": 2, "mean": None} if name == last else {}
        tried.append(Tried(learning_rate=1e-2, **{"scores": [0.7, 0.7], "failed": 0, "mean": 0.7} | failed))
        about = {"task": task, "model": "minilm-l6", "strategy": name}
        choices.append(Choice(**about, learning_rate=1e-3, edge=None, ties=[], tried=tried))
    Choices(
        schema=1,
        rule="The best.",
        learning_rates=rates,
        seeds=[11, 12],
        train_size=40,
        validation_size=20,
        choices=choices,
    ).write(folder / "tuning" / "choices.json")


def write_all(folder: Path, tasks: list[str], strategies: dict[str, dict], seeds: int, **options) -> Study:
    """Write a study of which metrics and verdicts are recorded, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_metrics(folder, tasks, strategies, seeds, **options)
    write_design(folder, strategies)
    if options.get("full", True):
        write_choices(folder, tasks, strategies)
    comparisons = folder / "analysis" / "comparisons.csv"
    compare_files(folder / "metrics.csv", None, comparisons, Settings("none", 200, 0.95, 0))
    write_evidence(folder)
    return Study.read(folder)
