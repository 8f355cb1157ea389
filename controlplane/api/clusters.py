"""Routes of clusters and nodes."""

from collections.abc import Callable

from fastapi import APIRouter, Response

from controlplane.api import documents
from controlplane.api.calls import Call, DeedRoute, Read, Whole, respond
from controlplane.api.openapi import PROBLEMS, takes
from controlplane.api.pages import DEFAULT_PAGE, After, Limit, page, text_of
from controlplane.operations import clusters
from controlplane.operations.clusters import ClusterView, NodeView
from controlplane.wire.admin import ClusterCreate, ClusterDocument, ClusterSecret, NodeDocument
from controlplane.wire.base import Page

router = APIRouter(prefix="/v1", tags=["clusters"], responses=dict(PROBLEMS))
deeds = APIRouter(prefix="/v1", tags=["clusters"], responses=dict(PROBLEMS), route_class=DeedRoute)


@deeds.post("/clusters", status_code=201, response_model=ClusterDocument, openapi_extra=takes(ClusterCreate))
def register_cluster(call: Whole) -> Response:
    who, wanted = call.principal(), call.parse(ClusterCreate)
    deed = call.deed(who, 201, documents.cluster)
    return deed.answer(clusters.register(call.context, who, wanted, once=deed.once))


@router.get("/clusters", response_model=Page[ClusterDocument])
def list_clusters(call: Read, after: After = None, limit: Limit = DEFAULT_PAGE) -> Response:
    who, cursors = call.principal(), call.site.cursors
    last = text_of(cursors.read("clusters", after))
    views = clusters.listed(call.context, who, after=last, limit=limit + 1)
    return respond(
        page(
            views,
            limit,
            documents.cluster,
            lambda view: cursors.write("clusters", (view.cluster.name,)),
        )
    )


@router.get("/clusters/{cluster}", response_model=ClusterDocument)
def get_cluster(call: Read, cluster: str) -> Response:
    """By id or name."""
    return respond(documents.cluster(clusters.get(call.context, call.principal(), cluster)))


@deeds.post("/clusters/{cluster}/secret", response_model=ClusterDocument, openapi_extra=takes(ClusterSecret))
def change_secret_of_cluster(call: Whole, cluster: str) -> Response:
    """What opens it from now on; the old one is deleted."""
    who, given = call.principal(), call.parse(ClusterSecret)
    deed = call.deed(who, 200, documents.cluster)
    secret = given.secret.get_secret_value()
    return deed.answer(clusters.change_secret(call.context, who, cluster, secret, once=deed.once))


@deeds.post("/clusters/{cluster}/refresh-offers", response_model=ClusterDocument, openapi_extra=takes())
def refresh_offers_of_cluster(call: Whole, cluster: str) -> Response:
    """Its cloud is asked soon what it sells."""
    return _edited(call, cluster, clusters.refresh_offers)


@deeds.post("/clusters/{cluster}/cordon", response_model=ClusterDocument, openapi_extra=takes())
def cordon_cluster(call: Whole, cluster: str) -> Response:
    """No new tasks; what runs there runs on."""
    return _edited(call, cluster, clusters.cordon)


@deeds.post("/clusters/{cluster}/uncordon", response_model=ClusterDocument, openapi_extra=takes())
def uncordon_cluster(call: Whole, cluster: str) -> Response:
    return _edited(call, cluster, clusters.uncordon)


@deeds.post("/clusters/{cluster}/drain", response_model=ClusterDocument, openapi_extra=takes())
def drain_cluster(call: Whole, cluster: str) -> Response:
    """Moves its tasks off and keeps it empty."""
    return _edited(call, cluster, clusters.drain)


@deeds.post("/clusters/{cluster}/undrain", response_model=ClusterDocument, openapi_extra=takes())
def undrain_cluster(call: Whole, cluster: str) -> Response:
    return _edited(call, cluster, clusters.undrain)


@deeds.post("/clusters/{cluster}/detach", response_model=ClusterDocument, openapi_extra=takes())
def detach_cluster(call: Whole, cluster: str) -> Response:
    """Off our books for good. Attempts on a cluster that does not answer end as lost."""
    return _edited(call, cluster, clusters.detach)


@router.get("/clusters/{cluster}/nodes", response_model=Page[NodeDocument])
def list_nodes_of_cluster(
    call: Read, cluster: str, after: After = None, limit: Limit = DEFAULT_PAGE
) -> Response:
    return _nodes(call, cluster, after, limit)


@router.get("/nodes", response_model=Page[NodeDocument])
def list_nodes(call: Read, after: After = None, limit: Limit = DEFAULT_PAGE) -> Response:
    return _nodes(call, None, after, limit)


def _edited(call: Call, cluster: str, edit: Callable[..., ClusterView]) -> Response:
    who = call.principal()
    call.parse_nothing()
    deed = call.deed(who, 200, documents.cluster)
    return deed.answer(edit(call.context, who, cluster, once=deed.once))


def _nodes(call: Call, cluster: str | None, after: str | None, limit: int) -> Response:
    who, cursors = call.principal(), call.site.cursors
    last = text_of(cursors.read("nodes", after))
    views = clusters.nodes(call.context, who, cluster, after=last, limit=limit + 1)

    def cursor(view: NodeView) -> str:
        return cursors.write("nodes", (view.node.id,))

    return respond(page(views, limit, documents.node, cursor))
