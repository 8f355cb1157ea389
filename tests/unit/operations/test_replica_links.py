"""Links to a model's files open without keys, and lend no more than that."""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from controlplane.bootstrap import open_store
from controlplane.operations import object_stores
from controlplane.operations.replica_links import links
from controlplane.operations.serving_packages import artifact_uris
from controlplane.storage.base import Credentials
from controlplane.storage.oss_server import OssServer
from controlplane.storage.uris import parse
from controlplane.wire.data import StoreCreate
from tests.unit.operations.world import World

pytestmark = pytest.mark.sockets

KEYS = Credentials(access_key_id="AKALI", secret="alibaba-secret")
MODEL = "oss://models/writer/model.pt"


@pytest.fixture
def stocked(plane: World, tmp_path: Path) -> Iterator[World]:
    """With a model in a bucket whose keys only the server has."""
    folder = tmp_path / "oss"
    folder.mkdir()
    with OssServer(folder, credentials=KEYS, buckets=["models", "open"]) as server:
        plane.context = replace(plane.context, object_stores=open_store)
        wanted = {"name": "models", "uri": "oss://models", "endpoint": server.url}
        keys = {"access_key_id": KEYS.access_key_id, "secret": KEYS.secret}
        object_stores.add(plane.context, plane.root, StoreCreate.model_validate(wanted | keys))
        keyless = StoreCreate(name="open", uri="oss://open", endpoint=server.url)
        object_stores.add(plane.context, plane.root, keyless)
        with plane.store.read() as tx:
            place = object_stores.located(plane.context, tx, parse(MODEL))
        place.store.put(place.key, io.BytesIO(b"weights"))
        yield plane


def test_a_link_reads_its_object_and_does_nothing_else(stocked: World) -> None:
    (link,) = links(stocked.context, [MODEL]).values()
    assert httpx.get(link).content == b"weights"
    assert httpx.put(link, content=b"other").status_code == 403
    assert httpx.get(link.replace("model.pt", "other.pt")).status_code == 403


def test_what_no_keys_of_the_servers_open_has_no_link(stocked: World, tmp_path: Path) -> None:
    uris = ["oss://open/model.pt", "oss://unknown/model.pt", f"file://{tmp_path}/model.pt", "https://a/b"]
    assert links(stocked.context, uris) == {}


def test_a_package_tells_where_its_model_lies() -> None:
    def package(model: object) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("crossdock_serving/serving.json", json.dumps({"model": model}))
        return buffer.getvalue()

    assert artifact_uris(package({"artifacts": [{"uri": MODEL}]})) == (MODEL,)
    assert artifact_uris(package(None)) == ()
