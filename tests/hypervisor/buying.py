"""A real server that buys machines which really boot, at the clouds that are registered with it by command."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from controlplane.sdk import Client
from tests.hypervisor import clouds, namespaces
from tests.hypervisor.clouds import Account, Hall
from tests.later import Clock
from tests.parts import require_part
from tests.server import RunningServer, eventually, running_server

AWS_IS_CHEAPER: Final = "CNY=0.2,USD=1"
SETTINGS: Final[Mapping[str, float]] = {
    "poll_seconds": 2.0,
    "lease_seconds": 60.0,
    "idle_seconds": 10.0,
    "unreachable_after_seconds": 60.0,
}
"""Patient where a busy machine is slow, and short where the server only waits."""

QUIET_SECONDS: Final = 120.0
SWEEPS_SECONDS: Final = 320.0
"""Longer than the pause between two looks for what was left behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Buyer:
    server: RunningServer
    clock: Clock
    hall: Hall
    accounts: Mapping[str, Account]
    """By the name of their cluster, which is that of the plugin."""

    def until(self, condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
        """Fails with all there is to know."""
        try:
            eventually(condition, seconds, otherwise)
        except TimeoutError:
            self.hall.check()
            with self.server.client() as client:
                claims = "\n".join(map(str, client.claims.list()))
            log = self.server.log("loops")[-3000:]
            pytest.fail(f"{otherwise}\n{claims}\n{self.hall.story()}\n{log}")

    def leave(self, client: Client) -> None:
        """When no machine is left: detaches every cluster, until nothing is there that was made for it."""
        clusters = {name: client.clusters.get(name).id for name in self.accounts}
        self.clock.skip(SWEEPS_SECONDS + 60)
        self.until(
            lambda: all(each.state == "gone" for each in client.claims.list()),
            QUIET_SECONDS,
            "the claims must be gone",
        )
        for name in clusters:
            client.clusters.drain(name)
            client.clusters.detach(name)

        def is_swept() -> bool:
            self.clock.skip(SWEEPS_SECONDS)
            return all(self.accounts[name].left(cluster) == [] for name, cluster in clusters.items())

        self.until(is_swept, QUIET_SECONDS, "what was made for the clusters must be swept")
        assert [each.machines() for each in self.accounts.values()] == [[] for _ in clusters]
        self.until(
            lambda: self.hall.hypervisor.addresses == {}, QUIET_SECONDS, "what ran on them must have ended"
        )


@contextmanager
def buyer(home: Path, *kinds: str, reach: Sequence[int] = (), **changes: object) -> Iterator[Buyer]:
    """Work that waits longer than a second has machines bought for it.

    `reach`: ports that machines find, too; `changes`: of the server's settings.
    """
    require_part("namespaces", namespaces.is_available(), "needs root and Linux namespaces")
    for part in ("ray", "torch"):
        require_part(part, find_spec(part) is not None, "it is not installed")
    clock = Clock(home)
    with ExitStack() as stack:
        server = stack.enter_context(
            running_server(
                home,
                program="tests.later",
                is_fresh=False,
                exchange_rates=AWS_IS_CHEAPER,
                **{**SETTINGS, **changes},
            )
        )
        hall = stack.enter_context(clouds.standing(reach=[server.settings.port, *reach]))
        accounts: dict[str, Account] = {}
        for kind in kinds:
            accounts[kind] = stack.enter_context(clouds.account(kind, clock, hall))
            _register(server, accounts[kind])
        with server.client() as client:
            client.quotas.set(queue="default", burst_after_seconds=1)
        yield Buyer(server=server, clock=clock, hall=hall, accounts=accounts)


def _register(server: RunningServer, account: Account) -> None:
    """As docs/clusters.md says. On a busy machine the first look at the cloud may be in vain; more follow."""
    options = [f"--set={name}={value}" for name, value in account.settings().items()]
    added = server.crossdock(
        *("clusters", "add", account.kind, "--adapter", account.kind, "--secret-stdin", *options),
        stdin=account.secret,
    )
    with server.client() as client:
        eventually(
            lambda: client.clusters.get(account.kind).state == "ready",
            QUIET_SECONDS,
            added.stdout + added.stderr,
        )
