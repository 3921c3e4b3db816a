"""What every command line of scripts/ shares: errors of the user end in one line, not in a traceback."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from maskbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable


def run(main: Callable[[], None]) -> None:
    """Call `main`; an InputError is printed as it is and ends the process with status 1."""
    try:
        main()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
