"""Synthetic run folders, written through the record's own model; values are made up and stay in tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from maskbench.config.conditions import Condition
from maskbench.config.measures import MEASURES
from maskbench.experiment.experiment import Experiment
from maskbench.records import probe as probes
from maskbench.records.run import Data, Environment, Progress, Record, Timings, number

if TYPE_CHECKING:
    from pathlib import Path

ENVIRONMENT = Environment(
    python="3.11.9",
    platform="Linux-x86_64",
    device="cpu",
    device_name="Intel Xeon",
    gpu_uuid=None,
    precision="bf16",
    attention="eager",
    threads=1,
    packages={"torch": "2.13.0", "transformers": "5.23.0"},
)
EFFECTS = {"none": 0.0, "random": 0.004, "static": -0.012, "freeze": -0.035}
SIZES = {"none": 22.7e6, "random": 22.7e6, "static": 22.7e6, "freeze": 5.3e6}
STEPS = (32, 64, 96, 126)
KIND = {"conll2003": "token-classification"}
TIMES = {"none": 95.0, "random": 97.0, "static": 96.0, "freeze": 58.0}


def predictions(task: str, level: float, rng: np.random.Generator, examples: int) -> pd.DataFrame:
    """Return outcomes of a test split, right or wrong or the counts of entity F1; what is hard is hard for all runs."""
    fixed = np.random.default_rng(len(task))
    entities = fixed.poisson(1.6, examples) if task == "conll2003" else np.ones(examples, dtype=int)
    hardness = np.where(rng.random(examples) < 0.15, rng.random(examples), fixed.random(examples))
    found = np.where(hardness < level, entities, 0)
    table = pd.DataFrame({"example": np.arange(examples), "hit": found.astype(float), "weight": np.ones(examples)})
    if task != "conll2003":
        return table.assign(prediction=np.where(found > 0, 1, 0))
    predicted = found + rng.poisson(0.2, examples)
    weight = (entities + predicted).astype(float)
    return table.assign(hit=2.0 * found, weight=weight, prediction=list(np.stack([entities, predicted], axis=1)))


def metrics(task: str, strategy: str, score: float, rng: np.random.Generator) -> list:
    """Return the metrics of a completed run."""
    f1 = {"conll2003": ["LOC", "MISC", "ORG", "PER"]}.get(task, ["negative", "positive"])
    gap = 0.12 + EFFECTS.get(strategy, 0.0) + rng.normal(0, 0.01)
    rows = [
        number("test", "score", score),
        number("test", "majority_score", 0.0 if task == "conll2003" else 0.503),
        number("test", "entity_f1" if task == "conll2003" else "accuracy", score),
        number("test", "loss", 0.45 + gap / 2),
        number("test", "loss_gap", gap),
        number("test", "score_gap", 40 * gap + rng.normal(0, 0.4)),
        number("run", "step_time", TIMES.get(strategy, 95.0) * rng.lognormal(0, 0.02)),
        number("run", "train_time", 60.0),
        number("run", "peak_memory", 1234.0 + rng.normal(0, 5)),
        number("run", "trained_parameters", SIZES.get(strategy, 22.7e6)),
        number("run", "parameters", 22.7e6),
        number("run", "steps", 126),
    ]
    for index, label in enumerate(f1):
        rows += [
            number("test", f"f1:{label}", score - 0.03 * index + rng.normal(0, 0.004)),
            number("test", f"support:{label}", 400 + 100 * index),
        ]
    return rows


def probed(strategy: str, regime: str, condition: str, rng: np.random.Generator) -> list:
    """Return what was measured on a trained model: what its regime and condition allow."""
    help_ = 40 * EFFECTS.get(strategy, 0.0)

    def drop(size: float) -> float:
        return size + help_ + rng.normal(0, 0.4)

    rows = [
        number("test", "ece", 0.08 + rng.normal(0, 0.01)),
        number("test", "distractor_drop", drop(3.0)),
        *(number("test", f"perturbation_drop:{name}-10", drop(6.0)) for name in ("swap", "delete", "drop")),
        number("test", "masking_drop:mask-10", drop(4.0)),
        number("test", "representation_drift", 0.3 + help_ / 10 + rng.normal(0, 0.01)),
        number("run", "parameter_drift", 0.05 + help_ / 100 + rng.normal(0, 0.001)),
        number("test", "mlm_forgetting", None),
        number("test", "probing_drop:length", drop(2.0)),
        number("run", "probe_time", 12.0),
    ]
    if regime.startswith("after-"):
        forgotten = drop(12.0)
        rows += [number("test", "forgetting", forgotten), number("test", "backward_transfer", -forgotten)]
    if condition.startswith("cue"):
        rows += [number("test", "cue_reliance", drop(25.0)), number("test", "worst_group_score", 0.5)]
    if condition.startswith("noise"):
        rows.append(number("train", "noise_memorisation", 0.3 + help_ / 20 + rng.normal(0, 0.02)))
    return rows


def write_probes(folder: Path, run: str, metrics: list, trajectory: list, examples: int, done: bool) -> None:
    """Write the probe record of a run and, if it completed, its outcomes on test-time sets."""
    record = probes.ProbeRecord(
        schema=1,
        run=run,
        status="probed" if done else "not probed",
        error=None if done else "the run did not complete",
        metrics=metrics if done else [],
        trajectory=trajectory if done else [],
        notes=["mlm_forgetting: the model has no masked-LM head"] if done else [],
        code="fedcba9876543210",
        data={"shifted": "d" * 64},
        environment=ENVIRONMENT,
        timings=probes.ProbeTimings(started="2026-11-22T03:00:00+00:00", wall_s=12.5),
    )
    record.write(folder / "probes" / run / "metrics.json")
    if done:
        sets = {
            name: pd.DataFrame({"example": np.arange(examples), "hit": 0.0, "weight": 1.0})
            for name in ("distractor", "swap-10")
        }
        frame = pd.concat([table.assign(set=name) for name, table in sets.items()], ignore_index=True)
        frame.to_parquet(folder / "probes" / run / "outcomes.parquet", index=False)


def along(score: float, strategy: str, regime: str) -> tuple[list, list]:
    """Return a run's history and the trajectory that was measured on its checkpoints."""
    learned = [score * (1 - 0.3 / (index + 1)) for index in range(len(STEPS))]
    history = [
        Progress(step=step, epoch=step / 63, loss=0.5, score=value) for step, value in zip(STEPS, learned, strict=True)
    ]
    kept = 1 + 10 * EFFECTS.get(strategy, 0.0)
    homes = {"after-*"} if regime.startswith("after-") else set()
    homes |= {"single", "cue", "noise"}
    names = [entry.name for entry in MEASURES.values() if entry.along and entry.home in homes]
    trajectory = [
        probes.TrajectoryPoint(
            step=item.step, epoch=item.epoch, score=item.score, measures=dict.fromkeys(names, kept * item.epoch)
        )
        for item in history
    ]
    return history, trajectory


def write_run(
    folder: Path,
    task: str,
    strategy: str,
    seed: int,
    status: str = "completed",
    examples: int = 300,
    size: str = "2000",
    regime: str = "single",
    condition: str = "clean",
    probes: bool = False,
) -> str:
    """Write one run folder; the same seed sees the same luck under every strategy."""
    plain = (regime, condition) == ("single", "clean")
    setting = [] if plain else [sum(map(ord, regime + condition))]
    shared, own = np.random.default_rng(seed), np.random.default_rng([seed, sum(map(ord, task + strategy)), *setting])
    base = {"conll2003": 0.78}.get(task, 0.80) + shared.normal(0, 0.006)
    outcome = predictions(task, base + EFFECTS.get(strategy, 0.0), own, examples)
    score = float(outcome["hit"].sum() / outcome["weight"].sum())
    run = f"{task}.minilm-l6.{strategy}.{regime}.{condition}.{size if size == 'full' else 'n' + size}.s{seed}"
    done = status == "completed"
    history, trajectory = along(score, strategy, regime)
    record = Record(
        schema=1,
        run=run,
        task=task,
        model="minilm-l6",
        strategy=strategy,
        regime=regime,
        condition=condition,
        train_size=size,
        seed=seed,
        status=status,
        error=None if done else "loss is not finite at step 40",
        metrics=metrics(task, strategy, score, own) if done else [],
        history=history if done else [],
        parameters={"strategy": strategy, "kind": KIND.get(task, "sequence-classification")},
        parameters_hash=f"{sum(map(ord, run)):016x}",
        code="0123456789abcdef",
        data=Data(prepared="a" * 64, encoded="b" * 64, model="c" * 64),
        environment=ENVIRONMENT,
        timings=Timings(started=f"2026-11-22T02:{seed:02d}:00+00:00", wall_s=70.5, train_s=60.25 if done else None),
        command=f"python scripts/train.py --run {run}",
    )
    place = folder / "training" / run
    record.write(place / "metrics.json")
    if done:
        outcome.to_parquet(place / "predictions.parquet", index=False)
    if probes:
        rng = np.random.default_rng([seed, sum(map(ord, run))])
        write_probes(folder, run, probed(strategy, regime, condition, rng), trajectory, 20, done)
    return run


def write_study(
    folder: Path, tasks: dict[str, int] | list[str], strategies: list[str], seeds: int, **options
) -> list[str]:
    """Write a study and return its run ids; `failed` maps (task, strategy, seed) to a status."""
    failed = options.pop("failed", {})
    return [
        write_run(folder, task, strategy, seed, failed.get((task, strategy, seed), "completed"), **options)
        for task in tasks
        for strategy in strategies
        for seed in range(1, seeds + 1)
    ]


CONDITIONS = ("clean", "cue:0.95", "label-noise:0.3")


def write_mixed(folder: Path, tasks: list[str], strategies: list[str], seeds: int, **options) -> list[str]:
    """Write a study of two tasks in every regime and condition, with probes, and return its run ids."""
    others = {one: other for one in tasks for other in tasks if one != other}
    settings = [("single", Condition.model_validate(text).name) for text in CONDITIONS]
    return [
        write_run(folder, task, strategy, seed, regime=regime, condition=condition, probes=True, **options)
        for task in tasks
        for strategy in strategies
        for regime, condition in [*settings, (f"after-{others[task]}", "clean"), (f"with-{others[task]}", "clean")]
        for seed in range(1, seeds + 1)
    ]


def experiment(tasks: list[str], strategies: list[str], seeds: int = 1, **changes) -> Experiment:
    """Return the experiment that a synthetic study is the result of."""
    masks = {
        "random": {"input": {"kind": "random", "rate": 0.15}},
        "static": {"input": {"kind": "static", "rate": 0.15}},
        "freeze": {"parameter": {"kind": "freeze", "layers": 3, "embeddings": True}},
    }
    content = {
        "study": "synthetic",
        "tasks": [{"preset": "conll2003" if task == "conll2003" else "rt-snippets", "name": task} for task in tasks],
        "models": ["minilm-l6"],
        "strategies": [{"name": name, **masks.get(name, {})} for name in strategies],
        "baseline": strategies[0],
        "train_sizes": [2000],
        "seeds": list(range(1, seeds + 1)),
        "probes": {"measure": []},
    }
    return Experiment.model_validate(content | changes)


def write_experiment(path: Path, content: Experiment) -> Path:
    """Write experiment.json as its rule does."""
    path.write_text(content.model_dump_json(exclude={"cache"}), encoding="utf-8")
    return path
