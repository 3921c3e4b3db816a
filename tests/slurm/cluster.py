"""A real SLURM on this machine, for tests: Debian's slurmctld, slurmd and munge in one folder, on the loopback.

Neither systemd nor cgroups nor /etc/slurm are needed, and all daemons end with the process that started them. Two nodes
with pretended GPUs, each with a slurmd of its own, and two partitions over both: a job in ``urgent`` takes the card of
one in ``gpu``, which is requeued. `sacct` has nothing to tell (there is no database). By hand::

    python tests/slurm/cluster.py FOLDER        # until Ctrl-C; `. FOLDER/environment` in another shell

Written for SLURM 22.05 (Debian 12). What each setting is for stands beside it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client")
PROGRAMS = ("munged", "munge", "unmunge", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
PATH = os.pathsep.join(["/usr/sbin", "/usr/bin", "/sbin", "/bin"])
PARTITION = "gpu"
URGENT = "urgent"
"""Jobs of this partition preempt those of the other one."""

CONFIGURATION = """\
ClusterName=maskbench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# cred_expire: how many seconds a requeued job waits until it may start again (120 by default)
AuthInfo=socket={folder}/munge/socket,cred_expire={requeue}
{binding}
MpiDefault=none
# no cgroups: processes of a job are found by their parents
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/pid/slurmctld
SlurmdPidFile={folder}/pid/slurmd-%n
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
# how many seconds a node may be silent until it is down, and its jobs are requeued (300 by default)
SlurmdTimeout={silence}
ReturnToService=2
KillWait=5
MessageTimeout=10
# squeue must show a job for some time after its end: the plugin asks it for the states of ended jobs
MinJobAge={age}
JobRequeue=1
# tests wait for nothing but their jobs
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
# as many cores as the line says, whatever the machine has
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName={partition} Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=1
PartitionName={urgent} Nodes=ALL MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=10
"""

# a node with a larger weight is used when the others are full
NODE = """\
NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} Boards=1 SocketsPerBoard=1 \
CoresPerSocket={cpus} ThreadsPerCore=1 RealMemory={memory} Gres=gpu:{gpus} Weight={weight} State=UNKNOWN"""

SRUN = """\
#!/bin/sh
# snakemake-executor-plugin-slurm-jobstep takes every SLURM_* from the srun in a job, SLURM_CONF too
SLURM_CONF={conf}
export SLURM_CONF
exec {srun} "$@"
"""


class UnavailableError(RuntimeError):
    """SLURM cannot be had here; the message says why."""


def install() -> None:
    """Install Debian's packages if they are not here.

    Raises
    ------
    UnavailableError
        If that is not possible.
    """
    missing = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if not missing:
        return
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        raise UnavailableError(
            f"no {', '.join(missing)} here, and only root of a Debian can install {', '.join(PACKAGES)}"
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # their postinst scripts would start the daemons: with RUNLEVEL=1 invoke-rc.d does not
    for call in (["update", "-q"], ["install", "-q", "--yes", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(
            ["apt-get", *call], env={**environment, "RUNLEVEL": "1"}, capture_output=True, text=True, check=False
        )
        if done.returncode and call[0] == "install":
            raise UnavailableError(f"apt-get {' '.join(call)} fails: {done.stderr.strip().splitlines()[-1:]}")


class Cluster:
    """Nodes with pretended GPUs, and their scheduler.

    Parameters
    ----------
    folder
        Everything is here; made anew.
    gpus
        GPUs that each node pretends to have.
    nodes
        How many nodes there are: ``node1``, ``node2``, ... SLURM fills them in this order.
    cpus, memory
        Cores of a node and its main memory in MB, whatever the machine has.
    age
        Seconds that `squeue` shows an ended job.
    silence
        Seconds after which a node that does not answer is down.
    requeue
        Seconds that a requeued job waits before it starts again.
    """

    def __init__(
        self,
        folder: Path,
        gpus: int = 4,
        nodes: int = 2,
        *,
        cpus: int = 16,
        memory: int = 64000,
        age: int = 3600,
        silence: int = 15,
        requeue: int = 10,
    ) -> None:
        self.folder, self.gpus = folder.absolute(), gpus
        self.nodes = [f"node{number}" for number in range(1, nodes + 1)]
        self.cpus, self.memory, self.age, self.silence, self.requeue = cpus, memory, age, silence, requeue
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    # --- from outside

    @property
    def environment(self) -> dict[str, str]:
        """What a process that talks to the cluster needs beside the rest of its environment."""
        path = os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"], PATH])
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def call(self, *command: str, check: bool = True) -> str:
        """Return what a command of SLURM prints."""
        done = subprocess.run(
            command, env={**clean(), **self.environment}, text=True, capture_output=True, timeout=60, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
        return done.stdout.strip()

    def jobs(self, comment: str = "", **fields: str) -> list[dict[str, str]]:
        """Return the jobs that the scheduler still knows, as it describes them.

        Parameters
        ----------
        comment
            How their comment begins: ``rule_train_wildcards_``.
        fields
            What else they have in common: ``JobState="RUNNING"``.
        """
        found = []
        for line in self.call("scontrol", "--oneliner", "--details", "show", "jobs").splitlines():
            job = dict(part.split("=", 1) for part in line.split() if "=" in part)
            if job.get("Comment", "").startswith(comment) and fields.items() <= job.items():
                found.append(job)
        return found

    def __enter__(self) -> Cluster:
        """Start it."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()

    # --- starting and stopping

    def start(self) -> None:
        """Write the configuration, start the daemons, and wait until a job has run.

        Raises
        ------
        UnavailableError
            If something does not come up.
        """
        for name in ("munge", "state", "pid", "log", "bin", *(f"spool/{node}" for node in self.nodes)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "munge").chmod(0o711)
        self._configure()
        munge = self.folder / "munge"
        self._launch(
            "munged", "--foreground", "--force", "--num-threads=1", f"--socket={munge / 'socket'}",
            f"--key-file={munge / 'key'}", f"--pid-file={munge / 'pid'}", f"--seed-file={munge / 'seed'}",
            f"--log-file={self.folder / 'log/munged.log'}",
        )  # fmt: skip
        self._wait("munged", lambda: (munge / "socket").exists())
        conf = str(self.folder / "slurm.conf")
        self._launch("slurmctld", "-D", "-i", "-f", conf)
        for node in self.nodes:
            self._launch("slurmd", "-D", "-N", node, "-f", conf, daemon=self._slurmd(node))
        self._wait("slurmctld", lambda: "UP" in self.call("scontrol", "ping", check=False))
        for node in self.nodes:
            self._wait(self._slurmd(node), partial(self._is_idle, node))
        given = self.call("srun", "--gpus=1", "--time=1", "--mem=50", "sh", "-c", "echo card:$CUDA_VISIBLE_DEVICES")
        if given not in {f"card:{number}" for number in range(self.gpus)}:
            raise UnavailableError(f"a first job got no card: {given!r}; see {self.folder / 'log'}")

    def stop(self) -> None:
        """End all jobs, then the daemons, in the order in which they depend on each other."""
        if "slurmctld" in self._daemons and self._daemons["slurmctld"].poll() is None:
            self.call("scancel", "--user", str(os.getuid()), check=False)
            # job steps would outlive slurmd
            _until(lambda: not self.call("squeue", "-h", "-o", "%A", check=False), 20)
        for name in (*map(self._slurmd, self.nodes), "slurmctld", "munged"):
            daemon = self._daemons.pop(name, None)
            if daemon is not None and daemon.poll() is None:
                daemon.terminate()
                try:
                    daemon.wait(15)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()

    def lose(self, node: str) -> None:
        """Let a node die: its daemon, the daemons of its jobs and all processes of the jobs end at once by SIGKILL.

        The scheduler is told nothing, and the node does not come back.
        """
        jobs = {job["JobId"] for job in self.jobs(NodeList=node, JobState="RUNNING")}
        daemon = self._daemons.pop(self._slurmd(node))
        daemon.kill()
        daemon.wait()
        while found := [process for process in _processes() if self._is_of(process, jobs)]:
            for process in found:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.05)

    def _is_of(self, process: int, jobs: set[str]) -> bool:
        """Tell whether a process belongs to one of these jobs, or watches over it."""
        try:
            known = Path(f"/proc/{process}/environ").read_bytes().decode(errors="replace").split("\0")
            title = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            return False
        if f"SLURM_CONF={self.folder / 'slurm.conf'}" not in known:
            return False
        return any(f"SLURM_JOB_ID={job}" in known or title.startswith(f"slurmstepd: [{job}.") for job in jobs)

    def _configure(self) -> None:
        """Write all files."""
        host = socket.gethostname().split(".")[0]
        key = self.folder / "munge/key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        ports = _free_ports(1 + len(self.nodes))
        nodes = [
            NODE.format(
                name=node,
                host=host,
                port=ports[weight],
                weight=weight,
                cpus=self.cpus,
                memory=self.memory,
                gpus=self.gpus,
            )
            for weight, node in enumerate(self.nodes, start=1)
        ]
        text = CONFIGURATION.format(
            host=host, ports=ports, user=_user(), folder=self.folder, binding=_binding(host), age=self.age,
            silence=self.silence, requeue=self.requeue, nodes="\n".join(nodes), partition=PARTITION, urgent=URGENT,
        )  # fmt: skip
        (self.folder / "slurm.conf").write_text(text)
        cards = [f"NodeName={node} Name=gpu File={self._cards()}\n" for node in self.nodes]
        (self.folder / "gres.conf").write_text("".join(["AutoDetect=off\n", *cards]))
        (self.folder / "cgroup.conf").write_text("")
        srun = self.folder / "bin/srun"
        srun.write_text(SRUN.format(conf=self.folder / "slurm.conf", srun=shutil.which("srun", path=PATH)))
        srun.chmod(0o755)

    def _cards(self) -> str:
        """Return the devices that play the GPUs: slurmd wants character devices, and passes on their numbers."""
        try:
            for number in range(self.gpus):
                card = self.folder / f"card{number}"
                if not card.exists():
                    os.mknod(card, 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # another /dev/null
        except PermissionError:
            return f"/dev/tty[20-{19 + self.gpus}]"
        return f"{self.folder}/card[0-{self.gpus - 1}]"

    def _is_idle(self, node: str) -> bool:
        """Tell whether a node waits for jobs."""
        return self.call("sinfo", "-h", "-N", "-n", node, "-p", PARTITION, "-o", "%T", check=False) == "idle"

    @staticmethod
    def _slurmd(node: str) -> str:
        """Return what the daemon of a node is called here."""
        return f"slurmd-{node}"

    def _launch(self, name: str, *arguments: str, daemon: str | None = None) -> None:
        """Start a daemon that ends with this process; `daemon` is what it is called here, if not like its program."""
        program = shutil.which(name, path=PATH)
        if program is None:
            raise UnavailableError(f"{name} is not here")
        daemon = daemon or name
        with (self.folder / f"log/{daemon}.out").open("ab") as log:
            self._daemons[daemon] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", program, *arguments],
                env={**clean(), **self.environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait until a daemon is ready."""
        if not _until(lambda: self._daemons[name].poll() is not None or ready(), 30) or self._daemons[name].poll():
            said = [*(self.folder / "log").glob(f"{name}*")]
            last = [line for path in said for line in path.read_text(errors="replace").splitlines()[-3:]]
            raise UnavailableError(f"{name} does not come up: {' | '.join(last)}")


def clean() -> dict[str, str]:
    """Return the environment without what another cluster may have left in it."""
    prefixes = ("SLURM_", "SBATCH_", "SRUN_", "SQUEUE_", "SINFO_")
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


def _until(done: Callable[[], bool], seconds: float) -> bool:
    """Wait for something; tells whether it happened in time."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _processes() -> list[int]:
    """Return all processes of this machine."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _user() -> str:
    """Return the name of the user, under whom everything runs."""
    return subprocess.run(["id", "-un"], text=True, capture_output=True, check=True).stdout.strip()


def _free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nobody uses now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return ports


def _binding(host: str) -> str:
    """Return the setting that keeps the daemons on the loopback, where the machine's own name leads there."""
    try:
        loopback = socket.gethostbyname(host).startswith("127.")
    except OSError:
        loopback = False
    return "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny" if loopback else ""


def main() -> None:
    """Keep a cluster until the process is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gpus", type=int, default=4)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        install()
        with Cluster(options.folder, options.gpus) as cluster:
            lines = [f"export {name}={shlex.quote(value)}\n" for name, value in cluster.environment.items()]
            (options.folder / "environment").write_text("".join(lines))
            print(f"up: . {options.folder / 'environment'}", flush=True)
            signal.pause()
    except UnavailableError as error:
        sys.exit(f"no SLURM: {error}")
    except KeyboardInterrupt:
        print("stopped", flush=True)


if __name__ == "__main__":
    main()
