"""What every object store must do. A plugin's tests inherit `ObjectStoreContract` and give it a store.

The contract has three layers, as the port has: wrappers that can do less inherit `BlobsContract` or `ObjectsContract`.
"""

import hashlib
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, BinaryIO, Final

import pytest

from controlplane.domain.errors import Conflict, Invalid, NotFound, Rejected, Transient
from controlplane.storage.base import Blobs, Objects, ObjectStore, PartReceipt, UploadId
from controlplane.storage.checksums import combine, of
from controlplane.storage.parted import part_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

WRITERS: Final = 4


class BrokenPipe(io.RawIOBase):
    """A source that gives some bytes and then fails, like an upload whose client went away."""

    def __init__(self, size_bytes: int = 8192) -> None:
        self._left = size_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        if not self._left:
            raise ConnectionResetError
        with memoryview(buffer).cast("B") as view:
            given = min(self._left, len(view))
            view[:given] = b"x" * given
        self._left -= given
        return given


class BlobsContract:
    """Inherit, and override `store` with a fixture that yields an empty store."""

    @pytest.fixture
    def store(self) -> Iterator[Blobs]:
        raise NotImplementedError

    def test_what_was_put_is_read_back(self, store: Blobs) -> None:
        store.put("uploads/abc", io.BytesIO(b"hello"))
        with store.get("uploads/abc") as data:
            assert data.read() == b"hello"

    def test_an_empty_object_is_an_object(self, store: Blobs) -> None:
        store.put("empty", io.BytesIO())
        assert store.exists("empty")
        with store.get("empty") as data:
            assert data.read() == b""

    def test_putting_again_replaces_the_whole_object(self, store: Blobs) -> None:
        store.put("key", io.BytesIO(b"a long first version"))
        store.put("key", io.BytesIO(b"short"))
        with store.get("key") as data:
            assert data.read() == b"short"

    def test_an_absent_key_is_not_found(self, store: Blobs) -> None:
        with pytest.raises(NotFound):
            store.get("absent")
        assert not store.exists("absent")

    def test_a_folder_is_no_object(self, store: Blobs) -> None:
        store.put("folder/key", io.BytesIO(b"x"))
        with pytest.raises(NotFound):
            store.get("folder")
        assert not store.exists("folder")

    def test_keys_are_listed_in_order_by_prefix(self, store: Blobs) -> None:
        for key in ("b/1", "a/b", "a.b", "a/c/d", "ab"):
            store.put(key, io.BytesIO(b"x"))
        assert list(store.list("a")) == ["a.b", "a/b", "a/c/d", "ab"]
        assert list(store.list("a/")) == ["a/b", "a/c/d"]
        assert list(store.list("")) == ["a.b", "a/b", "a/c/d", "ab", "b/1"]

    def test_deleting_is_final_and_may_be_repeated(self, store: Blobs) -> None:
        store.put("key", io.BytesIO(b"x"))
        store.delete("key")
        store.delete("key")
        assert not store.exists("key")

    def test_a_source_that_breaks_off_leaves_nothing(self, store: Blobs) -> None:
        broken: BinaryIO = io.BufferedReader(BrokenPipe())
        with pytest.raises(Exception):  # noqa: B017, PT011 - which one is the plugin's choice
            store.put("key", broken)
        assert list(store.list("")) == []

    @pytest.mark.parametrize(
        "key",
        ["", "/etc/passwd", "../up", "a/../../up", "a//b", "a/./b", "a/", "nul\0", "back\\slash", "k" * 2000],
    )
    def test_a_key_that_leaves_the_store_is_refused(self, store: Blobs, key: str) -> None:
        with pytest.raises(Invalid) as caught:
            store.put(key, io.BytesIO(b"x"))
        assert (caught.value.field, caught.value.value) == ("key", key)
        assert list(store.list("")) == []

    def test_a_key_may_hold_any_letters(self, store: Blobs) -> None:
        keys = ["a b", "a+b", "a%20b", "grün/日本", "q?x=1&y", "~tilde_-."]
        for key in keys:
            store.put(key, io.BytesIO(key.encode()))
        for key in keys:
            with store.get(key) as data:
                assert data.read() == key.encode()
        assert list(store.list("")) == sorted(keys, key=str.encode)

    def test_of_two_that_put_if_absent_the_second_is_refused(self, store: Blobs) -> None:
        store.put("lock", io.BytesIO(b"first"), if_absent=True)
        with pytest.raises(Conflict):
            store.put("lock", io.BytesIO(b"second"), if_absent=True)
        with store.get("lock") as data:
            assert data.read() == b"first"

    def test_a_large_object_comes_back_byte_for_byte(self, store: Blobs) -> None:
        whole = pattern(18 * 1024**2 + 5)
        store.put("large", io.BytesIO(whole))
        with store.get("large") as data:
            assert hashlib.sha256(data.read()).digest() == hashlib.sha256(whole).digest()

    def test_a_reader_may_leave_before_the_end(self, store: Blobs) -> None:
        store.put("key", io.BytesIO(pattern(1024**2)))
        with store.get("key") as data:
            assert data.read(4) == pattern(4)
        with store.get("key") as data:
            assert len(data.read()) == 1024**2


class ObjectsContract(BlobsContract):
    """For stores that know sizes and read ranges."""

    @pytest.fixture
    def store(self) -> Iterator[Objects]:
        raise NotImplementedError

    def test_head_tells_the_size_and_changes_with_the_content(self, store: Objects) -> None:
        store.put("key", io.BytesIO(b"four"))
        first = store.head("key")
        store.put("key", io.BytesIO(b"other"))
        second = store.head("key")
        assert (first.key, first.size_bytes, second.size_bytes) == ("key", 4, 5)
        assert first.etag != second.etag
        assert first.modified_at.tzinfo is not None

    def test_head_of_an_absent_key_is_not_found(self, store: Objects) -> None:
        with pytest.raises(NotFound):
            store.head("absent")

    @pytest.mark.parametrize(
        ("offset", "length"),
        [(0, 1), (0, 200_000), (65_535, 2), (65_536, 65_536), (100_000, 1), (199_999, 1), (199_990, 500)],
    )
    def test_a_range_is_just_these_bytes(self, store: Objects, offset: int, length: int) -> None:
        whole = pattern(200_000)
        store.put("key", io.BytesIO(whole))
        with store.read("key", offset, length) as data:
            assert data.read() == whole[offset : offset + length]

    def test_a_range_beyond_the_end_is_empty(self, store: Objects) -> None:
        store.put("key", io.BytesIO(b"four"))
        with store.read("key", 4, 10) as data:
            assert data.read() == b""

    @pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, 0), (0, -5)])
    def test_a_range_that_is_none_is_refused(self, store: Objects, offset: int, length: int) -> None:
        store.put("key", io.BytesIO(b"four"))
        with pytest.raises(Invalid):
            store.read("key", offset, length)

    def test_a_range_of_a_version_that_is_gone_is_a_conflict(self, store: Objects) -> None:
        store.put("key", io.BytesIO(b"first"))
        etag = store.head("key").etag
        with store.read("key", 1, 2, if_match=etag) as data:
            assert data.read() == b"ir"
        store.put("key", io.BytesIO(b"second"))
        with pytest.raises(Conflict):
            store.read("key", 1, 2, if_match=etag)

    def test_a_range_of_an_absent_key_is_not_found(self, store: Objects) -> None:
        with pytest.raises(NotFound):
            store.read("absent", 0, 1)

    def test_entries_tell_sizes_and_go_on_after_a_key(self, store: Objects) -> None:
        for size, key in enumerate(("a", "b/1", "b/2", "b/3", "c")):
            store.put(key, io.BytesIO(b"x" * size))
        found = [(info.key, info.size_bytes, info.etag) for info in store.entries("b/", after="b/1")]
        assert found == [(key, size, store.head(key).etag) for size, key in ((2, "b/2"), (3, "b/3"))]


class ObjectStoreContract(ObjectsContract):
    """For whole stores."""

    @pytest.fixture
    def store(self) -> Iterator[ObjectStore]:
        raise NotImplementedError

    def test_put_answers_with_the_size(self, store: ObjectStore) -> None:
        assert store.put("key", io.BytesIO(b"hello")) == 5

    def test_parts_become_the_object_in_order_of_their_numbers(self, store: ObjectStore) -> None:
        first, second, last = self._pieces(store)
        upload_id = store.begin_parts("whole")
        receipts = {
            number: put_part(store, upload_id, number, data)
            for number, data in ((2, second), (3, last), (1, first))
        }
        assert not store.exists("whole")
        info = store.complete_parts("whole", upload_id, [receipts[number] for number in (1, 2, 3)])
        assert (info.key, info.size_bytes) == ("whole", len(first + second + last))
        with store.get("whole") as data:
            assert data.read() == first + second + last

    def test_the_stores_checksum_is_that_of_the_bytes(self, store: ObjectStore) -> None:
        form = store.limits.crc64
        first, second, _ = self._pieces(store)
        upload_id = store.begin_parts("whole")
        receipts = [put_part(store, upload_id, 1, first), put_part(store, upload_id, 2, second)]
        info = store.complete_parts("whole", upload_id, receipts)
        expected = of(form, first + second) if form else None
        assert (info.crc64, store.head("whole").crc64) == (expected, expected)
        if form:
            assert combine(form, [(part.crc64 or 0, part.size_bytes) for part in receipts]) == expected

    def test_held_parts_are_listed_as_their_receipts(self, store: ObjectStore) -> None:
        first, _, last = self._pieces(store)
        upload_id = store.begin_parts("whole")
        receipts = (put_part(store, upload_id, 1, first), put_part(store, upload_id, 7, last))
        assert tuple(store.list_parts("whole", upload_id)) == receipts

    def test_the_same_number_again_replaces_the_part(self, store: ObjectStore) -> None:
        first, second, last = self._pieces(store)
        upload_id = store.begin_parts("whole")
        put_part(store, upload_id, 1, first)
        again = put_part(store, upload_id, 1, second)
        end = put_part(store, upload_id, 2, last)
        assert tuple(store.list_parts("whole", upload_id)) == (again, end)
        store.complete_parts("whole", upload_id, [again, end])
        with store.get("whole") as data:
            assert data.read() == second + last

    def test_a_part_that_arrives_changed_is_not_kept(self, store: ObjectStore) -> None:
        first, second, _ = self._pieces(store)
        upload_id = store.begin_parts("whole")
        lying = replace(part_of(1, first, None), md5=part_of(1, second, None).md5)
        with pytest.raises(Transient):
            store.put_part("whole", upload_id, lying)
        assert tuple(store.list_parts("whole", upload_id)) == ()

    def test_parts_that_are_not_held_make_no_object(self, store: ObjectStore) -> None:
        first, _, _ = self._pieces(store)
        upload_id = store.begin_parts("whole")
        held = put_part(store, upload_id, 1, first)
        with pytest.raises(Rejected):
            store.complete_parts("whole", upload_id, [held, replace(held, number=2)])
        assert not store.exists("whole")

    def test_a_completed_upload_is_over(self, store: ObjectStore) -> None:
        first, _, _ = self._pieces(store)
        upload_id = store.begin_parts("whole")
        receipt = put_part(store, upload_id, 1, first)
        store.complete_parts("whole", upload_id, [receipt])
        with pytest.raises(NotFound):
            store.list_parts("whole", upload_id)
        assert list(store.list_uploads("")) == []

    def test_an_aborted_upload_leaves_nothing_and_may_be_aborted_again(self, store: ObjectStore) -> None:
        first, _, _ = self._pieces(store)
        upload_id = store.begin_parts("whole")
        put_part(store, upload_id, 1, first)
        store.abort_parts("whole", upload_id)
        store.abort_parts("whole", upload_id)
        assert (list(store.list_uploads("")), store.exists("whole")) == ([], False)
        with pytest.raises(NotFound):
            put_part(store, upload_id, 2, first)

    def test_an_upload_is_no_other_keys(self, store: ObjectStore) -> None:
        upload_id = store.begin_parts("whole")
        with pytest.raises(NotFound):
            store.list_parts("another", upload_id)

    def test_open_uploads_are_found_by_prefix(self, store: ObjectStore) -> None:
        ids = {key: store.begin_parts(key) for key in ("a/1", "a/2", "b/1")}
        found = {upload.key: upload for upload in store.list_uploads("a/")}
        assert {key: upload.upload_id for key, upload in found.items()} == {
            key: ids[key] for key in ("a/1", "a/2")
        }
        assert all(upload.begun_at.utcoffset() == timedelta(0) for upload in found.values())

    def test_completing_if_absent_does_not_replace(self, store: ObjectStore) -> None:
        store.put("whole", io.BytesIO(b"there"))
        first, _, _ = self._pieces(store)
        upload_id = store.begin_parts("whole")
        receipt = put_part(store, upload_id, 1, first)
        with pytest.raises(Conflict):
            store.complete_parts("whole", upload_id, [receipt], if_absent=True)
        with store.get("whole") as data:
            assert data.read() == b"there"

    def test_of_those_who_complete_if_absent_at_once_one_succeeds(self, store: ObjectStore) -> None:
        """However many find nothing there: a look before the deed is no condition of it."""
        texts = [f"writer {number}".encode() for number in range(WRITERS)]
        uploads = [store.begin_parts("whole") for _ in texts]
        receipts = [put_part(store, each, 1, text) for each, text in zip(uploads, texts, strict=True)]
        start = threading.Barrier(WRITERS)

        def complete(upload_id: UploadId, receipt: PartReceipt) -> bool:
            start.wait()
            try:
                store.complete_parts("whole", upload_id, [receipt], if_absent=True)
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(WRITERS) as pool:
            succeeded = list(pool.map(complete, uploads, receipts))
        assert sum(succeeded) == 1
        with store.get("whole") as data:
            assert data.read() == texts[succeeded.index(True)]

    def test_a_source_that_breaks_off_late_leaves_no_upload(self, store: ObjectStore) -> None:
        broken: BinaryIO = io.BufferedReader(BrokenPipe(20 * 1024**2))
        with pytest.raises(Exception):  # noqa: B017, PT011 - which one is the plugin's choice
            store.put("key", broken)
        assert (list(store.list("")), list(store.list_uploads(""))) == ([], [])

    def _pieces(self, store: ObjectStore) -> tuple[bytes, bytes, bytes]:
        """Two of the smallest parts, and a last one that may be smaller."""
        size = store.limits.smallest_part_bytes
        return pattern(size), pattern(size + 1)[1:], b"the end"


def pattern(size_bytes: int) -> bytes:
    """Bytes whose every stretch of 64 KiB differs, so that shifted or swapped ones show."""
    blocks = (
        hashlib.sha256(number.to_bytes(8, "big")).digest() * 2048
        for number in range(-(-size_bytes // 65_536))
    )
    return b"".join(blocks)[:size_bytes]


def put_part(store: ObjectStore, upload_id: UploadId, number: int, data: bytes) -> PartReceipt:
    return store.put_part("whole", upload_id, part_of(number, data, store.limits.crc64))
