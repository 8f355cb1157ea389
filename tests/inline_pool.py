"""A pool without threads: what is submitted runs at once, in the thread that submits it."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

R = TypeVar("R")


class InlinePool:
    def submit(self, fn: Callable[..., R], /, *args: Any) -> Future[R]:  # noqa: ANN401 - of `fn`
        """What is no `Exception` goes right through."""
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args))
        except Exception as problem:  # noqa: BLE001 - as a thread pool keeps it
            future.set_exception(problem)
        return future
