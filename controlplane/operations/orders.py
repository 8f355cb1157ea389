"""Orders: everything an executor must know to start an attempt, gathered from rows and the object store."""

from collections.abc import Sequence

from controlplane.domain.attempts import Attempt, Seat
from controlplane.domain.clusters import Endpoint, Node
from controlplane.domain.errors import NotFound, Rejected
from controlplane.executors.base import Launch, Order, OrderSeat
from controlplane.identity.attempt_tokens import attempt_token
from controlplane.operations.services import Services
from controlplane.operations.uploads import upload_key
from controlplane.wire.jobspec import JobSpec


def order_for(
    services: Services, attempt: Attempt, seats: Sequence[Seat], nodes: Sequence[Node], endpoint: Endpoint
) -> Order:
    """Raises `Rejected` when the upload that the spec names is gone."""
    with services.store.read() as tx:
        spec_json, _ = tx.jobs.spec(attempt.job_id)
        checkpoint = tx.records.newest_checkpoint(attempt.job_id)
    spec = JobSpec.model_validate_json(spec_json)
    names = {node.id: node.name for node in nodes}
    settings = services.settings
    return Order(
        attempt_id=attempt.id,
        job_id=attempt.job_id,
        number=attempt.number,
        endpoint=endpoint,
        seats=tuple(
            OrderSeat(rank=seat.rank, node_name=names[seat.node_id], amounts=seat.amounts)
            for seat in sorted(seats, key=lambda seat: seat.rank)
        ),
        launch=Launch(spec.launch),
        command=None if spec.is_function else spec.entrypoint,
        function=spec.entrypoint if spec.is_function else None,
        environment=spec.environment,
        working_dir=_working_dir(services, spec),
        urls=(settings.url,),
        token=attempt_token(services.server_key, attempt.id),
        lease_seconds=settings.lease_seconds,
        grace_seconds=spec.grace_seconds,
        start_timeout_seconds=settings.start_timeout_seconds,
        log_quota_bytes=settings.log_quota_bytes,
        checkpoint_uri=spec.checkpoint_uri,
        outputs_uri=spec.outputs_uri,
        resume_from=checkpoint.uri if checkpoint else None,
    )


def _working_dir(services: Services, spec: JobSpec) -> bytes | None:
    if spec.working_dir is None:
        return None
    try:
        with services.objects.get(upload_key(spec.working_dir)) as archive:
            return archive.read()
    except NotFound as gone:
        raise Rejected(f"working_dir {spec.working_dir} is no longer stored") from gone
