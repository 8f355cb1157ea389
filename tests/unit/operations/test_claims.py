"""Claims as people ask for them: who may, for whom, and what they are shown of it."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.domain.amounts import Amounts
from controlplane.domain.claims import SHARED, CapacityType, Claim, ClaimState, Share
from controlplane.domain.errors import Forbidden, Invalid, NotFound
from controlplane.domain.ids import ClaimId, LaunchId
from controlplane.domain.sites import CheckIn, Phase, Site
from controlplane.identity.principals import Role
from controlplane.operations import claims
from controlplane.operations.claims import ClaimRequest, ClaimStory
from tests import factories
from tests.unit.operations.world import World, other_project

WANTED = ClaimRequest(
    cluster="burst",
    machine_type="small",
    capacity_type=CapacityType.SPOT,
    zones=("a", "b"),
    machines_min=2,
    machines_want=3,
)


def ask(plane: World, **changed: Any) -> ClaimStory:  # noqa: ANN401 - fields of the request
    return claims.request(plane.context, plane.root, replace(WANTED, **changed))


@pytest.fixture
def burst(plane: World) -> World:
    plane.cluster("burst")
    return plane


def test_a_request_is_written_down_with_all_that_was_asked_for(burst: World) -> None:
    project = other_project(burst, "vision")
    story = ask(burst, project="vision", idle_seconds=60.0, tries_again=False)
    claim = story.claim
    assert (claim.trust_domain, claim.idle_seconds, claim.tries_again) == (project, 60.0, False)
    assert (story.cluster_name, story.project_name, story.launches, story.site) == (
        "burst",
        "vision",
        (),
        None,
    )
    assert claims.get(burst.context, burst.root, claim.id) == story
    assert burst.is_poked("claim", claim.id)
    assert burst.is_poked("orphan", claim.cluster_id)


def test_without_a_project_it_is_everybodys(burst: World) -> None:
    story = ask(burst)
    assert (story.claim.trust_domain, story.project_name) == (SHARED, None)


def test_a_project_named_like_the_shared_domain_is_a_project(burst: World) -> None:
    project = other_project(burst, SHARED)
    story = ask(burst, project=SHARED)
    assert (story.claim.trust_domain, story.project_name) == (project, SHARED)


@pytest.mark.parametrize(
    ("wrong", "kind", "field"),
    [
        ({"cluster": "nowhere"}, NotFound, "cluster"),
        ({"project": "nowhere"}, NotFound, "project"),
        ({"reservation": "cr-1"}, Invalid, "reservation"),
        ({"machines_min": 0}, Invalid, "machines_min"),
        ({"machines_want": 1}, Invalid, "machines_want"),
    ],
)
def test_a_request_that_makes_no_sense_changes_nothing(
    burst: World, wrong: dict[str, Any], kind: type[Invalid | NotFound], field: str
) -> None:
    before = burst.counts()
    with pytest.raises(kind) as refused:
        ask(burst, **wrong)
    assert (refused.value.field, burst.counts()) == (field, before)


@pytest.mark.parametrize(("role", "project"), [(Role.SUBMITTER, None), (Role.ADMIN, "default")])
def test_only_an_admin_of_all_projects_buys(burst: World, role: Role, project: str | None) -> None:
    claim = ask(burst).claim
    who = burst.principal(role, project)
    with pytest.raises(Forbidden):
        claims.request(burst.context, who, WANTED)
    with pytest.raises(Forbidden):
        claims.release(burst.context, who, claim.id)
    assert claims.get(burst.context, who, claim.id).claim == claim


def test_another_projects_claim_is_none_of_a_tokens_business(burst: World) -> None:
    other_project(burst, "vision")
    mine, theirs, shared = (ask(burst, project=each).claim for each in ("default", "vision", None))
    who = burst.principal(Role.VIEWER, "default")
    seen = claims.listed(burst.context, who, after=None, limit=9)
    assert {view.claim.id: view.project_name for view in seen} == {mine.id: "default", shared.id: None}
    with pytest.raises(NotFound):
        claims.get(burst.context, who, theirs.id)
    assert len(claims.listed(burst.context, burst.root, after=None, limit=9)) == 3


def test_lists_are_of_a_cluster_and_of_the_living(burst: World) -> None:
    burst.cluster("second")
    first, other = ask(burst).claim, ask(burst, cluster="second").claim
    burst.store.write(lambda tx: tx.claims.save(first.move(ClaimState.GONE, at=tx.now)))

    def ids(**filters: Any) -> list[ClaimId]:  # noqa: ANN401 - of `listed`
        views = claims.listed(burst.context, burst.root, after=None, limit=9, **filters)
        return [view.claim.id for view in views]

    assert set(ids()) == {first.id, other.id}
    assert ids(is_live=True) == [other.id]
    assert ids(is_live=False) == [first.id]
    assert ids(cluster="burst", is_live=True) == []
    assert ids(cluster="second") == [other.id]
    with pytest.raises(NotFound):
        ids(cluster="nowhere")


def test_a_claim_shows_what_its_machines_said_and_the_ray_that_they_form(burst: World) -> None:
    claim = ask(burst).claim
    site = Site(claim_id=claim.id, url="https://10.0.0.1:8443", head="m-1")
    word = CheckIn(
        claim_id=claim.id,
        launch_id=LaunchId("l"),
        machine="m-1",
        host="10.0.0.1",
        phase=Phase.UP,
        at=burst.clock.at,
        notice="spot",
    )
    burst.store.write(lambda tx: tx.sites.put(site))
    burst.store.write(lambda tx: tx.sites.check_in(word))
    story = claims.get(burst.context, burst.root, claim.id)
    assert (story.site, story.check_ins) == (site, (word,))


def test_a_release_is_written_down_once_and_taken_back(burst: World) -> None:
    claim = ask(burst).claim
    released = claims.release(burst.context, burst.root, claim.id).claim
    burst.clock.pass_seconds(5)
    assert claims.release(burst.context, burst.root, claim.id).claim == released
    assert released.release_requested_at is not None
    assert claims.keep(burst.context, burst.root, claim.id).claim.release_requested_at is None
    assert burst.event_kinds()[-2:] == ["claim.release_requested", "claim.keep_requested"]


def test_orphans_are_listed_over_all_clusters(burst: World) -> None:
    here = burst.cluster("here").id
    for number in (2, 1):
        orphan = factories.orphan(number, cluster_id=here)
        burst.store.write(lambda tx, each=orphan: tx.orphans.add(each))  # type: ignore[misc]
    first = claims.orphans(burst.context, burst.root, after=None, limit=1)
    assert [(view.cluster_name, view.orphan.name) for view in first] == [("here", "m-0001")]
    rest = claims.orphans(burst.context, burst.root, after=(here, "m-0001"), limit=9)
    assert [view.orphan.name for view in rest] == ["m-0002"]


def test_what_was_built_on_lent_nodes_is_shown_with_its_shares(burst: World) -> None:
    shares = (Share(node_name="n1", amounts=Amounts(cpu_milli=1000)),)
    claim: Claim = factories.claim(cluster_id=burst.cluster("kube").id, shares=shares)
    burst.store.write(lambda tx: tx.claims.add(claim))
    assert claims.get(burst.context, burst.root, claim.id).claim.shares == shares
