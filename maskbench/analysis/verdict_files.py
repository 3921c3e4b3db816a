"""The verdicts of a study as files: what is read, what is written, at shared and at tuned learning rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maskbench.analysis.metrics import kinds_of, read_metrics, write_csv
from maskbench.analysis.outcomes import Outcomes
from maskbench.analysis.rates import FOLDER, at_rate, rates_of
from maskbench.analysis.verdicts import errors, judge
from maskbench.experiment.claims import claims_hash, read_claims
from maskbench.io.files import atomic, write_json
from maskbench.records.manifest import Claimed, read_entries

if TYPE_CHECKING:
    from pathlib import Path

    from maskbench.analysis.rates import Rate
    from maskbench.analysis.verdicts import VerdictTables
    from maskbench.config.claims import Claims


def changed_since(manifest: Path | None, digest: str) -> str | None:
    """Return a sentence if runs of a study were made under other claims; None if not, or if it was not recorded."""
    if manifest is None:
        return None
    hashes = [record["claims"] for record in read_entries(manifest, Claimed)]
    other = sum(1 for found in hashes if found is not None and found != digest)
    return f"The claims changed after {other} of {len(hashes)} runs were made." if other else None


def write_verdicts(
    metrics: Path,
    outcomes: Path | None,
    manifest: Path | None,
    claims: Path,
    results: Path,
    *,
    resamples: int,
    seed: int,
    train_size: str | None = None,
    tuned: bool = False,
) -> None:
    """Read a study and its claims; write verdicts.csv, what it rests on into analysis/, and a copy of the claims.

    The claims are judged once more at tuned learning rates, if the study has such runs: into the folder `tuning`. With
    `tuned` that is done also where there are no such runs yet: no claim is tested there then.
    """
    known, digest = read_claims(claims), claims_hash(claims)
    changed = changed_since(manifest, digest)
    every = read_metrics(metrics)
    read = Outcomes(outcomes, resamples, seed, kinds_of(every)) if outcomes else None
    rates = rates_of(manifest)
    halves: dict[Rate, Path] = {"shared": results, "tuned": results / FOLDER}
    for rate, folder in halves.items():
        if len(numbers := at_rate(every, rate)) or rate == "shared" or tuned:
            settings: dict[str, Any] = {"seed": seed, "digest": digest, "changed": changed, "train_size": train_size}
            found = judge(numbers, read, known, rates=rates, **settings)
            about = {"file": str(claims), "hash": digest, "changed": changed, "outcomes": outcomes is not None}
            about |= {"train_size": train_size}
            _write(found, known, about, folder)
    with atomic(results / "claims.yaml") as temporary:
        temporary.write_bytes(claims.read_bytes())


def _write(found: VerdictTables, known: Claims, about: dict[str, Any], folder: Path) -> None:
    """Write the tables, and the claims that they are of."""
    tables = {
        "verdicts.csv": found.verdicts,
        "analysis/pairs.csv": found.pairs,
        "analysis/gates.csv": found.gates,
        "analysis/sensitivity.csv": found.sensitivity,
        "analysis/components.csv": found.components,
    }
    for name, table in tables.items():
        with atomic(folder / name) as temporary:
            write_csv(table, temporary, float_format="%.10g")
    resolved = [
        claim.model_dump(mode="json") | {"contrasts": [item.model_dump(mode="json") for item in claim.resolved()]}
        for claim in known.claims
    ]
    gates = [gate.model_dump(mode="json") for gate in known.gates]
    content = about | {"claims": resolved, "gates": gates, "errors": errors(found.verdicts)}
    write_json(folder / "analysis/claims.json", content)
