"""The report: one page that needs no other file, answer first."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BaseModel, ConfigDict, ValidationError

from maskbench.analysis.resolved import read_experiment
from maskbench.errors import InputError
from maskbench.io.files import read_json, write_text
from maskbench.report import text
from maskbench.report.answer import answer
from maskbench.report.figures import FIGURES
from maskbench.report.study import Study
from maskbench.report.tables import TABLES

if TYPE_CHECKING:
    from pathlib import Path

SHOWN_RUNS = 500
"""Most runs that the page lists one by one; the manifest has all."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskSpec(_Part):
    """What the page says of a task."""

    name: str
    kind: str
    licence: str | None = None
    citation: str | None = None


class ModelSpec(_Part):
    """What the page says of a model."""

    name: str
    licence: str | None = None
    citation: str | None = None


class StrategySpec(_Part):
    """What the page says of a strategy."""

    name: str
    masks: dict[str, Any] = {}
    """Masks by family, as in the configuration; empty: plain fine-tuning."""


class Spec(_Part):
    """What the page needs to know of the experiment and metrics.csv does not say."""

    study: str
    question: str
    baseline: str
    tasks: list[TaskSpec]
    models: list[ModelSpec]
    strategies: list[StrategySpec]
    command: str
    """How the study is made again."""

    @classmethod
    def read(cls, path: str | Path) -> Spec:
        """Read a specification from a JSON file.

        Raises
        ------
        InputError
            If it is missing, is no JSON, or has other keys.
        """
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "(top level)"
            raise InputError(f"{path}: {place}: {first['msg']}") from None

    @classmethod
    def of_experiment(cls, path: str | Path, command: str) -> Spec:
        """Make a specification from experiment.json and the command that makes the study again."""
        experiment = read_experiment(path)
        strategies = []
        for strategy in experiment.strategies:
            content = strategy.model_dump(mode="json", exclude_none=True)
            masks = {key: value for key, value in content.items() if key != "name"}
            strategies.append(StrategySpec(name=strategy.name, masks=masks))
        return cls(
            study=experiment.study,
            question=experiment.question,
            baseline=experiment.baseline,
            tasks=[
                TaskSpec(name=task.name, kind=task.kind, licence=task.licence, citation=task.citation)
                for task in experiment.tasks
            ],
            models=[
                ModelSpec(name=model.name, licence=model.licence, citation=model.citation)
                for model in experiment.models
            ],
            strategies=strategies,
            command=command,
        )


def masks_in_words(masks: dict[str, Any]) -> str:
    """Write masks in one line, such as ``input: random (rate 0.15)``."""
    parts = []
    for family, mask in masks.items():
        if isinstance(mask, dict):
            # Every mask is applied unless it says otherwise, so only the exception is worth a word.
            usual = {"kind": mask.get("kind"), "apply": True}
            given = {key: value for key, value in mask.items() if value is not None and usual.get(key) != value}
            settings = [f"{key} {json.dumps(value)}" for key, value in given.items()]
            parts.append(f"{family}: {mask.get('kind', '')}" + (f" ({', '.join(settings)})" if settings else ""))
        elif mask is not None:
            parts.append(f"{family.replace('_', ' ')}: {mask}")
    return "; ".join(parts) or "plain fine-tuning, no mask"


def _figures(folder: Path) -> list[dict[str, Any]]:
    """Read figures and captions; the SVG goes into the page as an image, in which no script can run."""
    captions = read_json(folder / "captions.json")
    figures: list[dict[str, Any]] = []
    for name in FIGURES:
        path = folder / f"{name}.svg"
        try:
            content = path.read_bytes()
            entry: dict[str, Any] = {
                "name": name,
                "title": str(captions[name]["title"]),
                "caption": str(captions[name]["caption"]),
            }
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}; draw the figures first") from None
        except (KeyError, TypeError):
            raise InputError(
                f"{folder / 'captions.json'}: {name}: expected title and caption; draw the figures again"
            ) from None
        size = re.search(rb'<svg [^>]*\bwidth="([\d.]+)pt"', content)
        if size is None:
            raise InputError(f"{path}: expected an SVG with a size in points; draw the figures again")
        entry["width"] = round(float(size.group(1)) * 4 / 3)
        figures.append({**entry, "source": f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"})
    return figures


def _made(path: Path) -> dict[str, Any] | None:
    """Return what the manifest says of how the study was made, or None if there is no manifest."""
    if not path.exists():
        return None
    manifest = read_json(path)
    try:
        records = manifest["records"]
        shown = [{**record, "wall": text.duration(record["timings"]["wall_s"])} for record in records[:SHOWN_RUNS]]
        return {
            "packages": manifest["packages"],
            "differ": manifest["packages_that_differ"],
            "first_start": manifest["first_start"],
            "last_start": manifest["last_start"],
            "wall": text.duration(manifest["wall_s"]),
            "train": text.duration(manifest["train_s"]),
            "codes": sorted({record["code"] for record in records}),
            "machines": _machines(records),
            "data": _data(records),
            "failures": [record for record in records if record["status"] != "completed"][:SHOWN_RUNS],
            "records": shown,
            "left_out": max(0, len(records) - SHOWN_RUNS),
        }
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not a manifest of schema 1 ({error!r}); collect again") from None


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


def _data(records: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return the distinct content hashes of data and models."""
    return [
        {"kind": kind, "hash": digest}
        for kind in ("prepared", "encoded", "model")
        for digest in sorted({record["data"][kind] for record in records})
    ]


def _facts(study: Study) -> list[str]:
    """Return the size of the study in a few words."""
    failed = len(study.failures)
    return [
        text.count(len({block.task for block in study.blocks}), "task"),
        text.count(len({block.model for block in study.blocks}), "model"),
        text.count(len(study.strategies), "strategy", "strategies"),
        text.count(len(study.seeds), "seed"),
        text.count(len(study.runs), "run") + (f", {failed} failed" if failed else ", all completed"),
    ]


def render(study: Study, spec: Spec, figures: list[dict[str, Any]], made: dict[str, Any] | None) -> str:
    """Return the page; everything that comes from data or configuration is escaped."""
    environment = Environment(
        loader=PackageLoader("maskbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        spec=spec,
        facts=_facts(study),
        answer=answer(study),
        per_cent=f"{100 * study.confidence:g} %",
        figures=figures,
        tables=[build(study) for build in TABLES],
        strategies=[{"name": item.name, "masks": masks_in_words(item.masks)} for item in spec.strategies],
        failures=study.failures.to_dict("records")[:SHOWN_RUNS],
        made=made,
    )


def write_page(results: Path, spec: Spec) -> None:
    """Write report.html of a study from its metrics, comparisons and figures, and its manifest where there is one.

    Parameters
    ----------
    results
        Folder that holds metrics.csv, analysis/comparisons.csv, figures/ and, usually, manifest.json.
    spec
        What the experiment says of itself.
    """
    study = Study.read(results / "metrics.csv", results / "analysis" / "comparisons.csv", spec.baseline)
    page = render(study, spec, _figures(results / "figures"), _made(results / "manifest.json"))
    write_text(results / "report.html", page)
