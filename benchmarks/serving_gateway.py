"""The gateway before one replica, for benchmarks: `python -m benchmarks.serving_gateway REPLICA EMBEDDED HAPROXY`.

These are ports. Both forms, as they are in production: tokens are checked, and every request is logged.
"""

import asyncio
import hashlib
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.figures import unwound_by_sigterm
from controlplane.admin.processes import JsonLines
from controlplane.domain.errors import Unauthenticated
from controlplane.domain.ids import AttemptId, ClusterId, ProjectId, RevisionId, ServiceId, TokenId
from controlplane.domain.traffic import Backend, Limits, Load, RevisionRoute, ServiceRoute
from controlplane.gateway.front import Front, found_program
from controlplane.gateway.haproxy import Site, write
from controlplane.gateway.server import Addresses, running
from controlplane.identity.principals import Principal, Role

TOKEN: Final = "cd_" + 43 * "x"
PROJECT: Final = ProjectId("project-1")


class Fixed:
    """A control plane with one service that never changes."""

    def __init__(self, replica_port: int) -> None:
        backend = Backend(
            attempt_id=AttemptId("a1"), cluster_id=ClusterId("c1"), url=f"http://127.0.0.1:{replica_port}"
        )
        revision = RevisionRoute(
            revision_id=RevisionId("r1"),
            number=1,
            weight_ppm=1_000_000,
            key="key",
            backends=(backend,),
            concurrency=64,
        )
        self.service = ServiceRoute(
            service_id=ServiceId("s1"),
            project_id=PROJECT,
            project="vision",
            name="digits",
            is_open=False,
            limits=Limits(request_bytes=1024**2, timeout_seconds=60, queue_requests=1000),
            revisions=(revision,),
        )

    def routes(self) -> tuple[ServiceRoute, ...]:
        return (self.service,)

    def report(self, loads: Sequence[Load]) -> None:
        """Nobody wants to know."""

    def wait(self, timeout_seconds: float) -> None:
        """Nothing ever changes."""

    def principal(self, secret: str | None) -> Principal:
        if secret != TOKEN:
            raise Unauthenticated
        return Principal(token_id=TokenId("t1"), name="bench", role=Role.SUBMITTER, project_id=PROJECT)


async def serve(replica_port: int, embedded_port: int, haproxy_port: int) -> None:
    plane = Fixed(replica_port)
    at = Addresses(host="127.0.0.1", port=embedded_port, grpc_port=None)
    with tempfile.TemporaryDirectory(prefix="crossdock-") as folder:
        site = Site(bind=f"127.0.0.1:{haproxy_port}", embedded=f"127.0.0.1:{embedded_port}", folder=folder)
        front = Front(program=found_program(), folder=Path(folder))
        async with running(plane, plane.principal, name="bench", at=at):
            digest = hashlib.sha256(TOKEN.encode()).hexdigest().upper()
            await front.apply(write(site, plane.routes(), {digest: PROJECT}))
            try:
                await asyncio.Event().wait()
            finally:
                await front.stop()


def main() -> None:
    lines = logging.StreamHandler()
    lines.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[lines])
    with unwound_by_sigterm():
        uvloop.run(serve(*map(int, sys.argv[1:4])))


if __name__ == "__main__":
    main()
