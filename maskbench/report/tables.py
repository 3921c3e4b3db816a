"""Tables for people and papers: CSV with all digits, Markdown and LaTeX as shown."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import pandas as pd

from maskbench.analysis.compare import ALL_TASKS
from maskbench.analysis.findings import VERDICT_COLUMNS
from maskbench.analysis.metrics import BLOCK, write_csv
from maskbench.analysis.rates import DIFFER
from maskbench.analysis.values import Scale
from maskbench.config.measures import measure, shown_in
from maskbench.config.science import CONFIDENCE, POWER
from maskbench.io.files import atomic, write_text
from maskbench.report import text
from maskbench.report.blocks import Block
from maskbench.report.claims import records, row_in_words
from maskbench.report.formats import Table, latex, markdown
from maskbench.report.recipes import recipes
from maskbench.report.tuning import MARK, marked, rates_note, tuned, tuning

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from maskbench.report.study import Study


def _spread(values: pd.Series[float]) -> dict[str, Any]:
    """Return mean, SD over seeds (NaN for one seed) and n."""
    return {"mean": values.mean(), "sd": values.std(ddof=1), "n": len(values)}


def _cell(block: Block, strategy: str) -> dict[str, Any]:
    return {
        "task": block.task,
        "model": block.model,
        "regime": block.regime,
        "condition": block.condition,
        "train_size": block.train_size,
        "strategy": strategy,
    }


def verdicts(study: Study) -> Table:
    """Return every row of the verdicts, in words."""
    rows = study.evidence.verdicts
    shown = []
    for row in map(row_in_words, records(rows)):
        effect = f"{row.effect} [{row.interval}]" if row.interval else row.effect or text.DASH
        verdict = f"{row.verdict}, unguarded" if row.unguarded else row.verdict
        cells = (row.contrast, row.measure, row.scope, verdict, effect, row.chance, row.least, row.seeds)
        shown.append([cell or text.DASH for cell in cells])
        if DIFFER in row.note:
            shown[-1][0] += MARK
    names = ["contrast", "measure", "on", "verdict", "effect and interval", "p (Holm)", "least effect found", "seeds"]
    frame = pd.DataFrame(shown, columns=names)
    frame.insert(0, "claim", rows["claim"].to_numpy())
    caption = (
        f"Effects are signed so that + is as the claim says. Interval: {100 * CONFIDENCE:g} %, over seeds and texts, "
        "or, where the column interval says so, over seeds alone; p is of the same, and never below that of a "
        "permutation of the signs of whole seeds; Holm's correction within a claim. Least effect "
        f"found: what is found with {100 * POWER:g} % power. Unguarded: a control of the measure was not run or is "
        "undecided. "
        f"Claims: {study.evidence.file}, {study.evidence.digest[:16]}."
        f"{rates_note(study)}"
    )
    return Table("verdicts", "Verdicts", caption, rows[list(VERDICT_COLUMNS)], frame, names=5)


def sensitivity(study: Study) -> Table:
    """Return the same differences looked at in other ways."""
    rows = study.evidence.sensitivity
    units = {
        (row["claim"], row["contrast"], row["measure"], row["scope"]): row["unit"]
        for row in study.evidence.verdicts.to_dict("records")
    }
    shown = []
    for row in rows.to_dict("records"):
        unit = units.get((row["claim"], row["contrast"], row["measure"], row["scope"]), "")
        interval = text.bounds(row["ci_low"], row["ci_high"], unit)
        effect = text.DASH if math.isnan(row["estimate"]) else text.change(row["estimate"], unit)
        line = [row["claim"], row["contrast"], measure(row["measure"]).title, _scope_words(row["scope"]), row["method"]]
        shown.append([*line, row["agrees"] or text.DASH, f"{effect} [{interval}]" if interval else effect, row["note"]])
    columns = ["claim", "contrast", "measure", "on", "method", "agrees", "effect and interval", "note"]
    caption = (
        "The same paired differences, looked at in other ways; `agrees` says whether the verdict would be the same. "
        "Mixed model: random effects of seed and task. IQM: interquartile mean. ROPE: posterior of the mean "
        "difference, and its share inside the margin. Sign flips: the means that flipped signs do not reject. "
        "Failed runs imputed: at the score of the majority class."
    ).replace("`", "")
    return Table(
        "sensitivity", "Sensitivity of the verdicts", caption, rows, pd.DataFrame(shown, columns=columns), names=6
    )


def _scope_words(scope: str) -> str:
    return "all tasks" if scope == "pooled" else scope


def scores(study: Study) -> Table:
    """Return the score of every strategy in every block, in per cent, beside that of the majority class."""
    rows: list[dict[str, Any]] = []
    shown: list[dict[str, str]] = []
    marks = marked(study)
    for block in study.blocks:
        level = study.majority(block)
        majority = math.nan if level is None else 100 * level
        about = {"score": study.score_title(block.task), "unit": "per cent"}
        for name in study.strategies_of(block):
            found = _spread(100 * study.values(block, name, "test", "score"))
            failed = study.failed(block, name)
            behind = study.runs_behind(block, name, study.values(block, name, "test", "score").index)
            counts = {"n_failed": failed, "majority_class": majority, "runs": behind}
            rows.append({**_cell(block, name), **about, **found, **counts})
            shown.append(
                {
                    "task": study.title(block),
                    "score": about["score"],
                    "strategy": marks[name],
                    "mean ± SD, %": text.mean_and_spread(found["mean"], found["sd"], 2),
                    "runs": str(found["n"]) + (f" ({failed} failed)" if failed else ""),
                    "majority class, %": text.DASH if level is None else text.plain(majority, 1),
                }
            )
    return Table(
        "scores",
        "Scores on the test split",
        "Mean ± SD over the seeds of completed runs, in per cent. The majority class is the score of always giving the "
        f"most frequent label.{rates_note(study)}",
        pd.DataFrame(rows),
        pd.DataFrame(shown),
        names=3,
    )


def interference(study: Study) -> Table:
    """Return the main measures of interference and of cost, for every block and strategy."""
    rows: list[dict[str, Any]] = []
    shown = []
    for block, name in product(study.blocks, shown_in("interference")):
        entry = measure(name)
        heading = f"{entry.title}, {entry.unit} {text.ARROWS[entry.better]}".rstrip()
        line = {"task": study.title(block), "family": entry.family, "measure": heading}
        for strategy in study.strategies_of(block):
            values = study.measured(block, strategy, name)
            if values.empty:
                continue
            found = _spread(values) | ({} if entry.spread and entry.of != "cell" else {"sd": math.nan})
            about = {"family": entry.family, "measure": name, "unit": entry.unit, "better": entry.better}
            behind = {"runs": study.runs_behind(block, strategy, values.index)}
            rows.append({**_cell(block, strategy), **about, **found, **behind})
            line[strategy] = text.mean_and_spread(
                found["mean"], found["sd"], text.DECIMALS_OF_A_VALUE.get(entry.unit, 3)
            )
        if len(line) > 3:
            shown.append(line)
    columns = [*BLOCK, "strategy", "family", "measure", "unit", "better", "mean", "sd", "n", "runs"]
    frame = (
        pd.DataFrame(shown, columns=["task", "family", "measure", *study.strategies]).astype(object).fillna(text.DASH)
    )
    caption = (
        "Mean ± SD over seeds; ↓ lower is better, ↑ higher is better; the CSV file has n. A measure with parts "
        "(perturbations, properties) is their mean where no number is recorded for all. The SD of the score and the "
        "share of failed runs are of all seeds together. A measure has a row where it was measured. Definitions: "
        f"docs/measures.md.{rates_note(study)}"
    )
    return Table("interference", "Interference and cost", caption, pd.DataFrame(rows, columns=columns), frame, names=3)


def comparisons(study: Study) -> Table:
    """Return the paired differences of every strategy to the baseline; where rates were tuned, at both rates."""
    halves = {"shared": study} | ({"tuned": study.tuned} if study.tuned else {})
    compared = {rate: _compared(half, rate if len(halves) > 1 else None) for rate, half in halves.items()}
    rates = ["rate"] if len(halves) > 1 else []
    columns = ["task", "strategy", *rates, *map(_heading, shown_in("comparisons")), "pairs"]
    twice = " Tuned: both sides at the learning rate that was tuned for them." if rates else ""
    return Table(
        "comparisons",
        f"Difference to {study.baseline}, paired by seed",
        f"Strategy minus {study.baseline}: mean over seeds, in brackets the interval. {_intervals(study)}. "
        "Gap: generalisation gap, how much worse the test split is than the "
        "training split; below zero is a smaller gap. Intervals are not adjusted for the number of comparisons. "
        "Pairs: seeds of which both runs completed; a pair is missing where a run failed or was not made. "
        f"{ALL_TASKS}: every task counts the same, over the seeds that are paired in all of them; single, sequential "
        f"and joint training, and each condition of the data, are pooled apart.{twice}{rates_note(study)}",
        pd.concat([data for data, _ in compared.values()], ignore_index=True),
        pd.DataFrame([row for _, shown in compared.values() for row in shown], columns=columns),
        names=2 + len(rates),
    )


def _compared(study: Study, rate: str | None) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Return the comparisons at one rate, with the runs behind them, and as they are shown; None: there is only one."""
    behind = []
    for compared_row in records(study.comparisons):
        block = Block(*(compared_row[name] for name in BLOCK))
        arms = (compared_row["strategy"], compared_row["baseline"])
        seeds = study.paired(block, *arms, compared_row["measure"]).index
        behind.append(" ".join(study.runs_behind(block, name, seeds) for name in arms))
    rows, marks = [], marked(study) if rate != "tuned" else {name: name for name in study.strategies}
    for block in study.comparison_blocks():
        compared = {name: study.compared(block, name) for name in shown_in("comparisons")}
        for name in compared["score"].index:
            first = compared["score"].loc[name]
            row = {"task": study.title(block), "strategy": marks[name]} | ({"rate": rate} if rate else {})
            for item, found in compared.items():
                row[_heading(item)] = _estimate(found.loc[name])
            missing = f" ({first['missing_pairs']} missing)" if first["missing_pairs"] else ""
            row["pairs"] = f"{first['n_seeds']}{missing}"
            rows.append(row)
    data = study.comparisons.assign(runs=behind)
    return (data.assign(rate=rate) if rate else data), rows


def _intervals(study: Study) -> str:
    """Say of each compared measure what its intervals are."""
    words: dict[str, list[str]] = {}
    for name in shown_in("comparisons"):
        words.setdefault(study.interval_words_of(name), []).append(measure(name).label)
    return "; ".join(f"{text.listed(labels)}: {found}" for found, labels in words.items())


def _heading(name: str) -> str:
    unit = Scale(name).unit
    return f"{measure(name).label}, {text.UNIT_SYMBOLS.get(unit, unit)}"


def _estimate(row: pd.Series[Any]) -> str:
    """Write an estimate and its interval."""
    if math.isnan(row["estimate"]):
        return text.DASH
    value = text.signed(row["estimate"], text.DECIMALS.get(row["unit"], 3))
    interval = text.bounds(row["ci_low"], row["ci_high"], row["unit"])
    return f"{value} [{interval}]" if interval else f"{value} (no interval)"


_SHOWN_IN: dict[str, tuple[float, str, int]] = {"parameters": (1e-6, "millions", 2), "MiB": (1.0, "MiB", 0)}
"""By unit, the factor to the unit that is shown, that unit, and the decimals; of others the unit itself and one."""


def cost(study: Study) -> Table:
    """Return time, memory and parameters of every strategy on every task."""
    rows: list[dict[str, Any]] = []
    shown = []
    for block in study.blocks:
        for name in study.strategies_of(block):
            row: dict[str, Any] = _cell(block, name)
            line = {"task": study.title(block), "strategy": name}
            for item in shown_in("cost"):
                found = _spread(study.values(block, name, "run", item))
                row |= {f"{item}_mean": found["mean"], f"{item}_sd": found["sd"]}
                entry = measure(item)
                factor, unit, decimals = _SHOWN_IN.get(entry.unit, (1.0, entry.unit, 1))
                spread = found["sd"] * factor if entry.better == "lower" else math.nan
                line[f"{entry.title}, {unit}"] = text.mean_and_spread(found["mean"] * factor, spread, decimals)
            seeds = study.values(block, name, "test", "score").index
            kinds = study.measured(block, name, "machine").nunique()
            row |= {"n": len(seeds), "machines": kinds, "runs": study.runs_behind(block, name, seeds)}
            line["n"] = str(row["n"]) + (f" ({kinds} kinds of machines)" if kinds > 1 else "")
            rows.append(row)
            shown.append(line)
    caption = (
        "Mean ± SD over seeds; n completed runs. Times compare only between runs on one device under equal load: a row "
        "whose runs were made on several kinds of machines says so beside n."
    )
    return Table("cost", "Cost", caption, pd.DataFrame(rows), pd.DataFrame(shown), names=2)


def per_class(study: Study) -> Table:
    """Return the F1 of every class."""
    names = [name for name in study.metrics["measure"].unique() if name.startswith("f1:")]
    rows: list[dict[str, Any]] = []
    shown = []
    for block in study.blocks:
        for name in names:
            line = {"task": study.title(block), "class": name.removeprefix("f1:")}
            for strategy in study.strategies_of(block):
                values = 100 * study.values(block, strategy, "test", name)
                if len(values):
                    found = _spread(values)
                    row = {**_cell(block, strategy), "class": line["class"], "measure": "f1", "unit": "per cent"}
                    rows.append({**row, **found, "runs": study.runs_behind(block, strategy, values.index)})
                    line[strategy] = text.mean_and_spread(found["mean"], found["sd"], 1)
            if len(line) > 2:
                shown.append(line)
    columns = [*BLOCK, "strategy", "class", "measure", "unit", "mean", "sd", "n", "runs"]
    frame = pd.DataFrame(shown, columns=["task", "class", *study.strategies]).astype(object).fillna(text.DASH)
    caption = "F1 on the test split, in per cent, mean ± SD over seeds. For tagging, of whole entities."
    return Table("per_class", "F1 by class", caption, pd.DataFrame(rows, columns=columns), frame, names=2)


TABLES: tuple[Callable[[Study], Table], ...] = (
    verdicts,
    scores,
    interference,
    comparisons,
    cost,
    per_class,
    tuning,
    tuned,
    recipes,
    sensitivity,
)
"""All tables, in the order of the page."""

NAMES = tuple(build.__name__ for build in TABLES)
"""Their names, which are those of their files."""


def write_tables(study: Study, folder: Path) -> None:
    """Write every table as ``<name>.csv``, ``.md`` and ``.tex``."""
    for build in TABLES:
        table = build(study)
        with atomic(folder / f"{table.name}.csv") as temporary:
            write_csv(table.data, temporary)
        write_text(folder / f"{table.name}.md", markdown(table))
        write_text(folder / f"{table.name}.tex", latex(table))
