"""The S3 store keeps its contract at a real radosgw, which checks signatures, digests and parts by its own code."""

from collections.abc import Iterator
from contextlib import suppress

import boto3
import pytest

from controlplane.domain.errors import AuthFailed
from controlplane.storage.base import Credentials, ObjectStore, Place
from controlplane.storage.s3 import S3Store
from controlplane.storage.testing import ObjectStoreContract
from tests.contract.test_storage import emptied
from tests.parts import require_part
from tests.radosgw import Gateway, absent, gateway

BUCKET = "crossdock-contract"

pytestmark = [pytest.mark.verify, pytest.mark.timeout(600), pytest.mark.xdist_group("radosgw")]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    why = absent()
    require_part("radosgw", why is None, why or "")
    with gateway(tmp_path_factory.mktemp("ceph")) as found:
        keys = found.credentials
        client = boto3.client(
            "s3",
            endpoint_url=found.url,
            region_name="us-east-1",
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret,
        )
        with suppress(client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=BUCKET)
        yield found


def place(served: Gateway, credentials: Credentials) -> Place:
    return Place(bucket=BUCKET, region="us-east-1", endpoint=served.url, credentials=credentials)


class TestRadosGateway(ObjectStoreContract):
    @pytest.fixture(scope="class")
    @classmethod
    def opened(cls, served: Gateway) -> Iterator[S3Store]:
        store = S3Store(place(served, served.credentials))
        yield store
        store.close()

    @pytest.fixture
    def store(self, opened: S3Store) -> ObjectStore:
        return emptied(opened)

    @pytest.mark.xfail(reason="radosgw 16 completes whatever the condition says: docs/data.md", strict=False)
    def test_of_those_who_complete_if_absent_at_once_one_succeeds(self, store: ObjectStore) -> None:
        super().test_of_those_who_complete_if_absent_at_once_one_succeeds(store)


def test_a_wrong_secret_is_refused(served: Gateway) -> None:
    wrong = Credentials(access_key_id=served.credentials.access_key_id, secret="another")
    store = S3Store(place(served, wrong))
    with pytest.raises(AuthFailed):
        list(store.list(""))
    store.close()
