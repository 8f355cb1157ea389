"""Our S3 and OSS servers are strict, and the stores bear what goes wrong between."""

import base64
import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import httpx
import pytest

from controlplane.domain.errors import (
    Ambiguous,
    AuthFailed,
    Conflict,
    NotFound,
    Rejected,
    Throttled,
    Transient,
)
from controlplane.storage.base import (
    Credentials,
    Encryption,
    ObjectStore,
    Place,
    Presigns,
    ServerSide,
    Verb,
)
from controlplane.storage.faults import Fault, Vice
from controlplane.storage.oss import OssStore
from controlplane.storage.oss_server import OssServer
from controlplane.storage.parted import part_of
from controlplane.storage.s3 import S3Store
from controlplane.storage.s3_server import S3Server
from controlplane.storage.testing import pattern

CREDENTIALS: Final = Credentials(access_key_id="AK", secret="the-secret")
BUCKET: Final = "bucket"
PER_PAGE: Final = 5
WELCOME: Final = {"s3": "us-east-1", "oss": "cn-hangzhou"}

Changes = Any
"""Fields of a frozen value, by name."""


@dataclass(slots=True)
class Clock:
    ahead: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A server, and how to come to it."""

    kind: str
    server: S3Server | OssServer
    clock: Clock
    place: Place
    opened: list[S3Store | OssStore]

    def store(self, **changes: Changes) -> ObjectStore:
        place = replace(self.place, **changes)
        store = S3Store(place) if self.kind == "s3" else OssStore(place)
        self.opened.append(store)
        return cast("ObjectStore", store)

    def fail(self, vice: Vice, **fields: Changes) -> None:
        self.server.faults.add(Fault(vice=vice, **fields))


@pytest.fixture(params=["s3", "oss"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    kind, clock = request.param, Clock()
    serves = S3Server if kind == "s3" else OssServer
    with serves(
        tmp_path, credentials=CREDENTIALS, buckets=[BUCKET], now=clock, most_per_page=PER_PAGE
    ) as server:
        place = Place(
            bucket=BUCKET,
            region=WELCOME[kind],
            endpoint=server.url,
            credentials=CREDENTIALS,
            answer_seconds=10,
            attempts=1,
        )
        opened: list[S3Store | OssStore] = []
        yield Site(kind=kind, server=server, clock=clock, place=place, opened=opened)
        for store in opened:
            store.close()


def test_a_wrong_secret_is_refused_and_shown_nowhere(site: Site) -> None:
    wrong = Credentials(access_key_id="AK", secret="a-wrong-secret")
    store = site.store(credentials=wrong)
    with pytest.raises(AuthFailed) as caught:
        store.put("key", io.BytesIO(b"x"))
    assert "wrong-secret" not in repr(store) + repr(wrong) + repr(caught.value) + str(caught.value)
    assert caught.value.__cause__ is None


def test_an_unknown_access_key_is_refused(site: Site) -> None:
    store = site.store(credentials=replace(CREDENTIALS, access_key_id="nobody"))
    with pytest.raises(AuthFailed):
        list(store.list(""))


def test_a_signature_for_another_region_is_refused(site: Site) -> None:
    with pytest.raises(AuthFailed):
        site.store(region="eu-central-1").exists("key")


def test_an_unsigned_request_is_refused(site: Site) -> None:
    assert httpx.get(f"{site.server.url}/{BUCKET}/key").status_code == 403


def test_a_clock_that_is_off_by_more_than_a_quarter_of_an_hour_is_refused(site: Site) -> None:
    store = site.store()
    site.clock.ahead = timedelta(minutes=14)
    store.put("key", io.BytesIO(b"x"))
    site.clock.ahead = timedelta(minutes=16)
    with pytest.raises(AuthFailed):
        store.put("key", io.BytesIO(b"x"))


def test_an_absent_bucket_is_not_found(site: Site) -> None:
    with pytest.raises(NotFound):
        list(site.store(bucket="another").list(""))


def test_a_presigned_link_gets_and_puts_until_it_expires(site: Site) -> None:
    signs = cast("Presigns", site.store())
    assert httpx.put(signs.presign("a b/ü", Verb.PUT, timedelta(minutes=1)), content=b"by link").is_success
    link = signs.presign("a b/ü", Verb.GET, timedelta(minutes=1))
    assert httpx.get(link).content == b"by link"
    site.clock.ahead = timedelta(seconds=61)
    assert httpx.get(link).status_code == 403


def test_a_presigned_link_opens_nothing_else(site: Site) -> None:
    store = site.store()
    for key in ("mine", "other"):
        store.put(key, io.BytesIO(b"x"))
    link = cast("Presigns", store).presign("mine", Verb.GET, timedelta(minutes=1))
    for tampered in (link.replace("/mine", "/other"), re.sub(r"(?i)(expires=\d+)", r"\g<1>0", link)):
        assert tampered != link
        assert httpx.get(tampered).status_code == 403


def test_being_told_to_slow_down_is_throttled(site: Site) -> None:
    site.fail(Vice.SLOW_DOWN)
    with pytest.raises(Throttled) as caught:
        site.store().put("key", io.BytesIO(b"x"))
    assert caught.value.retry_after_seconds > 0


def test_the_client_tries_again_within_its_bounds(site: Site) -> None:
    site.fail(Vice.FAIL, times=2)
    store = site.store(attempts=3)
    store.put("key", io.BytesIO(b"x"))
    assert store.exists("key")


def test_a_lost_answer_to_a_plain_put_is_transient(site: Site) -> None:
    site.fail(Vice.LOSE_ANSWER)
    store = site.store()
    with pytest.raises(Transient):
        store.put("key", io.BytesIO(b"x"))
    assert store.exists("key")


def test_a_lost_answer_to_a_conditional_put_is_ambiguous_and_never_repeated(site: Site) -> None:
    site.fail(Vice.LOSE_ANSWER)
    store = site.store(attempts=3)
    with pytest.raises(Ambiguous):
        store.put("key", io.BytesIO(b"x"), if_absent=True)
    assert store.exists("key")
    with pytest.raises(Conflict):
        store.put("key", io.BytesIO(b"x"), if_absent=True)


def test_a_lost_answer_to_a_completion_is_ambiguous(site: Site) -> None:
    store = site.store(attempts=3)
    upload_id = store.begin_parts("key")
    receipt = store.put_part("key", upload_id, part_of(1, b"all", store.limits.crc64))
    site.fail(Vice.LOSE_ANSWER, verb="POST")
    with pytest.raises(Ambiguous):
        store.complete_parts("key", upload_id, [receipt])
    assert store.head("key").size_bytes == 3


def test_nobody_there_is_transient_also_for_what_is_never_repeated(site: Site) -> None:
    site.server.close()
    with pytest.raises(Transient):
        site.store().put("key", io.BytesIO(b"x"), if_absent=True)


@pytest.mark.parametrize("at", [0, 10, 300_000])
def test_a_cut_upload_leaves_the_key_as_it_was(site: Site, at: int) -> None:
    store = site.store()
    store.put("key", io.BytesIO(b"before"))
    site.fail(Vice.CUT_REQUEST, at_byte=at)
    with pytest.raises(Transient):
        store.put("key", io.BytesIO(pattern(400_000)))
    with store.get("key") as data:
        assert data.read() == b"before"


@pytest.mark.parametrize("at", [0, 10, 300_000])
def test_a_cut_download_is_never_taken_for_the_whole(site: Site, at: int) -> None:
    store = site.store()
    store.put("key", io.BytesIO(pattern(400_000)))
    site.fail(Vice.CUT_ANSWER, verb="GET", at_byte=at, times=3)
    with pytest.raises(Transient):
        store.get("key").read()
    with pytest.raises(Transient):
        store.read("key", 50, 400_000).read()


def test_a_flipped_bit_on_the_way_in_is_refused(site: Site) -> None:
    store = site.store()
    site.fail(Vice.FLIP_REQUEST, at_byte=77)
    with pytest.raises(Transient):
        store.put("key", io.BytesIO(pattern(1000)))
    assert not store.exists("key")


def test_a_flipped_bit_of_a_part_is_refused(site: Site) -> None:
    store = site.store()
    upload_id = store.begin_parts("key")
    site.fail(Vice.FLIP_REQUEST, at_byte=77)
    with pytest.raises(Transient):
        store.put_part("key", upload_id, part_of(1, pattern(1000), store.limits.crc64))
    assert tuple(store.list_parts("key", upload_id)) == ()


def test_a_flipped_bit_on_the_way_out_is_seen_where_the_store_keeps_checksums(site: Site) -> None:
    store = site.store(has_crc64=True)
    store.put("key", io.BytesIO(pattern(1000)))
    site.fail(Vice.FLIP_ANSWER, verb="GET", at_byte=77)
    with pytest.raises(Transient):
        store.get("key").read()


def test_bits_that_rot_in_a_part_show_in_its_receipt(site: Site) -> None:
    store = site.store(has_crc64=True)
    upload_id = store.begin_parts("key")
    site.fail(Vice.FLIP_STORED, verb="PUT", at_byte=5)
    part = part_of(1, pattern(1000), store.limits.crc64)
    receipt = store.put_part("key", upload_id, part)
    assert receipt.crc64 is not None or site.kind == "s3"
    assert receipt.crc64 != part.crc64


def test_what_fills_several_pages_is_listed_whole(site: Site) -> None:
    store = site.store()
    keys = [f"k/{number:02d}" for number in range(PER_PAGE * 2 + 1)]
    for key in keys:
        store.put(key, io.BytesIO(b""))
    ids = {key: store.begin_parts(key) for key in keys}
    parts = [
        store.put_part(keys[0], ids[keys[0]], part_of(number, b"x", store.limits.crc64))
        for number in range(1, len(keys) + 1)
    ]
    assert list(store.list("k/")) == keys
    assert [info.key for info in store.entries("k/", after=keys[PER_PAGE])] == keys[PER_PAGE + 1 :]
    assert {upload.key: upload.upload_id for upload in store.list_uploads("k/")} == ids
    assert list(store.list_parts(keys[0], ids[keys[0]])) == parts


def test_parts_below_the_smallest_are_refused(site: Site) -> None:
    store = site.store()
    upload_id = store.begin_parts("key")
    receipts = [
        store.put_part("key", upload_id, part_of(number, b"small", store.limits.crc64)) for number in (1, 2)
    ]
    with pytest.raises(Rejected):
        store.complete_parts("key", upload_id, receipts)


@pytest.mark.parametrize("number", [0, 10_001])
def test_parts_beyond_the_most_are_refused(site: Site, number: int) -> None:
    store = site.store()
    upload_id = store.begin_parts("key")
    with pytest.raises(Rejected):
        store.put_part("key", upload_id, part_of(number, b"x", store.limits.crc64))


@pytest.mark.parametrize(
    "encryption", [Encryption(by=ServerSide.STORE), Encryption(by=ServerSide.SERVICE, key_id="key-1")]
)
def test_the_stores_own_encryption_is_asked_for(site: Site, encryption: Encryption) -> None:
    store = site.store(encryption=encryption)
    store.put("key", io.BytesIO(b"x"))
    link = cast("Presigns", store).presign("key", Verb.GET, timedelta(minutes=1))
    told = httpx.get(link).headers
    prefix = "x-amz-" if site.kind == "s3" else "x-oss-"
    names = {"s3": ("AES256", "aws:kms"), "oss": ("AES256", "KMS")}[site.kind]
    expected = names[0] if encryption.by is ServerSide.STORE else names[1]
    assert told[f"{prefix}server-side-encryption"] == expected


def test_an_object_under_the_customers_key_is_read_with_that_key_alone(site: Site) -> None:
    mine = Encryption(by=ServerSide.CUSTOMER, customer_key=b"k" * 32)
    if site.kind == "oss":
        with pytest.raises(Rejected):
            site.store(encryption=mine)
        return
    store = site.store(encryption=mine)
    store.put("key", io.BytesIO(pattern(20 * 1024**2)))
    with store.get("key") as data:
        assert data.read() == pattern(20 * 1024**2)
    with pytest.raises(Rejected):
        site.store().get("key")
    other = Encryption(by=ServerSide.CUSTOMER, customer_key=b"o" * 32)
    with pytest.raises(AuthFailed):
        site.store(encryption=other).get("key")
    assert "kkkk" not in repr(store) + repr(mine)


@pytest.mark.parametrize("algorithm", ["crc32", "sha256", "md5"])
def test_every_digest_that_boto3_sends_is_checked(tmp_path: Path, algorithm: str) -> None:
    """Straight through boto3: a digest of other bytes."""
    with S3Server(tmp_path, credentials=CREDENTIALS, buckets=[BUCKET]) as server:
        place = Place(bucket=BUCKET, region="us-east-1", endpoint=server.url, credentials=CREDENTIALS)
        store = S3Store(place)
        client = store._client
        wrong = base64.b64encode(
            hashlib.new(algorithm, b"other").digest() if algorithm != "crc32" else b"four"
        ).decode()
        named = {"md5": "ContentMD5", "crc32": "ChecksumCRC32", "sha256": "ChecksumSHA256"}[algorithm]
        with pytest.raises(client.exceptions.ClientError, match="BadDigest"):
            client.put_object(Bucket=BUCKET, Key="key", Body=b"these", **{named: wrong})
        store.close()


def test_oss_takes_a_range_that_it_cannot_serve_for_none(tmp_path: Path) -> None:
    """The trap that `x-oss-range-behavior: standard` avoids."""
    with OssServer(tmp_path, credentials=CREDENTIALS, buckets=[BUCKET]) as server:
        place = Place(bucket=BUCKET, region="cn-hangzhou", endpoint=server.url, credentials=CREDENTIALS)
        store = OssStore(place)
        store.put("key", io.BytesIO(b"four"))
        sdk = store._sdk
        answer = store._client.get_object(
            sdk.GetObjectRequest(bucket=BUCKET, key="key", range_header="bytes=10-20")
        )
        assert answer.body.content == b"four"
        with store.read("key", 10, 10) as data:
            assert data.read() == b""
        store.close()
