"""The server's processes, one role each: `python -m controlplane.admin.processes api|loops|gateway|clusters-down`."""

import ctypes
import fcntl
import json
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, Final

from controlplane import bootstrap
from controlplane.admin.server import loops_lock
from controlplane.settings import Settings

PR_SET_PDEATHSIG: Final = 1
STOP_SECONDS = 20.0
KEEP_ALIVE_SECONDS = 30
"""Longer than the pause between two heartbeats, so that a wrapper keeps its connection."""

PLAIN_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def api(settings: Settings) -> int:
    """Serves requests until SIGTERM."""
    import uvicorn

    from controlplane.api.app import create_app
    from controlplane.runtime.interpreter import set_the_pace

    set_the_pace()
    context = bootstrap.context(settings)
    context.store.migrate()
    config = uvicorn.Config(
        create_app(context),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run()
    context.store.close()
    return 0


def loops(settings: Settings) -> int:
    """Runs every loop until SIGTERM; work goes on where it is."""
    from controlplane.runtime.interpreter import set_the_pace
    from controlplane.runtime.process import Loops

    set_the_pace()
    home = _alone_in(settings)
    context, plugins = bootstrap.context(settings), bootstrap.plugins(settings)
    context.store.migrate()
    holder = f"{socket.gethostname()}:{settings.home}"
    # Whoever claimed under this name held the lock before us, so it is dead and its claims are free.
    context.store.write(lambda tx: tx.work.free(holder))
    running = Loops(
        context, adapters=plugins.adapters, executor=plugins.executor, policy=plugins.policy, holder=holder
    )
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    running.start()
    while not stopping.wait(1.0):
        if not running.are_alive:
            logging.getLogger(__name__).error("loop.died")
            return 1
    running.stop(timeout_seconds=STOP_SECONDS)
    context.store.close()
    home.close()
    return 0


def gateway(settings: Settings) -> int:
    """Passes requests to services on until SIGTERM; then those under way may end."""
    import uvloop

    from controlplane.gateway.process import serve

    context = bootstrap.context(settings)
    context.store.migrate()
    uvloop.run(serve(context))
    context.store.close()
    return 0


def _alone_in(settings: Settings) -> IO[bytes]:
    """Waits until no other loops process works in this home."""
    lock = loops_lock(settings.home)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def clusters_down(settings: Settings) -> int:
    """Ends the clusters that this server started itself; attached ones are none of our business."""
    from cloud_adapters.base import Hosts
    from controlplane.operations.endpoints import ref_of

    context, plugins = bootstrap.context(settings), bootstrap.plugins(settings)
    with context.store.read() as tx:
        clusters = tx.clusters.list(None, None)
    for cluster in clusters:
        adapter = plugins.adapters.get(cluster.adapter)
        if isinstance(adapter, Hosts):
            adapter.shut_down(ref_of(context, cluster), deadline=STOP_SECONDS)
    context.store.close()
    return 0


class JsonLines(logging.Formatter):
    """One JSON object per record: event name and fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        line |= {name: value for name, value in vars(record).items() if name not in PLAIN_FIELDS}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


ROLES: Final[dict[str, Callable[[Settings], int]]] = {
    "api": api,
    "loops": loops,
    "gateway": gateway,
    "clusters-down": clusters_down,
}


def main() -> None:
    role = sys.argv[1]
    # The parent's death must not leave a second server behind that nobody supervises.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)
    sys.exit(ROLES[role](Settings.read()))


if __name__ == "__main__":
    main()
