"""Gangs: a replica of several tasks. Rank 0 answers requests and calls the others, each of which holds a part.

Both ends prove that they know the replicas' key before anything is read (an HMAC challenge), since what follows is
pickled. By `pickle` itself: what libraries teach the pickler of `multiprocessing` are ways between processes of one
host, such as torch's shared memory, and ranks are on several.
"""

import os
import pickle
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, answer_challenge, deliver_challenge
from typing import Any, Final

from .surroundings import Gang

# `Any`: what stages hand to each other is the user's.

PATIENCE_SECONDS: Final = 120.0
RETRY_SECONDS: Final = 0.2
INTRODUCTION_SECONDS: Final = 10.0
"""Whoever has not shown by then that it is one of us is none."""

MOST_STRANGERS: Final = 64
"""Who may introduce themselves at a time; more are hung up on, and a rank among them dials again."""


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
                self._connection.send_bytes(pickle.dumps(value))
                answer = self._connection.recv_bytes()
            except (OSError, EOFError) as problem:
                raise PeerLost(f"rank {self.rank} is gone: {problem}") from problem
        is_answer, said = pickle.loads(answer)  # noqa: S301 - of one who knows the key
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
    lobby = _Lobby(key)
    with socket.create_server((gang.host, gang.port), backlog=gang.ranks + MOST_STRANGERS) as listener:
        listener.settimeout(RETRY_SECONDS)
        while len(found) < gang.ranks - 1:
            with suppress(TimeoutError):
                lobby.enter(listener.accept()[0])
            for peer in lobby.known():
                found[peer.rank] = peer
    return [found[rank] for rank in sorted(found)]


class _Lobby:
    """Where those who dialled show who they are, each in a thread: one who says nothing keeps nobody waiting."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()
        self._places = threading.Semaphore(MOST_STRANGERS)
        self._known: queue.SimpleQueue[Peer] = queue.SimpleQueue()

    def enter(self, arrived: socket.socket) -> None:
        if self._places.acquire(blocking=False):
            threading.Thread(target=self._introduce, args=(arrived,), daemon=True).start()
        else:
            arrived.close()

    def known(self) -> Sequence[Peer]:
        """Those who became known since the last call."""
        return [self._known.get() for _ in range(self._known.qsize())]

    def _introduce(self, arrived: socket.socket) -> None:
        connection = Connection(os.dup(arrived.fileno()))
        # Both directions are shut, so that whatever the thread waits for ends.
        limit = threading.Timer(INTRODUCTION_SECONDS, _hang_up, (arrived,))
        limit.start()
        try:
            deliver_challenge(connection, self._key)
            answer_challenge(connection, self._key)
            self._known.put(Peer(int(connection.recv_bytes()), connection))
        except (AuthenticationError, EOFError, OSError, ValueError):
            connection.close()  # a stranger, or a rank that is gone again: it says nothing of those that come
        finally:
            limit.cancel()
            limit.join()
            arrived.close()
            self._places.release()


def _hang_up(arrived: socket.socket) -> None:
    with suppress(OSError):
        arrived.shutdown(socket.SHUT_RDWR)


def follow(gang: Gang, key: str, stage: Callable[[Any], Any]) -> None:
    """On the other ranks: answers rank 0 until that goes away."""
    connection = _dialled(gang, key)
    with connection:
        connection.send_bytes(str(gang.rank).encode())
        while True:
            try:
                asked = connection.recv_bytes()
            except (OSError, EOFError):
                return
            connection.send_bytes(_answered(stage, asked))


def _answered(stage: Callable[[Any], Any], asked: bytes) -> bytes:
    try:
        return pickle.dumps((True, stage(pickle.loads(asked))))  # noqa: S301 - of rank 0, which knows the key
    except Exception as problem:  # noqa: BLE001 - whatever it is, rank 0 tells its caller
        return pickle.dumps((False, f"{type(problem).__name__}: {problem}"))


def _dialled(gang: Gang, key: str) -> Connection:
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return Client((gang.host, gang.port), authkey=key.encode())
        except OSError:
            if time.monotonic() >= until:
                raise
            time.sleep(RETRY_SECONDS)
