"""Projects and queues: tenants, and where their work waits."""

from dataclasses import dataclass

from controlplane.domain.errors import Conflict
from controlplane.domain.events import Event
from controlplane.domain.ids import ProjectId, QueueId
from controlplane.domain.projects import DEFAULT_QUEUE, Project, Queue
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations.context import Context
from controlplane.operations.idempotency import Once, write_once
from controlplane.operations.lookups import project_for, project_names
from controlplane.store import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    queue: Queue
    project_name: str


def create_project(
    context: Context, principal: Principal, name: str, *, once: Once[Project] | None = None
) -> Project:
    """Comes with a queue named `default`."""
    authorize(principal, Action.EDIT_PROJECTS)
    project_id, queue_id = ProjectId(context.ids.new("project")), QueueId(context.ids.new("queue"))

    def unit(tx: Tx) -> Project:
        if tx.projects.by_name(name) is not None:
            raise Conflict(f"there is a project {name!r} already", field="name", value=name)
        project = Project(id=project_id, name=name, created_at=tx.now)
        tx.projects.add(project)
        tx.queues.add(Queue(id=queue_id, project_id=project_id, name=DEFAULT_QUEUE, created_at=tx.now))
        tx.events.add(Event(kind="project.created", subject=project_id, at=tx.now, project_id=project_id))
        return project

    return write_once(context.store, unit, once)


def projects(context: Context, principal: Principal, *, after: str | None, limit: int) -> list[Project]:
    """By name, from behind the name `after`."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        if principal.project_id is None:
            return list(tx.projects.list(after, limit))
        own = tx.projects.get(principal.project_id)
        return [own] if own is not None and own.name > (after or "") else []


def create_queue(
    context: Context,
    principal: Principal,
    *,
    project: str,
    name: str,
    once: Once[QueueView] | None = None,
) -> QueueView:
    queue_id = QueueId(context.ids.new("queue"))

    def unit(tx: Tx) -> QueueView:
        owner = project_for(tx, principal, project, Action.EDIT_QUEUES)
        if tx.queues.by_name(owner.id, name) is not None:
            raise Conflict(f"project {project!r} has a queue {name!r} already", field="name", value=name)
        queue = Queue(id=queue_id, project_id=owner.id, name=name, created_at=tx.now)
        tx.queues.add(queue)
        tx.events.add(Event(kind="queue.created", subject=queue_id, at=tx.now, project_id=owner.id))
        return QueueView(queue=queue, project_name=project)

    return write_once(context.store, unit, once)


def queues(
    context: Context, principal: Principal, *, project: str | None, after: str | None, limit: int
) -> list[QueueView]:
    """By id, from behind the queue `after`."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        owner = principal.project_id if project is None else project_for(tx, principal, project).id
        found = tx.queues.list(owner, QueueId(after) if after else None, limit)
        names = project_names(tx, frozenset(queue.project_id for queue in found))
        return [QueueView(queue=queue, project_name=names[queue.project_id]) for queue in found]
