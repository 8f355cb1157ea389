"""Idempotency: a request that is sent twice is done once.

The answer is remembered in the transaction that does the deed, so there is no moment at which one exists without the
other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from controlplane.domain.errors import Conflict, KeyReused, StaleWrite
from controlplane.domain.ids import TokenId
from controlplane.store import Remembered, Store, Tx

T = TypeVar("T")

TRIES: Final = 5
"""Of a write that lost a race against the scheduler or against its own twin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Once(Generic[T]):
    """What the caller called the request, and how its answer is remembered."""

    token_id: TokenId
    key: str
    request_hash: bytes
    """Over method, path and body: the same key for anything else is a mistake."""

    code: int
    render: Callable[[T], str]
    """The answer's body. Must hold no secret: it is stored as it is."""


class Replay(Exception):
    """The request was done before; carries what it was answered."""

    def __init__(self, remembered: Remembered) -> None:
        super().__init__("answered before")
        self.remembered = remembered


def write_once(store: Store, unit: Callable[[Tx], T], once: Once[T] | None) -> T:
    """Runs the unit in one transaction, at most once per key. Raises `Replay`, or `KeyReused`.

    The unit reads what it changes, so losing a race against another writer is no news for the caller: it runs again.
    """
    for _ in range(TRIES - 1):
        try:
            return _write(store, unit, once)
        except StaleWrite:
            continue
        except Conflict:
            # Two equal requests at once: the loser's answer is the winner's.
            answer_if_known(store, once)
            raise
    return _write(store, unit, once)


def answer_if_known(store: Store, once: Once[T] | None) -> None:
    """Raises `Replay` for a request that was done before, or `KeyReused`: for what would be judged anew otherwise."""
    if once is None:
        return
    with store.read() as tx:
        before = tx.idempotency.get(once.token_id, once.key)
    if before is not None:
        raise _answer(before, once)


def _write(store: Store, unit: Callable[[Tx], T], once: Once[T] | None) -> T:
    if once is None:
        return store.write(unit)

    def whole(tx: Tx) -> tuple[Remembered | None, T | None]:
        before = tx.idempotency.get(once.token_id, once.key)
        if before is not None:
            return before, None
        result = unit(tx)
        body = once.render(result)
        tx.idempotency.put(
            once.token_id, once.key, Remembered(request_hash=once.request_hash, code=once.code, body=body)
        )
        return None, result

    before, result = store.write(whole)
    if before is not None:
        raise _answer(before, once)
    return result  # type: ignore[return-value] # None only beside `before`


def _answer(before: Remembered, once: Once[T]) -> Replay | KeyReused:
    if before.request_hash == once.request_hash:
        return Replay(before)
    return KeyReused(
        f"the idempotency key {once.key!r} was used before with another request",
        field="Idempotency-Key",
        value=once.key,
    )
