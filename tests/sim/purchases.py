"""What must hold of bought machines: ordered by a row, ended by their claim, and in the end just as the books say."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from cloud_adapters.base import CLAIM_LABEL, LaunchOrder
from cloud_adapters.fake_cloud import FakeCloud, Sold
from controlplane.domain.claims import Claim, ClaimState, LaunchOutcome
from controlplane.domain.events import Event
from controlplane.domain.ids import AttemptId, ClaimId, ClusterId
from controlplane.operations.context import Context
from controlplane.store import Tx
from controlplane.wire.machines import CheckInRequest
from tests.sim.truth import Violation

if TYPE_CHECKING:
    from tests.sim.world import World

LAST_MOMENT_SECONDS: Final = 100.0
ENDING: Final = (ClaimState.TERMINATING, ClaimState.GONE)


class Purchases:
    """A part of the judge."""

    def __init__(self, world: "World", context: Context) -> None:
        self._world = world
        self._context = context
        self._orders: dict[str, LaunchOrder] = {}
        """Of machines, by launch."""

        self._states: dict[str, str] = {}
        """Of claims, as the feed has told so far."""

    @property
    def of_the_past(self) -> tuple[LaunchOrder, ...]:
        """Orders of claims that are gone."""
        gone = {
            claim_id
            for claim_id in {each.claim_id for each in self._orders.values()}
            if self._is_gone(claim_id)
        }
        return tuple(each for each in self._orders.values() if each.claim_id in gone)

    @property
    def count(self) -> int:
        """Of all that was ever bought."""
        return sum(1 for _ in self._sold)

    def ordered(self, launch: LaunchOrder) -> None:
        """Somebody is about to buy."""
        claim_id = ClaimId(launch.claim_id)
        with self._context.store.read() as tx:
            known = any(each.id == launch.launch_id for each in tx.launches.of_claim(claim_id))
        if not known:
            raise Violation(f"launch {launch.launch_id} was ordered before it was written down")
        if not launch.shares:
            self._orders[launch.launch_id] = launch

    def released(self, cloud: FakeCloud, claim_id: str, members: Sequence[str]) -> None:
        """Somebody is about to end machines: real clouds end what they are told to."""
        others = {sold.name: sold.claim_id for sold in cloud.bill if sold.claim_id != claim_id}
        if foreign := sorted(others.keys() & set(members)):
            raise Violation(
                f"machines {foreign} of claim {others[foreign[0]]} were ended for claim {claim_id}"
            )

    def renewed(self, claim_id: str) -> None:
        claim = self._claim(claim_id)
        if claim is None or claim.state in ENDING:
            raise Violation(f"machines of claim {claim_id} were renewed: {claim and claim.state}")

    def removed(self, cluster_id: str, name: str, list_lag: timedelta) -> None:
        """Somebody is about to remove a leftover."""
        with self._context.store.read() as tx:
            known = {each.name: each for each in tx.strays.of_cluster(ClusterId(cluster_id))}
            claim_id = known[name].claim_id if name in known else None
            claim = tx.claims.get(claim_id) if claim_id is not None else None
        if name not in known:
            raise Violation(f"leftover {name} was removed before it was written down")
        if claim is not None and claim.is_live:
            raise Violation(f"leftover {name} was removed though claim {claim.id} is {claim.state}")
        if (waited := self._world.timeline.now - known[name].seen_at) < list_lag:
            raise Violation(
                f"leftover {name} was removed {waited.total_seconds():g} s after it was first seen"
            )

    def admitted(self, said: CheckInRequest) -> None:
        """A machine was let in."""
        claim = self._claim(said.claim_id)
        if claim is None or claim.state in ENDING:
            raise Violation(
                f"machine {said.machine} was let in: claim {said.claim_id} is {claim and claim.state}"
            )

    def look(self, tx: Tx, events: Sequence[Event]) -> None:
        self._were_ready(tx, events)
        for event in events:
            if event.kind == "claim.gone":
                self._nothing_left(tx, ClaimId(event.subject), gone_at=event.at)
            elif event.kind == "launch.resolved" and event.data["outcome"] == LaunchOutcome.GRANTED:
                self._is_whole(event.subject, int(str(event.data["machines"])))
            elif event.kind == "claim.requested":
                self._was_to_be_had(tx, ClaimId(event.subject))

    def look_at_all(self, tx: Tx) -> None:
        self._bought_once()
        self._kept(tx)

    def look_at_the_end(self, tx: Tx) -> None:
        """In the end every machine has a live claim, and every claim the machines that it wants."""
        live = {claim.id: claim for claim in tx.claims.live()}
        there = [sold for cloud in self._clouds for sold in cloud.machines]
        counts = Counter(ClaimId(sold.claim_id) for sold in there)
        if leaked := sorted(counts.keys() - live.keys()):
            raise Violation(f"machines are left over from claims that are gone: {leaked}")
        for claim_id, claim in live.items():
            self._as_wanted(claim, counts[claim_id])
            if claim.shares and not tx.attempts.live_of_claim(claim_id):
                raise Violation(
                    f"claim {claim_id} was built for an attempt that is over, and stands for ever"
                )
        self._sites(tx, live)
        self._swept(tx, live)

    def _swept(self, tx: Tx, live: Mapping[ClaimId, Claim]) -> None:
        """What ended machines of a live claim left behind goes with the claim."""
        owners = {f"disk-of-{sold.name}": sold.claim_id for sold in self._world.cloud.bill}
        left = [name for name in self._world.cloud.left if ClaimId(owners[name]) not in live]
        if left:
            raise Violation(f"{left} are left over for ever")
        known = [
            each for cluster in tx.clusters.list(None, None) for each in tx.strays.of_cluster(cluster.id)
        ]
        if known:
            raise Violation(f"leftovers are known for ever, though none is there: {known}")

    def _as_wanted(self, claim: Claim, has: int) -> None:
        if claim.release_requested_at is not None:
            raise Violation(f"claim {claim.id} was released and is {claim.state} for ever")
        if claim.state is not ClaimState.READY:
            raise Violation(f"claim {claim.id} is {claim.state} for ever: {claim.problem}")
        if not claim.machines_min <= has <= claim.machines_want:
            wanted = f"{claim.machines_min} to {claim.machines_want}"
            raise Violation(f"claim {claim.id} has {has} machines for ever; it wants {wanted}")

    def _sites(self, tx: Tx, live: Mapping[ClaimId, Claim]) -> None:
        """Where machines form Ray clusters of their own, all of a claim's machines are nodes of the one that it has."""
        if self._world.fleet is None:
            return
        claims = [claim_id for claim_id, claim in live.items() if not claim.shares]
        stand = {site.head.sold.claim_id: site for site in self._world.fleet.sites}
        if over := sorted(stand.keys() - live.keys()):
            raise Violation(f"Ray clusters stand of claims that are gone: {over}")
        for claim_id in claims:
            site, row = stand.get(claim_id), tx.sites.get(claim_id)
            if site is None or row is None or row.url != site.url:
                raise Violation(f"claim {claim_id} is ready for ever, and has no Ray: {row}")
            machines = {sold.name for sold in self._world.cloud.machines if sold.claim_id == claim_id}
            if idle := sorted(machines - site.members):
                raise Violation(f"machines {idle} of claim {claim_id} have not joined its Ray, for ever")

    def _kept(self, tx: Tx) -> None:
        """Nothing that a claim wants ends by the dead man's switch: there are always loops to renew it."""
        now = self._world.timeline.now
        ended = [
            sold for sold in self._sold if sold.release_at is not None and sold.gone_at == sold.release_at
        ]
        for sold in ended:
            claim = (
                tx.claims.get(ClaimId(sold.claim_id)) if sold.release_at and sold.release_at <= now else None
            )
            if claim is not None and claim.state is ClaimState.READY and sold.stopping_at is None:
                raise Violation(f"machine {sold.name} ended by itself though claim {claim.id} is ready")

    def _were_ready(self, tx: Tx, events: Sequence[Event]) -> None:
        """Claims that attempts were placed on, unless made for them. Here one writes after the other."""
        placed = [AttemptId(event.subject) for event in events if event.kind == "attempt.placed"]
        claims = {
            each.id: each.claim_id for each in tx.attempts.many(placed).values() if each.claim_id is not None
        }
        made_for = {each.id for each in tx.claims.many(sorted(set(claims.values()))) if each.shares}
        for event in events:
            if event.kind.startswith("claim.") and "from" in event.data:
                self._states[event.subject] = event.kind.removeprefix("claim.")
            claim_id = claims.get(AttemptId(event.subject)) if event.kind == "attempt.placed" else None
            if claim_id is None or claim_id in made_for:
                continue
            if (state := self._states.get(claim_id)) != ClaimState.READY:
                raise Violation(f"attempt {event.subject} was placed on claim {claim_id}, which was {state}")

    def _bought_once(self) -> None:
        """A launch buys what it ordered, once, in one zone."""
        bought: dict[str, list[Sold]] = {}
        for sold in self._sold:
            bought.setdefault(sold.launch_id, []).append(sold)
        for launch_id, machines in bought.items():
            zones = sorted({sold.zone for sold in machines})
            if len(zones) > 1 or len({sold.started_at for sold in machines}) > 1:
                raise Violation(f"launch {launch_id} bought {len(machines)} machines in zones {zones}")

    def _is_whole(self, launch_id: str, machines: int) -> None:
        """All or none."""
        came = sum(sold.launch_id == launch_id for sold in self._sold)
        if came < machines:
            raise Violation(f"launch {launch_id} counts as granted: {came} of {machines} machines came")

    def _was_to_be_had(self, tx: Tx, claim_id: ClaimId) -> None:
        """What a plan buys is not cooling off."""
        claim = tx.claims.get(claim_id)
        if claim is None or claim.wanted_by is None:
            return
        offer = tx.offers.get(claim.cluster_id, (claim.machine_type, claim.zones[0], claim.capacity_type))
        if offer is not None and offer.cool_until is not None and offer.cool_until > claim.created_at:
            raise Violation(f"claim {claim_id} was ordered while its offer cools until {offer.cool_until}")

    def _nothing_left(self, tx: Tx, claim_id: ClaimId, *, gone_at: datetime) -> None:
        """What a frozen process buys at the last moment is an orphan; what was there before is a leak.

        The moment is that of the event: in calm hours the judge hears of it minutes later.
        """
        now = self._world.timeline.now
        old = [
            sold.name
            for sold in self._sold
            if sold.claim_id == claim_id
            and sold.exists(now)
            and (gone_at - sold.started_at).total_seconds() > LAST_MOMENT_SECONDS
        ]
        if old:
            raise Violation(f"claim {claim_id} is gone, and its machines {old} are there")
        if tx.sites.get(claim_id) is not None or tx.sites.check_ins(claim_id):
            raise Violation(f"claim {claim_id} is gone, and its site is there")
        claim = tx.claims.get(claim_id)
        nodes = (
            tx.nodes.present(claim.cluster_id) if claim is not None and self._world.fleet is not None else []
        )
        if known := [node.name for node in nodes if dict(node.labels).get(CLAIM_LABEL) == claim_id]:
            raise Violation(f"claim {claim_id} is gone, and its nodes {known} are there")

    @property
    def _clouds(self) -> tuple[FakeCloud, ...]:
        ground = self._world.ground
        return (self._world.cloud,) if ground is None else (self._world.cloud, ground.builder.members)

    @property
    def _sold(self) -> Iterator[Sold]:
        return (sold for cloud in self._clouds for sold in cloud.bill)

    def _is_gone(self, claim_id: str) -> bool:
        claim = self._claim(claim_id)
        return claim is not None and claim.state is ClaimState.GONE

    def _claim(self, claim_id: str) -> Claim | None:
        with self._context.store.read() as tx:
            return tx.claims.get(ClaimId(claim_id))
