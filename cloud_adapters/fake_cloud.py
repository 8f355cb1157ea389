"""A fake cloud that sells machines and lists them as nodes, with the vices of real ones. Deterministic, never sleeps.

    cloud = FakeCloud(now=clock)
    cloud.list_lag_seconds = 20         # lists and inventories show the past
    cloud.lost_answers = 1              # the next call does its deed, and then loses the answer
    cloud.sold_out.add(("small", "a"))
    cloud.reclaim("m-0001")             # spot: taken back, now
    cloud.leaves_disks = True           # what is bought from now on leaves a disk behind
    cloud.lease_seconds = 3600          # what is bought from now on ends by itself, unless it is renewed

What a test may believe is `machines` and `bill`: they tell the truth, whatever the lists say. A machine that was
bought ages by the clock that is given, so a world that moves it by hand has the same cloud in every process.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Final, TypeVar

from cloud_adapters.base import (
    CLAIM_LABEL,
    MILLI,
    Ambiguous,
    Amounts,
    CapacityType,
    ClusterRef,
    Inventory,
    LaunchOrder,
    Leftover,
    LeftoverKind,
    Machine,
    MachineState,
    NoCapacity,
    Offer,
    OwnedMachine,
    PluginError,
    Price,
    QuotaExceeded,
    Rejected,
    Termination,
    Throttled,
    Transient,
)

Answer = TypeVar("Answer")

GIBIBYTE: Final = 2**30
SMALL: Final = Amounts(cpu_milli=4 * MILLI, memory_bytes=16 * GIBIBYTE)
LARGE: Final = Amounts(cpu_milli=32 * MILLI, gpu_milli=8 * MILLI, memory_bytes=256 * GIBIBYTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sold:
    """One machine, from purchase to end: a line of the bill."""

    name: str
    cluster_id: str
    zone: str
    machine_type: str
    capacity_type: CapacityType
    claim_id: str
    launch_id: str
    started_at: datetime
    running_at: datetime
    stopping_at: datetime | None = None
    ended_at: datetime | None = None
    """May lie ahead while it is stopping."""

    release_at: datetime | None = None
    """When it ends by itself."""

    leaves_disk: bool = False

    @property
    def gone_at(self) -> datetime | None:
        """What ends it first."""
        return min((each for each in (self.ended_at, self.release_at) if each is not None), default=None)

    def exists(self, at: datetime) -> bool:
        return self.started_at <= at and (self.gone_at is None or at < self.gone_at)

    def state(self, at: datetime) -> MachineState:
        if self.stopping_at is not None and at >= self.stopping_at:
            return MachineState.STOPPING
        return MachineState.RUNNING if at >= self.running_at else MachineState.PENDING

    def owned(self, at: datetime) -> OwnedMachine:
        return OwnedMachine(
            name=self.name,
            zone=self.zone,
            claim_id=self.claim_id,
            launch_id=self.launch_id,
            state=self.state(at),
            host=f"{self.name}.invalid" if at >= self.running_at else None,
        )


class FakeCloud:
    """Sells, Lends, Sweeps and Renews, for any number of clusters of one account. All vices are off but the boot."""

    is_unreachable: bool = False
    """No call does anything."""

    throttled_seconds: float | None = None
    """Set: every call is refused, with this advice."""

    lost_answers: int = 0
    """So many calls do their deed and raise instead of answering."""

    lost_requests: int = 0
    """So many calls raise the same without any deed."""

    partial: int = 0
    """So many purchases keep one machine less than ordered, and say that all is well."""

    quota: int | None = None
    """Machines of the account at any time."""

    leaves_disks: bool = False
    """The disks of machines that are bought from now on outlive them."""

    lease_seconds: float | None = None
    """Set: machines that are bought from now on end by themselves after so long, unless they are renewed."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.machine_types = {"small": SMALL, "large": LARGE}
        """Any other is `Rejected`."""

        self.zones: tuple[str, ...] = ("a", "b")
        """Where `offers` says that machines can be had; `ensure` knows any zone."""

        self.is_one_ray = True
        """False: its machines are no nodes of the cluster, but form Ray clusters of their own, as real ones do."""

        self.list_lag = timedelta(seconds=30)
        """What it promises; `list_lag_seconds` is what it does, and may be set to anything up to that."""

        self.list_lag_seconds = 0.0
        self.boot_seconds = 10.0
        """For machines bought from now on."""

        self.stop_seconds = 5.0
        """For machines that are told to end from now on."""

        self.forgets_after_seconds = 3600.0
        """An ended machine is known for so long: until then `terminate` answers gone, and later unseen."""

        self.sold_out: set[tuple[str, str]] = set()
        """(machine type, zone)."""

        self.cut_zones: set[str] = set()
        """Nothing can be bought or ended there, and their nodes do not answer; the lists still have their machines."""

        self.stuck: set[str] = set()
        """Names of leftovers that cannot be removed."""

        self.locked: set[str] = set()
        """Names of machines whose end cannot be moved."""

        self.calls: list[tuple[str, str]] = []
        """(verb, launch, claim or cluster id), in order; those that failed, too."""

        self._now = now
        self._sold: dict[str, Sold] = {}
        self._purchases: dict[tuple[str, str], tuple[LaunchOrder, tuple[str, ...]]] = {}
        """By (zone, launch id): idempotency is zonal, so the same token in another zone buys again."""

        self._removed: set[str] = set()
        self._numbers = count(1)

    @property
    def machines(self) -> tuple[Sold, ...]:
        """The truth: all that exist now, by number. Each costs money."""
        now = self._now()
        return tuple(sold for sold in self.bill if sold.exists(now))

    @property
    def bill(self) -> tuple[Sold, ...]:
        """The truth: all that were ever sold, by number."""
        return tuple(self._sold.values())

    @property
    def left(self) -> tuple[str, ...]:
        """The truth: names of the disks that outlived their machines, and were not removed."""
        now = self._now()
        ended = (sold for sold in self.bill if sold.leaves_disk and sold.gone_at and sold.gone_at <= now)
        return tuple(name for sold in ended if (name := f"disk-of-{sold.name}") not in self._removed)

    def reclaim(self, name: str) -> None:
        """Takes a machine back, as spot clouds do; one that is gone already stays so."""
        self._end(self._sold[name])

    def offers(self, cluster: ClusterRef, *, deadline: float) -> tuple[Offer, ...]:  # noqa: ARG002 # it never waits
        return self._call("offers", cluster.id, self._offers)

    def ensure(self, launch: LaunchOrder, *, deadline: float) -> tuple[OwnedMachine, ...]:  # noqa: ARG002 # it never waits
        return self._call("ensure", launch.launch_id, lambda: self._ensured(launch), lost=Ambiguous)

    def release(
        self,
        cluster: ClusterRef,
        claim_id: str,
        members: Sequence[str],
        *,
        deadline: float,  # noqa: ARG002 # it never waits
    ) -> None:
        def released() -> None:
            for sold in self._of_claim(cluster, claim_id):
                if sold.name in members:
                    self._end(sold)

        self._call("release", claim_id, released)

    def terminate(self, cluster: ClusterRef, claim_id: str, *, deadline: float) -> Termination:  # noqa: ARG002 # it never waits
        return self._call("terminate", claim_id, lambda: self._terminated(cluster, claim_id))

    def list_owned(self, cluster: ClusterRef, *, deadline: float) -> tuple[OwnedMachine, ...]:  # noqa: ARG002 # it never waits
        return self._call("list_owned", cluster.id, lambda: self._listed(cluster))

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:  # noqa: ARG002 # it never waits
        return self._call("inventory", cluster.id, lambda: self._inventory(cluster))

    def leftovers(self, cluster: ClusterRef, *, deadline: float) -> tuple[Leftover, ...]:  # noqa: ARG002 # it never waits
        return self._call("leftovers", cluster.id, lambda: self._left(cluster))

    def remove(self, cluster: ClusterRef, leftover: Leftover, *, deadline: float) -> None:  # noqa: ARG002 # it never waits
        def removed() -> None:
            if leftover.name in self.stuck:
                raise Rejected(f"{leftover.name} is in use")
            self._removed.add(leftover.name)

        self._call("remove", leftover.name, removed)

    def renew(self, cluster: ClusterRef, claim_id: str, *, until: datetime, deadline: float) -> None:  # noqa: ARG002 # it never waits
        def renewed() -> None:
            now = self._now()
            alive = [
                sold
                for sold in self._of_claim(cluster, claim_id)
                if sold.release_at is not None and sold.exists(now) and self._is_seen(sold, now)
            ]
            for sold in alive:
                if sold.name not in self.locked:
                    self._sold[sold.name] = replace(sold, release_at=until)
            if stay := sorted(self.locked & {sold.name for sold in alive}):
                raise Rejected(f"the end of {', '.join(stay)} cannot be moved")

        self._call("renew", claim_id, renewed)

    def _offers(self) -> tuple[Offer, ...]:
        """Spot costs a third; every machine type is offered in every zone."""
        return tuple(
            Offer(
                machine_type=machine_type,
                zone=zone,
                capacity_type=capacity_type,
                amounts=self.machine_types[machine_type],
                price=Price(
                    amount=Decimal(3 if capacity_type is CapacityType.ON_DEMAND else 1),
                    currency="USD",
                    as_of=self._now(),
                    is_verified=True,
                ),
                boot_seconds=self.boot_seconds,
            )
            for machine_type in sorted(self.machine_types)
            for zone in self.zones
            for capacity_type in (CapacityType.ON_DEMAND, CapacityType.SPOT)
        )

    def _ensured(self, launch: LaunchOrder) -> tuple[OwnedMachine, ...]:
        if launch.zone in self.cut_zones:
            raise Transient(f"zone {launch.zone} does not answer")
        key = (launch.zone, launch.launch_id)
        known = self._purchases.get(key)
        if known is None:
            names = self._bought(launch)
            self._purchases[key] = (launch, names)
        else:
            first, names = known
            # The cluster's address and token may have changed meanwhile: they are not part of what is bought.
            if replace(launch, cluster=first.cluster) != first:
                raise Rejected(f"launch {launch.launch_id} was ordered before with other parameters")
        now = self._now()
        return tuple(self._sold[name].owned(now) for name in names)

    def _bought(self, launch: LaunchOrder) -> tuple[str, ...]:
        if launch.machine_type not in self.machine_types:
            raise Rejected(f"there is no machine type {launch.machine_type!r}")
        if (launch.machine_type, launch.zone) in self.sold_out:
            raise NoCapacity(f"{launch.machine_type} is sold out in {launch.zone}")
        have = len(self.machines)
        if self.quota is not None and have + launch.machines > self.quota:
            raise QuotaExceeded(f"needs {launch.machines} machines, {have} of {self.quota} are in use")
        machines = launch.machines - (1 if self.partial > 0 else 0)
        self.partial = max(0, self.partial - 1)
        now = self._now()
        sold = [self._new(launch, now) for _ in range(machines)]
        self._sold |= {each.name: each for each in sold}
        return tuple(each.name for each in sold)

    def _new(self, launch: LaunchOrder, now: datetime) -> Sold:
        return Sold(
            name=f"m-{next(self._numbers):04d}",
            cluster_id=launch.cluster.id,
            zone=launch.zone,
            machine_type=launch.machine_type,
            capacity_type=launch.capacity_type,
            claim_id=launch.claim_id,
            launch_id=launch.launch_id,
            started_at=now,
            running_at=now + timedelta(seconds=self.boot_seconds),
            release_at=None if self.lease_seconds is None else now + timedelta(seconds=self.lease_seconds),
            leaves_disk=self.leaves_disks,
        )

    def _end(self, sold: Sold) -> None:
        if sold.stopping_at is None:
            now = self._now()
            ended_at = now + timedelta(seconds=self.stop_seconds)
            self._sold[sold.name] = replace(sold, stopping_at=now, ended_at=ended_at)

    def _terminated(self, cluster: ClusterRef, claim_id: str) -> Termination:
        """Finds what it ends by its lagging list: what that does not show yet, it leaves alone."""
        now = self._now()
        seen = [sold for sold in self._of_claim(cluster, claim_id) if self._is_seen(sold, now)]
        for sold in seen:
            if sold.zone not in self.cut_zones:
                self._end(sold)
        if any(self._sold[sold.name].exists(now) for sold in seen):
            return Termination.GOING
        return Termination.GONE if seen else Termination.UNSEEN

    def _is_seen(self, sold: Sold, now: datetime) -> bool:
        remembered_until = timedelta(seconds=self.forgets_after_seconds)
        is_forgotten = sold.gone_at is not None and now > sold.gone_at + remembered_until
        return sold.started_at <= self._shown_moment() and not is_forgotten

    def _listed(self, cluster: ClusterRef) -> tuple[OwnedMachine, ...]:
        return tuple(sold.owned(self._shown_moment()) for sold in self._shown(cluster))

    def _left(self, cluster: ClusterRef) -> tuple[Leftover, ...]:
        at = self._shown_moment()
        found = (
            Leftover(
                kind=LeftoverKind.DISK,
                name=f"disk-of-{sold.name}",
                zone=sold.zone,
                claim_id=sold.claim_id,
                created_at=sold.started_at,
            )
            for sold in self.bill
            if sold.leaves_disk and sold.cluster_id == cluster.id and sold.gone_at and sold.gone_at <= at
        )
        return tuple(
            sorted((each for each in found if each.name not in self._removed), key=lambda each: each.name)
        )

    def _inventory(self, cluster: ClusterRef) -> Inventory:
        if not self.is_one_ray:
            return Inventory(machines=(), complete=True, session="account")
        at = self._shown_moment()
        nodes = (
            self._node(sold)
            for sold in self._shown(cluster)
            if sold.state(at) is MachineState.RUNNING and sold.zone not in self.cut_zones
        )
        return Inventory(machines=tuple(nodes), complete=True, session=f"session-{cluster.id}")

    def _node(self, sold: Sold) -> Machine:
        return Machine(
            name=sold.name,
            host=f"{sold.name}.invalid",
            allocatable=self.machine_types[sold.machine_type],
            labels=((CLAIM_LABEL, sold.claim_id), ("crossdock.io/zone", sold.zone)),
        )

    def _of_claim(self, cluster: ClusterRef, claim_id: str) -> list[Sold]:
        return [sold for sold in self.bill if sold.cluster_id == cluster.id and sold.claim_id == claim_id]

    def _shown(self, cluster: ClusterRef) -> list[Sold]:
        at = self._shown_moment()
        shown = (sold for sold in self.bill if sold.cluster_id == cluster.id and sold.exists(at))
        return sorted(shown, key=lambda sold: sold.name)

    def _shown_moment(self) -> datetime:
        return self._now() - timedelta(seconds=self.list_lag_seconds)

    def _call(
        self, verb: str, subject: str, deed: Callable[[], Answer], *, lost: type[PluginError] = Transient
    ) -> Answer:
        self.calls.append((verb, subject))
        if self.is_unreachable:
            raise Transient(f"{verb}: the cloud does not answer")
        if self.throttled_seconds is not None:
            raise Throttled(f"{verb}: too many calls", retry_after_seconds=self.throttled_seconds)
        if self.lost_requests > 0:
            self.lost_requests -= 1
            raise lost(f"{verb} {subject}: no answer in time")
        answer = deed()
        if self.lost_answers > 0:
            self.lost_answers -= 1
            raise lost(f"{verb} {subject}: no answer in time")
        return answer
