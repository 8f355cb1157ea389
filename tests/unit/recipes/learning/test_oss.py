"""Places in OSS are places like any other, with keys from the environment or of the machine's own role."""

import hashlib
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controlplane.recipes.learning import oss, storage
from controlplane.recipes.learning.training.checkpoints import Keeper
from controlplane.storage.base import Credentials
from controlplane.storage.oss_server import OssServer
from tests.hypervisor.relays import Cloud, Metadata, MetadataService

pytestmark = pytest.mark.sockets

KEYS = Credentials(access_key_id="AKALI", secret="alibaba-secret")


@pytest.fixture(autouse=True)
def _bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with OssServer(tmp_path, credentials=KEYS, buckets=["runs"]) as server:
        told = {
            "OSS_ENDPOINT": server.url,
            "OSS_REGION": "cn-hangzhou",
            "OSS_ACCESS_KEY_ID": KEYS.access_key_id,
            "OSS_ACCESS_KEY_SECRET": KEYS.secret,
        }
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        oss._client.cache_clear()
        yield
        oss._client.cache_clear()


def test_content_comes_back_and_is_sealed_with_its_hash() -> None:
    storage.write("oss://runs/a/model.pt", b"first")
    storage.write("oss://runs/a/model.pt", b"second")
    assert storage.read("oss://runs/a/model.pt") == b"second"
    assert (storage.exists("oss://runs/a/model.pt"), storage.exists("oss://runs/a/none")) == (True, False)
    assert storage.seal("oss://runs/a/model.pt") == hashlib.sha256(b"second").hexdigest()


def test_what_is_absent_is_not_found() -> None:
    with pytest.raises(FileNotFoundError, match="oss://runs/a/none"):
        storage.read("oss://runs/a/none")


def test_the_newest_checkpoint_of_an_attempt_is_found_in_its_own_folder_alone() -> None:
    keeper = Keeper(folder="oss://runs/job/attempt-1", must_match={})
    assert keeper.newest() is None
    for name in ("attempt-1/step-000007", "attempt-1/step-000012", "attempt-10/step-000099"):
        storage.write(f"oss://runs/job/{name}/state.pt", b"state")
    assert keeper.newest() == "oss://runs/job/attempt-1/step-000012/state.pt"


@contextmanager
def machine(expires: str) -> Iterator[tuple[str, Metadata]]:
    """Host and port of its metadata service, and what that says."""
    metadata = Metadata.of(Cloud.ALIBABA, "i-1", "10.0.0.1")
    keys = {
        "AccessKeyId": KEYS.access_key_id,
        "AccessKeySecret": KEYS.secret,
        "SecurityToken": "lent",
        "Expiration": expires,
    }
    top = "ram/security-credentials/"
    metadata.values |= {top: "node", f"{top}node": json.dumps(keys), "region-id": "cn-hangzhou"}
    listener = socket.create_server(("127.0.0.1", 0))
    service = MetadataService(listener, metadata)
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}", metadata
    finally:
        service.close()


@pytest.mark.parametrize(
    ("expires", "later"), [("2099-01-01T00:00:00Z", "lent"), ("2001-01-01T00:00:00Z", "renewed")]
)
def test_keys_of_the_machines_role_are_kept_until_they_end(expires: str, later: str) -> None:
    with machine(expires) as (address, metadata):
        keys = oss.RoleKeys(address)
        first = keys.now()
        assert (first.access_key_id, first.access_key_secret) == (KEYS.access_key_id, KEYS.secret)
        assert first.security_token == "lent"
        text = metadata.values["ram/security-credentials/node"]
        metadata.values["ram/security-credentials/node"] = text.replace('"lent"', '"renewed"')
        assert keys.now().security_token == later


def test_off_a_machine_of_the_cloud_the_role_is_asked_in_vain() -> None:
    with machine("2099-01-01T00:00:00Z") as (address, metadata):
        metadata.values.clear()
        with pytest.raises(OSError, match="the metadata service answered 404"):
            oss.RoleKeys(address).now()
