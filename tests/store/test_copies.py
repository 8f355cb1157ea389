"""Copies: what is stored comes back whole, parts are replaced, and one target takes one open copy."""

import functools
from dataclasses import replace

import pytest

from controlplane.domain.data_copies import (
    CopiedObject,
    CopiedPart,
    Copy,
    CopyProgress,
    CopyState,
    RegisteredStore,
)
from controlplane.domain.errors import Conflict, StaleWrite
from controlplane.domain.ids import CopyId, SecretId
from controlplane.domain.inputs import InputState
from controlplane.store import Store, Tx
from tests import factories
from tests.store.planting import plant

RICH = factories.copy(
    7,
    state=CopyState.COPYING,
    bytes_per_second=10,
    rereads=True,
    cancel_requested_at=factories.after(1),
    failures=3,
    problem="the store is slow",
)
HIGHEST_CRC = 2**64 - 1


def part(number: int, size_bytes: int, **fields: object) -> CopiedPart:
    made = CopiedPart(
        copy_id=CopyId("copy-1"),
        ordinal=1,
        number=number,
        size_bytes=size_bytes,
        sha256="00",
        etag="e",
        crc64=HIGHEST_CRC,
    )
    return replace(made, **fields)  # type: ignore[arg-type] # the fields' own


@pytest.fixture
def copied(store: Store) -> Store:
    plant(store)
    store.write(lambda tx: tx.copies.add(factories.copy()))
    store.write(lambda tx: tx.copied_objects.add(factories.copied_object()))
    return store


def test_a_copy_comes_back_whole(copied: Store) -> None:
    copied.write(lambda tx: tx.copies.add(RICH))

    with copied.read() as tx:
        assert tx.copies.get(RICH.id) == RICH
        assert tx.copies.get(CopyId("x")) is None
        assert [copy.id for copy in tx.copies.newest(None, None, 9)] == ["copy-7", "copy-1"]
        assert [copy.id for copy in tx.copies.newest(RICH.project_id, "copy-7", 9)] == ["copy-1"]
        assert tx.copies.newest(factories.project(2).id, None, 9) == []


def test_old_copies_are_found_in_pages_but_not_what_an_input_was_made_of(copied: Store) -> None:
    over = [
        factories.copy(number, state=CopyState.CANCELLED, since=factories.after(number))
        for number in (2, 3, 4, 5)
    ]
    for each in over:
        copied.write(functools.partial(_add, each))
    kept = factories.kept_input(
        copy_id=CopyId("copy-3"), state=InputState.COPYING, target="s3://near/x", address="x"
    )
    copied.write(lambda tx: tx.inputs.add(kept))
    with copied.read() as tx:
        old = tx.copies.old(factories.after(5), "", 9)
        assert [each.id for each in old] == ["copy-2", "copy-4"]
        assert [each.id for each in tx.copies.old(factories.after(9), "copy-2", 1)] == ["copy-4"]


def _add(each: Copy, tx: Tx) -> None:
    tx.copies.add(each)


def _begin(each: CopiedObject, tx: Tx) -> None:
    tx.copied_objects.add(each)


def test_a_copy_is_forgotten_a_few_objects_at_a_time(copied: Store) -> None:
    first = factories.copied_object()
    for ordinal in (2, 3):
        copied.write(functools.partial(_begin, replace(first, ordinal=ordinal)))
    copied.write(lambda tx: tx.copied_objects.keep_part(part(1, 10)))
    left = []
    while not copied.write(lambda tx: tx.copies.forget(CopyId("copy-1"), 2)):
        with copied.read() as tx:
            left.append([each.ordinal for each in tx.copied_objects.of_copy(CopyId("copy-1"), 0, 9)])
    assert left == [[1], []]
    with copied.read() as tx:
        assert tx.copies.get(CopyId("copy-1")) is None


def test_a_saved_copy_comes_back_as_it_was_saved_and_an_old_version_is_refused(copied: Store) -> None:
    moved = replace(factories.copy().move(CopyState.COPYING, at=factories.after(9)), problem="?")
    copied.write(lambda tx: tx.copies.save(moved))

    with copied.read() as tx:
        assert tx.copies.get(moved.id) == moved
    with pytest.raises(StaleWrite):
        copied.write(lambda tx: tx.copies.save(moved))


def test_a_target_takes_a_second_copy_when_the_first_is_over(copied: Store) -> None:
    second = factories.copy(2, target=factories.copy().target)
    with pytest.raises(Conflict):
        copied.write(lambda tx: tx.copies.add(second))

    over = factories.copy().move(CopyState.CANCELLED, at=factories.NOON)
    copied.write(lambda tx: tx.copies.save(over))
    copied.write(lambda tx: tx.copies.add(second))


def test_a_part_that_is_kept_again_is_replaced(copied: Store) -> None:
    with copied.read() as tx:
        each = tx.copied_objects.last(CopyId("copy-1"))
    assert each == factories.copied_object()
    for kept in (part(1, 10), part(2, 5), part(2, 5, etag="newer", crc64=None)):
        copied.write(lambda tx, kept=kept: tx.copied_objects.keep_part(kept))  # type: ignore[misc] # bound now

    with copied.read() as tx:
        assert tx.copied_objects.parts(each) == [part(1, 10), part(2, 5, etag="newer", crc64=None)]


def test_progress_counts_parts_until_the_object_is_finished(copied: Store) -> None:
    each = factories.copied_object()
    copied.write(lambda tx: tx.copied_objects.keep_part(part(1, 10)))
    with copied.read() as tx:
        assert tx.copies.progress(each.copy_id) == CopyProgress(objects=0, size_bytes=10, known_bytes=15)

    copied.write(lambda tx: tx.copied_objects.save(replace(each, etag="e", finished_at=factories.NOON)))
    with copied.read() as tx:
        assert tx.copies.progress(each.copy_id) == CopyProgress(objects=1, size_bytes=15, known_bytes=15)
        assert tx.copies.progress(CopyId("x")) == CopyProgress(objects=0, size_bytes=0, known_bytes=0)


def test_an_object_that_is_forgotten_takes_its_parts_along(copied: Store) -> None:
    each = factories.copied_object()
    copied.write(lambda tx: tx.copied_objects.keep_part(part(1, 10)))
    copied.write(lambda tx: tx.copied_objects.forget(each))

    with copied.read() as tx:
        assert (tx.copied_objects.last(each.copy_id), tx.copied_objects.parts(each)) == (None, [])


def test_open_copies_that_no_loop_will_look_at_are_found(copied: Store) -> None:
    copied.write(lambda tx: tx.copies.add(RICH))
    copied.write(lambda tx: tx.work.poke("copy", "copy-1"))

    with copied.read() as tx:
        assert tx.copies.unwatched("", 9) == [RICH.id]
        assert tx.copies.unwatched(RICH.id, 9) == []


def test_a_registered_store_comes_back_whole_and_goes(copied: Store) -> None:
    secret = SecretId("secret-1")
    added = RegisteredStore(
        name="aws",
        uri="s3://bucket/",
        region="eu-central-1",
        created_at=factories.NOON,
        endpoint="https://s3.example",
        access_key_id="AK",
        secret_id=secret,
    )
    sealed = {"key_id": "k", "wrapped_key": b"w", "nonce": b"n", "ciphertext": b"c"}
    copied.write(lambda tx: tx.secrets.put(secret, **sealed))  # type: ignore[arg-type] # by name
    copied.write(lambda tx: tx.object_stores.add(added))
    with copied.read() as tx:
        assert tx.object_stores.all() == [added]
    with pytest.raises(Conflict):
        copied.write(lambda tx: tx.object_stores.add(added))

    copied.write(lambda tx: tx.object_stores.remove("aws"))
    with copied.read() as tx:
        assert tx.object_stores.all() == []
