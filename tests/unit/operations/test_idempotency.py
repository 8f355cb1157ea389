"""A request that is sent twice is done once, and a write that lost a race is tried again."""

import pytest

from controlplane.domain.errors import Conflict, KeyReused, StaleWrite
from controlplane.domain.events import Event
from controlplane.domain.ids import TokenId
from controlplane.operations.idempotency import TRIES, Once, Replay, write_once
from controlplane.store import Remembered, Tx
from tests.unit.operations.world import World


def once(*, key: str = "key", request_hash: bytes = b"request", token: str = "token_1") -> Once[str]:
    return Once(token_id=TokenId(token), key=key, request_hash=request_hash, code=201, render=str.upper)


def deed(tx: Tx) -> str:
    tx.events.add(Event(kind="deed.done", subject="deed", at=tx.now))
    return "done"


def deeds(plane: World) -> int:
    return plane.event_kinds().count("deed.done")


def test_the_answer_is_remembered_with_the_deed(plane: World) -> None:
    assert write_once(plane.store, deed, once()) == "done"
    with pytest.raises(Replay) as again:
        write_once(plane.store, deed, once())
    assert again.value.remembered == Remembered(request_hash=b"request", code=201, body="DONE")
    assert deeds(plane) == 1


def test_a_key_stands_for_one_request(plane: World) -> None:
    write_once(plane.store, deed, once())
    with pytest.raises(KeyReused) as caught:
        write_once(plane.store, deed, once(request_hash=b"other"))
    assert (caught.value.field, caught.value.value, deeds(plane)) == ("Idempotency-Key", "key", 1)


def test_without_a_key_and_for_another_token_it_is_another_deed(plane: World) -> None:
    for each in (None, None, once(), once(token="token_2"), once(key="other")):
        write_once(plane.store, deed, each)
    assert deeds(plane) == 5


def test_a_deed_that_fails_is_not_remembered(plane: World) -> None:
    def fails(tx: Tx) -> str:
        deed(tx)
        raise Conflict("not now")

    with pytest.raises(Conflict, match="not now"):
        write_once(plane.store, fails, once())
    assert write_once(plane.store, deed, once()) == "done"
    assert deeds(plane) == 1


def test_a_lost_race_is_run_again_and_only_the_last_run_is_kept(plane: World) -> None:
    runs = []

    def races(tx: Tx) -> str:
        runs.append(deed(tx))
        if len(runs) < TRIES:
            raise StaleWrite("changed by another writer")
        return "done"

    assert write_once(plane.store, races, once()) == "done"
    assert (len(runs), deeds(plane)) == (TRIES, 1)


def test_whoever_always_loses_is_told(plane: World) -> None:
    def loses(tx: Tx) -> str:
        raise StaleWrite("changed by another writer")

    with pytest.raises(StaleWrite):
        write_once(plane.store, loses, once())
