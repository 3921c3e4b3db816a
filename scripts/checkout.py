"""Every script imports this first: it says in one line what to do if maskbench of this checkout cannot be imported.

The Snakefile and the Makefile put the checkout on PYTHONPATH. The link that `make env` makes would not do: several
checkouts may share an environment, and each record of a run names the code of the checkout that it ran from.
"""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_found = importlib.util.find_spec("maskbench")
_where = _found and _found.origin and Path(_found.origin).resolve().parents[1]
if _where != ROOT:
    _what = f"is the one in {_where}, not this checkout's" if _where else "cannot be imported"
    sys.exit(f"maskbench {_what}: run this by snakemake or make, or set PYTHONPATH={ROOT}")
