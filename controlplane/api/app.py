"""The app: every route, over one context."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import Lifespan

from controlplane.api import (
    agents,
    bulk,
    capacity,
    clusters,
    costs,
    counts,
    data,
    events,
    health,
    jobs,
    machines,
    models,
    openapi,
    pipelines,
    problems,
    quotas,
    records,
    residency,
    services,
    stories,
    tenants,
    uploads,
    web,
)
from controlplane.api.calls import Site
from controlplane.api.cursors import Cursors
from controlplane.api.request_ids import RequestIds
from controlplane.api.streams import Streams
from controlplane.identity.agent_tokens import tunnel_password
from controlplane.operations.authentication import Authenticator
from controlplane.operations.context import Context
from controlplane.tunnels.hub import Hub

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
    costs.deeds,
    costs.router,
    data.deeds,
    data.router,
    residency.deeds,
    residency.router,
    models.deeds,
    models.slow,
    models.router,
    pipelines.deeds,
    pipelines.router,
    services.deeds,
    services.router,
    tenants.deeds,
    tenants.router,
    uploads.router,
    machines.router,
    agents.router,
    health.router,
    web.router,
)
"""The busiest first: they are tried one after the other. `/v1/jobs/counts` before the job of that name."""

DESCRIPTION: Final = "One queue for AI jobs over private clusters and public clouds."


def create_app(context: Context) -> FastAPI:
    """Owns nothing: who made the context closes it."""
    hub = Hub(lambda cluster: tunnel_password(context.server_key, cluster))
    app = bare_app(lambda _app: _proxy(hub, context.settings.tunnel_port))
    app.state.site = Site(
        hub=hub,
        context=context,
        authenticator=Authenticator(context.store),
        cursors=Cursors(context.server_key),
        streams=Streams(context.store),
    )
    return app


@asynccontextmanager
async def _proxy(hub: Hub, port: int) -> AsyncIterator[None]:
    """A port that is taken stops the server: whoever has it would be sent the tokens of clusters."""
    server = await hub.listen(port) if port else None
    yield
    if server is not None:
        server.close()


def openapi_document() -> dict[str, Any]:  # JSON
    """Needs no context: the routes alone say it all."""
    return openapi.document(bare_app())


def bare_app(lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """Every route, over nothing yet."""
    app = FastAPI(
        lifespan=lifespan,
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
