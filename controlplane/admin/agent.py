"""`crossdock agent` and `crossdock server agent-token`: the two ends of how a site that nobody can dial is reached."""

import asyncio
import signal
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from controlplane.domain.addresses import is_loopback
from controlplane.domain.errors import Invalid
from controlplane.settings import Settings
from controlplane.tunnels.targets import Target


def agent(url: str, token_file: Path, targets: tuple[str, ...], ca_file: Path | None) -> int:
    """Keeps the tunnel up until SIGTERM or SIGINT. Needs no database."""
    from controlplane.tunnels.agent import AgentOptions, keep_connected

    _check(url, token_file)
    options = AgentOptions(
        url=url, token_file=token_file, targets=tuple(map(_target, targets)), ca_file=ca_file
    )

    async def until_told() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in one
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        await keep_connected(options)

    with suppress(asyncio.CancelledError):
        asyncio.run(until_told())
    return 0


def first_token(settings: Settings, cluster: str) -> str:
    from controlplane import bootstrap
    from controlplane.operations import agents

    context = bootstrap.context(settings)
    try:
        return agents.first_token(context, cluster)
    finally:
        context.store.close()


def _target(text: str) -> Target:
    try:
        return Target.parsed(text)
    except ValueError as problem:
        raise Invalid(str(problem), field="--target", value=text) from problem


def _check(url: str, token_file: Path) -> None:
    parsed = urlsplit(url)
    if parsed.scheme not in {"http", "https"} or not parsed.hostname:
        raise Invalid("is not the address of a control plane", field="--url", value=url)
    if parsed.scheme == "http" and not is_loopback(parsed.hostname):
        raise Invalid("plain http is for loopback only; use https", field="--url", value=url)
    if not token_file.is_file():
        raise Invalid("is not a file", field="--token-file", value=str(token_file))
