"""A server that starts jobs without their imports, for tests of whole studies."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent


@cache
def environment() -> dict[str, str]:
    """Start the server of this test process, and return what a call of Snakemake has to be told about it."""
    folder = tempfile.TemporaryDirectory(prefix="warm")
    address = Path(folder.name) / "socket"
    threads = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    server = subprocess.Popen(
        [sys.executable, HERE / "server.py", address], env=os.environ | threads, stdin=subprocess.PIPE
    )

    def stop() -> None:
        server.kill()
        server.wait()
        folder.cleanup()

    atexit.register(stop)
    until = time.monotonic() + 300
    while not address.exists():
        assert server.poll() is None, "the server did not start"
        assert time.monotonic() < until, "the server did not start within 300 s"
        time.sleep(0.05)
    return {"WARM_SERVER": str(address), "PYTHONPATH": str(HERE)}
