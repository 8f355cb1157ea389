"""A follower has the whole truth or says what is in its way, and ends when it is told or when nobody asks."""

import json
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from cloud_adapters.base import PluginError, Rejected, Throttled, Transient
from cloud_adapters.kubernetes.ledger import Book
from cloud_adapters.kubernetes.refusals import Call, Expired, MissingRight
from cloud_adapters.kubernetes.watching import Follower, Subject

Json = Mapping[str, Any]
WAIT_SECONDS: Final = 10.0
END: Final = "the server ends the watch"


@dataclass(slots=True)
class Names:
    """A book of names alone."""

    names: set[str] = field(default_factory=set)

    @property
    def book(self) -> Book:
        def replace(things: Iterable[Json]) -> None:
            self.names = {thing["metadata"]["name"] for thing in things}

        return Book(
            replace=replace,
            put=lambda thing: self.names.add(thing["metadata"]["name"]),
            drop=lambda thing: self.names.discard(thing["metadata"]["name"]),
        )


class Script:
    """A source that answers what it was told to, in order, and then waits."""

    def __init__(self) -> None:
        self.pages: list[Json | PluginError] = []
        self.watches: list[list[Json | PluginError | str]] = []
        self.asked: list[tuple[str, str]] = []
        """(verb, token or resourceVersion)"""

        self._is_cut = threading.Event()
        self.events: queue.Queue[Json | PluginError | str] = queue.Queue()

    def page(self, call: Call, path: str, query: Mapping[str, str], *, seconds: float) -> Json:
        self.asked.append(("list", query.get("continue", "")))
        page = self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]
        if isinstance(page, PluginError):
            raise page
        return page

    def watch(
        self, call: Call, path: str, query: Mapping[str, str], *, stall_seconds: float
    ) -> Iterator[bytes]:
        self.asked.append(("watch", query["resourceVersion"]))
        yield b""
        while not self._is_cut.is_set():
            try:
                event = self.events.get(timeout=0.01)
            except queue.Empty:
                continue
            if isinstance(event, PluginError):
                raise event
            if isinstance(event, str):
                return
            yield json.dumps(event).encode()

    def cut(self) -> None:
        self._is_cut.set()


def page(*names: str, version: str = "1", token: str = "") -> Json:
    return {
        "metadata": {"resourceVersion": version, "continue": token},
        "items": [{"metadata": {"name": name}} for name in names],
    }


def event(kind: str, name: str, version: str) -> Json:
    return {"type": kind, "object": {"metadata": {"name": name, "resourceVersion": version}}}


@dataclass(slots=True)
class Clock:
    at: float = 0.0

    def __call__(self) -> float:
        return self.at


@dataclass(slots=True)
class Watched:
    script: Script
    names: Names
    clock: Clock
    follower: Follower | None = None

    def start(self) -> Follower:
        subject = Subject(what="pods", path="/api/v1/pods")
        self.follower = Follower(subject, self.names.book, self.script, monotonic=self.clock)
        return self.follower

    def settled(self) -> set[str]:
        assert self.follower is not None
        self.follower.settled(until=time.monotonic() + WAIT_SECONDS)
        return self.names.names

    def until(self, names: set[str]) -> None:
        end = time.monotonic() + WAIT_SECONDS
        while self.names.names != names:
            assert time.monotonic() < end, self.names.names
            time.sleep(0.005)  # poll


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched(Script(), Names(), Clock())
    yield watched
    if watched.follower is not None:
        watched.follower.close()
        watched.follower.join(WAIT_SECONDS)
        assert not watched.follower.is_alive


def test_a_list_comes_in_pages_and_counts_when_it_is_whole(watched: Watched) -> None:
    watched.script.pages = [page("a", token="t1"), page("b", token="t2"), page("c", version="9")]
    watched.start()
    assert watched.settled() == {"a", "b", "c"}
    assert [each for each in watched.script.asked if each[0] == "list"] == [
        ("list", ""),
        ("list", "t1"),
        ("list", "t2"),
    ]


def test_changes_are_followed_and_a_watch_goes_on_where_the_last_one_ended(watched: Watched) -> None:
    watched.script.pages = [page("a", version="5")]
    watched.start()
    watched.settled()
    for each in (event("ADDED", "b", "6"), event("DELETED", "a", "7"), event("BOOKMARK", "x", "40"), END):
        watched.script.events.put(each)
    watched.script.events.put(event("MODIFIED", "c", "41"))
    watched.until({"b", "c"})
    assert watched.script.asked == [("list", ""), ("watch", "5"), ("watch", "40")]


def test_what_the_server_forgot_is_listed_again(watched: Watched) -> None:
    watched.script.pages = [page("a", version="5"), page("b", version="90")]
    watched.start()
    watched.settled()
    gone = {"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old"}}
    watched.script.events.put(gone)
    watched.until({"b"})
    assert ("list", "") in watched.script.asked[1:]


def test_a_list_whose_next_page_expired_begins_anew(watched: Watched) -> None:
    watched.script.pages = [page("a", token="t1"), Expired("too old"), page("b", version="2")]
    watched.start()
    assert watched.settled() == {"b"}


def test_a_broken_watch_is_mended_without_a_list(watched: Watched) -> None:
    watched.script.pages = [page("a", version="5")]
    watched.start()
    watched.settled()
    watched.script.events.put(Transient("the stream broke"))
    watched.script.events.put(event("ADDED", "b", "6"))
    watched.until({"a", "b"})
    assert watched.script.asked.count(("list", "")) == 1


def test_what_has_never_been_listed_is_not_called_empty(watched: Watched) -> None:
    watched.script.pages = [Transient("no route")]
    follower = watched.start()
    with pytest.raises(Transient, match=r"no route|still being listed"):
        follower.settled(until=time.monotonic() + 0.2)


def test_books_that_are_too_old_are_not_trusted(watched: Watched) -> None:
    watched.script.pages = [page("a"), Transient("gone away")]
    follower = watched.start()
    watched.settled()
    watched.script.events.put(Expired("too old"))
    end = time.monotonic() + WAIT_SECONDS
    while watched.script.asked.count(("list", "")) < 3:  # the last list was refused, and that was noted
        assert time.monotonic() < end
        time.sleep(0.005)  # poll
    follower.settled(until=time.monotonic())
    watched.clock.at += 60
    with pytest.raises(Transient, match="gone away"):
        follower.settled(until=time.monotonic())


def test_a_missing_right_is_an_answer(watched: Watched) -> None:
    watched.script.pages = [MissingRight("may not list pods in the whole cluster")]
    follower = watched.start()
    assert watched.settled() == set()
    assert follower.missing_right() == "may not list pods in the whole cluster"


def test_something_that_is_no_kubernetes_is_rejected(watched: Watched) -> None:
    watched.script.pages = [{"hello": "world"}]
    follower = watched.start()
    with pytest.raises((Rejected, Transient)):
        follower.settled(until=time.monotonic() + 0.5)


def test_a_follower_that_nobody_asks_ends_by_itself(watched: Watched) -> None:
    watched.script.pages = [page("a")]
    follower = watched.start()
    watched.settled()
    watched.clock.at += 3600
    watched.script.events.put(event("ADDED", "b", "2"))
    follower.join(WAIT_SECONDS)
    assert not follower.is_alive
    with pytest.raises(Transient, match="not followed any more"):
        follower.settled(until=time.monotonic() + WAIT_SECONDS)


def test_closing_ends_a_wait_for_a_throttled_server(watched: Watched) -> None:
    watched.script.pages = [Throttled("busy", retry_after_seconds=3600)]
    follower = watched.start()
    with pytest.raises(Transient):
        follower.settled(until=time.monotonic() + 0.1)
    follower.close()
    follower.join(WAIT_SECONDS)
    assert not follower.is_alive
