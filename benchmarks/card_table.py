"""The table of benchmarks/card.py: how each part's result reads."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

Rows = list[tuple[str, str]]


def _about(result: dict[str, Any], _: dict[str, Any]) -> Rows:
    versions = f"torch {result['torch']}, transformers {result['transformers']}, Python {result['python']}"
    return [("on", f"{result['card'] or 'no card'}, {result['cores']} cores, {versions}")]


def _ways(result: dict[str, Any], found: dict[str, Any], what: str, skip: tuple[str, ...] = ()) -> Rows:
    """Return a row for each way of training: its speed, beside a stock Trainer's, and its share of the GEMM peak."""
    about, peaks, rows = found.get("one cell", {}), found.get("peak", {}), []
    for way, speeds in result["examples_per_second"].items():
        if way in skip:
            continue
        speed, ratio = statistics.median(speeds), result["beside_stock"].get(way)
        line = f"{speed:8.0f} examples/s" + ("" if ratio is None else f" {ratio:6.2f} x stock")
        precision = result["told"].get(way, {}).get("precision", "fp32" if way == "stock" else "bf16")
        if precision in peaks and "weights" in about:
            share = 6 * about["weights"] * about["tokens_per_example"] * speed / peaks[precision]
            line += f" {100 * share:5.1f} % of the {precision} peak"
        rows.append((f"{what}, {way}", line))
    return rows + [(f"{what}, {way}", f"FAILED: {line}") for way, line in result["ways_failed"].items()]


def _one_cell(result: dict[str, Any], found: dict[str, Any]) -> Rows:
    return _ways(result, found, "one cell")


def _stacks(result: dict[str, Any], found: dict[str, Any]) -> Rows:
    return _ways(result, found, "all its cells", skip=("stock",))


def _compiled(result: dict[str, Any], _: dict[str, Any]) -> Rows:
    rows = _ways(result, {}, "one length")
    line = f"first training {result['first_s']:.0f} s; without dropout all weights are within {result['apart']:.1e}"
    return [*rows, ("compiled passes", "; ".join([line, *result["notes"]]))]


def _scored(result: dict[str, Any], found: dict[str, Any]) -> Rows:
    line = f"{result['examples_per_second']:8.0f} examples/s"
    precision = result["precision"]
    if precision in found.get("peak", {}):
        share = result["flops_per_second"] / found["peak"][precision]
        line += f"{'':15} {100 * share:5.1f} % of the {precision} peak"
    return [("scoring, ours", line)]


def _peak(result: dict[str, Any], _: dict[str, Any]) -> Rows:
    kinds = ("fp32", "bf16")
    return [("GEMM peak", ", ".join(f"{kind} {result[kind] / 1e12:.3g} TFLOP/s" for kind in kinds if kind in result))]


def _waits(result: dict[str, Any], _: dict[str, Any]) -> Rows:
    count, places = sum(result["waits"].values()), ", ".join(list(result["waits"])[:3])
    return [("host waits for the card", f"{count} times in {result['updates']} updates{places and f' ({places})'}")]


def _busy(result: dict[str, Any], _: dict[str, Any]) -> Rows:
    card = "" if result["card_ms"] is None else f", the card computes {result['card_ms']:.2f} ms of it"
    return [("an update under the profiler", f"{result['update_ms']:.2f} ms{card}")]


def _repeats(result: dict[str, Any], _: dict[str, Any]) -> Rows:
    return [("the same cell twice", "the same bits" if result["same_bits"] else "OTHER BITS")]


def _cells(result: dict[str, Any], _: dict[str, Any]) -> Rows:
    line = f"{result['cells']} in {result['seconds']:.0f} s: {result['cells_per_minute']:.1f} a minute"
    others = {status: count for status, count in result["statuses"].items() if status != "completed"}
    beside = [f"{result['jobs']} jobs", f"{result['stacked']} in stacks", f"{result['cpu_seconds']:.0f} CPU s"]
    return [("cells through Snakemake", ", ".join([line, *beside, *(f"{n} {status}" for status, n in others.items())]))]


TABLE: dict[str, Callable[[dict[str, Any], dict[str, Any]], Rows]] = {
    "about": _about,
    "one cell": _one_cell,
    "stacks": _stacks,
    "cells": _cells,
    "peak": _peak,
    "scored": _scored,
    "waits": _waits,
    "busy": _busy,
    "repeats": _repeats,
    "compiled": _compiled,
    "wide cells": _cells,
}
"""How each part's result reads in the table; the one that is missing makes the data ready."""


def table(found: dict[str, Any]) -> str:
    """Return what was found as a table of plain text."""
    rows: Rows = []
    for name, result in found.items():
        if "left_out" in result:
            rows.append((name, f"left out: {result['left_out']}"))
        elif "failed" in result:
            rows.append((name, f"FAILED: {result['failed']}"))
        elif name in TABLE:
            rows += TABLE[name](result, found)
    took = {name: result["took_s"] for name, result in found.items() if "took_s" in result}
    if took:
        rows.append(
            ("seconds", f"{sum(took.values()):.0f}: {', '.join(f'{name} {s:.0f}' for name, s in took.items())}")
        )
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:{width}}  {line}" for name, line in rows)
