"""Replicas: the jobs that a service's revision is made of, submitted and stopped by its loop and never by users."""

from controlplane.domain.ids import JobId
from controlplane.domain.jobs import JobState
from controlplane.domain.revisions import Revision
from controlplane.domain.services import Replica, Service
from controlplane.operations import service_specs, sources
from controlplane.operations.ids import Ids
from controlplane.operations.jobs import call_off
from controlplane.operations.translation import ask_of, held_job
from controlplane.reconcilers.services import NewReplica
from controlplane.store import NewJob, Tx, rows_of
from controlplane.wire.jobspec import SCHEMA_VERSION, JobSpec


def submit(tx: Tx, ids: Ids, service: Service, revision: Revision, new: NewReplica) -> None:
    """Queues the job of one replica. Whether any node could hold it was looked at when the revision was deployed."""
    job_id = JobId(ids.new("job"))
    spec = job_spec(revision, is_surplus=new.is_surplus)
    born = held_job(
        spec,
        job_id=job_id,
        project_id=service.project_id,
        queue_id=service.queue_id,
        depends_on=(),
        retry_of=None,
        at=tx.now,
    )
    job = born.move(JobState.QUEUED, at=tx.now)
    reads = sources.sources(tx.object_stores.kept(), spec.inputs, spec.checkpoint_uri)
    row = NewJob(
        job=job,
        ask=ask_of(spec, born, reads=sources.reads(reads), is_lasting=not new.is_surplus),
        spec=spec.model_dump_json(exclude_unset=True),
        schema_version=SCHEMA_VERSION,
        labels=spec.labels,
    )
    tx.jobs.add_many(rows_of((row,)))
    tx.replicas.add(
        Replica(
            job_id=job_id,
            revision_id=revision.id,
            ordinal=new.ordinal,
            turn=new.turn,
            is_surplus=new.is_surplus,
            created_at=tx.now,
        )
    )


def cancel(tx: Tx, job_id: JobId) -> None:
    """It answers no new request from then on, and ends what it has within its grace."""
    job = tx.jobs.get(job_id)
    if job is not None and not job.is_finished:
        call_off(tx, job, by="its service")


def job_spec(revision: Revision, *, is_surplus: bool) -> JobSpec:
    template = JobSpec.model_validate_json(revision.template)
    if not is_surplus:
        return template
    spec = service_specs.stored(revision.spec)
    flavors = spec.replicas.surplus_flavors or list(template.flavors)
    return template.model_copy(
        update={"priority": service_specs.surplus_priority_of(spec), "flavors": flavors}
    )
