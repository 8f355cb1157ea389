"""Setting up: what a new control plane begins with."""

from controlplane.domain.clusters import Cluster, ClusterState
from controlplane.domain.data_copies import RegisteredStore
from controlplane.domain.ids import ClusterId, ProjectId, QueueId, TokenId
from controlplane.domain.projects import DEFAULT_PROJECT, DEFAULT_QUEUE, Project, Queue
from controlplane.identity.principals import Role
from controlplane.identity.tokens import hash_of, new_secret
from controlplane.operations.context import Context
from controlplane.operations.executions import ARTIFACTS_STORE
from controlplane.store import TokenRow, Tx

LOCAL_CLUSTER = "local"
FIRST_ADMIN = "first-admin"


def set_up(context: Context) -> str | None:
    """Makes the default project with its queue, the embedded cluster and the first admin token, all or nothing.

    Returns the token, or None when the control plane was set up before.
    """
    secret = new_secret()
    return secret if context.store.write(lambda tx: _found(context, tx, secret)) else None


def _found(context: Context, tx: Tx, secret: str) -> bool:
    if tx.tokens.list(None, 1):
        return False
    ids = context.ids
    project = Project(id=ProjectId(ids.new("project")), name=DEFAULT_PROJECT, created_at=tx.now)
    tx.projects.add(project)
    tx.queues.add(
        Queue(id=QueueId(ids.new("queue")), project_id=project.id, name=DEFAULT_QUEUE, created_at=tx.now)
    )
    tx.tokens.add(
        TokenRow(
            id=TokenId(ids.new("token")),
            name=FIRST_ADMIN,
            role=str(Role.ADMIN),
            project_id=None,
            hash=hash_of(secret),
            created_at=tx.now,
        )
    )
    if context.settings.local_cluster:
        _register_local(context, tx)
        _register_artifacts(context, tx)
    return True


def _register_local(context: Context, tx: Tx) -> None:
    cluster_id = ClusterId(context.ids.new("cluster"))
    cluster = Cluster(
        id=cluster_id,
        name=LOCAL_CLUSTER,
        adapter="local",
        state=ClusterState.PENDING,
        since=tx.now,
        created_at=tx.now,
        settings=(("directory", str(context.settings.home / "clusters" / cluster_id)),),
    )
    tx.clusters.add(cluster)
    tx.work.poke("cluster", cluster.id)


def _register_artifacts(context: Context, tx: Tx) -> None:
    """A folder of its own inside the home: the keys and the database lie beside it, out of the store's reach."""
    folder = context.settings.home.resolve() / "artifacts"
    tx.object_stores.add(
        RegisteredStore(name=ARTIFACTS_STORE, uri=f"file://{folder}", region="", created_at=tx.now)
    )
