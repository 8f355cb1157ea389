"""Copies: asking for one, watching it, calling it off. The runtime's loop makes it."""

from dataclasses import dataclass
from enum import StrEnum

from controlplane.domain.data_copies import CopiedObject, Copy, CopyProgress, CopyState
from controlplane.domain.errors import Conflict, Invalid, NotFound
from controlplane.domain.ids import CopyId
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations import residency
from controlplane.operations.context import Context
from controlplane.operations.copy_targets import check_target
from controlplane.operations.idempotency import Once, answer_if_known, write_once
from controlplane.operations.lookups import project_for
from controlplane.operations.object_stores import located, registered_for
from controlplane.storage.base import Objects
from controlplane.storage.uris import ObjectUri, covers, parse
from controlplane.store import Tx
from controlplane.wire.data import CopyCreate


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyView:
    copy: Copy
    project_name: str
    progress: CopyProgress


class Found(StrEnum):
    WHOLE = "whole"
    CHANGED = "changed"
    """Somebody has stored something else there since."""

    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedObject:
    ordinal: int
    key: str
    size_bytes: int
    found: Found


def request(
    context: Context, principal: Principal, wanted: CopyCreate, *, once: Once[CopyView] | None = None
) -> CopyView:
    """Raises `Forbidden` for a bucket that is not registered, or where the data may not be, or would harm others.

    `Conflict` while another copy goes to the target.
    """
    source, target = parse(wanted.source), _target(parse(wanted.source), parse(wanted.target))
    _check(source, target)
    copy_id = CopyId(context.ids.new("copy"))
    # Tables are walked through for this: not while others wait to write. What was asked for before is answered as then.
    answer_if_known(context.store, once)
    with context.store.read() as tx:
        project = project_for(tx, principal, wanted.project, Action.COPY)
        check_target(tx, principal, project.id, target)

    def unit(tx: Tx) -> CopyView:
        project = project_for(tx, principal, wanted.project, Action.COPY)
        residency.check_copy(tx, project.id, registered_for(tx, source), registered_for(tx, target))
        copy = Copy(
            id=copy_id,
            project_id=project.id,
            source=str(source),
            target=str(target),
            state=CopyState.PENDING,
            since=tx.now,
            created_at=tx.now,
            bytes_per_second=wanted.bytes_per_second,
            rereads=wanted.rereads,
        )
        tx.copies.add(copy)
        tx.work.poke("copy", copy.id)
        return _view(tx, copy)

    return write_once(context.store, unit, once)


def get(context: Context, principal: Principal, copy_id: str) -> CopyView:
    with context.store.read() as tx:
        return _view(tx, _copy_for(tx, principal, copy_id, Action.READ))


def listed(context: Context, principal: Principal, *, before: str | None, limit: int) -> list[CopyView]:
    """Newest first, of the projects that the token sees."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        return [_view(tx, copy) for copy in tx.copies.newest(principal.project_id, before, limit)]


def cancel(
    context: Context, principal: Principal, copy_id: str, *, once: Once[CopyView] | None = None
) -> CopyView:
    """Objects that are whole stay; the upload under way is aborted. Saying it again changes nothing."""

    def unit(tx: Tx) -> CopyView:
        copy = _copy_for(tx, principal, copy_id, Action.COPY)
        if copy.state in {CopyState.DONE, CopyState.FAILED}:
            raise Conflict(f"copy {copy.id} is {copy.state}", field="state", value=str(copy.state))
        if copy.cancel_requested_at is None:
            copy = copy.changed(cancel_requested_at=tx.now)
            tx.copies.save(copy)
            tx.work.poke("copy", copy.id)
        return _view(tx, copy)

    return write_once(context.store, unit, once)


def check(
    context: Context, principal: Principal, copy_id: str, *, after: int, limit: int
) -> list[CheckedObject]:
    """Asks the target about each finished object, from behind the ordinal `after`."""
    with context.store.read() as tx:
        copy = _copy_for(tx, principal, copy_id, Action.COPY)
        target = located(context, tx, parse(copy.target)).store
        objects = tx.copied_objects.of_copy(copy.id, after, limit)
    return [_checked(target, each) for each in objects if each.finished_at is not None]


def _checked(target: Objects, each: CopiedObject) -> CheckedObject:
    try:
        info = target.head(each.target_key)
        is_same = (info.etag, info.size_bytes) == (each.etag, each.size_bytes)
        found = Found.WHOLE if is_same else Found.CHANGED
    except NotFound:
        found = Found.MISSING
    return CheckedObject(ordinal=each.ordinal, key=each.target_key, size_bytes=each.size_bytes, found=found)


def _copy_for(tx: Tx, principal: Principal, copy_id: str, action: Action) -> Copy:
    copy = tx.copies.get(CopyId(copy_id))
    if copy is None or not principal.sees(copy.project_id):
        raise NotFound(f"there is no copy {copy_id!r}, or not for this token", field="copy", value=copy_id)
    authorize(principal, action, copy.project_id)
    return copy


def _view(tx: Tx, copy: Copy) -> CopyView:
    project = tx.projects.by_ids([copy.project_id]).get(copy.project_id)
    return CopyView(
        copy=copy,
        project_name=project.name if project else copy.project_id,
        progress=tx.copies.progress(copy.id),
    )


def _target(source: ObjectUri, target: ObjectUri) -> ObjectUri:
    """An object that goes to a prefix keeps the last part of its key."""
    if source.is_prefix or not target.is_prefix:
        return target
    last = source.key.rpartition("/")[2]
    return ObjectUri(kind=target.kind, bucket=target.bucket, key=f"{target.key}{last}")


def _check(source: ObjectUri, target: ObjectUri) -> None:
    if source.is_prefix and not target.is_prefix:
        raise Invalid("many objects need a target that ends with '/'", field="target", value=str(target))
    if source == target:
        raise Invalid("is where it is already", field="target", value=str(target))
    if source.is_prefix and (covers(source, target) or covers(target, source)):
        raise Invalid("overlaps the source: the copy would copy itself", field="target", value=str(target))
