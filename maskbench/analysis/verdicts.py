"""From claims and run tables to verdicts, with the evidence behind each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from maskbench.analysis import statistics
from maskbench.analysis.contrasts import gather, on_resamples
from maskbench.analysis.controls import check
from maskbench.analysis.findings import (
    COMPONENT_COLUMNS,
    GATE_COLUMNS,
    PAIR_COLUMNS,
    POOLED,
    SENSITIVITY_COLUMNS,
    VERDICT_COLUMNS,
    whole,
)
from maskbench.analysis.guards import heed_gates, heed_parts, heed_price, of_machines
from maskbench.analysis.missing import (
    left_out,
    lost,
    refuse_censored,
    refuse_collapse,
    refuse_no_width,
    refuse_unknown_texts,
)
from maskbench.analysis.power import Varying, seeds_for_equivalence, seeds_to_find
from maskbench.analysis.properties import Property, judged
from maskbench.analysis.rates import differing
from maskbench.analysis.recipes import component_rows, of_recipes
from maskbench.analysis.resampler import Resampler
from maskbench.analysis.rows import NO_CONTRAST, Row, Untested
from maskbench.analysis.sensitivity import sensitivity
from maskbench.analysis.shape import of_shape
from maskbench.analysis.values import Values
from maskbench.config.science import EFFECT_TO_FIND, LEVEL, POWER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from maskbench.analysis.contrasts import Evidence
    from maskbench.analysis.findings import Verdict
    from maskbench.analysis.metrics import Array
    from maskbench.analysis.outcomes import Outcomes
    from maskbench.config.claims import Claim, Claims


def tasks_of(claim: Claim, kinds: dict[str, str]) -> list[str]:
    """Return the tasks of a study that a claim is about.

    Parameters
    ----------
    claim
        The claim.
    kinds
        Kind of each task of the study.
    """
    if claim.tasks == "all":
        return list(kinds)
    if isinstance(claim.tasks, str):
        return [name for name, kind in kinds.items() if kind == claim.tasks]
    return [name for name in kinds if name in claim.tasks]


def _rows(claims: Claims, values: Values) -> Iterator[Row | Property | Untested]:
    """Yield a row for each contrast, measure and scope, in the order of the claims."""
    for claim in claims.claims:
        if claim.why is not None:
            yield Untested(claim, NO_CONTRAST, claim.measures[0], claim.why)
        tasks = tasks_of(claim, values.kinds)
        for contrast in claim.resolved():
            for name in contrast.measures or []:
                if contrast.kind == "property":
                    known = judged(claim, values, contrast, name, tasks)
                    yield known if isinstance(known, Property) else Untested(claim, contrast.name, name, known)
                    continue
                found = gather(values, contrast, name, tasks)
                if isinstance(found, str):
                    yield Untested(claim, contrast.name, name, found)
                    continue
                for scope, weights in found.scopes():
                    yield Row(
                        claim, found, scope, weights, claims.delta(claim, name, pooled=scope == POOLED), claims.decision
                    )


def measured(claims: Claims, metrics: pd.DataFrame, outcomes: Outcomes | None) -> list[Row]:
    """Return the rows of all that can be compared, with their spread and p-values, but without verdicts: for a plan."""
    values = Values(metrics)
    rows = [row for row in _rows(claims, values) if isinstance(row, Row)]
    _measure(rows, Resampler(outcomes, values), 0)
    return rows


def _measure(rows: list[Row], resampler: Resampler, seed: int) -> None:
    """Fill in means with their variance, and p-values; one measure at a time, for the sake of memory."""
    for name in dict.fromkeys(row.evidence.measure for row in rows):
        of_measure = [row for row in rows if row.evidence.measure == name]
        resampled = resampler.of(name, [row.evidence for row in of_measure])
        last: tuple[Evidence, Array | None] | None = None
        for row in of_measure:
            if last is None or last[0] is not row.evidence:
                last = (row.evidence, on_resamples(row.evidence, resampled))
            row.spread = resampler.spread(row.evidence, row.weights, last[1])
            if row.spread is not None:
                row.p = row.p_of(row.spread, row.evidence.mean(row.weights), seed)


def _judge(family: list[Row], seed: int, collapsed: set[str]) -> None:
    """Fill in adjusted p-values and verdicts of the rows of a claim, and what has to be said about them."""
    for row, p in zip(family, statistics.holm([row.p for row in family]), strict=True):
        row.p_holm, row.tests = float(p), sum(np.isfinite(other.p) for other in family)
        if row.spread is not None:
            row.verdict = row.decide(row.spread, row.p_holm)
    for row in family:
        row.notes += [*of_recipes(row), *of_machines(row)]
        row.notes += [note for note in [left_out(row.evidence, row.weights)] if note is not None]
        if not refuse_censored(row):
            _account_for_missing(row, family, seed)
        refuse_unknown_texts(row)
        flat = refuse_no_width(row)
        refuse_collapse(row, collapsed)
        row.notes += of_shape(row)
        if row.verdict == "inconclusive" and row.spread is not None and not flat:
            row.notes += _what_it_takes(row, row.spread)


def _account_for_missing(row: Row, family: list[Row], seed: int) -> None:
    """Say how many pairs are missing and whether the verdict depends on them; too many refuse it."""
    missing = lost(row.evidence, row.weights, row.rules)
    if not missing.pairs:
        return
    if row.spread is None or missing.too_much:
        row.verdict = "inconclusive"
        row.notes.append(f"refused: {missing}; what is left may be biased.")
        return
    found = {_in_worst_case(row, row.spread, family, extreme, seed) for extreme in (np.nanmin, np.nanmax)}
    holds = "holds" if found == {row.verdict} else "does not hold"
    row.notes.append(f"{missing}; the verdict {holds} with the worst and the best of the others in their place.")


def _in_worst_case(
    row: Row, known: statistics.Spread, family: list[Row], extreme: Callable[[Array], float], seed: int
) -> Verdict:
    """Return the verdict if all missing differences were as the least or the greatest observed one."""
    planned, used = row.evidence.in_all(row.weights), row.weights[row.weights != 0]
    matrix = row.evidence.differences[row.weights != 0][:, planned]
    filled = used @ np.where(np.isnan(matrix), extreme(matrix), matrix)
    filled = row.evidence.by_seed(filled, planned)
    shared = {name: getattr(known, name) for name in ("examples", "n_examples", "few", "fine_tuning", "n_fine_tuning")}
    spread = replace(statistics.spread(filled), **shared)
    adjusted = statistics.holm([row.p_of(spread, filled, seed) if other is row else other.p for other in family])
    return row.decide(spread, float(adjusted[family.index(row)]))


def _what_it_takes(row: Row, spread: statistics.Spread) -> Iterator[str]:
    """Say why a row decides nothing, and how many seeds would."""
    if spread.n < 2:
        yield f"One {row.evidence.unit[:-1]} says nothing about chance."
        return
    level = LEVEL / row.tests
    if statistics.smallest_p(spread.n) > level:
        least = statistics.least_seeds(level)
        among = f" among {row.tests}" if row.tests > 1 else ""
        yield f"{spread.n} {row.evidence.unit} can never reject: an exact test{among} takes at least {least}."
    yield from _seeds_to_tell(row, Varying.of(spread), float(spread.estimate))


def _seeds_to_tell(row: Row, varying: Varying, estimate: float) -> Iterator[str]:
    """Say how many seeds would come to a verdict, if the estimate or no difference is the truth."""
    margin = row.margin
    if row.test == "non-inferior":
        effect, size = (estimate, "the estimate") if estimate > 0 else (0.0, "no difference")
        telling = f"tell {size} from −δ"
    elif abs(estimate) > EFFECT_TO_FIND * margin:
        effect, telling = estimate, "find an effect as large as the estimate"
    else:
        effect, telling = EFFECT_TO_FIND * margin, f"find an effect of {EFFECT_TO_FIND:g} δ"
    needed = seeds_to_find(varying, effect, row.tests, margin, row.test)
    if needed is None:
        shared = "test examples or fine-tuning seeds" if row.evidence.fine_tuning else "test examples"
        yield f"To {telling} takes more {shared}, not more {row.evidence.unit}."
    else:
        yield f"{needed} {row.evidence.unit} {telling} with {100 * POWER:g} % power."
    if row.test != "non-inferior" and abs(estimate) < margin:
        equal = seeds_for_equivalence(varying, margin)
        if equal is not None:
            yield (
                f"{equal} {row.evidence.unit} show with {100 * POWER:g} % power that no difference is as large as δ, "
                "if there is none."
            )


def _pairs(rows: list[Row]) -> pd.DataFrame:
    """Return pairs.csv: one row for each difference that a verdict rests on."""
    evidence = {id(row.evidence): row for row in rows}
    parts = [
        row.evidence.pairs().assign(
            claim=row.claim.id,
            contrast=row.evidence.contrast.name,
            measure=row.evidence.measure,
            unit=row.evidence.scale.unit,
        )
        for row in evidence.values()
    ]
    return pd.concat(parts)[list(PAIR_COLUMNS)] if parts else pd.DataFrame(columns=list(PAIR_COLUMNS))


@dataclass(frozen=True)
class VerdictTables:
    """The tables that the statistics write."""

    verdicts: pd.DataFrame
    pairs: pd.DataFrame
    gates: pd.DataFrame
    sensitivity: pd.DataFrame
    components: pd.DataFrame


def decided(claims: Claims, values: Values, resampler: Resampler, seed: int) -> list[Row | Property | Untested]:
    """Return all rows with the verdicts of their own numbers, before controls and the price of the score are heeded.

    Parameters
    ----------
    claims
        What is claimed.
    values, resampler
        Of the study.
    seed
        Seed of the random sign flips.
    """
    every = list(_rows(claims, values))
    rows = [row for row in every if isinstance(row, Row)]
    _measure(rows, resampler, seed)
    families: dict[tuple[str, bool], list[Row]] = {}
    for row in rows:
        families.setdefault((row.claim.id, row.secondary), []).append(row)
    for secondary in (False, True):
        of_study = [row for row in rows if row.secondary == secondary]
        for row, q in zip(of_study, statistics.false_discoveries([row.p for row in of_study]), strict=True):
            row.q = float(q)
    for family in families.values():
        _judge(family, seed, values.collapsed)
    for row in rows:
        heed_parts(row, rows, resampler)
    return every


def judge(
    metrics: pd.DataFrame,
    outcomes: Outcomes | None,
    claims: Claims,
    *,
    seed: int = 0,
    digest: str = "",
    changed: str | None = None,
    rates: Mapping[str, tuple[str, float]] | None = None,
    train_size: str | None = None,
) -> VerdictTables:
    """Put claims to the test.

    Parameters
    ----------
    metrics
        As `read_metrics` gives it.
    outcomes
        outcomes.parquet; None: intervals are over seeds alone.
    claims
        What is claimed.
    seed
        Seed of the random sign flips.
    digest, changed
        Hash of the claims, and a sentence if runs were made under other claims.
    rates
        Strategy and learning rate of each run: rows that compare different rates say so.
    train_size
        The only train size of contrasts that are not over train sizes; None: the mean of all.

    Raises
    ------
    InputError
        If the outcomes do not belong to the metrics, or a time or size is not above 0.
    """
    values = Values(metrics, train_size)
    resampler = Resampler(outcomes, values)
    every = decided(claims, values, resampler, seed)
    rows = [row for row in every if isinstance(row, Row)]
    other_ways = list(sensitivity(rows, values, seed))
    gates = check(claims, values, resampler, seed)
    for row in rows:
        heed_gates(row, gates)
        heed_price(row, values, resampler, claims.price.pooled if row.scope == POOLED else claims.price.task)
        if differ := differing(row.evidence.pairs(), rates or {}):
            row.notes.append(differ)
        if changed:
            row.notes.append("The claims changed after runs were made.")
    return VerdictTables(
        verdicts=_table([row.entry() | {"claims_hash": digest} for row in every], VERDICT_COLUMNS),
        pairs=_pairs(rows),
        gates=_table([gate.entry() for gate in gates], GATE_COLUMNS),
        sensitivity=_table(other_ways, SENSITIVITY_COLUMNS),
        components=_table(list(component_rows(rows)), COMPONENT_COLUMNS),
    )


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(columns))
    return table.astype({"n_seeds": "Int64"}) if "n_seeds" in columns else table


def errors(verdicts: pd.DataFrame) -> dict[str, Any]:
    """Return how many verdicts of a study may be wrong by chance, if no claim were true.

    Holm's method keeps the chance of any false `supported` or `contradicted` of a claim at 5 %, over its pooled rows;
    equivalence is tested at 5 % row by row.

    Parameters
    ----------
    verdicts
        With the columns of verdicts.csv.
    """
    tested = verdicts[verdicts["p"].notna() & whole(verdicts["scope"])]
    claims, rows = int(tested["claim"].nunique()), len(tested)
    discoveries = int((tested["q"] < LEVEL).sum())
    return {
        "claims": claims,
        "rows": rows,
        "expected_false": round(LEVEL * claims, 2),
        "expected_false_equivalent": round(LEVEL * rows, 2),
        "discoveries": discoveries,
        "sentence": (
            f"{claims} claims are tested by {rows} rows. If nothing that is claimed had an effect, up to "
            f"{LEVEL * claims:.1f} claims would still be expected with a false supported or contradicted "
            f"row; if all differences were as large as the margin, up to {LEVEL * rows:.1f} rows with a "
            f"false equivalent one. Over all claims together, {discoveries} rows hold with at most {100 * LEVEL:g} % "
            f"false discoveries (q below {str(LEVEL).lstrip('0')})."
        ),
    }
