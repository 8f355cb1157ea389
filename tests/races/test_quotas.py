"""The tree of quotas while two change it at the same moment: what the one checked still holds when the other commits.

On PostgreSQL, where writers meet.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from controlplane.domain.errors import Conflict, Invalid, NotFound, UserError
from controlplane.domain.flavors import Flavor
from controlplane.domain.ids import QueueId
from controlplane.domain.queues import Queue, check_tree
from controlplane.operations import flavors, quotas
from controlplane.operations.quotas import NodeName
from schedulers.base import DEFAULT_FLAVOR
from tests.races.holds import held_up
from tests.unit.operations.world import World, world

Deed = Callable[[], object]


@pytest.fixture
def plane(tmp_path: Path, postgresql_url: str) -> Iterator[World]:
    with world(tmp_path, postgresql_url) as made:
        yield made


def put(plane: World, cohort: str, *, parent: str | None = None, flavor: str | None = None) -> Deed:
    wanted = Queue(id=QueueId(""), name="", flavors=() if flavor is None else (flavor,))
    return partial(quotas.put, plane.context, plane.root, _named(cohort), wanted, parent=parent)


def remove(plane: World, cohort: str) -> Deed:
    return partial(quotas.remove, plane.context, plane.root, _named(cohort))


def _named(cohort: str) -> NodeName:
    return NodeName(cohort=cohort, project="default", queue=None)


def _check(plane: World) -> None:
    with plane.store.read() as tx:
        names = frozenset({DEFAULT_FLAVOR, *(each.name for each in tx.quotas.flavors())})
        check_tree([each.queue for each in tx.quotas.nodes()], flavors=names)


def _loser(url: str, table: str, *deeds: Deed) -> type[UserError]:
    """What the second is told."""
    with pytest.raises(UserError) as raised, held_up(url, table) as hold:
        hold.begin(*deeds)
    return raised.type


def test_no_cohort_becomes_its_own_ancestor(plane: World, postgresql_url: str) -> None:
    for cohort in ("blue", "green"):
        put(plane, cohort)()
    deeds = put(plane, "blue", parent="green"), put(plane, "green", parent="blue")
    assert _loser(postgresql_url, "quota_nodes", *deeds) is Invalid
    _check(plane)


@pytest.mark.parametrize(("order", "told"), [(1, NotFound), (-1, Conflict)])
def test_no_member_is_left_without_its_cohort(
    plane: World, postgresql_url: str, order: int, told: type[UserError]
) -> None:
    put(plane, "pool")()
    deeds = (remove(plane, "pool"), put(plane, "blue", parent="pool"))[::order]
    assert _loser(postgresql_url, "quota_nodes", *deeds) is told
    _check(plane)


@pytest.mark.parametrize(("order", "told"), [(1, Invalid), (-1, Conflict)])
def test_no_quota_is_left_with_a_flavor_that_is_gone(
    plane: World, postgresql_url: str, order: int, told: type[UserError]
) -> None:
    flavors.put(plane.context, plane.root, Flavor(name="gold"))
    gone = partial(flavors.remove, plane.context, plane.root, "gold")
    deeds = (gone, put(plane, "blue", flavor="gold"))[::order]
    assert _loser(postgresql_url, "events", *deeds) is told
    _check(plane)
