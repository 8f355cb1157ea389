"""Serves until it is told to stop: `python -m crossdock_serving`, started by the platform."""

import asyncio
import logging
import os
import signal
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from . import completions, gangs, rpc
from .artifacts import fetch
from .gates import Gate
from .models import load
from .server import Replica, application
from .surroundings import Identity, Surroundings, announce, read

MARGIN_SECONDS: Final = 1.0
"""Of the grace is left for the way out."""

CUT_SECONDS: Final = 0.1
"""For connections whose requests are not over at the end of the grace."""

log = logging.getLogger("crossdock_serving")


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    surroundings = read(os.environ, Path(__file__).with_name("serving.json").read_text("utf-8"))
    folder = Path(tempfile.mkdtemp(prefix="crossdock-serving-"))
    files = fetch(surroundings.artifacts, folder)
    if surroundings.gang.rank:
        # The first rank ends when its requests have: this one ends with it, not before.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        model = load(surroundings, files)
        gangs.follow(surroundings.gang, surroundings.key, model.call)
        return 0
    peers = gangs.gather(surroundings.gang, surroundings.key)
    model = load(surroundings, files, peers)
    model.warm_up()
    replica = Replica(surroundings, model, Gate(surroundings.concurrency))
    asyncio.run(serve(replica))
    for peer in peers:
        peer.close()
    return 1 if replica.is_broken else 0


async def serve(replica: Replica) -> None:
    """Until SIGTERM: then nothing new, and what is under way ends within the grace."""
    surroundings = replica.surroundings
    stopped = replica.over
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    app = application(replica)
    if replica.model.generates:
        completions.add_to(app, replica)
    identity = None if surroundings.is_local else surroundings.identity
    if identity is None and not surroundings.is_local:
        raise RuntimeError(f"{surroundings.host} is no loopback address, and there is no certificate for it")
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=CUT_SECONDS)
    await runner.setup()
    await web.TCPSite(runner, surroundings.host, 0, ssl_context=_context(identity)).start()
    server, grpc_port = await rpc.start(replica, surroundings.host, identity)
    scheme = "http" if identity is None else "https"
    url = f"{scheme}://{_host(surroundings)}:{_port(runner)}"
    where: dict[str, Any] = {"url": url, "grpc": f"{_host(surroundings)}:{grpc_port}"}
    replica.is_ready = True
    announce(surroundings, **where, ready=True)
    log.info("ready at %s", url)
    await stopped.wait()
    replica.gate.is_draining = True
    announce(surroundings, **where, ready=False)
    if not await replica.gate.drained(max(0.0, surroundings.grace_seconds - MARGIN_SECONDS)):
        log.warning("requests were under way at the end of the grace")
    await server.stop(0)
    await runner.cleanup()


def _context(identity: Identity | None) -> ssl.SSLContext | None:
    if identity is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile(
        "w", suffix=".pem"
    ) as file:  # of mode 0600; the library reads files alone
        file.write(identity.certificate + identity.key)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def _host(surroundings: Surroundings) -> str:
    return f"[{surroundings.host}]" if ":" in surroundings.host else surroundings.host


def _port(runner: web.AppRunner) -> int:
    return int(runner.addresses[0][1])


if __name__ == "__main__":
    sys.exit(main())
