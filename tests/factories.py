"""Factories: domain objects with sane values, the same ones every time; name what matters to the test.

`number` tells objects of a kind apart and runs through what belongs together: `ask(3)` is of `job(3)`.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from controlplane.domain.amounts import Amounts
from controlplane.domain.attempts import ATTEMPT, Attempt, AttemptState, Outcome, Seat
from controlplane.domain.claims import (
    CLAIM,
    CapacityType,
    Claim,
    ClaimState,
    Launch,
    LaunchOutcome,
    Orphan,
    launch_id,
)
from controlplane.domain.clusters import CLUSTER, Cluster, ClusterState, Node
from controlplane.domain.data_copies import COPY, CopiedObject, Copy, CopyState
from controlplane.domain.events import Event
from controlplane.domain.executions import (
    EXECUTION,
    STEP,
    Execution,
    ExecutionState,
    Step,
    StepState,
    step_id,
)
from controlplane.domain.ids import (
    AskId,
    AttemptId,
    ClaimId,
    ClassId,
    ClusterId,
    CopyId,
    ExecutionId,
    InputId,
    JobId,
    LaunchId,
    ModelId,
    ModelVersionId,
    NodeId,
    ProjectId,
    QueueId,
    RevisionId,
    ScheduleId,
    SecretId,
    ServiceId,
    TokenId,
)
from controlplane.domain.inputs import INPUT, Input, InputState
from controlplane.domain.jobs import JOB, Ask, Job, JobKind, JobState
from controlplane.domain.lifecycles import Lifecycle
from controlplane.domain.manifests import Manifest
from controlplane.domain.models import MODEL_VERSION, Model, ModelVersion, Stage
from controlplane.domain.offers import KnownOffer
from controlplane.domain.projects import DEFAULT_PROJECT, DEFAULT_QUEUE, Project, Queue
from controlplane.domain.revisions import REVISION, Revision, RevisionState
from controlplane.domain.schedules import Overlap, Schedule
from controlplane.domain.services import KnownReplica, Replica, Service
from controlplane.store import TokenRow

T = TypeVar("T")

# `Any` in every signature here: the keywords are the fields of the object that is made.
Fields = Any

NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
GIBIBYTE: Final = 1024**3
ONE_CPU: Final = Amounts(cpu_milli=1000, memory_bytes=GIBIBYTE)
BIG_NODE: Final = Amounts(cpu_milli=8000, memory_bytes=32 * GIBIBYTE, gpu_milli=2000)


def after(seconds: float) -> datetime:
    """A moment that many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def project(number: int = 1, /, **fields: Fields) -> Project:
    name = DEFAULT_PROJECT if number == 1 else f"project-{number}"
    return _with(Project(id=ProjectId(f"project-{number}"), name=name, created_at=NOON), fields)


def queue(number: int = 1, /, **fields: Fields) -> Queue:
    """Of the first project."""
    name = DEFAULT_QUEUE if number == 1 else f"queue-{number}"
    made = Queue(id=QueueId(f"queue-{number}"), project_id=project().id, name=name, created_at=NOON)
    return _with(made, fields)


def job(number: int = 1, /, **fields: Fields) -> Job:
    """Of the first queue; queued a second after the one before unless told."""
    at = after(number - 1)
    made = Job(
        id=JobId(f"job-{number}"),
        project_id=project().id,
        queue_id=queue().id,
        name=f"name-{number}",
        kind=JobKind.COMMAND,
        priority=0,
        state=JobState.QUEUED,
        since=at,
        submitted_at=at,
    )
    return _with(made, _origin(JOB, made.state, fields) | fields)


def ask(number: int = 1, /, **fields: Fields) -> Ask:
    """The only one of `job(number)`: one task on one CPU."""
    made = Ask(
        id=AskId(f"ask-{number}"),
        job_id=JobId(f"job-{number}"),
        queue_id=queue().id,
        ordinal=0,
        tasks=1,
        amounts=ONE_CPU,
        accelerator=None,
        class_id=ClassId("class-1"),
        priority=0,
        submitted_at=after(number - 1),
    )
    return _with(made, fields)


def attempt(number: int = 1, /, **fields: Fields) -> Attempt:
    """The first one of `job(number)`, placed; an ended one succeeded unless told."""
    made = Attempt(
        id=AttemptId(f"attempt-{number}"),
        job_id=JobId(f"job-{number}"),
        ask_id=AskId(f"ask-{number}"),
        project_id=project().id,
        cluster_id=cluster().id,
        number=1,
        state=AttemptState.PLACED,
        since=NOON,
        placed_at=NOON,
    )
    ended = {"outcome": Outcome.SUCCEEDED, "exit_code": 0, "ended_at": NOON}
    extra = ended if fields.get("state") is AttemptState.ENDED else {}
    return _with(made, _origin(ATTEMPT, made.state, fields) | extra | fields)


def seat(number: int = 1, /, rank: int = 0, **fields: Fields) -> Seat:
    """Of `attempt(number)`, on the first node."""
    made = Seat(attempt_id=AttemptId(f"attempt-{number}"), rank=rank, node_id=node().id, amounts=ONE_CPU)
    return _with(made, fields)


def cluster(number: int = 1, /, **fields: Fields) -> Cluster:
    """Ready, and seen just now."""
    made = Cluster(
        id=ClusterId(f"cluster-{number}"),
        name=f"cluster-{number}",
        adapter="ray",
        state=ClusterState.READY,
        since=NOON,
        created_at=NOON,
        url=f"http://127.0.0.{number}:8265",
        session=f"session-{number}",
        last_seen_at=NOON,
    )
    return _with(made, _origin(CLUSTER, made.state, fields) | fields)


def node(number: int = 1, /, **fields: Fields) -> Node:
    """Of the first cluster: 8 CPUs, 2 GPUs, 32 GiB, all of it ours."""
    made = Node(
        id=NodeId(f"node-{number}"),
        cluster_id=cluster().id,
        name=f"ray-node-{number}",
        host=f"127.0.0.{number}",
        allocatable=BIG_NODE,
        foreign=Amounts(),
        seen_at=NOON,
    )
    return _with(made, fields)


def claim(number: int = 1, /, **fields: Fields) -> Claim:
    """For two machines of the first cluster, in zone a or else b; requested at noon."""
    made = Claim(
        id=ClaimId(f"claim-{number}"),
        cluster_id=cluster().id,
        machine_type="small",
        capacity_type=CapacityType.SPOT,
        zones=("a", "b"),
        machines_min=2,
        machines_want=2,
        state=ClaimState.REQUESTED,
        since=NOON,
        created_at=NOON,
    )
    return _with(made, _origin(CLAIM, made.state, fields) | fields)


def copy(number: int = 1, /, **fields: Fields) -> Copy:
    """From S3 to OSS, requested at noon."""
    made = Copy(
        id=CopyId(f"copy-{number}"),
        project_id=project().id,
        source="s3://from/a",
        target=f"oss://into/{number}",
        state=CopyState.PENDING,
        since=NOON,
        created_at=NOON,
    )
    return _with(made, _origin(COPY, made.state, fields) | fields)


def execution(number: int = 1, /, **fields: Fields) -> Execution:
    """Of the first project and the first token, submitted at noon."""
    made = Execution(
        id=ExecutionId(f"execution-{number}"),
        project_id=project().id,
        name="digits",
        token_id=token().id,
        outputs_uri="s3://made/",
        state=ExecutionState.WAITING,
        since=NOON,
        created_at=NOON,
    )
    return _with(made, _origin(EXECUTION, made.state, fields) | fields)


def step(number: int = 1, /, **fields: Fields) -> Step:
    """The only one of the execution of this number."""
    of = execution(number).id
    made = Step(
        id=step_id(of, 0),
        execution_id=of,
        position=0,
        name="train",
        state=StepState.PENDING,
        since=NOON,
    )
    return _with(made, _origin(STEP, made.state, fields) | fields)


def schedule(number: int = 1, /, **fields: Fields) -> Schedule:
    """At three every night."""
    made = Schedule(
        id=ScheduleId(f"schedule-{number}"),
        project_id=project().id,
        name=f"nightly-{number}",
        cron="0 3 * * *",
        zone="UTC",
        overlap=Overlap.SKIP,
        token_id=token().id,
        created_at=NOON,
        next_at=after(15 * 3600),
    )
    return _with(made, fields)


def model(number: int = 1, /, **fields: Fields) -> Model:
    """Of the first project, without versions."""
    made = Model(
        id=ModelId(f"model-{number}"),
        project_id=project().id,
        name=f"model-{number}",
        description="",
        created_at=NOON,
    )
    return _with(made, fields)


def model_version(number: int = 1, /, **fields: Fields) -> ModelVersion:
    """Of the first model, published at noon; what was in production was promoted at noon."""
    made = ModelVersion(
        id=ModelVersionId(f"version-{number}"),
        model_id=model().id,
        number=number,
        state=Stage.CANDIDATE,
        since=NOON,
        created_at=NOON,
        manifest=Manifest("{}"),
        signature="c2ln",
        key_id="key-1",
    )
    promoted = {"promoted_at": NOON} if fields.get("state") is Stage.PRODUCTION else {}
    return _with(made, _origin(MODEL_VERSION, made.state, fields) | promoted | fields)


def copied_object(number: int = 1, /, **fields: Fields) -> CopiedObject:
    """The first of `copy(number)`, two parts long, begun at noon."""
    made = CopiedObject(
        copy_id=CopyId(f"copy-{number}"),
        ordinal=1,
        source_key="a",
        target_key=str(number),
        size_bytes=15,
        source_etag="etag",
        part_bytes=10,
        created_at=NOON,
    )
    return _with(made, fields)


def kept_input(number: int = 1, /, **fields: Fields) -> Input:
    """Of the first project, wanted near the store `near` at noon."""
    made = Input(
        id=InputId(f"input-{number}"),
        project_id=project().id,
        source="s3://from/corpus/",
        store="near",
        state=InputState.LOOKING,
        since=NOON,
        created_at=NOON,
        asked_at=NOON,
        used_at=NOON,
    )
    return _with(made, _origin(INPUT, made.state, fields) | fields)


def launch(number: int = 1, /, **fields: Fields) -> Launch:
    """The first of `claim(number)`, open; a resolved one was granted unless told."""
    claim_id = claim(number).id
    made = Launch(
        id=launch_id(claim_id, 1, 1),
        claim_id=claim_id,
        generation=1,
        ordinal=1,
        zone="a",
        machines=2,
        created_at=NOON,
    )
    granted = {"outcome": LaunchOutcome.GRANTED} if "resolved_at" in fields else {}
    return _with(made, granted | fields)


def orphan(number: int = 1, /, **fields: Fields) -> Orphan:
    """Of the first cluster, first listed at noon."""
    made = Orphan(
        cluster_id=cluster().id,
        name=f"m-{number:04d}",
        zone="a",
        claim_id=ClaimId("claim-gone"),
        launch_id=LaunchId("claim-gone-g1-l1"),
        seen_at=NOON,
    )
    return _with(made, fields)


def offer(**fields: Fields) -> KnownOffer:
    """Small spot machines of the first cluster in zone a; nobody knows their price."""
    made = KnownOffer(
        cluster_id=cluster().id,
        machine_type="small",
        zone="a",
        capacity_type=CapacityType.SPOT,
        amounts=ONE_CPU,
        boot_seconds=60.0,
        interruptions_per_hour=0.25,
    )
    return _with(made, fields)


def event(number: int = 1, /, **fields: Fields) -> Event:
    return _with(Event(kind="thing.happened", subject=f"thing-{number}", at=after(number - 1)), fields)


def token(number: int = 1, /, **fields: Fields) -> TokenRow:
    made = TokenRow(
        id=TokenId(f"token-{number}"),
        name=f"token-{number}",
        role="admin",
        project_id=None,
        hash=number.to_bytes(32, "big"),
        created_at=NOON,
    )
    return _with(made, fields)


def service(number: int = 1, /, **fields: Fields) -> Service:
    """Of the first queue, with one replica."""
    made = Service(
        id=ServiceId(f"service-{number}"),
        project_id=project().id,
        queue_id=queue().id,
        name=f"service-{number}",
        created_at=NOON,
        min_replicas=1,
        max_replicas=1,
        desired=1,
        last_number=1,
    )
    return _with(made, fields)


def revision(number: int = 1, /, **fields: Fields) -> Revision:
    """Of the first service; pending unless told."""
    made = Revision(
        id=RevisionId(f"revision-{number}"),
        service_id=service().id,
        number=number,
        state=RevisionState.PENDING,
        since=NOON,
        created_at=NOON,
        created_by="tester",
        spec='{"name":"service-1","import_path":"a:B","working_dir":"sha256:' + 64 * "0" + '"}',
        template='{"name":"service-1","kind":"replica","entrypoint":"true"}',
        secret_id=SecretId(f"secret-{number}"),
        ca_pem="",
    )
    return _with(made, fields | _origin(REVISION, RevisionState.PENDING, fields))


def known_replica(number: int = 1, /, **fields: Fields) -> KnownReplica:
    """Of the first revision, in the place below its number; its job is active, and nothing answers yet."""
    made = KnownReplica(
        replica=Replica(
            job_id=job(number).id,
            revision_id=revision().id,
            ordinal=number - 1,
            turn=1,
            is_surplus=False,
            created_at=after(number),
        ),
        job_state=JobState.ACTIVE,
        job_since=NOON,
        job_reason=None,
        cancel_requested_at=None,
    )
    return _with(made, fields)


def _with(made: T, fields: dict[str, Any]) -> T:
    return replace(made, **fields)  # type: ignore[type-var]


def _origin(lifecycle: Lifecycle[Any], default: object, fields: dict[str, Any]) -> dict[str, object]:
    """A row in that state must have come from somewhere: the first place that its table names."""
    state = fields.get("state", default)
    if state == lifecycle.initial:
        return {}
    came_from = next(old for old, successors in lifecycle.edges.items() if state in successors)
    return {"came_from": str(came_from), "version": 2}
