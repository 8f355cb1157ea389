"""`kill -9` of the loops around every call to a cloud that buys or ends machines: nothing twice, nothing left."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from controlplane.sdk import Client
from tests.cloud_proxy import CloudProxy, Moment
from tests.forge import Forge, forge
from tests.hypervisor import clouds
from tests.hypervisor.clouds import Account
from tests.later import Clock
from tests.server import eventually, running_server

MACHINES: Final = 2
STEP_SECONDS: Final = 60.0
LEAST_KILLS: Final = 20
KILLS_OF_ONE_KIND: Final = {"aws": 1, "alibaba": 2}
"""Fewer kinds of calls are made at the one than at the other."""

LIFE_SECONDS: Final = 600.0
"""Of a claim, through all kills."""

SKIP_SECONDS: Final = 400.0
"""After so long no list can lag any more."""

AROUND_MACHINES: Final = frozenset(
    {
        *("DescribeImages", "DescribeSubnets", "DescribeSecurityGroups", "CreateSecurityGroup"),
        *("AuthorizeSecurityGroupIngress", "AuthorizeSecurityGroupEgress"),
        *("RunInstances", "DescribeInstances", "TerminateInstances"),
        *("DeleteInstances", "ModifyInstanceAutoReleaseTime"),
    }
)
"""Calls of a launch and of an end, at either cloud."""


@dataclass(slots=True)
class Killer:
    """Kills the loops at a step of each kind, so often; the one after it lets the work get on."""

    loops: Forge
    most: int
    kills: list[tuple[str, str, str]] = field(default_factory=list)
    phase: str = "launch"
    rounds: int = 0
    struck: threading.Event = field(default_factory=threading.Event)
    _let_pass: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def strike(self, action: str, moment: Moment) -> bool:
        kind = (self.phase, action, str(moment))
        with self._guard:
            is_enough = self.kills.count(kind) >= self.most
            if self.struck.is_set() or is_enough or action not in AROUND_MACHINES:
                return False
            if self._let_pass[kind] < self.kills.count(kind):
                self._let_pass[kind] += 1
                return False
            self.kills.append(kind)
            self.loops.kill()
            self.struck.set()
            return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    clock: Clock
    account: Account
    killer: Killer
    client: Client

    def until(self, is_so: Callable[[], bool]) -> None:
        """Starts the loops again after each kill."""

        def is_so_in_spite_of_kills() -> bool:
            if self.killer.struck.is_set():
                self.killer.loops.start()
                self.killer.struck.clear()
            return is_so()

        eventually(is_so_in_spite_of_kills, LIFE_SECONDS, f"stuck after the kills {self.killer.kills}")

    def skip_when_ended(self) -> bool:
        """Lets the time go by in which a list could still lag; always true."""
        if self.account.machines() == [] and self.clock.ahead_seconds < self.killer.rounds * SKIP_SECONDS:
            self.clock.skip(SKIP_SECONDS)
        return True


@contextmanager
def scene(home: Path, kind: str, *, most: int) -> Iterator[Scene]:
    clock = Clock(home)
    with (
        running_server(home, program="tests.later", poll_seconds=0.5) as server,
        forge(server.settings) as loops,
        clouds.account(kind, clock) as account,
        CloudProxy(account.address) as proxy,
        server.client() as client,
    ):
        server.kill("loops")
        loops.start()
        settings = account.settings(proxy.address)
        client.clusters.add("burst", adapter=kind, secret=account.secret, settings=settings)
        eventually(lambda: client.clusters.get("burst").state == "ready", STEP_SECONDS, "it must be seen")
        killer = Killer(loops=loops, most=most)
        proxy.strike = killer.strike
        yield Scene(clock=clock, account=account, killer=killer, client=client)


def live(scene: Scene) -> None:
    """One claim, whose first zone is sold out, from its request until nothing of it is left."""
    account, killer, client = scene.account, scene.killer, scene.client
    account.sell_out(account.zones[0])
    killer.phase, killer.rounds = "launch", killer.rounds + 1
    claim = client.claims.request(
        "burst",
        machine_type=account.machine_type,
        capacity_type="spot",
        zones=account.zones,
        machines=MACHINES,
    )

    def launches() -> dict[str, str | None]:
        return {each.id: each.outcome for each in client.claims.get(claim.id).launches}

    scene.until(lambda: "granted" in launches().values())
    assert None not in launches().values()
    assert dict(Counter(account.launches())) == {
        name: MACHINES for name, outcome in launches().items() if outcome == "granted"
    }
    killer.phase = "end"
    client.claims.release(claim.id)
    scene.until(lambda: scene.skip_when_ended() and client.claims.get(claim.id).state == "gone")
    assert account.machines() == []
    assert set(Counter(account.bill()).values()) == {MACHINES}


@pytest.mark.verify
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind", ["aws", "alibaba"])
def test_killed_at_any_step_the_loops_buy_nothing_twice_and_leave_nothing(tmp_path: Path, kind: str) -> None:
    with scene(tmp_path / "home", kind, most=KILLS_OF_ONE_KIND[kind]) as stands:
        live(stands)
        while len(stands.killer.kills) < LEAST_KILLS:
            before = len(stands.killer.kills)
            live(stands)
            assert len(stands.killer.kills) > before, stands.killer.kills
