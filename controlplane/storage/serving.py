"""Serves one of our object servers until it is told to stop: `python -m controlplane.storage.s3_server FOLDER`."""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Final, Protocol

from controlplane.domain.errors import Invalid
from controlplane.storage.base import Credentials

SECRET: Final = "CROSSDOCK_STORE_SECRET"  # noqa: S105 - the variable's name


class Serves(Protocol):
    url: str

    def close(self) -> None: ...


class MakesServers(Protocol):
    def __call__(
        self, folder: Path, *, credentials: Credentials, buckets: list[str], region: str, port: int
    ) -> Serves: ...


def serve(make: MakesServers) -> None:
    """Prints the URL when it is ready. The secret comes by the environment: arguments are seen by everybody."""
    parser = argparse.ArgumentParser(description="An object store for tests, on this machine alone.")
    parser.add_argument("folder", type=Path, help="where the bytes go; nothing outlives the server")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--bucket", action="append", default=[], help="made at the start; may be repeated")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--access-key-id", default="test")
    asked = parser.parse_args()
    if SECRET not in os.environ:
        raise Invalid(f"{SECRET} is not set: the secret of the access key", field=SECRET)
    server = make(
        asked.folder,
        credentials=Credentials(access_key_id=asked.access_key_id, secret=os.environ[SECRET]),
        buckets=asked.bucket,
        region=asked.region,
        port=asked.port,
    )
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    over.wait()
    server.close()
