"""The app: every route, over one set of services."""

from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute

from controlplane.api import (
    bulk,
    capacity,
    clusters,
    counts,
    data,
    events,
    health,
    jobs,
    machines,
    openapi,
    problems,
    quotas,
    records,
    stories,
    tenants,
    uploads,
    web,
)
from controlplane.api.calls import Site
from controlplane.api.cursors import Cursors
from controlplane.api.request_ids import RequestIds
from controlplane.api.streams import Streams
from controlplane.operations.authentication import Authenticator
from controlplane.operations.services import Services

ROUTERS: Final = (
    jobs.deeds,
    bulk.router,
    records.router,
    counts.router,
    jobs.router,
    stories.router,
    events.router,
    clusters.deeds,
    clusters.router,
    capacity.deeds,
    capacity.router,
    quotas.deeds,
    quotas.router,
    data.deeds,
    data.router,
    tenants.deeds,
    tenants.router,
    uploads.router,
    machines.router,
    health.router,
    web.router,
)
"""The busiest first: they are tried one after the other. `/v1/jobs/counts` before the job of that name."""

DESCRIPTION: Final = "One queue for AI jobs over private clusters and public clouds."


def create_app(services: Services) -> FastAPI:
    """Owns nothing: who made the services closes them."""
    app = _bare_app()
    app.state.site = Site(
        services=services,
        authenticator=Authenticator(services.store),
        cursors=Cursors(services.server_key),
        streams=Streams(services.store),
    )
    return app


def openapi_document() -> dict[str, Any]:  # JSON
    """Needs no services: the routes alone say it all."""
    return openapi.document(_bare_app())


def _bare_app() -> FastAPI:
    app = FastAPI(
        title="Crossdock",
        version=version("crossdock"),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    app.add_middleware(RequestIds)
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    web.mount(app)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
