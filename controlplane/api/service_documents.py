"""Documents of services, their revisions and replicas."""

import json

from controlplane.domain.revisions import Revision
from controlplane.domain.services import ALL_PPM
from controlplane.operations.services import ReplicaView, ServiceView
from controlplane.wire.services import ReplicaDocument, RevisionDocument, ServiceDocument


def service(view: ServiceView) -> ServiceDocument:
    found = view.service
    return ServiceDocument(
        id=found.id,
        project=view.project_name,
        queue=view.queue_name,
        name=found.name,
        phase=view.phase.value,
        created_at=found.created_at,
        min_replicas=found.min_replicas,
        max_replicas=found.max_replicas,
        desired=found.desired,
        replicas=view.replicas,
        ready=view.ready,
        revisions=[revision(each) for each in view.revisions],
        version=found.version,
    )


def revision(found: Revision) -> RevisionDocument:
    return RevisionDocument(
        id=found.id,
        service_id=found.service_id,
        number=found.number,
        state=found.state.value,
        since=found.since,
        created_at=found.created_at,
        created_by=found.created_by,
        weight_percent=100 * found.weight_ppm / ALL_PPM,
        ready_at=found.ready_at,
        reason=found.reason,
        spec=json.loads(found.spec),
        version=found.version,
    )


def replica(view: ReplicaView) -> ReplicaDocument:
    known = view.known
    return ReplicaDocument(
        job_id=known.replica.job_id,
        revision=view.number,
        ordinal=known.replica.ordinal,
        is_surplus=known.replica.is_surplus,
        state=known.job_state.value,
        is_ready=known.is_ready,
        is_leaving=known.cancel_requested_at is not None,
        attempt_id=known.attempt_id,
        url=view.url,
        reason=known.job_reason,
        created_at=known.replica.created_at,
    )
