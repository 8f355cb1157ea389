"""Strays' table: what purchases left behind, until it is no longer listed."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import bindparam, delete, select, tuple_, update

from controlplane.domain.events import Event
from controlplane.domain.ids import ClaimId, ClusterId
from controlplane.domain.leftovers import Stray
from controlplane.store.events import Events
from controlplane.store.links import Link
from controlplane.store.rows import Row, micros, micros_or_none, moment, moment_or_none
from controlplane.store.schema_claims import STRAYS
from controlplane.store.statements import Statement, bound, inserted

StrayPlace = tuple[str, str, str, str]
"""Cluster id, kind, zone, name."""

_C: Final = STRAYS.c
_KEY: Final = ("cluster_id", "kind", "zone", "name")
_IS_IT: Final = tuple(_C[name] == bindparam(name) for name in _KEY)
_ADD: Final = inserted(STRAYS)
_SAVE: Final = Statement(
    update(STRAYS)
    .where(*_IS_IT)
    .values({_C.tried_at: bindparam("tried_at"), _C.problem: bindparam("problem")}),
    table=STRAYS,
)
_STRAY: Final = select(
    _C.cluster_id,
    _C.kind,
    _C.name,
    _C.zone,
    _C.claim_id,
    _C.seen_at,
    _C.tried_at,
    _C.problem,
    _C.hourly_millionths,
    _C.currency,
)
_PLACE: Final = tuple(_C[name] for name in _KEY)
_OF_CLUSTER: Final = Statement(
    _STRAY.where(_C.cluster_id == bindparam("cluster_id")).order_by(_C.kind, _C.zone, _C.name)
)
_PAGE: Final = Statement(
    _STRAY.where(tuple_(*_PLACE) > tuple_(*(bindparam(f"after_{name}") for name in _KEY)))
    .order_by(*_PLACE)
    .limit(bound("limit"))
)
_QUARANTINED: Final = Statement(_STRAY.where(_C.problem.is_not(None)).order_by(*_PLACE))
_FORGET: Final = Statement(delete(STRAYS).where(*_IS_IT), table=STRAYS)


class Strays:
    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

    def put(self, stray: Stray) -> None:
        """Inserts, or keeps that its removal was refused; the first refusal in other words is an event."""
        known = {each.key: each for each in self.of_cluster(stray.cluster_id)}.get(stray.key)
        self._link.change(_ADD if known is None else _SAVE, _params(stray))
        if known is None or known.problem != stray.problem:
            kind = "leftover.found" if stray.problem is None else "leftover.quarantined"
            data = {"cluster_id": stray.cluster_id, "claim_id": stray.claim_id, "reason": stray.problem}
            at = stray.tried_at or stray.seen_at
            self._events.add(Event(kind=kind, subject=stray.name, at=at, data=data))

    def of_cluster(self, cluster_id: ClusterId) -> list[Stray]:
        """By kind, zone and name."""
        return [_stray(row) for row in self._link.rows(_OF_CLUSTER, {"cluster_id": cluster_id})]

    def list(self, after: StrayPlace | None, limit: int) -> list[Stray]:
        """Of all clusters, by cluster, kind, zone and name; `after` are those of the one last seen."""
        place = dict(zip((f"after_{name}" for name in _KEY), after or ("", "", "", ""), strict=True))
        return [_stray(row) for row in self._link.rows(_PAGE, {**place, "limit": limit})]

    def quarantined(self) -> Sequence[Stray]:
        """Those that could not be removed."""
        return [_stray(row) for row in self._link.rows(_QUARANTINED)]

    def forget(self, stray: Stray) -> None:
        self._link.change(_FORGET, {name: getattr(stray, name) for name in _KEY})


def _params(stray: Stray) -> dict[str, object]:
    return {
        "cluster_id": stray.cluster_id,
        "kind": stray.kind,
        "name": stray.name,
        "zone": stray.zone,
        "claim_id": stray.claim_id,
        "seen_at": micros(stray.seen_at),
        "tried_at": micros_or_none(stray.tried_at),
        "problem": stray.problem,
        "hourly_millionths": stray.hourly_millionths,
        "currency": stray.currency,
    }


def _stray(row: Row) -> Stray:
    (cluster_id, kind, name, zone, claim_id, seen_at, tried_at, problem, *cost) = row
    return Stray(
        cluster_id=ClusterId(cluster_id),
        kind=kind,
        name=name,
        zone=zone,
        claim_id=None if claim_id is None else ClaimId(claim_id),
        seen_at=moment(seen_at),
        tried_at=moment_or_none(tried_at),
        problem=problem,
        hourly_millionths=cost[0],
        currency=cost[1],
    )
