"""Events: the change feed, as far as the caller's token sees."""

from controlplane.domain.events import Event
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations.context import Context
from controlplane.operations.lookups import job_for


def after(
    context: Context, principal: Principal, cursor: str | None, *, limit: int, job_id: str | None = None
) -> tuple[list[tuple[str, Event]], str]:
    """Events with their cursors, and the cursor to go on from; from the beginning if there is none."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        job = job_for(tx, principal, job_id) if job_id is not None else None
        return tx.events.after(
            cursor, limit, project_ids=principal.visible_projects, job_id=job.id if job is not None else None
        )


def head(context: Context, principal: Principal) -> str:
    """The cursor of now."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        return tx.events.head()
