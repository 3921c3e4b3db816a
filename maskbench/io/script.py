"""What every command line of scripts/ shares: a log that begins with where it runs, errors in one line."""

from __future__ import annotations

import os
import platform
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from maskbench import __version__
from maskbench.errors import InputError
from maskbench.io.files import disk_error

if TYPE_CHECKING:
    from collections.abc import Callable


def run(main: Callable[[], None], *, log: bool = True) -> None:
    """Call `main`; an InputError, or what a disk refuses, is printed in one line and ends the process with status 1.

    Parameters
    ----------
    main
        The command line.
    log
        The output is a job's log: say first what runs where, and since when.
    """
    if log:
        announce()
    try:
        main()
        sys.stdout.flush()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        # the reader has closed the pipe (`| head`); the buffered rest is thrown away, or Python would complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if (refused := disk_line(error)) is None:
            raise
        print(refused, file=sys.stderr)
        sys.exit(1)


def disk_line(error: BaseException) -> str | None:
    """Return the line that is printed if an error is what a disk refused; None for any other error."""
    refused = disk_error(error)
    return refused and f"{refused}; nothing half-written is left, run again when it can be written"


def announce() -> None:
    """Print the head of a log."""
    where = f"Python {platform.python_version()} on {platform.node()} ({platform.machine()})"
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    print(f"maskbench {__version__}, {Path(sys.argv[0]).name}, {where}, {now}", flush=True)
