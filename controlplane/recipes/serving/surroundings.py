"""Surroundings: what the platform says about this replica."""

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    name: str
    uri: str
    sha256: str
    link: str | None = field(default=None, repr=False)
    """Where it may be read without keys, for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the replica shows to whoever dials it, as PEM."""

    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """The tasks of one replica. Rank 0 listens for requests, the others for rank 0."""

    rank: int = 0
    ranks: int = 1
    host: str = "127.0.0.1"
    port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    name: str
    """Of the service, and of the model in requests."""

    revision: str
    import_path: str | None
    config: Mapping[str, Any]  # JSON values
    artifacts: tuple[Artifact, ...]
    concurrency: int
    request_bytes: int
    key: str = field(repr=False)
    identity: Identity | None
    host: str
    grace_seconds: float
    records: Path | None
    gang: Gang

    @property
    def is_local(self) -> bool:
        """Nobody but this machine reaches it, so it needs no certificate."""
        return _is_loopback(self.host)


def read(environment: Mapping[str, str], serving_json: str) -> Surroundings:
    """`serving_json` lies beside this program."""
    serving = json.loads(serving_json)
    model = serving.get("model") or {"artifacts": []}
    links = json.loads(environment.get("CROSSDOCK_REPLICA_LINKS") or "{}")
    identity = environment.get("CROSSDOCK_REPLICA_IDENTITY")
    records = environment.get("CROSSDOCK_RECORDS")
    return Surroundings(
        name=serving["service"],
        revision=environment.get("SERVING_REVISION") or "0",
        import_path=serving.get("import_path"),
        config=serving.get("config") or {},
        artifacts=tuple(
            Artifact(name=each["name"], uri=each["uri"], sha256=each["sha256"], link=links.get(each["uri"]))
            for each in model["artifacts"]
        ),
        concurrency=serving["concurrency"],
        request_bytes=serving["request_bytes"],
        key=environment["CROSSDOCK_REPLICA_KEY"],
        identity=None if identity is None else Identity(**json.loads(identity)),
        host=environment.get("CROSSDOCK_REPLICA_HOST") or socket.gethostbyname(socket.gethostname()),
        grace_seconds=float(environment.get("CROSSDOCK_GRACE_SECONDS") or 30),
        records=Path(records) if records else None,
        gang=_gang(environment),
    )


def announce(surroundings: Surroundings, *, url: str, grpc: str | None, ready: bool) -> None:
    """Where it listens, and whether it wants requests, for the control plane."""
    if surroundings.records is None:
        return
    line = json.dumps({"kind": "endpoint", "url": url, "grpc": grpc, "ready": ready})
    with surroundings.records.open("a") as records:
        records.write(f"{line}\n")


def _gang(environment: Mapping[str, str]) -> Gang:
    ranks = int(environment.get("WORLD_SIZE") or 1)
    if ranks == 1:
        return Gang()
    return Gang(
        rank=int(environment["RANK"]),
        ranks=ranks,
        host=environment["MASTER_ADDR"],
        port=int(environment["MASTER_PORT"]),
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
