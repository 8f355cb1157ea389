"""Slurm's allocation rate: a controller alone, with nodes that never come up, so jobs are allocated and not launched.

Times selection, as a plan of ours does; its power-saving path costs a little extra, its jobs have no constraints. Tuned
for it: one cycle may look at the whole queue, and the next one begins at once.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.server import free_port

CORES: Final = 8
READY_SECONDS: Final = 30.0
LONGEST_SECONDS: Final = 240.0
LOOK_SECONDS: Final = 0.5
TICKS: Final = os.sysconf("SC_CLK_TCK")

CONFIGURATION: Final = """
ClusterName=bench
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={other_port}
SlurmUser=root
AuthType=auth/none
CredType=cred/none
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/pid
SlurmctldLogFile={folder}/log
ResumeProgram=/bin/true
SuspendProgram=/bin/true
ResumeTimeout=3600
SuspendTime=3600
MessageTimeout=100
ProctrackType=proctrack/pgid
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=defer,max_sched_time=30,default_queue_depth=200000,partition_job_depth=200000,sched_min_interval=0,sched_interval=1
PriorityType=priority/basic
MaxArraySize=200001
MaxJobCount=200000
NodeName=n[0-{last}] CPUs={cores} State=CLOUD
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def allocation_rate(nodes: int) -> float | None:
    """One-core jobs per second of its processor time, until nodes of eight cores are full.

    None: no Slurm is installed, or it may not run here.
    """
    program = shutil.which("slurmctld")
    if program is None or shutil.which("sbatch") is None or os.geteuid() != 0:
        return None
    with (
        TemporaryDirectory(prefix="slurm-") as folder,
        _controller(program, Path(folder), nodes) as (process, environment),
    ):
        jobs, began = nodes * CORES, _processor_seconds(process)
        _asked(environment, "sbatch", f"--array=0-{jobs - 1}", "-n1", "-o", os.devnull, "--wrap", "true")
        until = time.monotonic() + LONGEST_SECONDS
        while (seen := _allocated(environment)) < jobs:
            if time.monotonic() > until:
                raise TimeoutError(f"slurmctld allocated {seen} of {jobs} jobs in {LONGEST_SECONDS:g} s")
            time.sleep(LOOK_SECONDS)
        return jobs / (_processor_seconds(process) - began)


def _allocated(environment: dict[str, str]) -> int:
    return len(_asked(environment, "squeue", "-h", "-r", "-t", "CF", "-o", "%i").splitlines())


def _processor_seconds(process: subprocess.Popen[bytes]) -> float:
    """proc(5): utime and stime are the 14th and 15th fields of stat; the second is a name in brackets."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def _controller(
    program: str, folder: Path, nodes: int
) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    """And the environment in which its commands find it."""
    configuration = folder / "slurm.conf"
    (folder / "state").mkdir()
    words = {
        "port": free_port(),
        "other_port": free_port(),
        "folder": folder,
        "last": nodes - 1,
        "cores": CORES,
    }
    configuration.write_text(CONFIGURATION.format_map(words))
    environment = os.environ | {"SLURM_CONF": str(configuration)}
    process = subprocess.Popen(
        [program, "-D", "-f", str(configuration)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(environment)
        yield process, environment
    finally:
        process.kill()
        process.wait()


def _wait(environment: dict[str, str]) -> None:
    until = time.monotonic() + READY_SECONDS
    while "UP" not in _asked(environment, "scontrol", "ping", check=False):
        if time.monotonic() > until:
            raise TimeoutError(f"slurmctld was not ready within {READY_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)


def _asked(environment: dict[str, str], *command: str, check: bool = True) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=check).stdout
