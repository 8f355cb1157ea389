"""Gangs: a replica of several tasks. Rank 0 answers requests and calls the others, each of which holds a part.

Both ends prove that they know the replicas' key before anything is read (an HMAC challenge), since what follows is
pickled.
"""

import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Client, Connection, Listener
from typing import Any, Final

from .surroundings import Gang

# `Any`: what stages hand to each other is the user's.

PATIENCE_SECONDS: Final = 120.0
RETRY_SECONDS: Final = 0.2


class PeerLost(Exception):
    """A task of this replica is gone, so the replica is of no use."""


class Peer:
    """One other rank, as rank 0 calls it: one call at a time."""

    def __init__(self, rank: int, connection: Connection) -> None:
        self.rank = rank
        self._connection = connection
        self._lock = threading.Lock()

    def __call__(self, value: Any) -> Any:  # noqa: ANN401
        """Raises what the other rank raised, or `PeerLost`."""
        with self._lock:
            try:
                self._connection.send(value)
                is_answer, said = self._connection.recv()
            except (OSError, EOFError) as problem:
                raise PeerLost(f"rank {self.rank} is gone: {problem}") from problem
        if is_answer:
            return said
        raise RuntimeError(f"rank {self.rank}: {said}")

    def close(self) -> None:
        self._connection.close()


def gather(gang: Gang, key: str) -> Sequence[Peer]:
    """On rank 0: waits for all other ranks, and returns them by rank."""
    if gang.ranks == 1:
        return ()
    found: dict[int, Peer] = {}
    with Listener((gang.host, gang.port), backlog=gang.ranks, authkey=key.encode()) as listener:
        while len(found) < gang.ranks - 1:
            connection = listener.accept()
            rank = int(connection.recv())
            found[rank] = Peer(rank, connection)
    return [found[rank] for rank in sorted(found)]


def follow(gang: Gang, key: str, stage: Callable[[Any], Any]) -> None:
    """On the other ranks: answers rank 0 until that goes away."""
    connection = _dialled(gang, key)
    with connection:
        connection.send(gang.rank)
        while True:
            try:
                value = connection.recv()
            except (OSError, EOFError):
                return
            try:
                connection.send((True, stage(value)))
            except Exception as problem:  # noqa: BLE001 - whatever it is, rank 0 tells its caller
                connection.send((False, f"{type(problem).__name__}: {problem}"))


def _dialled(gang: Gang, key: str) -> Connection:
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return Client((gang.host, gang.port), authkey=key.encode())
        except OSError:
            if time.monotonic() >= until:
                raise
            time.sleep(RETRY_SECONDS)
