"""Lanes: calls to the outside, a few at a time for each cluster, so that one that hangs holds back no other."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

WIDTH: Final = 4
"""Calls that are made at once in one lane."""

LONGEST_LOAD: Final = 50
"""Turns that one thread takes along; what can be asked together is asked in one call."""

MOST_WAITING: Final = 500
"""Turns that wait in one lane; more would only keep their claims from others."""


class InLane(Protocol):
    @property
    def lane(self) -> str | None: ...


T = TypeVar("T", bound=InLane)
R = TypeVar("R")


class Pool(Protocol):
    """Where calls are made: a thread pool, or one that runs them inline in the calling thread."""

    def submit(self, fn: Callable[..., R], /, *args: Any) -> Future[R]: ...  # noqa: ANN401 - of `fn`


@dataclass(frozen=True, slots=True, kw_only=True)
class _Load(Generic[T, R]):
    lane: str
    turns: tuple[T, ...]
    answer: Future[R]


class Lanes(Generic[T, R]):
    """Not shared between threads: the loop that owns it fills and empties it, the pool's threads only act."""

    def __init__(self, act: Callable[[Sequence[T]], R], *, ring: Callable[[], None]) -> None:
        """`ring` is called whenever an answer is there, from the thread that has it."""
        self._act = act
        self._ring = ring
        self._waiting: dict[str, deque[T]] = {}
        self._loads: list[_Load[T, R]] = []

    def add(self, turns: Sequence[T]) -> list[T]:
        """Returns those that found no place."""
        return [turn for turn in turns if not self._joined(turn)]

    def send(self, pool: Pool) -> None:
        """Hands the pool what each lane has room for, the first come first."""
        for lane, waiting in list(self._waiting.items()):
            free = WIDTH - sum(load.lane == lane for load in self._loads)
            while waiting and free:
                # Evenly: what is asked one by one goes in parallel.
                size = min(-(-len(waiting) // free), LONGEST_LOAD)
                self._send(pool, lane, tuple(waiting.popleft() for _ in range(size)))
                free -= 1
            if not waiting:
                del self._waiting[lane]

    def answers(self) -> list[R]:
        """Of the calls that are over, in the order in which they were sent."""
        loads, self._loads, answers = self._loads, [], []
        for load in loads:
            if load.answer.done():
                answers.append(load.answer.result())
            else:
                self._loads.append(load)
        return answers

    def give_up(self) -> list[T]:
        """Takes out those for which no call was begun."""
        waiting, self._waiting = self._waiting, {}
        return [turn for lane in waiting.values() for turn in lane]

    @property
    def has_answers(self) -> bool:
        return any(load.answer.done() for load in self._loads)

    @property
    def turns(self) -> list[T]:
        """All of them, waiting or under way."""
        waiting = [turn for lane in self._waiting.values() for turn in lane]
        return waiting + [turn for load in self._loads for turn in load.turns]

    def _joined(self, turn: T) -> bool:
        waiting = self._waiting.setdefault(turn.lane or "", deque())
        if len(waiting) >= MOST_WAITING:
            return False
        waiting.append(turn)
        return True

    def _send(self, pool: Pool, lane: str, turns: tuple[T, ...]) -> None:
        answer = pool.submit(self._act, turns)
        self._loads.append(_Load(lane=lane, turns=turns, answer=answer))
        answer.add_done_callback(lambda _: self._ring())
