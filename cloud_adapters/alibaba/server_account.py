"""An account of ECS as our server keeps it: machines that age by a clock, stock, quota, money, tokens and tags.

All that a test may set is a plain attribute; what is true is in `machines`, whatever the lists say.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Final

TOKEN_LIFE: Final = timedelta(hours=24)
RECLAIM_NOTICE: Final = timedelta(minutes=5)
SOONEST_RELEASE: Final = timedelta(minutes=30)
TIME: Final = "%Y-%m-%dT%H:%M:%SZ"

Tags = tuple[tuple[str, str], ...]


class Refused(Exception):
    """An error answer, as ECS words it."""

    def __init__(self, http_code: int, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.http_code = http_code
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineType:
    vcpus: int
    memory_gib: int
    gpus: int = 0
    gpu_spec: str = ""
    price: Decimal = Decimal("9.50")
    """Of one hour on demand."""


@dataclass(slots=True, kw_only=True)
class Machine:
    """One machine, from purchase to end. `ended_at` is None while it costs money."""

    id: str
    zone: str
    machine_type: str
    spot_strategy: str
    private_ip: str
    user_data: str
    tags: Tags
    created_at: datetime
    starting_at: datetime
    running_at: datetime
    release_at: datetime | None
    is_doomed: bool = False
    """Its id was given out, and it will never come."""

    recycling_since: datetime | None = None
    lock: str | None = None
    """Set: ECS has locked it for this reason, and changes nothing of it; it runs on."""

    stopped_at: datetime | None = None
    """Shut down from inside: it stays, and is paid for."""

    stopping_at: datetime | None = None
    is_booted: bool = False
    ended_at: datetime | None = None

    def state(self, at: datetime) -> str:
        if self.stopping_at is not None:
            return "Stopping"
        if self.stopped_at is not None:
            return "Stopped"
        if at < self.starting_at or self.is_doomed:
            return "Pending"
        return "Running" if at >= self.running_at else "Starting"

    def locks(self) -> list[str]:
        reclaim = ["Recycling"] if self.recycling_since is not None else []
        return reclaim + ([self.lock] if self.lock is not None else [])


@dataclass(slots=True, kw_only=True)
class Thing:
    """A disk, an address, a network interface or a security group."""

    kind: str
    id: str
    zone: str
    tags: Tags
    created_at: datetime
    machine_id: str | None = None
    deletes_with_machine: bool = True
    stuck_code: str | None = None
    """Set: it cannot be deleted, and the answer has this code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What RunInstances asks for."""

    token: str | None
    zone: str
    machine_type: str
    amount: int
    least: int
    spot_strategy: str
    spot_limit: Decimal | None
    private_pool: str | None
    user_data: str
    tags: Tags
    release_at: datetime | None
    fingerprint: str
    """Of all parameters."""


def fingerprint(parameters: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(parameters.items())).encode()).hexdigest()


TYPES: Final[Mapping[str, MachineType]] = {
    "ecs.gn7i-c8g1.2xlarge": MachineType(vcpus=8, memory_gib=30, gpus=1, gpu_spec="NVIDIA A10"),
    "ecs.gn7e-c16g1.32xlarge": MachineType(
        vcpus=128, memory_gib=1000, gpus=8, gpu_spec="NVIDIA A100 80G", price=Decimal("277.92")
    ),
}


@dataclass(slots=True, kw_only=True)
class ServedAccount:
    """Everything of one account in one region."""

    now: Callable[[], datetime]
    uid: str = "1000000000000001"
    region: str = "cn-beijing"
    zones: tuple[str, ...] = ("cn-beijing-h", "cn-beijing-i")
    types: dict[str, MachineType] = field(default_factory=lambda: dict(TYPES))
    stock: dict[tuple[str, str], int] = field(default_factory=dict)
    """How many more of (machine type, zone) there are; any number of those that are not named."""

    closed: set[tuple[str, str]] = field(default_factory=set)
    """(machine type, zone) that is not sold any more."""

    vcpu_quotas: dict[str, int] = field(default_factory=dict)
    """By family, such as ecs.gn7i: vCPUs of the account at any time."""

    private_pools: dict[str, int] = field(default_factory=dict)
    """Machines that are left in each reservation."""

    spot_prices: dict[tuple[str, str], tuple[Decimal, ...]] = field(default_factory=dict)
    """Of (machine type, zone), an hour each, the last one now."""

    is_poor: bool = False
    """There is not enough money on the account."""

    doomed: int = 0
    """So many of the next machines get an id and then never come."""

    short: int = 0
    """So many purchases bring one machine less than ordered, and say that all is well."""

    keeps_disks: bool = False
    """The disks of machines that are bought from now on stay behind."""

    pending_seconds: float = 2.0
    starting_seconds: float = 8.0
    stopping_seconds: float = 5.0
    doomed_seconds: float = 60.0
    """A doomed machine shows as pending for so long, and then vanishes."""

    list_lag_seconds: float = 0.0
    on_launch: Callable[[Machine], None] | None = None
    """Called once for each machine when it starts: a hypervisor may boot its user data. The server waits for it, so it
    must be quick and may not call the server.
    """

    on_terminate: Callable[[Machine], None] | None = None
    bill: dict[str, Machine] = field(default_factory=dict)
    """All that were ever sold, by id."""

    things: dict[str, Thing] = field(default_factory=dict)
    kubeconfigs: dict[str, str] = field(default_factory=dict)
    """By id of an ACK cluster."""

    _tokens: dict[str, tuple[datetime, str, tuple[str, ...]]] = field(default_factory=dict)
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    @property
    def machines(self) -> tuple[Machine, ...]:
        """The truth: all that cost money now."""
        return tuple(each for each in self.bill.values() if each.ended_at is None)

    def settle(self) -> None:
        """Lets everything happen whose time has come. Every call does so first."""
        now = self.now()
        for machine in self.machines:
            if (ends_at := self._end_of(machine)) is not None and ends_at <= now:
                self._end(machine, ends_at)
            elif not machine.is_doomed and not machine.is_booted and now >= machine.starting_at:
                machine.is_booted = True
                if self.on_launch is not None:
                    self.on_launch(machine)

    def buy(self, purchase: Purchase, *, is_trial: bool = False) -> tuple[str, ...]:
        known = self._known(purchase)
        if known is not None:
            return known
        self._check(purchase)
        if is_trial:
            raise Refused(400, "DryRunOperation", "Request validation has been passed with DryRun flag set.")
        here = (purchase.machine_type, purchase.zone)
        amount = min(purchase.amount, self.stock.get(here, purchase.amount)) - (1 if self.short > 0 else 0)
        self.short = max(0, self.short - 1)
        if here in self.stock:
            self.stock[here] -= amount
        if purchase.private_pool is not None:
            self.private_pools[purchase.private_pool] -= amount
        names = tuple(self._made(purchase).id for _ in range(amount))
        if purchase.token is not None:
            self._tokens[purchase.token] = (self.now(), purchase.fingerprint, names)
        self.settle()
        return names

    def delete(self, names: Iterable[str]) -> None:
        """All or none."""
        chosen = [self._alive(name) for name in names]
        for machine in chosen:
            if machine.state(self.now()) not in {"Running", "Stopped"}:
                text = "The current status of the resource does not support this operation."
                raise Refused(403, "IncorrectInstanceStatus", text)
        for machine in chosen:
            machine.stopping_at = self.now()

    def postpone(self, name: str, release_at: datetime) -> None:
        machine = self._alive(name)
        if machine.lock is not None:
            raise Refused(403, "InstanceLockedForSecurity", "The instance is locked due to security.")
        if release_at < self.now() + SOONEST_RELEASE:
            raise Refused(400, "InvalidAutoReleaseTime.Malformed", "The release time is too soon.")
        machine.release_at = release_at

    def reclaim(self, name: str) -> None:
        """The market takes a spot machine back: it is locked now, and ends after the notice."""
        self.bill[name].recycling_since = self.now()

    def shut_down(self, name: str) -> None:
        """As the machine itself would."""
        self.bill[name].stopped_at = self.now()

    def shown(self) -> list[Machine]:
        """What a list shows: nothing that is younger than the lag."""
        latest = self.now() - timedelta(seconds=self.list_lag_seconds)
        return sorted((each for each in self.machines if each.created_at <= latest), key=lambda each: each.id)

    def remove(self, kind: str, name: str, *, missing: str) -> None:
        thing = self.things.get(name)
        if thing is None or thing.kind != kind:
            raise Refused(404, missing, f"The specified {kind} does not exist.")
        if thing.stuck_code is not None:
            raise Refused(403, thing.stuck_code, f"The {kind} is in use.")
        if thing.machine_id is not None:
            raise Refused(
                403, "IncorrectDiskStatus", "The current disk status does not support this operation."
            )
        del self.things[name]

    def add_thing(self, kind: str, *, tags: Tags, machine_id: str | None = None, zone: str = "") -> Thing:
        prefix = {"disk": "d", "eip": "eip", "eni": "eni", "security group": "sg"}[kind]
        thing = Thing(
            kind=kind,
            id=f"{prefix}-{next(self._numbers):04d}",
            zone=zone,
            tags=tags,
            created_at=self.now(),
            machine_id=machine_id,
        )
        self.things[thing.id] = thing
        return thing

    def price_series(self, machine_type: str, zone: str) -> list[tuple[datetime, Decimal]]:
        """Hour by hour, the last one now."""
        usual = (self.types[machine_type].price * Decimal("0.3")).quantize(Decimal("0.01"))
        prices = self.spot_prices.get((machine_type, zone), (usual,))
        now = self.now()
        return [(now - timedelta(hours=len(prices) - 1 - i), price) for i, price in enumerate(prices)]

    def _known(self, purchase: Purchase) -> tuple[str, ...] | None:
        found = self._tokens.get(purchase.token) if purchase.token is not None else None
        if found is None or self.now() - found[0] > TOKEN_LIFE:
            return None
        if found[1] != purchase.fingerprint:
            raise Refused(
                400, "IdempotentParameterMismatch", "The request uses the same client token, but differs."
            )
        return found[2]

    def _check(self, purchase: Purchase) -> None:
        if purchase.machine_type not in self.types:
            raise Refused(404, "InvalidInstanceType.NotFound", "The specified InstanceType does not exist.")
        if self.is_poor:
            text = "Your account does not have enough balance."
            raise Refused(403, "InvalidAccountStatus.NotEnoughBalance", text)
        if purchase.release_at is not None and purchase.release_at < self.now() + SOONEST_RELEASE:
            raise Refused(400, "InvalidAutoReleaseTime.Malformed", "The release time is too soon.")
        self._check_quota(purchase)
        self._check_stock(purchase)
        if purchase.spot_strategy == "SpotWithPriceLimit":
            market = self.price_series(purchase.machine_type, purchase.zone)[-1][1]
            if purchase.spot_limit is None or purchase.spot_limit < market:
                code = "OperationDenied.SpotPriceLowerThanPublicPrice"
                raise Refused(400, code, "The price limit is lower than the public price.")

    def _check_quota(self, purchase: Purchase) -> None:
        family = family_of(purchase.machine_type)
        quota = self.vcpu_quotas.get(family)
        alive = (each for each in self.machines if family_of(each.machine_type) == family)
        have = sum(self.types[each.machine_type].vcpus for each in alive)
        need = purchase.amount * self.types[purchase.machine_type].vcpus
        if quota is not None and have + need > quota:
            raise Refused(
                403, "QuotaExceed.ElasticQuota", f"{have} of {quota} vCPUs are in use, {need} more asked."
            )

    def _check_stock(self, purchase: Purchase) -> None:
        here = (purchase.machine_type, purchase.zone)
        pool = purchase.private_pool
        if pool is not None and self.private_pools.get(pool, 0) < purchase.least:
            raise Refused(403, "Invalid.PrivatePoolOptions.NoStock", "The private pool has no such stock.")
        if purchase.zone not in self.zones or here in self.closed:
            raise Refused(403, "Zone.NotOnSale", "The specified zone is not available for purchase.")
        if self.stock.get(here, purchase.least) < purchase.least:
            text = "The requested resource is sold out in the specified zone; try other types or zones."
            raise Refused(403, "OperationDenied.NoStock", text)

    def _made(self, purchase: Purchase) -> Machine:
        now, number = self.now(), next(self._numbers)
        starting_at = now + timedelta(seconds=self.pending_seconds)
        machine = Machine(
            id=f"i-2ze{number:017d}",
            zone=purchase.zone,
            machine_type=purchase.machine_type,
            spot_strategy=purchase.spot_strategy,
            private_ip=f"10.0.{number // 250}.{number % 250 + 1}",
            user_data=purchase.user_data,
            tags=purchase.tags,
            created_at=now,
            starting_at=starting_at,
            running_at=starting_at + timedelta(seconds=self.starting_seconds),
            release_at=purchase.release_at,
            is_doomed=self.doomed > 0,
        )
        self.doomed = max(0, self.doomed - 1)
        self.bill[machine.id] = machine
        disk = self.add_thing("disk", tags=purchase.tags, machine_id=machine.id, zone=purchase.zone)
        disk.deletes_with_machine = not self.keeps_disks
        return machine

    def _end_of(self, machine: Machine) -> datetime | None:
        """The first of all that may end it."""
        moments = [machine.release_at]
        if machine.stopping_at is not None:
            moments.append(machine.stopping_at + timedelta(seconds=self.stopping_seconds))
        if machine.recycling_since is not None:
            moments.append(machine.recycling_since + RECLAIM_NOTICE)
        if machine.is_doomed:
            moments.append(machine.created_at + timedelta(seconds=self.doomed_seconds))
        return min((each for each in moments if each is not None), default=None)

    def _end(self, machine: Machine, at: datetime) -> None:
        machine.ended_at = at
        for disk in [each for each in self.things.values() if each.machine_id == machine.id]:
            if disk.deletes_with_machine:
                del self.things[disk.id]
            else:
                disk.machine_id = None
        if machine.is_booted and self.on_terminate is not None:
            self.on_terminate(machine)

    def _alive(self, name: str) -> Machine:
        machine = self.bill.get(name)
        if machine is None or machine.ended_at is not None:
            raise Refused(
                404, "InvalidInstanceId.NotFound", f"The specified InstanceId {name} does not exist."
            )
        return machine


def family_of(machine_type: str) -> str:
    """ecs.gn7i of ecs.gn7i-c8g1.2xlarge."""
    return ".".join(machine_type.split(".")[:2]).split("-")[0]


def time_of(text: str | None) -> datetime | None:
    return None if text is None else datetime.strptime(text, TIME).replace(tzinfo=UTC)
