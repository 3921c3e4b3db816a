"""Sets of texts from elsewhere that a task is tested on but never trained on: other products, papers, genres."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from maskbench.config.conditions import OUT_OF_DOMAIN
from maskbench.data import examine, groups
from maskbench.data.fetched import KEY, set_folder
from maskbench.data.manifests import NAME, Change, Changed
from maskbench.data.prepare import load_prepared, read_record, read_split, write_prepared
from maskbench.errors import InputError
from maskbench.kinds import changing, draws, reading
from maskbench.kinds.findings import Findings
from maskbench.kinds.labels import few, is_number
from maskbench.kinds.labels import value as value_of
from maskbench.kinds.rows import key

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from maskbench.config.tasks import OutOfDomain, Task
    from maskbench.kinds.files import FileTable
    from maskbench.kinds.rows import Rows


def prepare_sets(task: Task, source: Path, clean: Path, destination: Path) -> None:
    """Read the sets from elsewhere that a task names, with its labels, and write them.

    Parameters
    ----------
    task
        `out_of_domain` says where they are and how they are read.
    source
        Folder of the fetched task; the files of the sets are in it (data/fetched.py).
    clean
        Folder of the prepared task. A text that stands in its training or validation split is left out: it is not from
        elsewhere.
    destination
        Folder to make, as `prepare` makes one, with one split for each set. What was left out is counted in the
        manifest. The same input gives the same bytes.

    Raises
    ------
    InputError
        For the first thing that is wrong: file, line and reason; or if no text of a set is left.
    """
    about, tables = load_prepared(clean)
    if about.task != task.name or about.change is not None or "test" not in tables:
        raise InputError(f"{clean / NAME}: expected the clean task {task.name} with its test split")
    record, found = read_record(source), Findings(task)
    known = {split: set(_keys(tables[split], about.kind)) for split in ("train", "validation")}
    made: dict[str, pa.Table] = {}
    changed: dict[str, Changed] = {}
    dropped: dict[str, int] = {}
    for one in task.out_of_domain:
        own, rows, left_out = _read(task, one, about.labels, source, record)
        found.told += own.told
        table, changed[one.name] = _keep(one, rows, about.kind, known)
        made[one.name] = table
        dropped |= {f"{one.name}: {reason}": count for reason, count in sorted(left_out.items()) if count}
        _tell(found, one, rows, changed[one.name])
    change = Change(what=OUT_OF_DOMAIN, splits=changed, clean=about.hash)
    nothing: dict[str, Any] = {"converted": {}, "shared_with_test": {}, "shared_with_validation": {}, "groups": None}
    new = about.model_copy(
        update=nothing | {"change": change, "dropped": dropped, "findings": found.told, "source": record, "cut": None}
    )
    write_prepared(new, made, destination)
    for finding in found.told:
        print(f"about the data: {finding.message}")


def _read(
    task: Task, one: OutOfDomain, labels: list[str], source: Path, record: Mapping[str, Any]
) -> tuple[Findings, Rows, Counter[str]]:
    """Return what was found odd about the file of a set, its rows with the task's labels, and what was left out."""
    own, kind = one.as_task(task), reading.of(task.kind)
    if not one.relabel:  # the file has the task's own labels
        own = own.model_copy(update={"labels": task.labels or kind.classes(labels)})
    folder, about = set_folder(source, one.name), record.get(KEY, {}).get(one.name)
    if about is None:
        raise InputError(f"{source}: source.json lacks the set {one.name}; delete {source} and run again")
    top = f"{folder.relative_to(source).as_posix()}/"
    files = {name.removeprefix(top): digest for name, digest in record["files"].items() if name.startswith(top)}
    table = read_split(own, one.split, folder, {"files": files, "features": about.get("features", {})})
    if task.labels is None and not one.relabel and one.binarize is None:
        _require_known(kind.known(table), labels, table)
    found = Findings(own)
    tables: dict[Any, FileTable] = {"train": table}
    examine.files(found, tables)
    content = kind.content(own, tables)
    grouped = _grouped(one, groups.with_groups(own, {"train": content.rows["train"]}, tables, folder)["train"])
    rows = kind.adopted(own, grouped, content.labels, labels, one.relabel)
    left_out = content.dropped + table.seen.dropped
    left_out["no label of the task"] = len(content.rows["train"].inputs) - len(rows.inputs)
    return found, rows, left_out


def _grouped(one: OutOfDomain, rows: Rows) -> Rows:
    """Return the rows with what stands before a sign in place of their groups, if the set names such a sign."""
    mark = one.group_before
    if rows.groups is None or mark is None:
        return rows
    if not any(mark in name for names in rows.groups for name in names):
        raise InputError(
            f"{rows.place.file}: out_of_domain ({one.name}): group_before: {mark!r} stands nowhere in the column "
            f"{one.group!r}"
        )
    return replace(rows, groups=[tuple(name.rpartition(mark)[0] or name for name in names) for names in rows.groups])


def _require_known(values: set[str], known: Sequence[str], table: FileTable) -> None:
    """Refuse numbers in the place of labels whose order the configuration does not say."""
    lacking = sorted(value for value in values if is_number(value) and value not in map(value_of, known))
    if lacking:
        raise InputError(
            f"{table.place.file}: label {lacking[0]!r} is not among the labels of the training split "
            f"({few(known)}); relabel says what it is called there"
        )


def _keys(table: pa.Table, kind: str) -> list[str]:
    """Return what makes two rows of a prepared table the same text: their words."""
    pieces, row = changing.of(kind).pieces(table)
    texts: list[list[str]] = [[] for _ in range(table.num_rows)]
    for piece, place in zip(pieces, row.tolist(), strict=True):
        texts[place].append(piece)
    return [key(" ".join(words)) for words in texts]


def _keep(one: OutOfDomain, rows: Rows, kind: str, known: Mapping[str, set[str]]) -> tuple[pa.Table, Changed]:
    """Return the rows of a set that the task did not learn or was not chosen by, and what was counted."""
    keys = rows.keys
    places = [row for row, text in enumerate(keys) if not any(text in held for held in known.values())]
    shares = {"left out": 1 - len(places) / len(keys)}
    counts = {"texts": len(keys)} | {f"in {split}": sum(text in held for text in keys) for split, held in known.items()}
    if one.max_examples is not None and one.max_examples < len(places):
        drawn = draws.keys(f"{OUT_OF_DOMAIN}\0{one.name}", ((row, keys[row]) for row in places))
        places = sorted(places[place] for place in np.argsort(drawn, kind="stable")[: one.max_examples])
    if not places:
        raise InputError(
            f"{rows.place.file}: out_of_domain ({one.name}): no text is left: of {len(keys)}, {counts['in train']} "
            f"stand in the training split and {counts['in validation']} in the validation split"
        )
    kept = rows.take(places)
    table = groups.as_documents(reading.of(kind).table(kept), kept)
    counts["kept"] = len(places)
    if "document" in table.column_names:
        counts["groups"] = len(table["document"].unique())
    return table, Changed(counts=counts, rates=shares)


def _tell(found: Findings, one: OutOfDomain, rows: Rows, changed: Changed) -> None:
    """Tell how many texts of a set are not from elsewhere."""
    counts = changed.counts
    if shared := {split: counts[f"in {split}"] for split in ("train", "validation") if counts[f"in {split}"]}:
        where = " and ".join(f"{count} in {split}" for split, count in shared.items())
        found.tell(
            "out-of-domain",
            f"{rows.place.file}: of the {counts['texts']} texts of the set {one.name}, {where} stand in the task's own "
            "text; they are left out",
        )
