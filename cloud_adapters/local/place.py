"""Places: the directory of an embedded cluster, the only thing that outlives its processes. Standard library only."""

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from cloud_adapters.local.processes import is_alive

CLOSED: Final = 0o700
SECRET: Final = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What the keeper says about the present or the last life of the cluster."""

    tag: str
    folder: str
    base_port: int
    url: str
    keeper_pid: int
    keeper_started: int
    is_up: bool = False
    """The head and all nodes have started."""

    ended: str | None = None
    """Why it is over."""

    @property
    def is_kept(self) -> bool:
        return self.ended is None and is_alive(self.keeper_pid, self.keeper_started)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    directory: Path

    @classmethod
    def make(cls, directory: Path) -> Self:
        directory.mkdir(mode=CLOSED, parents=True, exist_ok=True)
        return cls(directory=directory)

    @property
    def log_file(self) -> Path:
        return self.directory / "keeper.log"

    @property
    def token_file(self) -> Path:
        return self.directory / "token"

    @property
    def last_logs(self) -> Path:
        """Ends of Ray's own logs, kept when a cluster ended by itself."""
        return self.directory / "last-logs"

    @property
    def _life_file(self) -> Path:
        return self.directory / "keeper.json"

    @property
    def _call_file(self) -> Path:
        return self.directory / "called"

    def call(self) -> None:
        """Says that somebody wants the cluster."""
        self._call_file.touch(SECRET)

    def last_call(self) -> int | None:
        """A number that differs after each call."""
        with suppress(OSError):
            return self._call_file.stat().st_mtime_ns
        return None

    def life(self) -> Life | None:
        with suppress(OSError, ValueError, TypeError):
            return Life(**json.loads(self._life_file.read_text()))
        return None

    def write_life(self, life: Life) -> None:
        write_secret(self._life_file, json.dumps(asdict(life)))

    def token(self) -> str | None:
        with suppress(OSError):
            return self.token_file.read_text()
        return None

    def lock(self) -> int | None:
        """Takes the cluster for as long as the returned file, or a copy of it in a child, stays open."""
        held = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, SECRET)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
            return None
        return held

    def forget(self) -> None:
        """Keeps the logs only."""
        for file in (self._life_file, self._call_file, self.token_file):
            file.unlink(missing_ok=True)


def write_secret(file: Path, text: str) -> None:
    """Whole or not at all, readable by nobody else."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, SECRET), "w") as out:
        out.write(text)
    fresh.replace(file)
