"""Alibaba Cloud: machines of ECS, bought with the vendor's SDK in one region of one account.

Every machine is born with a release time, at which the cloud ends it unless somebody moves the time (`renew`).
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from cloud_adapters.alibaba import errors, leftovers, listing, market, translate
from cloud_adapters.alibaba.client import Account, Answer, deadline_of
from cloud_adapters.alibaba.settings import Access, Settings, settings_of
from cloud_adapters.base import (
    Ambiguous,
    AuthFailed,
    CapacityType,
    ClusterRef,
    Inventory,
    LaunchOrder,
    Leftover,
    MachineState,
    NoCapacity,
    Offer,
    OwnedMachine,
    PluginError,
    QuotaExceeded,
    Rejected,
    Termination,
    Throttled,
    Transient,
)
from cloud_adapters.boot.user_data import render

LIST_LAG: Final = timedelta(seconds=60)
"""What was bought is listed after so long. ECS promises nothing; seconds are usual."""

DEAD_MAN: Final = timedelta(hours=1)
"""For machines that are told nothing about their boot."""

MOST_ACCOUNTS: Final = 64


def _now() -> datetime:
    return datetime.now(UTC)


class AlibabaAdapter:
    """Lends (nothing but the account's health), Sells, Sweeps and Renews."""

    def __init__(self, *, now: Callable[[], datetime] = _now, list_lag: timedelta = LIST_LAG) -> None:
        self._now = now
        self._list_lag = list_lag
        self._accounts: dict[Access, Account] = {}
        """Clients, which cost milliseconds to make and keep lent keys."""

    @property
    def list_lag(self) -> timedelta:
        return self._list_lag

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:
        """No machines: those that were bought are nodes of another cluster. Says whether the account can buy."""
        settings, account, until = self._opened(cluster, deadline)
        caller = account.call_other("GetCallerIdentity", {}, until=until)
        problems = (_looking(account, cluster, until), self._buying(account, settings, cluster, until))
        return Inventory(
            machines=(),
            complete=True,
            session=f"{settings.access.region}/{caller['AccountId']}",
            problems=tuple(problem for problem in problems if problem is not None),
        )

    def offers(self, cluster: ClusterRef, *, deadline: float) -> tuple[Offer, ...]:
        settings, account, until = self._opened(cluster, deadline)
        return market.offers(account, settings, now=self._now, until=until)

    def ensure(self, launch: LaunchOrder, *, deadline: float) -> tuple[OwnedMachine, ...]:
        settings, account, until = self._opened(launch.cluster, deadline)
        user_data = None if launch.boot is None else render(launch)
        dead_man = DEAD_MAN if launch.boot is None else timedelta(seconds=launch.boot.dead_man_seconds)
        now_or_before = translate.births(self._now(), dead_man)
        ways = [
            translate.run_parameters(launch, settings, user_data=user_data, release_at=each)
            for each in now_or_before
        ]
        answer = _bought(account, ways, until)
        names = sorted(str(name) for name in translate.rows(answer, "InstanceIdSets", "InstanceIdSet"))
        if len(names) < launch.machines:
            _give_back(account, names, until)
            raise NoCapacity(f"{len(names)} of {launch.machines} {launch.machine_type} came in {launch.zone}")
        return tuple(_promised(name, launch) for name in names)

    def release(self, cluster: ClusterRef, claim_id: str, members: Sequence[str], *, deadline: float) -> None:
        _, account, until = self._opened(cluster, deadline)
        owned = listing.machine_rows(account, cluster.id, claim_id, until=until)
        asked = [row for row in owned if row["InstanceId"] in members]
        _delete(account, asked, until)
        if starting := [row["InstanceId"] for row in asked if _is_starting(row)]:
            raise Transient(f"{', '.join(starting)} cannot be released while starting")

    def terminate(self, cluster: ClusterRef, claim_id: str, *, deadline: float) -> Termination:
        """ECS forgets at once what has ended, so gone looks like unseen."""
        _, account, until = self._opened(cluster, deadline)
        owned = listing.machine_rows(account, cluster.id, claim_id, until=until)
        if not owned:
            return Termination.UNSEEN
        try:
            _delete(account, owned, until)
        except (errors.WrongState, errors.NotThere):
            return Termination.GOING  # they moved between the look and the call; the next one sees where to
        return Termination.GOING

    def list_owned(self, cluster: ClusterRef, *, deadline: float) -> tuple[OwnedMachine, ...]:
        _, account, until = self._opened(cluster, deadline)
        owned = listing.machine_rows(account, cluster.id, until=until)
        doomed = listing.failed_creations(account, owned, until=until)
        now = self._now()
        return tuple(translate.machine_of(row, doomed=doomed, now=now) for row in owned)

    def renew(self, cluster: ClusterRef, claim_id: str, *, until: datetime, deadline: float) -> None:
        """Machines that stopped, or are being taken back, are left to the release time that they have.

        One that is refused does not cost the others their lives; the first refusal is told when all were asked.
        """
        _, account, last_moment = self._opened(cluster, deadline)
        release_at = translate.renewal(until, self._now())
        owned = listing.machine_rows(account, cluster.id, claim_id, until=last_moment)
        names = [str(row["InstanceId"]) for row in owned if translate.is_wanted(row)]
        refused: list[tuple[str, PluginError]] = []
        for name in names:
            wanted: dict[str, object] = {"InstanceId": name, "AutoReleaseTime": release_at}
            try:
                _unless_gone(account, "ModifyInstanceAutoReleaseTime", wanted, last_moment)
            except Throttled:
                raise
            except PluginError as problem:
                refused.append((name, problem))
        if refused:
            name, first = refused[0]
            raise type(first)(
                f"{len(refused)} of {len(names)} machines keep their release time; {name}: {first.message}"
            ) from first

    def leftovers(self, cluster: ClusterRef, *, deadline: float) -> tuple[Leftover, ...]:
        _, account, until = self._opened(cluster, deadline)
        return leftovers.leftovers(account, cluster.id, until=until)

    def remove(self, cluster: ClusterRef, leftover: Leftover, *, deadline: float) -> None:
        _, account, until = self._opened(cluster, deadline)
        leftovers.remove(account, leftover, until=until)

    def _opened(self, cluster: ClusterRef, deadline: float) -> tuple[Settings, Account, float]:
        settings = settings_of(cluster)
        if len(self._accounts) > MOST_ACCOUNTS:
            self._accounts.clear()  # keys that were changed are never asked for again
        account = self._accounts.setdefault(settings.access, Account(settings.access))
        return settings, account, deadline_of(deadline)

    def _buying(self, account: Account, settings: Settings, cluster: ClusterRef, until: float) -> str | None:
        """Tries to order one machine without doing it."""
        trial = LaunchOrder(
            cluster=cluster,
            claim_id="trial",
            launch_id="trial",
            zone=settings.zones[0],
            machine_type=(settings.machine_types or (market.DEFAULT_TYPE,))[0],
            capacity_type=CapacityType.ON_DEMAND,
            machines=1,
        )
        release_at = translate.births(self._now(), DEAD_MAN)[0]
        wanted = translate.run_parameters(trial, settings, user_data=None, release_at=release_at)
        del wanted["ClientToken"]
        try:
            account.call("RunInstances", {**wanted, "DryRun": True}, until=until)
        except (errors.WouldWork, NoCapacity):
            return None  # a sold-out zone says nothing about the account
        except (Rejected, AuthFailed, QuotaExceeded) as problem:
            return problem.message
        return None


def _looking(account: Account, cluster: ClusterRef, until: float) -> str | None:
    wanted = {"Tag": translate.tag_filter(cluster.id), "MaxResults": listing.PAGE}
    try:
        account.call("DescribeInstances", wanted, until=until)
    except AuthFailed as problem:
        return problem.message
    return None


def _bought(account: Account, ways: Sequence[dict[str, object]], until: float) -> Answer:
    """The first way is what is wanted; the others are what this launch may have been called with before."""
    *first, last = ways
    for parameters in first:
        try:
            return account.call("RunInstances", parameters, until=until)
        except errors.OtherParameters:
            continue
    return account.call("RunInstances", last, until=until)


def _give_back(account: Account, names: Sequence[str], until: float) -> None:
    """By id, one by one: the list may not show them yet, and one that vanished must not save the others."""
    try:
        for name in names:
            _unless_gone(account, "DeleteInstances", {"InstanceId": [name], "Force": True}, until)
    except Transient as problem:
        raise Ambiguous(
            f"only {len(names)} machines came, and are not given back yet: {problem.message}"
        ) from problem


def _delete(account: Account, owned: Sequence[translate.Row], until: float) -> None:
    """Those that can be; the others are starting, or on their way out."""
    names = [str(row["InstanceId"]) for row in owned if row.get("Status") in translate.DELETABLE]
    for start in range(0, len(names), listing.PAGE):
        chosen = names[start : start + listing.PAGE]
        account.call("DeleteInstances", {"InstanceId": chosen, "Force": True}, until=until)


def _unless_gone(account: Account, action: str, parameters: dict[str, object], until: float) -> None:
    try:
        account.call(action, parameters, until=until)
    except errors.NotThere:
        return


def _is_starting(row: translate.Row) -> bool:
    return translate.STATES.get(str(row.get("Status"))) is MachineState.PENDING


def _promised(name: str, launch: LaunchOrder) -> OwnedMachine:
    """ECS answers with ids alone; whether they come up, the list tells."""
    return OwnedMachine(
        name=name,
        zone=launch.zone,
        claim_id=launch.claim_id,
        launch_id=launch.launch_id,
        state=MachineState.PENDING,
    )
