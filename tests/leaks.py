"""The real loops over one cloud that fails, with replicas that die at any call: in the end nothing may be left.

A cloud's test brings a `Site`; `LeakWorld` lives a random life on it, calms down, and judges. The same seed does the
same things in the same order.
"""

import math
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from cloud_adapters.base import CapacityType, ClusterRef, Lends
from controlplane.domain.claims import Claim, ClaimState
from controlplane.domain.clusters import Cluster, ClusterState
from controlplane.domain.errors import Conflict
from controlplane.domain.ids import ClusterId, TokenId
from controlplane.executors.fake import FakeExecutor
from controlplane.identity.principals import Principal, Role
from controlplane.operations import claims
from controlplane.operations.context import Context
from controlplane.operations.endpoints import seal
from controlplane.operations.ids import RandomIds
from controlplane.operations.setting_up import set_up
from controlplane.runtime.process import Loops
from controlplane.secrets.sealer import Sealer
from controlplane.settings import Settings
from controlplane.storage.file import FileStore
from controlplane.store import Store, Tx
from schedulers.priority import Priority
from tests.inline_pool import InlinePool

ADMIN = Principal(token_id=TokenId("token"), name="admin", role=Role.ADMIN, project_id=None)
CRASH_CHANCE = 0.02
STEPS = 40
LAST_STEPS = 60
LAST_STEP_SECONDS = 30.0
"""Together half an hour: less than the dead-man time, which would hide a leak."""

NOUNS = ("cluster", "claim", "site", "orphan", "offer", "leftover")
"""Those that a life without jobs is about: looking at the others costs half of it."""


class Crash(BaseException):
    """The replica dies here."""


@dataclass(slots=True)
class Fate:
    """Decides before and after each call to the cloud whether it is the last that the replica does."""

    chance: random.Random
    is_safe: bool = False

    def risk(self) -> None:
        if not self.is_safe and self.chance.random() < CRASH_CHANCE:
            raise Crash


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a cloud's test brings."""

    kind: str
    adapter: Lends
    cluster: ClusterRef
    machine_type: str
    zones: tuple[str, ...]
    now: Callable[[], datetime]
    wait: Callable[[float], None]
    """Lets so many seconds go by."""

    vex: Callable[[random.Random], None]
    """One thing goes wrong at the cloud."""

    calm: Callable[[], None]
    """From now on nothing does."""

    bought: Callable[[], list[str]]
    """The truth: the launch of each machine that was ever sold."""

    left: Callable[[], list[str]]
    """The truth: names of all that is still there and carries our tag for a claim."""


@dataclass(slots=True)
class LeakWorld:
    site: Site
    context: Context
    fate: Fate
    loops: Loops = field(init=False)
    replicas: int = 0

    def live(self) -> None:
        self.restart()
        for _ in range(STEPS):
            self.step()
        self.calm_down()
        for _ in range(LAST_STEPS):
            self.pass_time(LAST_STEP_SECONDS)

    def judge(self) -> None:
        assert {claim.state for claim in self.claims()} <= {ClaimState.GONE}
        assert self.site.left() == []
        bought = Counter(self.site.bought())
        for claim in self.claims():
            for launch in claims.get(self.context, ADMIN, claim.id).launches:
                assert bought.pop(launch.id, 0) <= launch.machines
        assert not bought

    def restart(self) -> None:
        self.replicas += 1
        self.loops = Loops(
            self.context,
            adapters={self.site.kind: self.site.adapter},
            executor=FakeExecutor(),
            policy=Priority(),
            holder=f"replica-{self.replicas}",
        )
        self.loops.scheduling._policy_seconds = math.inf  # else each plan is watched by a thread

    def step(self) -> None:
        match self.fate.chance.randrange(6):
            case 0 | 1:
                self.request()
            case 2:
                self.release()
            case 3:
                self.site.vex(self.fate.chance)
            case _:
                self.pass_time(self.fate.chance.uniform(1, 45))

    def pass_time(self, seconds: float) -> None:
        self.site.wait(seconds)
        is_due = True
        while is_due:
            try:
                for noun in NOUNS:
                    self.loops.reconciling[noun].drain(InlinePool())
            except Crash:
                self.restart()
            with self.context.store.read() as tx:
                dues = [tx.work.next_due(noun) for noun in NOUNS]
            is_due = any(due is not None and due <= self.site.now() for due in dues)

    def claims(self) -> list[Claim]:
        return [view.claim for view in claims.listed(self.context, ADMIN, after=None, limit=1000)]

    def request(self) -> None:
        chance = self.fate.chance
        zones = list(self.site.zones)
        chance.shuffle(zones)
        size = chance.randint(1, 3)
        wanted = claims.ClaimRequest(
            cluster=self.site.cluster.name,
            machine_type=self.site.machine_type,
            capacity_type=chance.choice((CapacityType.SPOT, CapacityType.ON_DEMAND)),
            zones=tuple(zones),
            machines_min=size,
            machines_want=size + chance.randint(0, 1),
        )
        claims.request(self.context, ADMIN, wanted)

    def release(self) -> None:
        live = [claim for claim in self.claims() if claim.is_live]
        if live:
            try:
                claims.release(self.context, ADMIN, self.fate.chance.choice(live).id)
            except Conflict:
                return  # it is being ended already

    def calm_down(self) -> None:
        """No more faults, and nobody wants anything."""
        self.site.calm()
        self.fate.is_safe = True
        for claim in self.claims():
            if claim.state not in (ClaimState.TERMINATING, ClaimState.GONE):
                claims.release(self.context, ADMIN, claim.id)


def opened(site: Site, folder: Path, fate: Fate, *, template: Path) -> LeakWorld:
    """`template`: a migrated database."""
    here = {"CROSSDOCK_HOME": str(folder), "CROSSDOCK_DATABASE_URL": f"sqlite:///{folder}/plane.db"}
    settings = replace(Settings.read(here), local_cluster=False)
    shutil.copyfile(template, folder / "plane.db")
    context = Context(
        store=Store.open(settings.database_url, now=site.now),
        objects=FileStore(folder / "objects"),
        ids=RandomIds(),
        sealer=Sealer(b"k" * 32),
        settings=settings,
    )
    set_up(context)
    context.store.write(lambda tx: _register(context, tx, site))
    return LeakWorld(site=site, context=context, fate=fate)


def _register(context: Context, tx: Tx, site: Site) -> None:
    assert site.cluster.secret is not None
    cluster = Cluster(
        id=ClusterId(site.cluster.id),
        name=site.cluster.name,
        adapter=site.kind,
        state=ClusterState.PENDING,
        since=tx.now,
        created_at=tx.now,
        secret_id=seal(context, tx, site.cluster.secret),
        settings=site.cluster.settings,
    )
    tx.clusters.add(cluster)
    for noun in ("cluster", "orphan", "leftover"):
        tx.work.poke(noun, cluster.id)
