"""Dependencies: which jobs must succeed before another may start."""

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from controlplane.domain.errors import Invalid
from controlplane.domain.ids import JobId, ProjectId
from controlplane.domain.jobs import Job, JobState


def settled(
    found: Mapping[JobId, Job], ids: Sequence[JobId], project_id: ProjectId, *, field: str, hint: str = ""
) -> bool:
    """Whether every one of them has succeeded. Raises `Invalid` for one that is unknown or can no longer succeed.

    `hint` goes on after the sentence that one is unknown.
    """
    if not ids:
        return True
    jobs = [_usable(found.get(each), each, project_id, field=field, hint=hint) for each in ids]
    return all(job.state is JobState.SUCCEEDED for job in jobs)


def _usable(job: Job | None, job_id: JobId, project_id: ProjectId, *, field: str, hint: str) -> Job:
    if job is None or job.project_id != project_id:
        raise Invalid(f"there is no job {job_id!r} in this project{hint}", field=field, value=job_id)
    if job.state in {JobState.FAILED, JobState.CANCELLED}:
        raise Invalid(
            f"job {job_id} is {job.state}: what depends on it would never start", field=field, value=job_id
        )
    return job


def in_order(needs: Mapping[int, Sequence[int]], names: Sequence[str]) -> list[int]:
    """Positions of a batch, each after what it needs. Raises `Invalid` naming a cycle: `a -> b -> a`."""
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        # The sorter lists each before what needs it; people read "a depends on b".
        cycle = " -> ".join(names[each] for each in reversed(error.args[1]))
        raise Invalid(f"the jobs depend on each other: {cycle}", field="jobs", value=cycle) from error
