"""Runs jobs of a study under test in processes that have imported torch and transformers already.

A job of the pipeline spends most of a small test on its imports (about seven seconds of one core). Here one process
imports the third-party packages once and forks a child for every job; the child imports maskbench from the project that
is tested, and runs the job's own script. `python server.py SOCKET` serves until its standard input ends.

What a job sees is its own: arguments, working folder, environment, standard streams, exit status, signals. What is not
its own: the process group, so tests that kill whole groups start real interpreters.
"""

from __future__ import annotations

import array
import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
from pathlib import Path

PRELOADED = (
    "torch", "numpy", "pandas", "pyarrow.parquet", "pydantic", "yaml", "filelock", "datasets", "evaluate", "peft",
    "accelerate", "safetensors.torch", "tokenizers", "transformers.trainer", "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto", "transformers.models.bert.modeling_bert",
    "transformers.models.bert.tokenization_bert", "sklearn.linear_model", "sklearn.metrics", "scipy.stats",
    "seqeval.metrics", "torchjd.aggregation",
)  # fmt: skip


def serve(address: str) -> None:
    """Import the packages, then fork a process for every job that is asked for."""
    for name in PRELOADED:
        __import__(name)
    gc.collect()
    gc.freeze()  # no job goes through what was imported here, or copies it in doing so
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # Whoever started the server holds the other end of its standard input: with that it ends, too.
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address + ".new")
        listener.listen(16)
        Path(address + ".new").rename(address)
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _keep(connection)
            connection.close()


def _keep(connection: socket.socket) -> None:
    """Fork the job, and tell its end to whoever asked for it; if that process dies, so does the job."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    streams = array.array("i")
    size = int.from_bytes(connection.recv(8, socket.MSG_WAITALL))
    message, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(4 * streams.itemsize))
    for _, _, data in ancillary:
        streams.frombytes(data[: len(data) - len(data) % streams.itemsize])
    asked = json.loads(message + connection.recv(size - 1, socket.MSG_WAITALL))
    job = os.fork()
    if job == 0:
        connection.close()
        _run(asked, list(streams))
    ends = os.pidfd_open(job)
    status = None
    while status is None:
        readable, _, _ = select.select([ends, connection], [], [])
        if ends in readable:
            _, raw = os.waitpid(job, 0)
            status = os.waitstatus_to_exitcode(raw)
            connection.sendall(status.to_bytes(4, signed=True))
        elif signals := connection.recv(1):
            os.kill(job, signals[0])
        else:  # the process in whose place it ran is gone
            os.kill(job, signal.SIGKILL)
            os.waitpid(job, 0)
            status = -signal.SIGKILL
    os._exit(0)


def _run(asked: dict[str, object], streams: list[int]) -> None:
    """Become the job."""
    for number, stream in enumerate(streams[:3]):
        os.dup2(stream, number)
    os.chdir(str(asked["folder"]))
    os.environ.clear()
    os.environ.update(asked["environment"])  # type: ignore[call-overload]
    sys.argv = list(asked["arguments"])  # type: ignore[call-overload]
    if len(streams) > 3:
        sys.argv[sys.argv.index("--terminal") + 1] = str(streams[3])
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    status: object = 0
    try:
        # as an interpreter of the job's own would start: its script's folder, then PYTHONPATH
        folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:0] = [str(Path(sys.argv[0]).resolve().parent), *filter(None, folders)]
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        status = end.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 0 if status is None else 1)


if __name__ == "__main__":
    serve(sys.argv[1])
