"""The end of a training or a probe: its record is completed, written, and said in a line."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from maskbench.records.probe import ProbeRecord
from maskbench.records.run import Record

if TYPE_CHECKING:
    from pathlib import Path

AnyRecord = TypeVar("AnyRecord", Record, ProbeRecord)


def write_record(record: AnyRecord, folder: Path, cpu: float, **more: Any) -> AnyRecord:
    """Write a record with what is known only now.

    Parameters
    ----------
    record
        As the training or the probe gives it.
    folder
        Where its ``metrics.json`` goes.
    cpu
        CPU time of the process when it began, in seconds.
    more
        Other fields, with their values.

    Returns
    -------
    Record or ProbeRecord
        As it was written.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    timings = record.timings.model_copy(update={"cpu_s": time.process_time() - cpu})
    record = record.model_copy(update={"timings": timings, **more})
    record.write(folder / "metrics.json")
    print(f"{record.status} in {record.timings.wall_s:.0f} s" + (f": {record.error}" if record.error else ""))
    return record
