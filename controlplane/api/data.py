"""Routes of data: stores that are registered, what is in them, and copies between them."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from controlplane.api.calls import Call, DeedRoute, Read, Whole, respond
from controlplane.api.openapi import PROBLEMS, takes
from controlplane.api.pages import DEFAULT_PAGE, After, Limit, page, text_of
from controlplane.domain.data_copies import RegisteredStore
from controlplane.operations import copies, object_stores
from controlplane.operations.copies import CheckedObject, CopyView
from controlplane.storage.base import ObjectInfo
from controlplane.wire.base import Page
from controlplane.wire.data import (
    CheckedDocument,
    CopyCreate,
    CopyDocument,
    ObjectDocument,
    StoreCreate,
    StoreDocument,
)

router = APIRouter(prefix="/v1", tags=["data"], responses=dict(PROBLEMS))
deeds = APIRouter(prefix="/v1", tags=["data"], responses=dict(PROBLEMS), route_class=DeedRoute)

InUri = Annotated[str, Query(max_length=2048, description="s3://bucket/prefix, oss://.. or file:///..")]


@deeds.post("/stores", status_code=201, response_model=StoreDocument, openapi_extra=takes(StoreCreate))
def add_store(call: Whole) -> Response:
    """Needs an admin token of all projects. The secret is stored encrypted."""
    who, wanted = call.principal(), call.parse(StoreCreate)
    deed = call.deed(who, 201, _store)
    return deed.answer(object_stores.add(call.context, who, wanted, once=deed.once))


@router.get("/stores", response_model=Page[StoreDocument])
def list_stores(call: Read, after: After = None, limit: Limit = DEFAULT_PAGE) -> Response:
    who, cursors = call.principal(), call.site.cursors
    last = text_of(cursors.read("stores", after)) or ""
    found = [each for each in object_stores.listed(call.context, who) if each.name > last]
    return respond(
        page(found[: limit + 1], limit, _store, lambda each: cursors.write("stores", (each.name,)))
    )


@deeds.post("/stores/{name}/remove", response_model=StoreDocument, openapi_extra=takes())
def remove_store(call: Whole, name: str) -> Response:
    """With its secret. What is in the bucket stays there."""
    who = call.principal()
    call.parse_nothing()
    deed = call.deed(who, 200, _store)
    return deed.answer(object_stores.remove(call.context, who, name, once=deed.once))


@router.get("/data/ls", response_model=Page[ObjectDocument])
def list_objects(call: Read, uri: InUri, after: After = None, limit: Limit = DEFAULT_PAGE) -> Response:
    """Objects below a prefix, by key."""
    who, cursors = call.principal(), call.site.cursors
    last = text_of(cursors.read("objects", after)) or ""
    found = object_stores.ls(call.context, who, uri, after=last, limit=limit + 1)
    return respond(page(found, limit, _object, lambda info: cursors.write("objects", (info.key,))))


@deeds.post("/copies", status_code=201, response_model=CopyDocument, openapi_extra=takes(CopyCreate))
def request_copy(call: Whole) -> Response:
    """Accepted means stored: it goes on whatever happens to the server after that."""
    who, wanted = call.principal(), call.parse(CopyCreate)
    deed = call.deed(who, 201, _copy)
    return deed.answer(copies.request(call.context, who, wanted, once=deed.once))


@router.get("/copies", response_model=Page[CopyDocument])
def list_copies(call: Read, after: After = None, limit: Limit = DEFAULT_PAGE) -> Response:
    """Newest first."""
    who, cursors = call.principal(), call.site.cursors
    last = text_of(cursors.read("copies", after))
    views = copies.listed(call.context, who, before=last, limit=limit + 1)
    return respond(page(views, limit, _copy, lambda view: cursors.write("copies", (view.copy.id,))))


@router.get("/copies/{copy}", response_model=CopyDocument)
def get_copy(call: Read, copy: str) -> Response:
    return respond(_copy(copies.get(call.context, call.principal(), copy)))


@deeds.post("/copies/{copy}/cancel", response_model=CopyDocument, openapi_extra=takes())
def cancel_copy(call: Whole, copy: str) -> Response:
    """Objects that are whole stay; the upload under way is aborted."""
    who = call.principal()
    call.parse_nothing()
    deed = call.deed(who, 200, _copy)
    return deed.answer(copies.cancel(call.context, who, copy, once=deed.once))


@router.get("/copies/{copy}/check", response_model=Page[CheckedDocument])
def check_copy(call: Read, copy: str, after: After = None, limit: Limit = DEFAULT_PAGE) -> Response:
    """Looks at the target whether each object is still what was copied."""
    return _checked(call, copy, after, limit)


def _checked(call: Call, copy: str, after: str | None, limit: int) -> Response:
    who, cursors = call.principal(), call.site.cursors
    place = cursors.read("checked", after)
    last = 0 if place is None else int(place[0])
    found = copies.check(call.context, who, copy, after=last, limit=limit + 1)
    return respond(page(found, limit, _check, lambda each: cursors.write("checked", (each.ordinal,))))


def _store(store: RegisteredStore) -> StoreDocument:
    return StoreDocument(
        name=store.name,
        uri=store.uri,
        region=store.region,
        endpoint=store.endpoint,
        access_key_id=store.access_key_id,
        near=list(store.near),
        created_at=store.created_at,
    )


def _object(info: ObjectInfo) -> ObjectDocument:
    return ObjectDocument(
        key=info.key, size_bytes=info.size_bytes, etag=info.etag, modified_at=info.modified_at
    )


def _copy(view: CopyView) -> CopyDocument:
    found = view.copy
    return CopyDocument(
        id=found.id,
        project=view.project_name,
        source=found.source,
        target=found.target,
        state=found.state.value,
        since=found.since,
        created_at=found.created_at,
        bytes_per_second=found.bytes_per_second,
        rereads=found.rereads,
        cancel_requested_at=found.cancel_requested_at,
        problem=found.problem,
        objects=view.progress.objects,
        size_bytes=view.progress.size_bytes,
        known_bytes=view.progress.known_bytes,
        version=found.version,
    )


def _check(each: CheckedObject) -> CheckedDocument:
    return CheckedDocument(key=each.key, size_bytes=each.size_bytes, found=each.found.value)
