"""Residencies' table: where things may be, and where they are."""

from typing import Final

from sqlalchemy import bindparam, delete, select

from controlplane.domain.events import Event
from controlplane.domain.ids import ProjectId
from controlplane.domain.residency import Residency, Rules, Subject
from controlplane.store.events import Events
from controlplane.store.links import Link
from controlplane.store.rows import packed, unpacked
from controlplane.store.schema_residency import RESIDENCIES
from controlplane.store.statements import Statement, inserted

_C: Final = RESIDENCIES.c
_ALL: Final = Statement(select(_C.subject, _C.id, _C.residency).order_by(_C.subject, _C.id))
_ADD: Final = inserted(RESIDENCIES)
_REMOVE: Final = Statement(
    delete(RESIDENCIES).where(_C.subject == bindparam("subject"), _C.id == bindparam("id")),
    table=RESIDENCIES,
)


class Residencies:
    """There are few: read whole."""

    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

    def all(self) -> list[tuple[Subject, str, Residency]]:
        """By subject and id."""
        return [(Subject(subject), id_, _residency(text)) for subject, id_, text in self._link.rows(_ALL)]

    def rules(self) -> Rules:
        found: dict[Subject, dict[str, Residency]] = {subject: {} for subject in Subject}
        for subject, id_, residency in self.all():
            found[subject][id_] = residency
        return Rules(
            projects={ProjectId(id_): each for id_, each in found[Subject.PROJECT].items()},
            data=found[Subject.DATA],
            clusters=found[Subject.CLUSTER],
            stores=found[Subject.STORE],
        )

    def put(self, subject: Subject, id_: str, residency: Residency, *, by: str) -> None:
        """Inserts or replaces; what is anywhere is forgotten."""
        key = {"subject": subject.value, "id": id_}
        self._link.change(_REMOVE, key)
        if not residency.is_anywhere:
            text = packed([residency.providers, residency.regions, residency.clusters])
            self._link.change(_ADD, key | {"residency": text})
        data = {"subject": subject.value, "by": by}
        self._events.add(Event(kind="residency.changed", subject=id_, at=self._link.now, data=data))


def _residency(text: str) -> Residency:
    providers, regions, clusters = unpacked(text)
    return Residency(providers=tuple(providers), regions=tuple(regions), clusters=tuple(clusters))
