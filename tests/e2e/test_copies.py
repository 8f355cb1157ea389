"""A copy from S3 to OSS by a real server that is killed half-way, asked for and followed by the real command."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import pytest

from controlplane.sdk import ApiProblem, Client
from controlplane.storage.base import Credentials, Place
from controlplane.storage.faults import Fault, Vice
from controlplane.storage.oss import OssStore
from controlplane.storage.oss_server import OssServer
from controlplane.storage.s3 import S3Store
from controlplane.storage.s3_server import S3Server
from controlplane.storage.streams import from_pieces, pieces_of
from controlplane.storage.testing import pattern
from tests.server import RunningServer, eventually, running_server

AWS: Final = Credentials(access_key_id="AKAWS", secret="aws-secret")
ALIBABA: Final = Credentials(access_key_id="AKALI", secret="alibaba-secret")
MEBIBYTE: Final = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Clouds:
    server: RunningServer
    s3: S3Store
    s3_server: S3Server
    oss: OssStore
    oss_server: OssServer

    def crossdock(self, *words: str, secret: str = "") -> subprocess.CompletedProcess[str]:
        return self.server.crossdock(*words, stdin=secret)


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clouds]:
    """One for all: each test takes keys of its own."""
    folders = [tmp_path_factory.mktemp(name) for name in ("s3", "oss", "home")]
    with (
        S3Server(folders[0], credentials=AWS, buckets=["data", "spare"]) as s3_server,
        OssServer(folders[1], credentials=ALIBABA, buckets=["data"]) as oss_server,
        running_server(folders[2], copy_part_bytes=8 * MEBIBYTE) as server,
    ):
        s3 = S3Store(Place(bucket="data", region="us-east-1", endpoint=s3_server.url, credentials=AWS))
        oss = OssStore(
            Place(bucket="data", region="cn-hangzhou", endpoint=oss_server.url, credentials=ALIBABA)
        )
        clouds = Clouds(server=server, s3=s3, s3_server=s3_server, oss=oss, oss_server=oss_server)
        for name, uri, url, key in (
            ("aws", "s3://data", s3_server.url, AWS),
            ("alibaba", "oss://data", oss_server.url, ALIBABA),
        ):
            added = clouds.crossdock(
                *("stores", "add", name, uri, "--endpoint", url, "--secret-stdin"),
                *("--access-key-id", key.access_key_id),
                secret=key.secret,
            )
            assert added.returncode == 0, added.stderr
            assert key.secret not in added.stdout + added.stderr
        yield clouds
        s3.close()
        oss.close()


def blocks(count: int) -> Iterator[bytes]:
    """A megabyte each, no two alike."""
    base = pattern(MEBIBYTE - 8)
    return (number.to_bytes(8, "big") + base for number in range(count))


def digest_of(pieces: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def has_arrived(client: Client, copy_id: str, least: int) -> bool:
    return client.data.get(copy_id).size_bytes >= least


def copy_through_kills(clouds: Clouds, size: int, kills: int) -> None:
    """Asks for a copy of so many megabytes, and kills the loops that often while parts arrive."""
    model = f"model-{size}"
    clouds.s3.put(model, from_pieces(blocks(size)))
    with clouds.server.client() as client:
        copy = client.data.copy(f"s3://data/{model}", f"oss://data/kept/{model}")
        for number in range(1, kills + 1):
            least = size * MEBIBYTE * number // (kills + 2)
            eventually(partial(has_arrived, client, copy.id, least), 200, "no part arrived")
            clouds.server.kill("loops")
            arrived = client.data.get(copy.id).size_bytes
            assert 0 < arrived < size * MEBIBYTE, "it was killed too late to show anything"
            assert not clouds.oss.exists(f"kept/{model}")
            clouds.server.start("loops")
        done = list(client.data.watch(copy.id))[-1]
        assert (done.state, done.problem, done.size_bytes) == ("done", None, size * MEBIBYTE)
    with clouds.oss.get(f"kept/{model}") as file:
        assert digest_of(pieces_of(file)) == digest_of(blocks(size))
    assert list(clouds.oss.list_uploads("")) == []
    verified = clouds.crossdock("data", "verify", copy.id)
    assert (verified.returncode, "whole" in verified.stdout) == (0, True)


def test_a_copy_that_is_killed_half_way_resumes_and_is_whole(clouds: Clouds) -> None:
    # Each part takes its time, so that there is a half-way.
    clouds.oss_server.faults.add(Fault(vice=Vice.DELAY, verb="PUT", target="partNumber", times=1000))

    copy_through_kills(clouds, 96, 1)

    clouds.oss_server.faults.clear()


@pytest.mark.verify
@pytest.mark.timeout(600)
def test_a_gibibyte_survives_three_kills(clouds: Clouds) -> None:
    copy_through_kills(clouds, 1024, 3)


def test_the_command_copies_lists_and_tells_what_is_no_longer_whole(clouds: Clouds) -> None:
    for number in range(3):
        clouds.s3.put(f"set/{number}", from_pieces(blocks(number)))

    copied = clouds.crossdock("data", "copy", "s3://data/set/", "oss://data/set/", "--reread", "--json")
    listed = clouds.crossdock("data", "ls", "oss://data/set/", "--json")

    assert copied.returncode == 0, copied.stderr
    copy = json.loads(copied.stdout)
    assert (copy["state"], copy["objects"], copy["size_bytes"]) == ("done", 3, 3 * MEBIBYTE)
    keys = [json.loads(line)["key"] for line in listed.stdout.splitlines()]
    assert keys == ["set/0", "set/1", "set/2", f"set/{copy['id']}.manifest.json"]
    clouds.oss.put("set/1", from_pieces(blocks(5)))
    clouds.oss.delete("set/2")
    verified = clouds.crossdock("data", "verify", copy["id"], "--json")
    found = [json.loads(line) for line in verified.stdout.splitlines()]
    assert verified.returncode == 1
    assert [(each["key"], each["found"]) for each in found] == [
        ("set/0", "whole"),
        ("set/1", "changed"),
        ("set/2", "missing"),
    ]


def test_what_cannot_be_copied_says_why(clouds: Clouds) -> None:
    elsewhere = clouds.crossdock("data", "copy", "s3://other/x", "oss://data/x")
    absent = clouds.crossdock("data", "copy", "s3://data/absent", "oss://data/x")
    metadata = clouds.crossdock("stores", "add", "evil", "s3://evil", "--endpoint", "https://169.254.169.254")

    assert (elsewhere.returncode, "crossdock stores add NAME s3://other" in elsewhere.stderr) == (1, True)
    assert (absent.returncode, "failed" in absent.stdout) == (1, True)
    assert (metadata.returncode, "metadata" in metadata.stderr) == (1, True)
    with clouds.server.client() as client:
        with pytest.raises(ApiProblem, match="not a URI"):
            client.data.copy("nonsense", "oss://data/x")
        client.stores.add(
            "spare",
            "s3://spare",
            endpoint=clouds.s3_server.url,
            access_key_id=AWS.access_key_id,
            secret=AWS.secret,
        )
        assert [store.name for store in client.stores.list()] == ["alibaba", "aws", "spare"]
        client.stores.remove("spare")
        with pytest.raises(ApiProblem, match="no registered store"):
            client.data.copy("s3://spare/x", "oss://data/x")
