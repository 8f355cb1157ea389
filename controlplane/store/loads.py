"""Loads' table: what gateways saw of services lately."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, bindparam, cast, delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert as insert_or_update

from controlplane.domain.ids import RevisionId, ServiceId
from controlplane.domain.traffic import Load
from controlplane.store.links import Link
from controlplane.store.rows import Row, micros, moment, packed, unpacked
from controlplane.store.schema_services import LOADS
from controlplane.store.statements import Statement, bound, fixed

_C: Final = LOADS.c
_KEY: Final = ("service_id", "until", "gateway", "revision_id")
_NEW: Final = insert_or_update(LOADS).values({column: bindparam(column.name) for column in _C})
_ADD: Final = Statement(_NEW.on_conflict_do_nothing(index_elements=list(_KEY)).inline(), table=LOADS)
_SINCE: Final = Statement(
    select(
        _C.gateway,
        _C.service_id,
        _C.revision_id,
        _C.since,
        _C.until,
        _C.in_flight,
        _C.waiting,
        _C.requests,
        _C.errors,
        _C.latency,
    )
    .where(_C.service_id == bindparam("service_id"), _C.until >= bound("since"))
    .order_by(_C.until, _C.gateway, _C.revision_id)
)
_TRAFFIC: Final = Statement(
    select(
        _C.revision_id,
        cast(func.sum(_C.requests), BigInteger),
        cast(func.sum(_C.errors), BigInteger),
    )
    .where(_C.service_id == bindparam("service_id"), _C.revision_id != fixed(""))
    .group_by(_C.revision_id)
)
_LAST_ASKED: Final = Statement(
    select(_C.until)
    .where(
        _C.service_id == bindparam("service_id"),
        or_(_C.requests > bound("none"), _C.in_flight > bound("none")),
    )
    .order_by(_C.until.desc())
    .limit(bound("one"))
)
_PRUNE: Final = Statement(delete(LOADS).where(_C.until < bound("before")), table=LOADS)


class Loads:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def add_many(self, loads: Sequence[Load]) -> None:
        """What was reported before changes nothing."""
        self._link.change_all(_ADD, [_params(load) for load in loads])

    def since(self, service_id: ServiceId, since: datetime) -> list[Load]:
        """Those that end at that moment or later, the oldest first."""
        return [
            _load(row) for row in self._link.rows(_SINCE, {"service_id": service_id, "since": micros(since)})
        ]

    def traffic(self, service_id: ServiceId) -> dict[RevisionId, tuple[int, int]]:
        """Requests and errors of each revision, as far back as loads are kept."""
        rows = self._link.rows(_TRAFFIC, {"service_id": service_id})
        return {RevisionId(row[0]): (row[1], row[2]) for row in rows}

    def last_asked(self, service_id: ServiceId) -> datetime | None:
        row = self._link.row(_LAST_ASKED, {"service_id": service_id, "none": 0, "one": 1})
        return None if row is None else moment(row[0])

    def prune(self, before: datetime) -> int:
        return self._link.change(_PRUNE, {"before": micros(before)})


def _params(load: Load) -> dict[str, object]:
    return {
        "service_id": load.service_id,
        "revision_id": load.revision_id or "",
        "gateway": load.gateway,
        "until": micros(load.until),
        "since": micros(load.since),
        "in_flight": load.in_flight,
        "waiting": load.waiting,
        "requests": load.requests,
        "errors": load.errors,
        "latency": packed(load.latency_ms),
    }


def _load(row: Row) -> Load:
    gateway, service_id, revision_id, since, until, in_flight, waiting, requests, errors, latency = row
    return Load(
        gateway=gateway,
        service_id=ServiceId(service_id),
        revision_id=RevisionId(revision_id) if revision_id else None,
        since=moment(since),
        until=moment(until),
        in_flight=in_flight,
        waiting=waiting,
        requests=requests,
        errors=errors,
        latency_ms=tuple(unpacked(latency)),
    )
