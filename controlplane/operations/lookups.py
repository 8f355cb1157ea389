"""Lookups: objects by what callers call them, as far as their token sees."""

from controlplane.domain.clusters import Cluster
from controlplane.domain.errors import NotFound
from controlplane.domain.ids import ClusterId, JobId, ProjectId
from controlplane.domain.jobs import Job
from controlplane.domain.projects import Project, Queue
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.store import Tx


def job_for(tx: Tx, principal: Principal, job_id: str, action: Action = Action.READ) -> Job:
    """Raises `NotFound` alike for a job that does not exist and for another project's."""
    job = tx.jobs.get(JobId(job_id))
    if job is None or not principal.sees(job.project_id):
        raise NotFound(f"there is no job {job_id!r}, or not for this token", field="job", value=job_id)
    authorize(principal, action, job.project_id)
    return job


def project_for(tx: Tx, principal: Principal, name: str, action: Action = Action.READ) -> Project:
    project = tx.projects.by_name(name)
    if project is None or not principal.sees(project.id):
        raise NotFound(f"there is no project {name!r}, or not for this token", field="project", value=name)
    authorize(principal, action, project.id)
    return project


def queue_for(tx: Tx, project: Project, name: str) -> Queue:
    queue = tx.queues.by_name(project.id, name)
    if queue is None:
        raise NotFound(f"project {project.name!r} has no queue {name!r}", field="queue", value=name)
    return queue


def cluster_for(tx: Tx, id_or_name: str) -> Cluster:
    cluster = tx.clusters.get(ClusterId(id_or_name)) or tx.clusters.by_name(id_or_name)
    if cluster is None:
        raise NotFound(f"there is no cluster {id_or_name!r}", field="cluster", value=id_or_name)
    return cluster


def project_names(tx: Tx, ids: frozenset[ProjectId]) -> dict[ProjectId, str]:
    return {each: project.name for each, project in tx.projects.by_ids(sorted(ids)).items()}
