"""manifest.json of a study: what was run, with which versions, how long it took."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from maskbench.errors import InputError
from maskbench.experiment.layout import RunId
from maskbench.records.manifest import ModelEntry
from maskbench.records.pretraining import NAME, PretrainingRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from maskbench.records.probe import ProbeRecord
    from maskbench.records.run import Record


def entry_of(record: Record, probes: ProbeRecord | None) -> dict[str, Any]:
    """Return what the manifest keeps of one run."""
    machine = record.environment
    return {
        "run": record.run,
        "strategy": record.strategy,
        "status": record.status,
        "error": record.error,
        "notes": record.notes,
        "learning_rate": (record.parameters.get("training") or {}).get("learning_rate"),
        "parameters_hash": record.parameters_hash,
        "code": record.code,
        "data": record.data.model_dump(),
        "device": machine.device,
        "device_name": machine.device_name,
        "gpu_uuid": machine.gpu_uuid,
        "precision": machine.precision,
        "attention": machine.attention,
        "threads": machine.threads,
        "packages": {"python": machine.python, **machine.packages},
        "timings": record.timings.model_dump(),
        "command": record.command,
        "claims": record.claims,
        "probes": probes and probes.model_dump(include={"status", "error", "notes", "code", "timings"}),
    }


def _versions(seen: dict[str, Counter[str]], runs: int) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """Split versions into those that all runs share, and those that differ with the number of runs of each."""
    shared = {name: next(iter(found)) for name, found in seen.items() if len(found) == 1 and found.total() == runs}
    differ = {
        name: {**dict(sorted(found.items())), **({"(absent)": runs - found.total()} if found.total() < runs else {})}
        for name, found in seen.items()
        if name not in shared
    }
    return shared, differ


def models_of(results: Path, pretrained: Mapping[str, tuple[str, int | None]]) -> list[dict[str, Any]]:
    """Return what the manifest says of each model: its recipe and seed, and how it did on the held-out text.

    Parameters
    ----------
    results
        Folder of the study, whose ``data/models/<model>/pretraining.json`` tells it.
    pretrained
        By model, its recipe and pretraining seed; None: it was not pretrained here.

    Raises
    ------
    InputError
        If the record of a pretraining is missing, or has not what is wanted.
    """
    found = []
    for model, (recipe, seed) in pretrained.items():
        entry: dict[str, Any] = {"model": model, "recipe": recipe, "pretraining_seed": seed}
        if seed is not None:
            path = results / "data" / "models" / model / NAME
            record = PretrainingRecord.read(path)
            if not record.held_out:
                raise InputError(f"{path}: expected a row of held_out, found none; delete it and run again")
            last = record.held_out[-1]
            entry |= {"updates": record.updates, "unigram_loss": last.unigram_loss}
            entry |= {"held_out_loss": last.loss, "held_out_accuracy": last.accuracy}
        found.append(ModelEntry.model_validate(entry).model_dump())
    return found


def progress(planned: Sequence[str], runs: Sequence[str]) -> dict[str, Any]:
    """Return what the manifest says of cells that have not run: how many are planned, and what is not run yet.

    Parameters
    ----------
    planned
        All runs that the study is to have.
    runs
        Those that are there.

    Returns
    -------
    dict
        `planned`, a number; `not_run`: how many cells, by strategy and by block (``task.model.regime.condition.size``);
        empty where all have run.
    """
    there = set(runs)
    left = [RunId.parse(run) for run in planned if run not in there]
    blocks = Counter(f"{one.task}.{one.model}.{one.regime}.{one.condition}.{one.size}" for one in left)
    strategies = Counter(one.strategy for one in left)
    return {"planned": len(planned), "not_run": {"strategies": dict(strategies), "blocks": dict(blocks)}}


def manifest_of(
    study: str,
    entries: list[dict[str, Any]],
    versions: dict[str, Counter[str]],
    about: list[dict[str, Any]],
    models: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return the manifest of a study."""
    shared, differ = _versions(versions, len(entries))
    statuses = Counter(entry["status"] for entry in entries)
    probed = [entry["probes"] for entry in entries if entry["probes"]]
    return {
        "schema": 1,
        "study": study,
        "runs": len(entries),
        "statuses": {status: statuses[status] for status in sorted(statuses)},
        "packages": shared,
        "packages_that_differ": differ,
        "first_start": min(entry["timings"]["started"] for entry in entries),
        "last_start": max(entry["timings"]["started"] for entry in entries),
        "wall_s": round(sum(entry["timings"]["wall_s"] for entry in entries), 3),
        "train_s": round(sum(entry["timings"]["train_s"] or 0.0 for entry in entries), 3),
        "probed": sum(probes["status"] == "probed" for probes in probed),
        "probe_s": round(sum(probes["timings"]["wall_s"] for probes in probed), 3),
        "about_data": about,
        "models": models,
        "records": [
            entry | {"packages": {name: seen for name, seen in entry["packages"].items() if name in differ}}
            for entry in entries
        ],
    }
