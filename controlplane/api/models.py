"""Routes of models, their versions and gates."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from controlplane.api import model_documents as documents
from controlplane.api.calls import DeedRoute, Read, Whole, respond, whole_call
from controlplane.api.openapi import PROBLEMS, takes
from controlplane.api.pages import DEFAULT_PAGE, After, Limit, page, text_of
from controlplane.api.problems import TooBusy
from controlplane.domain.models import Stage
from controlplane.operations import model_versions, models, publications, signing
from controlplane.operations.models import ModelName
from controlplane.wire.base import Page
from controlplane.wire.models import (
    GateRemove,
    GateSet,
    ManifestDocument,
    ModelCreate,
    ModelDocument,
    Promotion,
    PublicKeyDocument,
    VersionDocument,
    VersionPublish,
)


class PublishRoute(DeedRoute):
    """Reads whole artifacts, so few calls at once."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            call = await whole_call(request)
            room = call.site.publish_calls
            # Nobody waits for a place: a thread that waits is lost to all other calls.
            if not room.acquire(blocking=False):
                raise TooBusy("as many versions as this server takes at once are being published")
            try:
                return await run_in_threadpool(endpoint, call, **request.path_params)
            finally:
                room.release()

        return handle


def _router(kind: type[APIRoute] = APIRoute) -> APIRouter:
    return APIRouter(prefix="/v1/models", tags=["models"], responses=dict(PROBLEMS), route_class=kind)


router, deeds, slow = _router(), _router(DeedRoute), _router(PublishRoute)

InProject = Annotated[str | None, Query(max_length=63, description="Default: all that the token sees.")]


@deeds.post("", status_code=201, response_model=ModelDocument, openapi_extra=takes(ModelCreate))
def create_model(call: Whole) -> Response:
    who, wanted = call.principal(), call.parse(ModelCreate)
    deed = call.deed(who, 201, documents.model)
    return deed.answer(models.create(call.context, who, wanted, once=deed.once))


@router.get("", response_model=Page[ModelDocument])
def list_models(
    call: Read, project: InProject = None, after: After = None, limit: Limit = DEFAULT_PAGE
) -> Response:
    """In the order in which they were made."""
    who, cursors = call.principal(), call.site.cursors
    last = text_of(cursors.read("models", after)) or ""
    views = models.listed(call.context, who, project=project, after=last, limit=limit + 1)
    return respond(
        page(views, limit, documents.model, lambda view: cursors.write("models", (view.model.id,)))
    )


@router.get("/key", response_model=PublicKeyDocument)
def get_public_key(call: Read) -> Response:
    """The key that the signatures of all manifests are checked with."""
    return respond(documents.public_key(signing.public_key(call.context, call.principal())))


@router.get("/{project}/{model}", response_model=ModelDocument)
def get_model(call: Read, project: str, model: str) -> Response:
    name = ModelName(project=project, name=model)
    return respond(documents.model(models.get(call.context, call.principal(), name)))


@deeds.post("/{project}/{model}/gates", response_model=ModelDocument, openapi_extra=takes(GateSet))
def set_gate(call: Whole, project: str, model: str) -> Response:
    """Needs an admin token. One of the same name is replaced; versions stay at their stages."""
    who, wanted = call.principal(), call.parse(GateSet)
    deed = call.deed(who, 200, documents.model)
    name = ModelName(project=project, name=model)
    return deed.answer(models.set_gate(call.context, who, name, wanted, once=deed.once))


@deeds.post("/{project}/{model}/gates/remove", response_model=ModelDocument, openapi_extra=takes(GateRemove))
def remove_gate(call: Whole, project: str, model: str) -> Response:
    who, wanted = call.principal(), call.parse(GateRemove)
    deed = call.deed(who, 200, documents.model)
    name = ModelName(project=project, name=model)
    return deed.answer(models.remove_gate(call.context, who, name, wanted.name, once=deed.once))


@slow.post(
    "/{project}/{model}/versions",
    status_code=201,
    response_model=VersionDocument,
    openapi_extra=takes(VersionPublish),
)
def publish_version(call: Whole, project: str, model: str) -> Response:
    """Answers when every artifact has been read and compared, which takes as long as reading them."""
    who, wanted = call.principal(), call.parse(VersionPublish)
    deed = call.deed(who, 201, documents.version)
    name = ModelName(project=project, name=model)
    return deed.answer(publications.publish(call.context, who, name, wanted, once=deed.once))


@router.get("/{project}/{model}/versions", response_model=Page[VersionDocument])
def list_versions(
    call: Read, project: str, model: str, after: After = None, limit: Limit = DEFAULT_PAGE
) -> Response:
    """Newest first."""
    who, cursors = call.principal(), call.site.cursors
    name = ModelName(project=project, name=model)
    noun = f"versions of {name}"
    place = cursors.read(noun, after)
    before = None if place is None else int(place[0])
    views = model_versions.listed(call.context, who, name, before=before, limit=limit + 1)
    return respond(
        page(views, limit, documents.version, lambda view: cursors.write(noun, (view.version.number,)))
    )


@router.get("/{project}/{model}/versions/{version}", response_model=VersionDocument)
def get_version(call: Read, project: str, model: str, version: str) -> Response:
    """By number, or `production` for the one that serves."""
    name = ModelName(project=project, name=model)
    return respond(documents.version(model_versions.get(call.context, call.principal(), name, version)))


@router.get("/{project}/{model}/versions/{version}/manifest", response_model=ManifestDocument)
def get_manifest(call: Read, project: str, model: str, version: str) -> Response:
    """All facts of a version as one signed text."""
    name = ModelName(project=project, name=model)
    return respond(documents.manifest(model_versions.get(call.context, call.principal(), name, version)))


@deeds.post(
    "/{project}/{model}/versions/{version}/promote",
    response_model=VersionDocument,
    openapi_extra=takes(Promotion),
)
def promote_version(call: Whole, project: str, model: str, version: str) -> Response:
    """To production past all gates; the version that served goes back to staging in the same moment."""
    who, wanted = call.principal(), call.parse(Promotion)
    deed = call.deed(who, 200, documents.version)
    name, stage = ModelName(project=project, name=model), Stage(wanted.stage)
    return deed.answer(model_versions.promote(call.context, who, name, version, stage, once=deed.once))


@deeds.post(
    "/{project}/{model}/versions/{version}/archive", response_model=VersionDocument, openapi_extra=takes()
)
def archive_version(call: Whole, project: str, model: str, version: str) -> Response:
    """For good; its facts stay, and so do its objects."""
    who = call.principal()
    call.parse_nothing()
    deed = call.deed(who, 200, documents.version)
    name = ModelName(project=project, name=model)
    return deed.answer(model_versions.archive(call.context, who, name, version, once=deed.once))
