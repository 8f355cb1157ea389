"""Leases' table: one held row per name, and tokens that only grow."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_not

from controlplane.domain.errors import StaleWrite
from controlplane.domain.ids import LeaseId
from controlplane.domain.leases import LEASE, Lease, LeaseState
from controlplane.domain.lifecycles import BIRTH
from controlplane.store.links import Link
from controlplane.store.rows import Row, micros, moment, remembered
from controlplane.store.schema import LEASES
from controlplane.store.statements import Statement, bound, fixed

_C: Final = LEASES.c
_LEASE: Final = select(_C.id, _C.name, _C.holder, _C.token, _C.until, _C.state, _C.address)
_IS_HELD: Final = _C.state == fixed(LeaseState.HELD)
_IS_OURS: Final = (_C.id == bindparam("id"), _IS_HELD)

_GET: Final = Statement(_LEASE.where(_C.name == bindparam("name"), _IS_HELD))
_EVERY: Final = Statement(_LEASE.order_by(_C.name, _C.token))
_LOOK: Final = Statement(_LEASE.where(_C.name == bindparam("name"), _IS_HELD).with_for_update())
_NEWEST: Final = Statement(select(func.coalesce(func.max(_C.token), 0)).where(_C.name == bindparam("name")))
# PostgreSQL's construct serves both: SQLite spells `ON CONFLICT DO NOTHING` the same way.
_TAKE: Final = Statement(
    insert_or_not(LEASES)
    .values({column: bindparam(column.name) for column in _C if column.server_default is None})
    .on_conflict_do_nothing()
    .inline(),
    table=LEASES,
)
_END: Final = Statement(
    update(LEASES).where(*_IS_OURS).values(state=bindparam("state"), came_from=_C.state), table=LEASES
)
_RENEW: Final = Statement(update(LEASES).where(*_IS_OURS).values(until=bindparam("until")), table=LEASES)
_FENCE: Final = Statement(
    select(_C.id)
    .where(_C.name == bindparam("name"), _C.token == bound("token"), _IS_HELD)
    .with_for_update(read=True)
)


class Leases:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def take(self, name: str, holder: str, ttl_seconds: float, address: str | None = None) -> Lease | None:
        """None while somebody else's lease lasts. Whoever takes over, also from itself, gets the next token."""
        row = self._link.row(_LOOK, {"name": name})
        if row is not None:
            old = _lease(row)
            if old.holder != holder and old.until > self._link.now:
                return None
            self._end(old, LeaseState.EXPIRED)
        newest = self._link.row(_NEWEST, {"name": name})
        token = 1 + (newest[0] if newest is not None else 0)
        lease = Lease(
            id=LeaseId(f"{name}#{token}"),
            name=name,
            holder=holder,
            token=token,
            until=self._link.now + timedelta(seconds=ttl_seconds),
            state=LeaseState.HELD,
            address=address,
        )
        # Zero rows: another taker was first, between our look and now.
        return lease if self._link.change(_TAKE, _params(lease)) == 1 else None

    def is_with_another(self, name: str, holder: str) -> bool:
        """Whether `take` would be in vain. Looks only: a standby that wrote would keep others from writing."""
        lease = self.get(name)
        return lease is not None and lease.holder != holder and lease.until > self._link.now

    def renew(self, lease: Lease, ttl_seconds: float) -> Lease:
        """Raises `StaleWrite` when it is no longer held."""
        until = self._link.now + timedelta(seconds=ttl_seconds)
        if self._link.change(_RENEW, {"id": lease.id, "until": micros(until)}) == 0:
            raise _lost(lease)
        return replace(lease, until=until)

    def release(self, lease: Lease) -> None:
        """One that was taken over already is left alone."""
        self._end(lease, LeaseState.RELEASED)

    def fence(self, lease: Lease) -> None:
        """Opens a fenced unit: raises `StaleWrite` unless the lease is held, and keeps it so until the commit."""
        if self._link.row(_FENCE, {"name": lease.name, "token": lease.token}) is None:
            raise _lost(lease)

    def get(self, name: str) -> Lease | None:
        """The held one, even if its time is over."""
        row = self._link.row(_GET, {"name": name})
        return None if row is None else _lease(row)

    def every(self) -> list[Lease]:
        """All rows, ended ones included, by name and token."""
        return [_lease(row) for row in self._link.rows(_EVERY)]

    def _end(self, lease: Lease, state: LeaseState) -> None:
        LEASE.check(LeaseState.HELD, state)
        self._link.change(_END, {"id": lease.id, "state": state.value})


def _lost(lease: Lease) -> StaleWrite:
    return StaleWrite(f"lease {lease.name}: no longer held with token {lease.token}")


def _params(lease: Lease) -> dict[str, object]:
    return {
        "id": lease.id,
        "name": lease.name,
        "holder": lease.holder,
        "token": lease.token,
        "until": micros(lease.until),
        "state": lease.state.value,
        "came_from": BIRTH,
        "address": lease.address,
    }


@remembered
def _lease(row: Row) -> Lease:
    id_, name, holder, token, until, state, address = row
    return Lease(
        id=LeaseId(id_),
        name=name,
        holder=holder,
        token=token,
        until=moment(until),
        state=LeaseState(state),
        address=address,
    )
