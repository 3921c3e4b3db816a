"""The report: one page that needs no other file; it begins with the answers."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from maskbench.analysis.metrics import regime_kind
from maskbench.config.block import ConfigBlock
from maskbench.errors import InputError
from maskbench.experiment.code import core_of
from maskbench.io.files import read_json, write_text
from maskbench.records.manifest import read_manifest
from maskbench.records.run import TRACEBACK
from maskbench.report import claims, text
from maskbench.report.answers import answers, referred
from maskbench.report.figures import FIGURES
from maskbench.report.limits import limits, missing
from maskbench.report.reference import Reference
from maskbench.report.study import Study
from maskbench.report.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from maskbench.experiment.experiment import Experiment

SHOWN_RUNS = 2000
"""Most runs that the page lists one by one; metrics.csv has all."""

ON_PAGE = tuple(build for build in TABLES if build.__name__ != "verdicts")
"""Tables below the figures; that of the verdicts stands on top, as the claims."""


_ALWAYS = ("rate", "share", "layers")
"""Parameters that are shown even at their default."""


def _in_words(mask: ConfigBlock) -> str:
    """Write a mask's kind and what it sets, such as ``random (rate 0.15)``."""
    shown = []
    for key, field in type(mask).model_fields.items():
        value = getattr(mask, key)
        usual = field.get_default(call_default_factory=True)
        if key != "kind" and value is not None and (value != usual or key in _ALWAYS):
            words = _in_words(value) if isinstance(value, ConfigBlock) else json.dumps(value).strip('"')
            shown.append(f"{key.replace('_', ' ')} {words}")
    return str(getattr(mask, "kind", "")) + (f" ({', '.join(shown)})" if shown else "")


def strategy_in_words(strategy: Any) -> str:
    """Write a Strategy in one line, such as ``input: random (rate 0.15)``.

    Its type is not named here: a job's code is what its modules name, and the page does not depend on the masks'.
    """
    parts = [f"{family}: {_in_words(mask)}" for family, mask in strategy.masks()]
    own = strategy.training.model_dump(exclude_none=True)
    parts += [
        f"{key.replace('_', ' ')} {value:g}" if isinstance(value, float) else f"{key.replace('_', ' ')} {value}"
        for key, value in own.items()
    ]
    if strategy.twin_of is not None:
        parts.append(f"{strategy.twin} of {strategy.twin_of}")
    return "; ".join(parts) or "plain fine-tuning, no mask"


def _figures(folder: Path) -> list[dict[str, Any]]:
    """Read figures and captions; the SVG goes into the page as an image, in which no script can run.

    A figure without data has no `source`, and says why.
    """
    captions = read_json(folder / "captions.json")
    figures: list[dict[str, Any]] = []
    for name in FIGURES:
        try:
            words = {key: str(value) for key, value in captions[name].items()}
            entry: dict[str, Any] = {"name": name, "title": words["title"], "source": None}
            entry |= {"why": words["why"]} if "why" in words else {"caption": words["caption"]}
        except (AttributeError, KeyError, TypeError):
            raise InputError(
                f"{folder / 'captions.json'}: {name}: expected title and caption; draw the figures again"
            ) from None
        figures.append(entry if "why" in entry else entry | _image(folder / f"{name}.svg"))
    return figures


def _image(path: Path) -> dict[str, Any]:
    """Return an SVG file as the source of an image, and its width in pixels."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; draw the figures first") from None
    size = re.search(rb'<svg [^>]*\bwidth="([\d.]+)pt"', content)
    if size is None:
        raise InputError(f"{path}: expected an SVG with a size in points; draw the figures again")
    source = f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"
    return {"source": source, "width": round(float(size.group(1)) * 4 / 3)}


def _made(path: Path) -> dict[str, Any] | None:
    """Return what the manifest says of how the study was made, or None if there is no manifest."""
    if not path.exists():
        return None
    manifest = read_manifest(path)
    records = manifest["records"]
    return {
        "not_run": _not_run(manifest),
        "packages": manifest["packages"],
        "differ": manifest["packages_that_differ"],
        "first_start": manifest["first_start"],
        "last_start": manifest["last_start"],
        "wall": text.duration(manifest["wall_s"]),
        "train": text.duration(manifest["train_s"]),
        "probes": text.duration(manifest["probe_s"]) if manifest["probed"] else None,
        "codes": sorted({core_of(record["code"]) for record in records}),
        "mixed": len({core_of(record["code"]) for record in records}) > 1 or _remade(records),
        "machines": _machines(records),
        "data": _data(records),
        "about_data": [_about(task) for task in manifest["about_data"]],
        "notes": _notes(records),
        "failures": [
            record | {"traceback": _traceback(path.parent, record["run"])}
            for record in records
            if record["status"] != "completed"
        ][:SHOWN_RUNS],
        "walls": {record["run"]: text.duration(record["timings"]["wall_s"]) for record in records},
        "hashes": {record["run"]: record["parameters_hash"][:16] for record in records},
    }


def _not_run(manifest: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the page says of planned cells that have not run; None where all have."""
    planned, done = manifest["planned"], len(manifest["records"])
    if planned is None or planned == done:
        return None
    tables = (("block", "blocks"), ("strategy", "strategies"))
    return {
        "sentence": f"{text.plain(done, 0)} of {text.plain(planned, 0)} planned cells have run.",
        "tables": [(what, list(manifest["not_run"][key].items())) for what, key in tables],
    }


def _remade(records: Sequence[dict[str, Any]]) -> bool:
    """Tell whether runs of one strategy were made by different code."""
    codes: dict[str, set[str]] = {}
    for record in records:
        codes.setdefault(record["strategy"], set()).add(record["code"])
    return any(len(found) > 1 for found in codes.values())


def _traceback(results: Path, run: str) -> str | None:
    """Return the address, seen from the page, of what a run's error came from; None if it left nothing."""
    place = f"training/{run}/{TRACEBACK}"
    return quote(place) if (results / place).is_file() else None


def _machines(records: list[dict[str, Any]]) -> list[str]:
    """Describe every kind of machine that runs ran on, with the number of runs."""
    counts: dict[str, int] = {}
    for record in records:
        gpu = f", {record['gpu_uuid']}" if record["gpu_uuid"] else ""
        words = (
            f"{record['device']}, {record['device_name']}{gpu}, {record['precision']}, "
            f"{record['attention']} attention, {text.count(record['threads'], 'thread')}"
        )
        counts[words] = counts.get(words, 0) + 1
    return [f"{words} ({text.count(number, 'run')})" for words, number in sorted(counts.items())]


def _notes(records: list[dict[str, Any]]) -> list[str]:
    """Return what runs note about themselves, each note once, with the strategies that it holds for."""
    holders: dict[str, set[str]] = {}
    for record in records:
        for note in [*record["notes"], *(record["probes"] or {}).get("notes", [])]:
            holders.setdefault(note, set()).add(record["strategy"])
    return [f"{', '.join(sorted(names))}: {note}" for note, names in sorted(holders.items())]


def _data(records: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return the distinct content hashes of data and models."""
    return [
        {"kind": kind, "hash": digest}
        for kind in ("prepared", "encoded", "model")
        for digest in sorted({record["data"][kind] for record in records})
    ]


SHOWN_LABELS = 40
"""Most labels of a task whose counts the page shows; the manifest of the prepared task has all."""


def _about(task: dict[str, Any]) -> dict[str, Any]:
    """Return what the box about the data shows of a task: findings, and how often each label stands in each split."""
    order = ("train", "validation", "test")
    splits = {
        name: task["splits"][name]
        for name in (*order, *sorted(set(task["splits"]) - {*order}))
        if name in task["splits"]
    }
    labels = list(dict.fromkeys(label for split in splits.values() for label in split["labels"]))
    return {
        "task": task["task"],
        "findings": task["findings"],
        "used": _used(task.get("used", {})),
        "cut": task["cut"],
        "dropped": [f"{count} ({reason})" for reason, count in task["dropped"].items()],
        "splits": [(name, text.plain(split["rows"], 0)) for name, split in splits.items()],
        "labels": [
            (label, [text.plain(split["labels"].get(label, 0), 0) for split in splits.values()])
            for label in labels[:SHOWN_LABELS]
        ],
        "more": max(0, len(labels) - SHOWN_LABELS),
    }


def _used(used: dict[str, list[int]]) -> str:
    """Say how many texts of each split the runs of a task use; nothing if it was not recorded."""
    what = (("train", "for training"), ("validation", "for validation"), ("test", "for testing"))
    parts = [f"{' or '.join(text.plain(size, 0) for size in used[split])} {how}" for split, how in what if used]
    return f"Of these, a run uses {text.listed(parts)}." if parts else ""


def _findings(made: dict[str, Any] | None) -> str:
    """Return how many things were found about the data, in words; nothing if there are none."""
    number = sum(len(task["findings"]) for task in made["about_data"]) if made else 0
    return text.count(number, "thing") if number else ""


def _facts(study: Study) -> list[str]:
    """Return the size of the study in a few words."""
    failed = len(study.failures)
    settings = len({(regime_kind(block.regime), block.condition) for block in study.blocks})
    return [
        text.count(len({block.task for block in study.blocks}), "task"),
        text.count(len({block.model for block in study.blocks}), "model"),
        text.count(len(study.strategies), "strategy", "strategies"),
        *([text.count(settings, "kind") + " of training"] if settings > 1 else []),
        text.count(len(study.seeds), "seed"),
        text.count(len(study.runs), "run") + (f", {failed} failed" if failed else ", all completed"),
        *([f"{text.count(len(study.tuned.runs), 'run')} at tuned learning rates"] if study.tuned else []),
    ]


def _seen(value: Any) -> Any:
    """Return what an expression of the page gives, with what is invisible in a text made visible."""
    return text.visible(value) if type(value) is str else value


def render(
    study: Study,
    experiment: Experiment,
    command: str,
    figures: list[dict[str, Any]],
    made: dict[str, Any] | None,
    reference: Reference | None = None,
) -> str:
    """Return the page; everything that comes from data or configuration is escaped."""
    environment = Environment(
        loader=PackageLoader("maskbench.report"),
        autoescape=True,
        finalize=_seen,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    lead, more = claims.lead(study)
    shown = claims.shown(study)
    evidence = study.evidence
    script, script_hash = _script(environment)
    return environment.get_template("page.html.j2").render(
        experiment=experiment,
        command=command,
        facts=_facts(study),
        answers=answers(study, reference),
        reference=referred(study, reference),
        lead=lead,
        more=more,
        undecided=not more and not set(evidence.verdicts["verdict"]) <= {"not tested"},
        claims=[claim for claim in shown if claim.tested],
        untested=[claim for claim in shown if not claim.tested],
        scopes=claims.scope_words(evidence),
        symbols=claims.VERDICT_SYMBOLS,
        meanings=claims.MEANINGS,
        file=evidence.file,
        digest=evidence.digest[:16],
        changed=evidence.changed,
        limits=limits(study),
        missing=missing(study),
        gates=claims.gates(study),
        per_cent=f"{100 * study.confidence:g} %",
        figures=figures,
        tables=[build(study) for build in ON_PAGE],
        strategies=[{"name": item.name, "masks": strategy_in_words(item)} for item in experiment.strategies],
        failures=study.failures.to_dict("records")[:SHOWN_RUNS],
        example=str(study.runs["run"].iloc[0]),
        runs=_runs(study, made),
        left_out=max(0, len(_all_runs(study)) - SHOWN_RUNS),
        made=made,
        findings=_findings(made),
        script=script,
        script_hash=script_hash,
    )


def _all_runs(study: Study) -> pd.DataFrame:
    """Return the runs of the study, those at tuned learning rates behind the others."""
    return pd.concat([study.runs, *([study.tuned.runs] if study.tuned else [])])


def _runs(study: Study, made: dict[str, Any] | None) -> list[dict[str, str]]:
    """Return the runs that are listed; how long they took and their parameters' hash, where the manifest has them."""
    known = made or {"walls": {}, "hashes": {}}
    shown = _all_runs(study).head(SHOWN_RUNS)
    return [
        {
            "run": run,
            "status": status,
            "wall": known["walls"].get(run, text.DASH),
            "hash": known["hashes"].get(run, text.DASH),
        }
        for run, status in zip(shown["run"], shown["status"], strict=True)
    ]


def _script(environment: Environment) -> tuple[Markup, str]:
    """Return the page's script and its hash, the only one that the page allows to run."""
    source = environment.get_template("page.js").render()
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    return Markup(source), f"sha256-{digest}"


def write_page(results: Path, experiment: Experiment, command: str, record: Path | None = None) -> None:
    """Write report.html of a study from its numbers, verdicts and figures, and its manifest where there is one.

    Parameters
    ----------
    results
        Folder that holds what `Study.read` reads, figures/ and, usually, manifest.json.
    experiment
        What the study is made of.
    command
        How it is made again.
    record
        Folder with the record of the reference study, whose verdicts are shown beside the study's own; None: there is
        none, or the study is the reference study itself.
    """
    study = Study.read(results)
    figures, made = _figures(results / "figures"), _made(results / "manifest.json")
    page = render(study, experiment, command, figures, made, Reference.read(record) if record else None)
    write_text(results / "report.html", page)
