"""Every built-in object store keeps the contract, and so do the wrappers."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import pytest

from controlplane.domain.errors import Conflict, Invalid, Rejected, Transient
from controlplane.secrets.sealer import Sealer, Unsealable
from controlplane.storage.base import Blobs, Credentials, Objects, ObjectStore, Place, Replaces
from controlplane.storage.encrypting import CHUNK_BYTES, HEADER_BYTES, SEALED_CHUNK, EncryptingObjects
from controlplane.storage.fake import FakeStore
from controlplane.storage.file import FileStore
from controlplane.storage.oss import OssStore
from controlplane.storage.oss_server import OssServer
from controlplane.storage.s3 import S3Store
from controlplane.storage.s3_server import S3Server
from controlplane.storage.testing import (
    BlobsContract,
    ObjectsContract,
    ObjectStoreContract,
    pattern,
    put_part,
)
from controlplane.storage.zstd import ZstdBlobs

CREDENTIALS: Final = Credentials(access_key_id="AK", secret="SK")
BUCKET: Final = "bucket"
SEALER: Final = Sealer(b"m" * 32)


@pytest.fixture(scope="class")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="class")
def oss(folder: Path) -> Iterator[OssStore]:
    with OssServer(folder, credentials=CREDENTIALS, buckets=[BUCKET]) as server:
        store = OssStore(
            Place(bucket=BUCKET, region="cn-hangzhou", endpoint=server.url, credentials=CREDENTIALS)
        )
        yield store
        store.close()


def emptied(store: ObjectStore) -> ObjectStore:
    """A client takes longer to build than a test to run, so a class shares one."""
    for key in list(store.list("")):
        store.delete(key)
    for upload in list(store.list_uploads("")):
        store.abort_parts(upload.key, upload.upload_id)
    return store


class TestFileStore(ObjectStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return FileStore(tmp_path / "objects")

    def test_a_link_that_leads_out_is_not_followed(self, store: ObjectStore, tmp_path: Path) -> None:
        (tmp_path / "objects" / "out").symlink_to(tmp_path)
        with pytest.raises(Invalid):
            store.put("out/stolen", io.BytesIO(b"x"))
        assert not (tmp_path / "stolen").exists()

    def test_a_key_below_an_object_is_refused_and_leaves_it_whole(self, store: ObjectStore) -> None:
        store.put("a", io.BytesIO(b"x"))
        with pytest.raises(Transient):
            store.put("a/b", io.BytesIO(b"y"))
        assert list(store.list("")) == ["a"]


class TestFakeStore(ObjectStoreContract):
    @pytest.fixture
    def store(self) -> ObjectStore:
        return FakeStore()

    def test_replacing_needs_the_etag_that_is_there(self) -> None:
        store = FakeStore()
        store.put("key", io.BytesIO(b"first"))
        etag = store.head("key").etag
        store.replace("key", io.BytesIO(b"second"), if_match=etag)
        with pytest.raises(Conflict):
            store.replace("key", io.BytesIO(b"third"), if_match=etag)


class Outrun(S3Store):
    """Once it has looked for an object, a rival stores one there."""

    rival: bytes | None = None

    def exists(self, key: str) -> bool:
        found = super().exists(key)
        if self.rival is not None:
            self.put(key, io.BytesIO(self.rival))
            self.rival = None
        return found


class TestS3Store(ObjectStoreContract):
    """boto3 against our strict server, as AWS: with checksums of the whole."""

    has_crc64 = True

    @pytest.fixture(scope="class")
    @classmethod
    def served(cls, folder: Path) -> Iterator[Outrun]:
        with S3Server(folder, credentials=CREDENTIALS, buckets=[BUCKET]) as server:
            store = Outrun(
                Place(
                    bucket=BUCKET,
                    region="us-east-1",
                    endpoint=server.url,
                    credentials=CREDENTIALS,
                    has_crc64=cls.has_crc64,
                )
            )
            yield store
            store.close()

    @pytest.fixture
    def store(self, served: Outrun) -> ObjectStore:
        return emptied(served)

    def test_replacing_needs_the_etag_that_is_there(self, store: ObjectStore) -> None:
        store.put("key", io.BytesIO(b"first"))
        etag = store.head("key").etag
        replaces = cast("Replaces", store)
        replaces.replace("key", io.BytesIO(b"second"), if_match=etag)
        with pytest.raises(Conflict):
            replaces.replace("key", io.BytesIO(b"third"), if_match=etag)

    def test_what_appears_between_the_look_and_the_completion_is_not_replaced(
        self, store: ObjectStore, served: Outrun
    ) -> None:
        upload_id = store.begin_parts("whole")
        receipt = put_part(store, upload_id, 1, b"mine")
        served.rival = b"somebody else's"
        with pytest.raises(Conflict):
            store.complete_parts("whole", upload_id, [receipt], if_absent=True)
        with store.get("whole") as data:
            assert data.read() == b"somebody else's"


class TestS3StoreWithoutChecksums(TestS3Store):
    """As any other store that speaks S3."""

    has_crc64 = False


class TestOssStore(ObjectStoreContract):
    """The vendor's SDK against our server."""

    @pytest.fixture
    def store(self, oss: OssStore) -> ObjectStore:
        return emptied(oss)


class TestEncryptingObjects(ObjectsContract):
    @pytest.fixture
    def inner(self) -> FakeStore:
        return FakeStore()

    @pytest.fixture
    def store(self, inner: FakeStore) -> Objects:
        return EncryptingObjects(inner=inner, sealer=SEALER)

    def test_the_store_sees_nothing_of_the_content(self, store: Objects, inner: FakeStore) -> None:
        store.put("key", io.BytesIO(b"plain words " * 1000))
        assert b"plain" not in inner.objects["key"]

    def test_another_master_key_does_not_open_it(self, store: Objects, inner: FakeStore) -> None:
        store.put("key", io.BytesIO(b"secret"))
        other = EncryptingObjects(inner=inner, sealer=Sealer(b"n" * 32))
        with pytest.raises(Unsealable):
            other.get("key").read()
        with pytest.raises(Unsealable):
            other.read("key", 0, 3)

    @pytest.mark.parametrize(
        "length", [0, 10, HEADER_BYTES, HEADER_BYTES + 5, HEADER_BYTES + SEALED_CHUNK, -SEALED_CHUNK, -1]
    )
    def test_what_was_cut_is_refused(self, store: Objects, inner: FakeStore, length: int) -> None:
        store.put("key", io.BytesIO(pattern(3 * CHUNK_BYTES)))
        inner.objects["key"] = inner.objects["key"][:length]
        with pytest.raises(Unsealable):
            store.get("key").read()

    def test_a_cut_is_seen_by_the_range_that_ends_at_it(self, store: Objects, inner: FakeStore) -> None:
        store.put("key", io.BytesIO(pattern(3 * CHUNK_BYTES)))
        inner.objects["key"] = inner.objects["key"][:-SEALED_CHUNK]
        with pytest.raises(Unsealable):
            store.read("key", CHUNK_BYTES, CHUNK_BYTES).read()

    @pytest.mark.parametrize(
        "at", [5, 100, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + SEALED_CHUNK + 9, -1]
    )
    def test_what_was_changed_is_refused(self, store: Objects, inner: FakeStore, at: int) -> None:
        store.put("key", io.BytesIO(pattern(2 * CHUNK_BYTES)))
        data = bytearray(inner.objects["key"])
        data[at] ^= 1
        inner.objects["key"] = bytes(data)
        with pytest.raises(Unsealable):
            store.get("key").read()

    def test_swapped_chunks_are_refused(self, store: Objects, inner: FakeStore) -> None:
        store.put("key", io.BytesIO(pattern(3 * CHUNK_BYTES)))
        data, first = inner.objects["key"], HEADER_BYTES
        second, third = first + SEALED_CHUNK, first + 2 * SEALED_CHUNK
        inner.objects["key"] = data[:first] + data[second:third] + data[first:second] + data[third:]
        with pytest.raises(Unsealable):
            store.get("key").read()

    def test_nothing_of_the_key_is_shown(self, store: Objects) -> None:
        assert "mmmm" not in repr(store)


class TestZstdBlobs(BlobsContract):
    @pytest.fixture
    def inner(self) -> FakeStore:
        return FakeStore()

    @pytest.fixture
    def store(self, inner: FakeStore) -> Blobs:
        return ZstdBlobs(inner=inner)

    def test_logs_get_smaller(self, store: Blobs, inner: FakeStore) -> None:
        size = store.put("log", io.BytesIO(b"epoch 1 loss 0.5\n" * 10_000))
        assert size == len(inner.objects["log"]) < 2000

    def test_what_was_cut_is_refused(self, store: Blobs, inner: FakeStore) -> None:
        store.put("log", io.BytesIO(pattern(300_000)))
        inner.objects["log"] = inner.objects["log"][:-10]
        with pytest.raises(Transient):
            store.get("log").read()

    def test_what_was_changed_is_refused(self, store: Blobs, inner: FakeStore) -> None:
        store.put("log", io.BytesIO(b"epoch 1 loss 0.5\n" * 100))
        data = bytearray(inner.objects["log"])
        data[-1] ^= 1
        inner.objects["log"] = bytes(data)
        with pytest.raises(Rejected):
            store.get("log").read()

    def test_what_goes_on_after_its_end_is_refused(self, store: Blobs, inner: FakeStore) -> None:
        store.put("log", io.BytesIO(b"a line"))
        inner.objects["log"] += b"more"
        with pytest.raises(Rejected):
            store.get("log").read()


class TestEncryptedOnOss(ObjectsContract):
    """A wrapper over a real store: what counts as bytes in memory must do over the network."""

    @pytest.fixture
    def store(self, oss: OssStore) -> Objects:
        return EncryptingObjects(inner=emptied(oss), sealer=SEALER)
