"""Object stores' table: the buckets that the server may use."""

from typing import Final

from sqlalchemy import BigInteger, bindparam, delete, func, literal_column, select

from controlplane.domain.data_copies import RegisteredStore
from controlplane.domain.ids import SecretId
from controlplane.store.links import Link
from controlplane.store.over_many import POSTGRESQL
from controlplane.store.rows import Row, micros, moment, packed, unpacked
from controlplane.store.schema_copies import OBJECT_STORES
from controlplane.store.statements import Statement, inserted

_C: Final = OBJECT_STORES.c
_STORE: Final = select(
    _C.name, _C.uri, _C.region, _C.endpoint, _C.access_key_id, _C.secret_id, _C.created_at, _C.near
)
_ADD: Final = inserted(OBJECT_STORES)
_ALL: Final = Statement(_STORE.order_by(_C.name))
_REMOVE: Final = Statement(delete(OBJECT_STORES).where(_C.name == bindparam("name")), table=OBJECT_STORES)

# Of PostgreSQL's, until the commit. The number is arbitrary, but none of ours in quotas.py and env.py.
_LOCK: Final = literal_column("6420118", BigInteger())
_KEEP: Final = Statement(select(func.pg_advisory_xact_lock_shared(_LOCK)))
_CHANGE: Final = Statement(select(func.pg_advisory_xact_lock(_LOCK)))


class ObjectStores:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def add(self, store: RegisteredStore) -> None:
        """A second one of the same name is a `Conflict`. Waits for who keeps them as they are, as `remove` does."""
        self._hold(_CHANGE)
        self._link.change(
            _ADD,
            {
                "name": store.name,
                "uri": store.uri,
                "region": store.region,
                "endpoint": store.endpoint,
                "access_key_id": store.access_key_id,
                "secret_id": store.secret_id,
                "created_at": micros(store.created_at),
                "near": packed(store.near),
            },
        )

    def all(self) -> list[RegisteredStore]:
        """By name; there are few."""
        return [_store(row) for row in self._link.rows(_ALL, {})]

    def kept(self) -> list[RegisteredStore]:
        """The same; none comes or goes before the end of the transaction, or of the savepoint in which this was asked.

        For what is written by them: who adds or removes one then finds it, and changes it. Hinders nobody else.
        """
        self._hold(_KEEP)
        return self.all()

    def remove(self, name: str) -> None:
        self._hold(_CHANGE)
        self._link.change(_REMOVE, {"name": name})

    def _hold(self, lock: Statement) -> None:
        if self._link.dialect == POSTGRESQL:  # SQLite has one writer
            self._link.row(lock)


def _store(row: Row) -> RegisteredStore:
    (name, uri, region, endpoint, access_key_id, secret_id, created_at, near) = row
    return RegisteredStore(
        name=name,
        uri=uri,
        region=region,
        endpoint=endpoint,
        access_key_id=access_key_id,
        secret_id=None if secret_id is None else SecretId(secret_id),
        created_at=moment(created_at),
        near=() if near is None else tuple(unpacked(near)),
    )
