"""The first process of a machine or a pod: makes its file system, then runs what it is for. Standard library only.

The root is an overlay of the host's, so programs and libraries are the host's, and whatever is written is the
cell's own and gone with it. A pod runs one command and ends with its exit code. A machine runs its user data as
cloud-init would, and doubles for systemd as far as `systemctl` and `shutdown` are used on it: both write into a FIFO
that is read here. When a unit's main process ends, everything on the machine but this process is killed, as if it all
were in the unit's control group.

    init.py PLAN    PLAN is JSON, see `Plan` in hypervisor.py; standard input: "go", then nothing until the end
"""

import json
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

REQUESTS = Path("/run/init.requests")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHIM = """#!/bin/sh
echo "$(basename "$0") $*" > /run/init.requests
"""
USER_DATA = Path("/var/lib/cloud/instance/scripts/part-001")
TICK_SECONDS = 0.05


def main() -> None:
    plan = SimpleNamespace(**json.loads(sys.argv[1]))
    make_root(plan)
    if sys.stdin.readline() != "go\n":
        return
    if plan.argv is not None:
        run_pod(plan)
    else:
        run_machine(plan)


def make_root(plan: SimpleNamespace) -> None:
    """Mounts need no clean-up: they end with the namespace."""
    root = Path(plan.folder) / "root"
    layers = Path(plan.folder) / "layers"
    for folder in (root, layers, Path(plan.folder) / "tmp", Path(plan.folder) / "log"):
        folder.mkdir(exist_ok=True)
    (Path(plan.folder) / "tmp").chmod(0o1777)
    mount("-t", "tmpfs", "tmpfs", layers)
    (layers / "upper").mkdir()
    (layers / "work").mkdir()
    options = f"lowerdir=/,upperdir={layers}/upper,workdir={layers}/work"
    mount("-t", "overlay", "-o", options, "overlay", root)
    mount("-t", "proc", "proc", root / "proc")
    mount("--rbind", "/dev", root / "dev")
    mount("-t", "tmpfs", "-o", f"size={plan.shared_memory_bytes}", "tmpfs", root / "dev/shm")
    mount("-t", "tmpfs", "tmpfs", root / "run")
    mount("--bind", Path(plan.folder) / "tmp", root / "tmp")
    mount("--bind", Path(plan.folder) / "log", root / "var/log")
    for shared in plan.shared:
        (root / shared.lstrip("/")).mkdir(parents=True, exist_ok=True)
        mount("--bind", shared, root / shared.lstrip("/"))
    os.chroot(root)
    os.chdir("/")
    furnish(plan)


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def furnish(plan: SimpleNamespace) -> None:
    subprocess.run(["hostname", plan.hostname], check=True)
    Path("/etc/hosts").write_text(f"127.0.0.1 localhost\n{plan.address} {plan.hostname}\n")
    Path("/root").chmod(0o755)  # the host's Python may lie there, and not only root runs it
    for path, text in plan.scripts.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
        Path(path).chmod(0o755)
    for name, target in plan.commands.items():
        place = Path("/usr/local/bin") / name
        place.unlink(missing_ok=True)
        place.symlink_to(target)
    for name in ("shutdown", "systemctl", "poweroff"):
        for folder in ("/usr/sbin", "/usr/bin"):
            place = Path(folder) / name
            place.unlink(missing_ok=True)
            place.write_text(SHIM)
            place.chmod(0o755)


def run_pod(plan: SimpleNamespace) -> None:
    """A second SIGTERM is of no use, and the end of standard input is the end of all."""
    child = subprocess.Popen(plan.argv, env={"PATH": PATH, **plan.environment}, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: child.send_signal(signal.SIGTERM))
    for _ in ticks():
        for pid, code in reaped():
            if pid == child.pid:
                sys.exit(code if code >= 0 else 128 - code)


def run_machine(plan: SimpleNamespace) -> None:
    os.mkfifo(REQUESTS)
    machine = Machine(plan)
    USER_DATA.parent.mkdir(parents=True, exist_ok=True)
    USER_DATA.write_text(plan.user_data)
    USER_DATA.chmod(0o700)
    with Path("/var/log/cloud-init-output.log").open("ab") as log:
        subprocess.Popen([USER_DATA], env={"PATH": PATH}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    requests = os.open(REQUESTS, os.O_RDWR | os.O_NONBLOCK)  # also for writing: it never is at its end
    for _ in ticks():
        with suppress(BlockingIOError):
            for line in os.read(requests, 65536).decode().splitlines():
                machine.ask(*shlex.split(line))
        for pid, _code in reaped():
            machine.ended(pid)
        machine.tend()


def ticks() -> Iterator[None]:
    while not select.select([0], [], [], TICK_SECONDS)[0]:
        yield None


def reaped() -> Iterator[tuple[int, int]]:
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            yield found[0], os.waitstatus_to_exitcode(found[1])


class Machine:
    """Units that run, and when the power goes off."""

    def __init__(self, plan: SimpleNamespace) -> None:
        self._environment = {"PATH": PATH, **plan.environment}
        self._minute_seconds = plan.minute_seconds
        self._units: dict[str, subprocess.Popen[bytes] | float] = {}
        """A main process, or when it is started again."""

        self._off_at = float("inf")
        self._kill_at = float("inf")

    def ask(self, program: str, *arguments: str) -> None:
        print(f"init: {program} {' '.join(arguments)}", flush=True)  # noqa: T201 # the machine's console
        if program == "poweroff" or "poweroff" in arguments:
            self._off_at = time.monotonic()
        elif program == "shutdown" and "-c" in arguments:
            self._off_at = float("inf")
        elif program == "shutdown":
            when = next(one for one in arguments if one == "now" or one.startswith("+"))
            minutes = 0 if when == "now" else int(when)
            self._off_at = time.monotonic() + minutes * self._minute_seconds
        elif "--now" in arguments or "start" in arguments:
            self._units[arguments[-1]] = time.monotonic()

    def ended(self, pid: int) -> None:
        for name, unit in self._units.items():
            if isinstance(unit, subprocess.Popen) and unit.pid == pid:
                with suppress(ProcessLookupError):
                    os.kill(-1, signal.SIGKILL)
                self._units[name] = time.monotonic() + float(option(name, "RestartSec") or 1)

    def tend(self) -> None:
        now = time.monotonic()
        running = [unit for unit in self._units.values() if isinstance(unit, subprocess.Popen)]
        if now >= self._off_at:
            if self._kill_at == float("inf"):
                limits = (float(option(name, "TimeoutStopSec") or 90) for name in self._units)
                self._kill_at = now + max(limits, default=0)
                for process in running:
                    os.kill(process.pid, signal.SIGTERM)
            if now >= self._kill_at or not running:
                print("init: power off", flush=True)  # noqa: T201 # the machine's console
                sys.exit(0)
            return
        for name, unit in self._units.items():
            if isinstance(unit, float) and now >= unit:
                self._units[name] = self._started(name)

    def _started(self, name: str) -> subprocess.Popen[bytes]:
        with Path(f"/var/log/{name}.log").open("ab") as log:
            return subprocess.Popen(
                shlex.split(option(name, "ExecStart") or "false"),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def option(unit: str, name: str) -> str | None:
    for line in Path(f"/etc/systemd/system/{unit}").read_text().splitlines():
        key, _, value = line.partition("=")
        if key.strip() == name:
            return value.strip()
    return None


if __name__ == "__main__":
    main()
