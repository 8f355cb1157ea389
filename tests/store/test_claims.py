"""Claims, launches and orphans: what is stored comes back whole, and an answered launch is never answered again."""

from dataclasses import replace

import pytest

from controlplane.domain.claims import CapacityType, ClaimState, LaunchOutcome, launch_id
from controlplane.domain.errors import Conflict, StaleWrite
from controlplane.domain.ids import ClaimId, ClusterId
from controlplane.store import Store
from tests import factories
from tests.store.planting import plant

RICH = factories.claim(
    7,
    state=ClaimState.DRAINING,
    capacity_type=CapacityType.RESERVED,
    zones=("b", "ü"),
    machines_want=3,
    generation=2,
    release_requested_at=factories.after(1),
    last_launch_at=factories.after(2),
    missing_since=factories.after(3),
    problem="small is sold out in b",
)
SECOND = factories.launch(id=launch_id(ClaimId("claim-1"), 1, 2), ordinal=2, zone="b")


@pytest.fixture
def planted(store: Store) -> Store:
    plant(store)
    return store


@pytest.fixture
def claimed(planted: Store) -> Store:
    planted.write(lambda tx: tx.claims.add(factories.claim()))
    planted.write(lambda tx: tx.launches.add(factories.launch()))
    return planted


def events_since(store: Store, cursor: str) -> list[tuple[str, str]]:
    with store.read() as tx:
        rows, _ = tx.events.after(cursor, 100)
    return [(event.kind, event.subject) for _, event in rows]


def test_a_claim_comes_back_whole(planted: Store) -> None:
    planted.write(lambda tx: tx.claims.add(RICH))

    with planted.read() as tx:
        assert tx.claims.get(RICH.id) == RICH
        assert tx.claims.get(ClaimId("x")) is None


def test_a_saved_claim_comes_back_as_it_was_saved_and_an_old_version_is_refused(claimed: Store) -> None:
    moved = factories.claim(generation=1).move(ClaimState.LAUNCHING, at=factories.after(9))
    changed = replace(moved, last_launch_at=factories.after(9), problem="?")
    claimed.write(lambda tx: tx.claims.save(changed))

    with claimed.read() as tx:
        assert tx.claims.get(changed.id) == changed
    with pytest.raises(StaleWrite):
        claimed.write(lambda tx: tx.claims.save(changed))


def test_a_gone_claim_is_no_longer_live(claimed: Store) -> None:
    claimed.write(lambda tx: tx.claims.add(factories.claim(2)))
    claimed.write(lambda tx: tx.claims.save(factories.claim().move(ClaimState.GONE, at=factories.NOON)))
    one, other = ClusterId("cluster-1"), ClusterId("cluster-2")

    with claimed.read() as tx:
        assert [claim.id for claim in tx.claims.live()] == ["claim-2"]
        assert [claim.id for claim in tx.claims.live(one)] == ["claim-2"]
        assert tx.claims.live(other) == []
        assert [claim.id for claim in tx.claims.list(None, 9)] == ["claim-1", "claim-2"]
        assert [claim.id for claim in tx.claims.list(ClaimId("claim-1"), 9)] == ["claim-2"]


def test_claims_that_no_loop_will_look_at_are_found(claimed: Store) -> None:
    claimed.write(lambda tx: tx.claims.add(factories.claim(2)))
    claimed.write(lambda tx: tx.work.poke("claim", "claim-1"))

    with claimed.read() as tx:
        assert tx.claims.unwatched("", 9) == ["claim-2"]
        assert tx.claims.unwatched("claim-2", 9) == []


def test_launches_come_back_whole_oldest_first(claimed: Store) -> None:
    refused = factories.launch().resolve(LaunchOutcome.REFUSED, at=factories.after(1), problem="sold out")
    claimed.write(lambda tx: tx.launches.resolve(refused))
    claimed.write(lambda tx: tx.launches.add(SECOND))

    with claimed.read() as tx:
        assert tx.launches.of_claim(ClaimId("claim-1")) == [refused, SECOND]
        assert tx.launches.of_claim(ClaimId("claim-2")) == []


def test_a_claim_has_one_open_launch_at_most(claimed: Store) -> None:
    with pytest.raises(Conflict):
        claimed.write(lambda tx: tx.launches.add(SECOND))


def test_the_number_of_a_launch_is_never_used_again(claimed: Store) -> None:
    claimed.write(
        lambda tx: tx.launches.resolve(
            factories.launch().resolve(LaunchOutcome.REFUSED, at=factories.after(1))
        )
    )
    with pytest.raises(Conflict):
        claimed.write(lambda tx: tx.launches.add(replace(factories.launch(), zone="b")))


def test_an_answer_is_given_once(claimed: Store) -> None:
    granted = factories.launch(resolved_at=factories.after(1))
    claimed.write(lambda tx: tx.launches.resolve(granted))
    with pytest.raises(StaleWrite):
        claimed.write(lambda tx: tx.launches.resolve(replace(granted, outcome=LaunchOutcome.REFUSED)))


def test_orphans_are_kept_until_they_are_forgotten(planted: Store) -> None:
    for number in (2, 1):
        planted.write(lambda tx, n=number: tx.orphans.add(factories.orphan(n)))  # type: ignore[misc]
    here = ClusterId("cluster-1")

    with planted.read() as tx:
        assert tx.orphans.of_cluster(here) == [factories.orphan(1), factories.orphan(2)]
        assert tx.orphans.of_cluster(ClusterId("cluster-2")) == []
    planted.write(lambda tx: tx.orphans.forget(factories.orphan(1)))
    with planted.read() as tx:
        assert tx.orphans.of_cluster(here) == [factories.orphan(2)]


def test_what_happens_to_them_is_told(planted: Store) -> None:
    claim = factories.claim()
    steps = [
        (lambda tx: tx.claims.add(claim), ("claim.requested", "claim-1")),
        (
            lambda tx: tx.claims.save(claim.move(ClaimState.LAUNCHING, at=factories.NOON)),
            ("claim.launching", "claim-1"),
        ),
        (lambda tx: tx.launches.add(factories.launch()), ("launch.created", "claim-1-g1-l1")),
        (
            lambda tx: tx.launches.resolve(factories.launch(resolved_at=factories.NOON)),
            ("launch.resolved", "claim-1-g1-l1"),
        ),
        (lambda tx: tx.orphans.add(factories.orphan()), ("machine.orphaned", "m-0001")),
    ]
    for unit, told in steps:
        with planted.read() as tx:
            head = tx.events.head()
        planted.write(unit)
        assert events_since(planted, head) == [told]
