"""Python runs this at its start if the folder is on PYTHONPATH: a job of a study is handed to the warm server.

Anything else (Snakemake, a script that imports no torch, a server that is not there) goes on as if this file were not.
"""

import os
import sys


def _hand_over(address, arguments):
    """Let the server run the script in this process's place, and end as it ends."""
    import array
    import json
    import signal
    import socket

    asked = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}  # noqa: PTH109
    message = json.dumps(asked).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        server.sendall(len(message).to_bytes(8))
        # a job of cells gets a fourth one, the terminal
        more = [int(arguments[arguments.index("--terminal") + 1])] if "--terminal" in arguments else []
        streams = array.array("i", [0, 1, 2, *more])
        server.sendmsg([message[:1]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
        server.sendall(message[1:])
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, lambda number, _: server.sendall(bytes([number])))
        status = int.from_bytes(server.recv(4, socket.MSG_WAITALL), signed=True)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


_ADDRESS = os.environ.get("WARM_SERVER")
_ARGUMENTS = sys.orig_argv[1:]
_JOBS = ("train.py", "reference.py", "encode.py")
if _ADDRESS and _ARGUMENTS and _ARGUMENTS[0].endswith(tuple(f"scripts/{name}" for name in _JOBS)):
    _hand_over(_ADDRESS, _ARGUMENTS)
