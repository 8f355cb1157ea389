"""Clusters' table."""

from functools import cache
from typing import Final

from sqlalchemy import bindparam, select

from controlplane.domain.clusters import Cluster, ClusterState
from controlplane.domain.events import Event
from controlplane.domain.ids import ClusterId, SecretId
from controlplane.store.events import Events
from controlplane.store.links import Link
from controlplane.store.moves import Moves
from controlplane.store.rows import (
    Row,
    micros,
    micros_or_none,
    moment,
    moment_or_none,
    packed,
    pairs,
    remembered,
    unpacked,
)
from controlplane.store.schema import CLUSTERS
from controlplane.store.statements import Statement, bound, fixed, inserted

_C: Final = CLUSTERS.c
_COLUMNS: Final = (
    _C.id,
    _C.name,
    _C.adapter,
    _C.state,
    _C.since,
    _C.created_at,
    _C.version,
    _C.url,
    _C.secret_id,
    _C.gpu_resource,
    _C.session,
    _C.trust_domain,
    _C.settings,
    _C.cordoned_at,
    _C.drain_requested_at,
    _C.detach_requested_at,
    _C.last_seen_at,
    _C.problem,
    _C.warnings,
    _C.came_from,
)
_CLUSTER: Final = select(*_COLUMNS)
_ATTACHED: Final = _C.state != fixed(ClusterState.DETACHED)

_MOVES: Final = Moves("cluster", CLUSTERS, fixed_columns=frozenset({"name", "adapter", "created_at"}))
_ADD: Final = inserted(CLUSTERS)
_GET: Final = Statement(_CLUSTER.where(_C.id == bindparam("id")))
_BY_NAME: Final = Statement(_CLUSTER.where(_C.name == bindparam("name"), _ATTACHED))


class Clusters:
    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

    def add(self, cluster: Cluster) -> None:
        self._link.change(_ADD, _params(cluster) | {"came_from": cluster.came_from})
        self._events.add(_event(cluster, came_from=cluster.came_from))

    def get(self, cluster_id: ClusterId) -> Cluster | None:
        row = self._link.row(_GET, {"id": cluster_id})
        return None if row is None else _cluster(row)

    def by_name(self, name: str) -> Cluster | None:
        """Detached ones no longer own their name."""
        row = self._link.row(_BY_NAME, {"name": name})
        return None if row is None else _cluster(row)

    def save(self, cluster: Cluster) -> None:
        """Raises `StaleWrite` unless the row is one version behind."""
        came_from = _MOVES.save(self._link, _params(cluster))
        if came_from is not None:
            self._events.add(_event(cluster, came_from=came_from))

    def list(self, after: str | None = None, limit: int | None = None) -> list[Cluster]:
        """All but the detached, by name; `after` is the name last seen."""
        params = {"after": after or "", "limit": limit}
        rows = self._link.rows(_page(is_limited=limit is not None), params)
        return [_cluster(row) for row in rows]


@cache
def _page(*, is_limited: bool) -> Statement:
    page = _CLUSTER.where(_ATTACHED, _C.name > bindparam("after")).order_by(_C.name)
    return Statement(page.limit(bound("limit")) if is_limited else page)


def _event(cluster: Cluster, *, came_from: str) -> Event:
    return Event(
        kind=f"cluster.{cluster.state}",
        subject=cluster.id,
        at=cluster.since,
        data={"from": came_from, "reason": cluster.problem},
    )


def _params(cluster: Cluster) -> dict[str, object]:
    return {
        "id": cluster.id,
        "name": cluster.name,
        "adapter": cluster.adapter,
        "state": cluster.state.value,
        "since": micros(cluster.since),
        "created_at": micros(cluster.created_at),
        "version": cluster.version,
        "url": cluster.url,
        "secret_id": cluster.secret_id,
        "gpu_resource": cluster.gpu_resource,
        "session": cluster.session,
        "trust_domain": cluster.trust_domain,
        "settings": packed(dict(cluster.settings)),
        "cordoned_at": micros_or_none(cluster.cordoned_at),
        "drain_requested_at": micros_or_none(cluster.drain_requested_at),
        "detach_requested_at": micros_or_none(cluster.detach_requested_at),
        "last_seen_at": micros_or_none(cluster.last_seen_at),
        "problem": cluster.problem,
        "warnings": packed(cluster.warnings) if cluster.warnings else None,
    }


@remembered
def _cluster(row: Row) -> Cluster:
    (id_, name, adapter, state, since, created_at, version, url, secret_id, *rest) = row
    (gpu_resource, session, trust_domain, settings, cordoned_at, drain_requested_at, *rest) = rest
    (detach_requested_at, last_seen_at, problem, warnings, came_from) = rest
    return Cluster(
        id=ClusterId(id_),
        name=name,
        adapter=adapter,
        state=ClusterState(state),
        since=moment(since),
        created_at=moment(created_at),
        version=version,
        url=url,
        secret_id=None if secret_id is None else SecretId(secret_id),
        gpu_resource=gpu_resource,
        session=session,
        trust_domain=trust_domain,
        settings=pairs(settings),
        cordoned_at=moment_or_none(cordoned_at),
        drain_requested_at=moment_or_none(drain_requested_at),
        detach_requested_at=moment_or_none(detach_requested_at),
        last_seen_at=moment_or_none(last_seen_at),
        problem=problem,
        warnings=() if warnings is None else tuple(unpacked(warnings)),
        came_from=came_from,
    )
