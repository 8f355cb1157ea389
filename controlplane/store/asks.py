"""Asks' table: what the policy seats."""

import json
from array import array
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Text, bindparam, case, func, literal_column, select, update
from sqlalchemy import cast as as_type

from controlplane.domain.amounts import Amounts
from controlplane.domain.ids import AskId, ClassId, JobId, QueueId
from controlplane.domain.jobs import NO_TRAITS, Ask, AskRole, JobState, Traits
from controlplane.store.links import Link
from controlplane.store.rows import (
    Row,
    amounts_of,
    amounts_params,
    micros,
    micros_or_none,
    moment,
    moment_or_none,
    packed,
    remembered,
    unpacked,
)
from controlplane.store.schema import ASKS, JOBS, OPEN_JOBS
from controlplane.store.statements import Statement, fixed, is_in, listed
from controlplane.store.views import QueuedRows

_C: Final = ASKS.c
COLUMNS: Final = (
    _C.id,
    _C.job_id,
    _C.queue_id,
    _C.ordinal,
    _C.tasks,
    _C.cpu_milli,
    _C.memory_bytes,
    _C.gpu_milli,
    _C.custom_milli,
    _C.accelerator,
    _C.class_id,
    _C.priority,
    _C.submitted_at,
    _C.not_before,
    _C.traits,
)
_ASK: Final = select(*COLUMNS)
_IS_QUEUED: Final = JOBS.c.state == fixed(JobState.QUEUED)

_GET: Final = Statement(_ASK.where(_C.id == bindparam("id")))
_MANY: Final = Statement(_ASK.where(is_in(_C.id, "ids")).order_by(_C.id))
_OF_JOB: Final = Statement(_ASK.where(_C.job_id == bindparam("id")).order_by(_C.ordinal))
_DEFERRED: Final = Statement(select(_C.job_id).where(is_in(_C.job_id, "ids"), _C.not_before.is_not(None)))
_DEFER: Final = Statement(
    update(ASKS).where(_C.id == bindparam("id")).values(not_before=bindparam("not_before")), table=ASKS
)
_RECLASS: Final = Statement(
    update(ASKS)
    .where(_C.id == bindparam("id"))
    .values(class_id=bindparam("class_id"), traits=bindparam("traits")),
    table=ASKS,
)
MOST_TRAITS_REMEMBERED: Final = 4096

_SEPARATOR: Final = ","
"""Stands in no id and no number."""

_BLANK: Final = ""
"""Stands for the zero that nearly every ask has there: to write a million of them and to read them takes longer."""

_QUEUED_COLUMNS: Final = (
    _C.id,
    _C.class_id,
    as_type(_C.submitted_at, Text),
    case((_C.priority == literal_column("0"), fixed(_BLANK)), else_=as_type(_C.priority, Text)),
    func.coalesce(as_type(_C.not_before, Text), fixed(_BLANK)),
)
# A million rows cost their driver more than all else costs together; five long texts cost it nothing.
_QUEUED: Final = Statement(
    select(
        *(
            # As a part of the text: neither database takes it as a parameter that is made anew each time.
            func.aggregate_strings(column, fixed(_SEPARATOR))  # type: ignore[arg-type]
            for column in _QUEUED_COLUMNS
        )
    )
    .select_from(JOBS)
    .join(ASKS, JOBS.c.id == _C.job_id)
    # The second condition says nothing new, but SQLite finds its partial index by it.
    .where(_IS_QUEUED, OPEN_JOBS)
)
_QUEUED_OF_JOBS: Final = Statement(
    _ASK.join(JOBS, JOBS.c.id == _C.job_id).where(_IS_QUEUED, is_in(_C.job_id, "ids")).order_by(_C.id)
)


class Asks:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def get(self, ask_id: AskId) -> Ask | None:
        row = self._link.row(_GET, {"id": ask_id})
        return None if row is None else ask_of(row)

    def of_job(self, job_id: JobId) -> Ask | None:
        row = self._link.row(_OF_JOB, {"id": job_id})
        return None if row is None else ask_of(row)

    def many(self, ask_ids: Sequence[AskId]) -> dict[AskId, Ask]:
        """Unknown ones are left out."""
        found = map(ask_of, self._link.rows(_MANY, {"ids": listed(ask_ids)}))
        return {ask.id: ask for ask in found}

    def deferred(self, job_ids: Sequence[JobId]) -> set[JobId]:
        """Those whose ask is in its back-off, or was."""
        return {JobId(row[0]) for row in self._link.rows(_DEFERRED, {"ids": listed(job_ids)})}

    def defer_until(self, ask_id: AskId, at: datetime | None) -> None:
        self._link.change(_DEFER, {"id": ask_id, "not_before": micros_or_none(at)})

    def reclass(self, asks: Sequence[Ask]) -> None:
        """Their traits have changed, and with them their classes."""
        rows = [
            {"id": ask.id, "class_id": ask.class_id, "traits": _traits_packed(ask.traits)} for ask in asks
        ]
        self._link.change_all(_RECLASS, rows)

    def queued(self) -> QueuedRows:
        """All asks of queued jobs, as columns: a million of them are 32 MB as columns and 400 MB as objects."""
        row = self._link.row(_QUEUED)
        texts: list[str] = [column or "" for column in row or ()]
        # Split, they are ids already: a call for each would take longer than the split.
        ask_ids: Any = texts[0].split(_SEPARATOR) if texts[0] else []
        classes = texts[1].split(_SEPARATOR) if texts[1] else []
        # Any ask of a class is as good a sample as another.
        samples = dict(zip(classes, ask_ids, strict=True))
        one_text_each = {class_id: ClassId(class_id) for class_id in samples}
        return QueuedRows(
            ids=ask_ids,
            class_ids=list(map(one_text_each.__getitem__, classes)),
            priorities=_mostly_zeros(texts[3], len(ask_ids)),
            submitted_us=array("q", json.loads(f"[{texts[2]}]")),
            not_before_us=_mostly_zeros(texts[4], len(ask_ids)),
            classes=[ask_of(row) for row in self._link.rows(_MANY, {"ids": listed(samples.values())})],
        )

    def queued_of_jobs(self, job_ids: Sequence[JobId]) -> list[Ask]:
        """The asks of those among the jobs that are queued now."""
        return [ask_of(row) for row in self._link.rows(_QUEUED_OF_JOBS, {"ids": listed(job_ids)})]


def _mostly_zeros(text: str, count: int) -> "array[int]":
    if not text.strip(_SEPARATOR):
        return array("q", bytes(count * array("q").itemsize))
    return array("q", [int(each or 0) for each in text.split(_SEPARATOR)])


def params(ask: Ask) -> dict[str, object]:
    return amounts_params(ask.amounts) | {
        "id": ask.id,
        "job_id": ask.job_id,
        "queue_id": ask.queue_id,
        "ordinal": ask.ordinal,
        "tasks": ask.tasks,
        "accelerator": ask.accelerator,
        "class_id": ask.class_id,
        "priority": ask.priority,
        "submitted_at": micros(ask.submitted_at),
        "not_before": micros_or_none(ask.not_before),
        "traits": _traits_packed(ask.traits),
    }


@lru_cache(maxsize=MOST_TRAITS_REMEMBERED)
def _traits_packed(traits: Traits) -> str | None:
    if traits == NO_TRAITS:
        return None
    return packed(asdict(traits) | {"deadline": micros_or_none(traits.deadline)})


@lru_cache(maxsize=MOST_TRAITS_REMEMBERED)
def _traits(column: str | None) -> Traits:
    if column is None:
        return NO_TRAITS
    fields = unpacked(column)
    return Traits(
        **fields
        | {
            "tolerations": tuple((key, value) for key, value in fields["tolerations"]),
            "flavors": tuple(fields["flavors"]),
            "topology_slices": tuple((level, tasks) for level, tasks in fields.get("topology_slices", ())),
            "deadline": moment_or_none(fields["deadline"]),
            "stores": tuple(fields.get("stores", ())),
            "data": tuple((region, gib) for region, gib in fields.get("data", ())),
            "roles": tuple(map(_role, fields.get("roles", ()))),
        }
    )


def _role(fields: dict[str, Any]) -> AskRole:  # JSON object
    amounts = fields["amounts"]
    custom = tuple((name, value) for name, value in amounts["custom_milli"])
    return AskRole(
        **fields
        | {"amounts": Amounts(**amounts | {"custom_milli": custom}), "flavors": tuple(fields["flavors"])}
    )


@remembered
def ask_of(row: Row) -> Ask:
    """From `COLUMNS`."""
    (id_, job_id, queue_id, ordinal, tasks, cpu_milli, memory_bytes, gpu_milli, custom, *rest) = row
    (accelerator, class_id, priority, submitted_at, not_before, traits) = rest
    return Ask(
        id=AskId(id_),
        job_id=JobId(job_id),
        queue_id=QueueId(queue_id),
        ordinal=ordinal,
        tasks=tasks,
        amounts=amounts_of(cpu_milli, memory_bytes, gpu_milli, custom),
        accelerator=accelerator,
        class_id=ClassId(class_id),
        priority=priority,
        submitted_at=moment(submitted_at),
        not_before=moment_or_none(not_before),
        traits=_traits(traits),
    )
