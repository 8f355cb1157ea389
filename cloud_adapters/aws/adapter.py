"""AWS: machines of EC2, bought on demand, as spot or from a reservation, and booted without any key or SSH.

A cluster is an account with one or more regions. It lends nothing of its own: what was bought joins a Ray cluster of
its claim. Purchases carry the launch's id as client token, and everything is tagged as it is made.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from time import monotonic
from typing import Final

from cloud_adapters.aws import health, leftovers, offering
from cloud_adapters.aws.buying import site_of
from cloud_adapters.aws.client import Account, Act, Calls
from cloud_adapters.aws.errors import Absent, AbsentGroup
from cloud_adapters.aws.settings import AwsSettings, settings_of
from cloud_adapters.aws.translate import (
    CLAIM_TAG,
    CLUSTER_TAG,
    STATES,
    Row,
    check_order,
    exists,
    purchase,
    sorted_machines,
    tag_filter,
)
from cloud_adapters.base import (
    ClusterRef,
    Inventory,
    LaunchOrder,
    Leftover,
    Offer,
    OwnedMachine,
    Termination,
    Transient,
)
from cloud_adapters.boot.user_data import render

LIST_LAG: Final = timedelta(minutes=5)
"""EC2 promises no bound. Users have seen machines come up in lists after minutes, and nobody after five."""

RIGHTS_SECONDS: Final = 600.0
"""How long it is believed what the keys may do: dry runs spend the same request budget as purchases."""

MOST_ACCOUNTS: Final = 64
MOST_ENDED_AT_ONCE: Final = 500


class AwsAdapter:
    def __init__(
        self,
        *,
        list_lag: timedelta = LIST_LAG,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._list_lag = list_lag
        self._now = now
        self._account = lru_cache(MOST_ACCOUNTS)(Account)
        self._rights = lru_cache(MOST_ACCOUNTS)(_Rights)

    @property
    def list_lag(self) -> timedelta:
        return self._list_lag

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:
        """No machines: those of a claim are seen through its Ray. The session is the account's number and regions."""
        settings, calls = self._begun(cluster, deadline)
        account = health.identity(calls, settings)
        rights = self._rights(cluster.secret, cluster.settings)
        return Inventory(
            machines=(),
            complete=True,
            session=f"{account}/{','.join(settings.regions)}",
            problems=rights.problems(calls, cluster, settings),
        )

    def offers(self, cluster: ClusterRef, *, deadline: float) -> tuple[Offer, ...]:
        settings, calls = self._begun(cluster, deadline)
        now = self._now()
        found = [
            offer
            for region in settings.regions
            for offer in offering.offers(settings, offering.market(calls, settings, region, now))
        ]
        return tuple(sorted(found, key=lambda each: (each.machine_type, each.zone, each.capacity_type)))

    def ensure(self, launch: LaunchOrder, *, deadline: float) -> tuple[OwnedMachine, ...]:
        settings, calls = self._begun(launch.cluster, deadline)
        check_order(launch, settings)
        user_data = None if launch.boot is None else render(launch)
        site = site_of(calls, launch, settings, user_data)
        try:
            bought = calls.ask(Act.BUY, site.region, **purchase(launch, settings, site))
        except AbsentGroup as unknown:
            if site.region in settings.security_groups and site.placement_group is None:
                raise
            # A group of our own making may be too young to be seen everywhere.
            raise Transient(unknown.message) from None
        return sorted_machines(bought["Instances"])

    def release(self, cluster: ClusterRef, claim_id: str, members: Sequence[str], *, deadline: float) -> None:
        settings, calls = self._begun(cluster, deadline)
        wanted = frozenset(members)
        for region in settings.regions:
            rows = _machines(calls, region, cluster, claim_id)
            _end(calls, region, [row for row in rows if exists(row) and row["InstanceId"] in wanted])

    def terminate(self, cluster: ClusterRef, claim_id: str, *, deadline: float) -> Termination:
        settings, calls = self._begun(cluster, deadline)
        seen: list[Row] = []
        for region in settings.regions:
            rows = _machines(calls, region, cluster, claim_id)
            _end(calls, region, [row for row in rows if exists(row)])
            seen.extend(rows)
        if any(map(exists, seen)):
            return Termination.GOING
        return Termination.GONE if seen else Termination.UNSEEN

    def list_owned(self, cluster: ClusterRef, *, deadline: float) -> tuple[OwnedMachine, ...]:
        settings, calls = self._begun(cluster, deadline)
        return sorted_machines(
            row for region in settings.regions for row in _machines(calls, region, cluster, None)
        )

    def leftovers(self, cluster: ClusterRef, *, deadline: float) -> tuple[Leftover, ...]:
        settings, calls = self._begun(cluster, deadline)
        return leftovers.leftovers(calls, cluster, settings)

    def remove(self, cluster: ClusterRef, leftover: Leftover, *, deadline: float) -> None:
        settings, calls = self._begun(cluster, deadline)
        leftovers.remove(calls, cluster, settings, leftover)

    def _begun(self, cluster: ClusterRef, deadline: float) -> tuple[AwsSettings, Calls]:
        settings = settings_of(cluster)
        return settings, self._account(cluster.secret, settings.endpoint_url).until(deadline)


class _Rights:
    """What one account may do, as it was found last."""

    def __init__(self, secret: str | None, settings: tuple[tuple[str, str], ...]) -> None:
        del secret, settings  # they are the key under which this is kept
        self._found: tuple[float, tuple[str, ...]] | None = None

    def problems(self, calls: Calls, cluster: ClusterRef, settings: AwsSettings) -> tuple[str, ...]:
        now = monotonic()
        if self._found is None or now - self._found[0] >= RIGHTS_SECONDS:
            self._found = (now, health.problems(calls, cluster, settings))
        return self._found[1]


def _machines(calls: Calls, region: str, cluster: ClusterRef, claim_id: str | None) -> list[Row]:
    """By tag, never by id: one id that is not known yet would fail the whole answer. Of a claim, ended ones as well."""
    filters = [tag_filter(CLUSTER_TAG, cluster.id)]
    if claim_id is None:
        filters.append({"Name": "instance-state-name", "Values": sorted(STATES)})
    else:
        filters.append(tag_filter(CLAIM_TAG, claim_id))
    reservations = calls.rows(Act.MACHINES, region, "Reservations", Filters=filters, MaxResults=1000)
    return [row for reservation in reservations for row in reservation["Instances"]]


def _end(calls: Calls, region: str, rows: Sequence[Row]) -> None:
    names = sorted(row["InstanceId"] for row in rows)
    for start in range(0, len(names), MOST_ENDED_AT_ONCE):
        batch = names[start : start + MOST_ENDED_AT_ONCE]
        try:
            calls.ask(Act.END, region, InstanceIds=batch)
        except Absent:
            _end_singly(calls, region, batch)


def _end_singly(calls: Calls, region: str, names: Sequence[str]) -> None:
    """One id that EC2 has forgotten fails a whole call. It ended long ago, or will be listed again."""
    for name in names:
        try:
            calls.ask(Act.END, region, InstanceIds=[name])
        except Absent:
            continue
