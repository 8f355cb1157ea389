"""Translation: from the spec that a user wrote to the job and the ask that are decided on."""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import datetime
from functools import lru_cache
from typing import Final

from controlplane.domain.amounts import MILLI, Amounts, custom_amounts
from controlplane.domain.ids import ClassId, JobId, ProjectId, QueueId
from controlplane.domain.jobs import (
    NO_TRAITS,
    Ask,
    AskRole,
    Job,
    JobKind,
    JobState,
    RetryPolicy,
    Traits,
    ask_id,
)
from controlplane.domain.residency import READS_NOTHING, Reads
from controlplane.wire.jobspec import JobSpec, Resources, Retry, parse_bytes

MOST_REMEMBERED: Final = 4096
"""Jobs come in thousands and in few shapes, and working a shape out costs as much as the rest of a job."""


def amounts_of(resources: Resources) -> Amounts:
    return _amounts(resources.cpus, resources.memory, resources.gpus, tuple(resources.custom.items()))


@lru_cache(maxsize=MOST_REMEMBERED)
def _amounts(cpus: float, memory: str | int, gpus: float, custom: tuple[tuple[str, float], ...]) -> Amounts:
    return Amounts(
        cpu_milli=_milli(cpus),
        memory_bytes=parse_bytes(memory) if isinstance(memory, str) else memory,
        gpu_milli=_milli(gpus),
        custom_milli=custom_amounts((name, _milli(value)) for name, value in custom),
    )


def retry_policy_of(retry: Retry) -> RetryPolicy:
    return RetryPolicy(
        max_attempts=retry.max_attempts,
        backoff_seconds=retry.backoff_seconds,
        max_backoff_seconds=retry.max_backoff_seconds,
        retryable_exit_codes=tuple(retry.retryable_exit_codes),
    )


def held_job(
    spec: JobSpec,
    *,
    job_id: JobId,
    project_id: ProjectId,
    queue_id: QueueId,
    depends_on: tuple[JobId, ...],
    retry_of: JobId | None,
    at: datetime,
) -> Job:
    """The job at its birth."""
    return Job(
        id=job_id,
        project_id=project_id,
        queue_id=queue_id,
        name=spec.name,
        kind=JobKind(spec.kind),
        priority=spec.priority,
        state=JobState.HELD,
        since=at,
        submitted_at=at,
        retry=retry_policy_of(spec.retry),
        max_runtime_seconds=spec.max_runtime_seconds,
        depends_on=depends_on,
        retry_of=retry_of,
    )


def ask_of(spec: JobSpec, job: Job, *, reads: Reads = READS_NOTHING, is_lasting: bool = False) -> Ask:
    """`is_lasting`: one of the fewest replicas of a service."""
    resources = spec.roles[0].resources if spec.roles else spec.resources
    amounts, traits = amounts_of(resources), traits_of(spec)
    if reads != READS_NOTHING or is_lasting:
        traits = replace(traits, stores=reads.stores, data=reads.data, is_lasting=is_lasting)
    return Ask(
        id=ask_id(job.id),
        job_id=job.id,
        queue_id=job.queue_id,
        ordinal=0,
        tasks=spec.gang_size,
        amounts=amounts,
        accelerator=resources.accelerator,
        class_id=class_id_of(job.queue_id, spec.gang_size, amounts, resources.accelerator, traits),
        priority=job.priority,
        submitted_at=job.submitted_at,
        traits=traits,
    )


def traits_of(spec: JobSpec) -> Traits:
    runtime = spec.estimated_runtime_seconds
    if spec.max_runtime_seconds is not None:
        runtime = min(runtime or spec.max_runtime_seconds, spec.max_runtime_seconds)
    fewer = spec.min_tasks is not None and spec.min_tasks < spec.gang_size
    traits = Traits(
        tasks_min=spec.min_tasks if fewer else None,
        topology_level=spec.topology.level if spec.topology is not None else None,
        topology_required=spec.topology is None or spec.topology.required,
        topology_balanced=spec.topology is not None and spec.topology.balanced,
        topology_slices=tuple((each.level, each.tasks) for each in spec.topology.slices)
        if spec.topology is not None
        else (),
        tolerations=tuple(sorted((each.key, each.value) for each in spec.tolerations)),
        flavors=tuple(dict.fromkeys(spec.flavors)),
        runtime_seconds=None if runtime is None else math.ceil(runtime),
        deadline=spec.deadline,
        is_surplus=spec.surplus,
        restart_seconds=spec.restart_seconds,
        roles=tuple(_roles(spec)),
    )
    return NO_TRAITS if traits == NO_TRAITS else traits


def _roles(spec: JobSpec) -> Iterator[AskRole]:
    for role in spec.roles:
        yield AskRole(
            name=role.name,
            tasks=role.tasks,
            amounts=amounts_of(role.resources),
            accelerator=role.resources.accelerator,
            flavors=tuple(dict.fromkeys(role.flavors or spec.flavors)),
        )


def reading(ask: Ask, reads: Reads) -> Ask:
    """The same ask, reading this."""
    traits = replace(ask.traits, stores=reads.stores, data=reads.data)
    class_id = class_id_of(ask.queue_id, ask.tasks, ask.amounts, ask.accelerator, traits)
    return replace(ask, traits=traits, class_id=class_id)


@lru_cache(maxsize=MOST_REMEMBERED)
def class_id_of(
    queue_id: QueueId, tasks: int, amounts: Amounts, accelerator: str | None, traits: Traits = NO_TRAITS
) -> ClassId:
    """Equal for asks that any policy must treat alike, but for their turn."""
    facts: list[object] = [queue_id, tasks, amounts.named(), accelerator]
    if traits != NO_TRAITS:
        facts.append(asdict(traits) | {"deadline": traits.deadline and traits.deadline.isoformat()})
    canonical = json.dumps(facts, separators=(",", ":"))
    return ClassId(f"cls_{hashlib.sha256(canonical.encode()).hexdigest()[:20]}")


def _milli(value: float) -> int:
    return round(value * MILLI)
