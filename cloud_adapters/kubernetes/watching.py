"""Follows what a cluster has of one kind: a list in pages, then a watch, for as long as somebody asks.

The API server cannot be asked for "all changes until now", and a list of every pod at each look would be the
heaviest thing that a cluster of thousands of nodes serves. So each follower owns a thread and a connection. It ends
when it is closed, or by itself when nobody asked for `IDLE_SECONDS`, so a detached cluster costs nothing for long.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from cloud_adapters.base import PluginError, Rejected, Throttled, Transient
from cloud_adapters.kubernetes.ledger import Book
from cloud_adapters.kubernetes.refusals import Call, Expired, MissingRight, refusal

Json: TypeAlias = Mapping[str, Any]

PAGE: Final = 500
WATCH_SECONDS: Final = 300
"""Then the API server ends a watch, and the next goes on where it stood: connections move to new servers so."""

CONNECT_SECONDS: Final = 10.0
PAGE_SECONDS: Final = 60.0
STALL_SECONDS: Final = 75.0
"""A bookmark comes each minute: a watch that is silent for longer is dead, whatever TCP says."""

STALE_SECONDS: Final = 30.0
"""For so long the books count as good while what broke is being mended."""

IDLE_SECONDS: Final = 600.0
SHORTEST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 15.0


class Source(Protocol):
    """Where lists and watches come from. Raises `PluginError`s alone."""

    def page(self, call: Call, path: str, query: Mapping[str, str], *, seconds: float) -> Json: ...

    def watch(
        self, call: Call, path: str, query: Mapping[str, str], *, stall_seconds: float
    ) -> Iterator[bytes]:
        """An empty line as soon as it begins, then lines of JSON until the server ends them or `cut` is called."""

    def cut(self) -> None:
        """Ends the watch under way and any later one. May be called from another thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is followed."""

    what: str
    path: str
    field_selector: str | None = None

    @property
    def query(self) -> dict[str, str]:
        return {"fieldSelector": self.field_selector} if self.field_selector else {}


class Follower:
    """Starts at once. Any thread may ask and close."""

    def __init__(
        self, subject: Subject, book: Book, source: Source, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._subject = subject
        self._book = book
        self._source = source
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._is_closed = False
        self._asked_at = monotonic()
        self._is_listed = False
        self._failing_since = 0.0
        """When the present problem was met first."""

        self._problem: PluginError | None = None
        self._version: str | None = None
        """From where a watch goes on. None: list first."""

        self._thread = threading.Thread(target=self._follow, name=f"follow-{subject.what}", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def missing_right(self) -> str | None:
        """Why nothing of this kind can be seen, if that is a missing right."""
        problem = self._problem
        return problem.message if isinstance(problem, MissingRight) else None

    def settled(self, *, until: float) -> None:
        """Returns when the books are whole, or when nothing of this kind may be seen; raises what is in the way."""
        with self._changed:
            self._asked_at = self._monotonic()
            while not self._is_settled():
                left = until - time.monotonic()
                if left <= 0:
                    raise self._problem or Transient(f"the {self._subject.what} are still being listed")
                self._changed.wait(left)

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._source.cut()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    def _is_settled(self) -> bool:
        if self._is_closed:
            raise Transient(f"the {self._subject.what} are not followed any more")
        if isinstance(self._problem, MissingRight):
            return True
        if not self._is_listed:
            return False
        if self._problem is None or self._monotonic() - self._failing_since <= STALE_SECONDS:
            return True
        raise self._problem

    def _follow(self) -> None:
        pause = SHORTEST_PAUSE
        while self._is_wanted():
            try:
                if self._version is None:
                    self._list()
                self._watch()
                pause = SHORTEST_PAUSE
            except Expired:
                self._version = None
                pause = self._paused(None, pause)
            except PluginError as problem:
                self._note(problem)
                pause = self._paused(problem, pause)
            except (KeyError, TypeError, AttributeError, ValueError) as problem:
                self._version = None
                self._note(Rejected(f"the {self._subject.what} are not told as Kubernetes does: {problem!r}"))
                pause = self._paused(None, pause)

    def _is_wanted(self) -> bool:
        with self._changed:
            if self._monotonic() - self._asked_at > IDLE_SECONDS:
                self._is_closed = True
            return not self._is_closed

    def _list(self) -> None:
        version = ""

        def things() -> Iterator[Json]:
            nonlocal version
            query = {**self._subject.query, "limit": str(PAGE)}
            while True:
                page = self._source.page(self._call("list"), self._subject.path, query, seconds=PAGE_SECONDS)
                yield from page.get("items") or ()
                version = page["metadata"]["resourceVersion"]
                token = page["metadata"].get("continue")
                if not token:
                    return
                if not self._is_wanted():
                    raise Transient(f"the {self._subject.what} are not followed any more")
                query["continue"] = token

        self._book.replace(things())
        self._version = version
        self._is_listed = True
        self._note(None)

    def _watch(self) -> None:
        query = {
            **self._subject.query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
            "resourceVersion": self._version or "",
        }
        lines = self._source.watch(
            self._call("watch"), self._subject.path, query, stall_seconds=STALL_SECONDS
        )
        for line in lines:
            if line:
                self._take(json.loads(line))
            self._note(None)
            if not self._is_wanted():
                return

    def _take(self, event: Json) -> None:
        thing = event["object"]
        match event["type"]:
            case "ADDED" | "MODIFIED":
                self._book.put(thing)
            case "DELETED":
                self._book.drop(thing)
            case "ERROR":
                code = int(thing.get("code", 500))
                raise refusal(self._call("watch"), code, json.dumps(thing).encode(), {})
            case _:  # a bookmark, or what a later version may add
                pass
        self._version = thing["metadata"]["resourceVersion"]

    def _note(self, problem: PluginError | None) -> None:
        with self._changed:
            if self._problem is None:
                self._failing_since = self._monotonic()
            self._problem = problem
            self._changed.notify_all()

    def _paused(self, problem: PluginError | None, pause: float) -> float:
        """Waits, and says how long to wait the next time. A close ends the wait."""
        seconds = problem.retry_after_seconds if isinstance(problem, Throttled) else pause
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed, timeout=seconds)
        return min(2 * pause, LONGEST_PAUSE)

    def _call(self, verb: str) -> Call:
        return Call(verb=verb, what=self._subject.what)
