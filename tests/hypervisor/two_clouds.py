"""Two clouds, each with an object store near it, under one server; machines reach the stores with their role's keys."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from controlplane.storage.base import Credentials
from controlplane.storage.oss_server import OssServer
from controlplane.storage.s3_server import S3Server
from tests.hypervisor.buying import Buyer, buyer
from tests.hypervisor.relays import Metadata

ROLE: Final = "crossdock-machine"
AWS: Final = Credentials(access_key_id="AKAWS", secret="aws-secret")
ALIBABA: Final = Credentials(access_key_id="AKALI", secret="alibaba-secret")
S3_TOP: Final = "s3://runs"
OSS_TOP: Final = "oss://runs-far/kept"
"""Near each cloud."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoClouds:
    site: Buyer
    s3: S3Server
    oss: OssServer

    def lend_keys(self) -> None:
        """The metadata of each machine has the keys of its role, as both clouds' machines do."""
        for metadata in tuple(self.site.hall.metadata.values()):
            metadata.values |= keys_for(metadata)

    def environment(self) -> dict[str, str]:
        """Where the SDKs on machines find the stores; our S3 takes no bodies in signed chunks."""
        return {
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_ENDPOINT_URL_S3": self.s3.url,
            "AWS_REGION": "us-east-1",
            "OSS_ENDPOINT": self.oss.url,
            "OSS_REGION": "cn-hangzhou",
        }


def keys_for(metadata: Metadata) -> dict[str, str]:
    known = AWS if metadata.cloud == "aws" else ALIBABA
    said = {
        "Code": "Success",
        "AccessKeyId": known.access_key_id,
        "Expiration": "2099-01-01T00:00:00Z",
        "LastUpdated": "2026-01-01T00:00:00Z",
    }
    if metadata.cloud == "aws":
        top = "iam/security-credentials"
        said |= {"SecretAccessKey": known.secret, "Token": "lent", "Type": "AWS-HMAC"}
    else:
        top = "ram/security-credentials"
        said |= {"AccessKeySecret": known.secret, "SecurityToken": "lent"}
    # SDKs differ in whether they ask for the list with a slash.
    return {top: ROLE, f"{top}/": ROLE, f"{top}/{ROLE}": json.dumps(said)}


@contextmanager
def two_clouds(folder: Path, **changes: object) -> Iterator[TwoClouds]:
    """`changes`: of the server's settings."""
    places = [folder / name for name in ("s3", "oss")]
    for place in places:
        place.mkdir()
    with (
        S3Server(places[0], credentials=AWS, buckets=["runs"]) as s3,
        OssServer(places[1], credentials=ALIBABA, buckets=["runs-far"]) as oss,
        buyer(
            folder / "home", "aws", "alibaba", reach=[port_of(s3.url), port_of(oss.url)], **changes
        ) as site,
    ):
        for name, uri, url, known in (("aws", S3_TOP, s3.url, AWS), ("alibaba", OSS_TOP, oss.url, ALIBABA)):
            added = site.server.crossdock(
                *("stores", "add", name, uri, "--endpoint", url, "--near", name),
                *("--access-key-id", known.access_key_id, "--secret-stdin"),
                stdin=known.secret,
            )
            assert added.returncode == 0, added.stderr
        yield TwoClouds(site=site, s3=s3, oss=oss)


def port_of(url: str) -> int:
    return urlsplit(url).port or 80
