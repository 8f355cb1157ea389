"""Documents: our objects as the wire shows them."""

import json
from datetime import datetime
from typing import cast

from controlplane.domain.amounts import MILLI, Amounts
from controlplane.domain.events import Event
from controlplane.domain.projects import Project
from controlplane.identity.principals import Principal
from controlplane.operations.attempts import AttemptView
from controlplane.operations.clusters import ClusterView, NodeView
from controlplane.operations.explain import phase
from controlplane.operations.projects import QueueView
from controlplane.operations.tokens import NewToken, TokenView
from controlplane.store import CheckpointRow, JobView, NumberedMetric, UploadRow
from controlplane.wire.admin import (
    ClusterDocument,
    MeDocument,
    NodeDocument,
    ProjectDocument,
    QueueDocument,
    Role,
    TokenCreated,
    TokenDocument,
)
from controlplane.wire.jobs import (
    AttemptDocument,
    CheckpointDocument,
    EventDocument,
    JobDocument,
    MetricPoint,
    SeatDocument,
    UploadDocument,
)


def job(view: JobView, now: datetime) -> JobDocument:
    found = view.job
    return JobDocument(
        id=found.id,
        name=found.name,
        project=view.project_name,
        queue=view.queue_name,
        kind=found.kind,
        state=found.state.value,
        phase=phase(view, now),
        reason=found.reason,
        priority=found.priority,
        tasks=view.tasks,
        attempts=view.attempts,
        submitted_at=found.submitted_at,
        since=found.since,
        cancel_requested_at=found.cancel_requested_at,
        depends_on=list(found.depends_on),
        retry_of=found.retry_of,
        labels=dict(view.labels),
        version=found.version,
        spec=json.loads(view.spec),
        schema_version=view.schema_version,
    )


def attempt(view: AttemptView) -> AttemptDocument:
    found = view.attempt
    return AttemptDocument(
        id=found.id,
        job_id=found.job_id,
        number=found.number,
        cluster_id=found.cluster_id,
        cluster=view.cluster_name,
        state=found.state.value,
        outcome=found.outcome,
        exit_code=found.exit_code,
        reason=found.reason,
        placed_at=found.placed_at,
        started_at=found.started_at,
        ended_at=found.ended_at,
        lease_until=found.lease_until,
        progress=view.progress,
        progress_message=view.progress_message,
        seats=[
            SeatDocument(
                rank=seat.rank,
                node_id=seat.node_id,
                node=view.nodes[seat.node_id].name,
                resources=resources(seat.amounts),
            )
            for seat in view.seats
        ],
    )


def metric(numbered: NumberedMetric) -> MetricPoint:
    found = numbered.metric
    return MetricPoint(
        attempt_id=found.attempt_id,
        attempt_number=numbered.number,
        rank=found.rank,
        seq=found.seq,
        step=found.step,
        at=found.at,
        values=dict(found.values),
    )


def checkpoint(row: CheckpointRow) -> CheckpointDocument:
    return CheckpointDocument(
        attempt_id=row.attempt_id, rank=row.rank, step=row.step, uri=row.uri, sha256=row.sha256, at=row.at
    )


def event(cursor: str, found: Event) -> EventDocument:
    return EventDocument(
        cursor=cursor,
        kind=found.kind,
        subject=found.subject,
        at=found.at,
        project_id=found.project_id,
        job_id=found.job_id,
        data=dict(found.data),
    )


def upload(row: UploadRow) -> UploadDocument:
    return UploadDocument(digest=row.digest, size_bytes=row.size_bytes)


def project(found: Project) -> ProjectDocument:
    return ProjectDocument(id=found.id, name=found.name, created_at=found.created_at)


def queue(view: QueueView) -> QueueDocument:
    found = view.queue
    return QueueDocument(id=found.id, project=view.project_name, name=found.name, created_at=found.created_at)


def cluster(view: ClusterView) -> ClusterDocument:
    found = view.cluster
    return ClusterDocument(
        id=found.id,
        name=found.name,
        adapter=found.adapter,
        state=found.state.value,
        since=found.since,
        url=found.url,
        cordoned_at=found.cordoned_at,
        last_seen_at=found.last_seen_at,
        problem=found.problem,
        warnings=list(found.warnings),
        nodes=view.nodes,
        capacity=resources(view.capacity),
        booked=resources(view.booked),
        foreign=resources(view.foreign),
        offers_listed_at=view.offers.listed_at,
        offers_problem=view.offers.problem,
        version=found.version,
    )


def node(view: NodeView) -> NodeDocument:
    found = view.node
    return NodeDocument(
        id=found.id,
        cluster_id=found.cluster_id,
        cluster=view.cluster_name,
        name=found.name,
        host=found.host,
        accelerator=found.accelerator,
        labels=dict(found.labels),
        allocatable=resources(found.allocatable),
        foreign=resources(found.foreign),
        booked=resources(view.booked),
        seen_at=found.seen_at,
        gone_at=found.gone_at,
    )


def token(view: TokenView) -> TokenDocument:
    row = view.row
    return TokenDocument(
        id=row.id,
        name=row.name,
        role=cast("Role", row.role),
        project=view.project_name,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )


def new_token(made: NewToken) -> TokenCreated:
    return TokenCreated(**token(made.view).model_dump(), secret=made.secret)


def me(principal: Principal, project_name: str | None) -> MeDocument:
    return MeDocument(name=principal.name, role=principal.role.value, project=project_name)


def resources(amounts: Amounts) -> dict[str, float]:
    """Under the names of a job's spec; custom ones carry `custom:`, so they never hide those."""
    custom = {f"custom:{name}": value / MILLI for name, value in amounts.custom_milli}
    return {
        "cpus": amounts.cpu_milli / MILLI,
        "gpus": amounts.gpu_milli / MILLI,
        "memory": float(amounts.memory_bytes),
        **custom,
    }
