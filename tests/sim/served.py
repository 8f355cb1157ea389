"""What must hold of services and executions: releases without a gap, steps behind their inputs, nothing left over."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from controlplane.domain.attempts import AttemptState
from controlplane.domain.events import Event
from controlplane.domain.executions import Execution, ExecutionState, Step, StepState
from controlplane.domain.ids import ExecutionId, RevisionId, ScheduleId, ServiceId
from controlplane.domain.jobs import JobState
from controlplane.domain.pipelines import PlannedStep, StepKind
from controlplane.domain.revisions import Revision, RevisionState
from controlplane.domain.services import ALL_PPM, KnownReplica, Service
from controlplane.domain.traffic import RevisionRoute, ServiceRoute
from controlplane.operations.context import Context
from controlplane.operations.executions import stored_spec
from controlplane.operations.pipeline_specs import outputs_folder, parsed
from controlplane.operations.service_specs import stored
from controlplane.store import Tx
from tests.sim.planners import Planners
from tests.sim.released import Released
from tests.sim.truth import Violation

if TYPE_CHECKING:
    from tests.sim.world import World

MOST: Final = 1000
BEGUN: Final = frozenset(
    {StepState.READY, StepState.RUNNING, StepState.CHECKING, StepState.SUCCEEDED, StepState.CACHED}
)


class Served:
    """A part of the judge."""

    def __init__(self, world: "World", context: Context, planners: Planners) -> None:
        self._world = world
        self._context = context
        self._released = Released(planners)
        self._services: dict[ServiceId, int] = {}
        """With the most replicas that each was ever allowed."""

        self._ticks: dict[tuple[ScheduleId, datetime], ExecutionId] = {}
        self.revisions_served = 0
        self.steps_done = 0

    def look(self, tx: Tx, events: Sequence[Event]) -> None:
        for service_id in sorted(self._touched(tx, events)):
            self._service(tx, service_id)
        named = {event.subject for event in events if event.kind.startswith("execution.")}
        named |= {str(event.data["execution"]) for event in events if event.kind.startswith("step.")}
        for each in sorted(named):
            self._execution(tx, ExecutionId(each))
        self._released.look(tx, events)
        self._count(events)

    def look_at_all(self, tx: Tx) -> None:
        for service_id in sorted(self._services):
            self._service(tx, service_id)
        for execution in tx.executions.newest(None, None, MOST):
            self._execution(tx, execution.id)

    def look_at_routes(self, routes: Sequence[ServiceRoute]) -> None:
        """Which were read at this very moment."""
        with self._context.store.read() as tx:
            for route in routes:
                shares = [each.weight_ppm for each in route.revisions]
                if shares and sum(shares) != ALL_PPM:
                    raise Violation(f"the shares of service {route.name} are {shares}")
                for revision in route.revisions:
                    self._backends(tx, revision)

    def look_at_the_end(self, tx: Tx) -> None:
        """Users deleted all services and resumed all executions long ago."""
        for service_id in sorted(self._services):
            service = tx.services.get(service_id)
            if service is not None and service.deleted_at is None:
                raise Violation(f"service {service.name} is being deleted for ever")
            self._nobody_is_left(tx, service_id)
        for execution in [each for each in tx.executions.newest(None, None, MOST) if not each.is_over]:
            steps = tx.steps.of(execution.id)
            jobs = tx.jobs.many([step.job_id for step in steps if step.job_id is not None])
            # Whether it waits for a true reason is looked at where jobs are; those behind it wait for it.
            if not any(job.state is JobState.QUEUED for job in jobs) and not self._is_behind(tx, execution):
                states = {step.name: str(step.state) for step in steps}
                raise Violation(f"execution {execution.id} is {execution.state} for ever: {states}")

    @staticmethod
    def _is_behind(tx: Tx, execution: Execution) -> bool:
        if execution.schedule_id is None or execution.state is not ExecutionState.WAITING:
            return False
        return len(tx.executions.open_of(execution.schedule_id)) > 1

    def _touched(self, tx: Tx, events: Sequence[Event]) -> set[ServiceId]:
        found: set[ServiceId] = set()
        for event in events:
            if event.kind.startswith("service."):
                found.add(ServiceId(event.subject))
            elif event.kind.startswith("revision."):
                revision = tx.revisions.get(RevisionId(event.subject))
                if revision is not None:
                    found.add(revision.service_id)
        return found

    def _service(self, tx: Tx, service_id: ServiceId) -> None:
        service = tx.services.get(service_id)
        if service is None:
            return
        revisions = tx.revisions.newest(service_id, None, MOST)
        # What a revision asked for counts also where the next one asked for less before anybody looked.
        asked = [stored(each.spec).replicas.max for each in revisions]
        most = max(self._services.get(service_id, 1), service.max_replicas, *asked)
        self._services[service_id] = most
        if service.deleted_at is not None:
            self._nobody_is_left(tx, service_id)
            return
        self._shares(service, revisions)
        known = [each for each in tx.replicas.known(service_id, tx.now) if each.stays]
        for revision in revisions:
            self._places(revision, [each for each in known if each.replica.revision_id == revision.id], most)

    @staticmethod
    def _shares(service: Service, revisions: Sequence[Revision]) -> None:
        for revision in revisions:
            if revision.weight_ppm and revision.state is not RevisionState.READY:
                raise Violation(
                    f"revision {revision.number} of {service.name} is {revision.state}"
                    f" and takes {revision.weight_ppm} ppm of the traffic"
                )
        shares = [each.weight_ppm for each in revisions]
        was_ready = any(each.ready_at is not None for each in revisions)
        if not service.is_leaving and was_ready and sum(shares) != ALL_PPM:
            raise Violation(f"a revision of {service.name} was ready, and now the shares are {shares}")

    @staticmethod
    def _places(revision: Revision, staying: Sequence[KnownReplica], most: int) -> None:
        places = [each.replica.ordinal for each in staying]
        if len(set(places)) < len(places):
            raise Violation(f"replicas of revision {revision.id} share a place: {places}")
        # While some take the places of others, there are both: each kind is bounded, not the two together.
        lasting = [each for each in staying if not each.replica.is_surplus]
        if max(len(lasting), len(staying) - len(lasting)) > most:
            raise Violation(
                f"revision {revision.id} has {len(staying)} replicas, and {most} at most of a kind"
            )

    @staticmethod
    def _nobody_is_left(tx: Tx, service_id: ServiceId) -> None:
        left = [each.replica.job_id for each in tx.replicas.known(service_id, tx.now) if not each.is_over]
        if left:
            raise Violation(f"service {service_id} was deleted, and its replicas {left} go on")

    @staticmethod
    def _backends(tx: Tx, route: RevisionRoute) -> None:
        revision = tx.revisions.get(route.revision_id)
        if revision is None or revision.state is not RevisionState.READY:
            raise Violation(f"revision {route.revision_id} is routed to and is {revision and revision.state}")
        for backend in route.backends:
            attempt = tx.attempts.get(backend.attempt_id)
            job = None if attempt is None else tx.jobs.get(attempt.job_id)
            if attempt is None or attempt.state is not AttemptState.RUNNING:
                raise Violation(
                    f"attempt {backend.attempt_id} is routed to and is {attempt and attempt.state}"
                )
            seats, tasks = len(tx.attempts.seats(attempt.id)), stored(revision.spec).tasks
            if seats != tasks:
                raise Violation(f"attempt {attempt.id} has {seats} seats, its revision asks for {tasks}")
            if job is None or job.cancel_requested_at is not None:
                raise Violation(
                    f"attempt {backend.attempt_id} is routed to, and its replica was told to stop"
                )

    def _execution(self, tx: Tx, execution_id: ExecutionId) -> None:
        execution = tx.executions.get(execution_id)
        if execution is None:
            return  # too old
        self._tick(execution)
        pipeline = parsed(stored_spec(tx, execution_id))[1]
        steps = tx.steps.of(execution_id)
        by_name = {step.name: step for step in steps}
        for planned, step in zip(pipeline.steps, steps, strict=True):
            if step.state in BEGUN and not all(by_name[name].is_done for name in planned.needs):
                raise Violation(f"step {step.id} is {step.state} before what it needs is done")
            self._step(execution, planned, step)
        self._released.look_at_steps(tx, execution, pipeline, steps)
        if execution.is_over and not all(step.is_over for step in steps):
            raise Violation(f"execution {execution_id} is {execution.state} and has steps that are not over")
        if execution.state is ExecutionState.SUCCEEDED and not all(step.is_done for step in steps):
            raise Violation(f"execution {execution_id} succeeded without all of its steps")

    @staticmethod
    def _step(execution: Execution, planned: PlannedStep, step: Step) -> None:
        if step.state is StepState.SUCCEEDED and planned.kind is StepKind.JOB:
            folder = outputs_folder(execution, step)
            made = [each.uri for each in step.outputs if each.uri.startswith(folder)]
            if len(made) != len(planned.outputs):
                raise Violation(f"step {step.id} has the outputs {step.outputs}, not all of its last try")
        if step.number > planned.retries + 1:
            raise Violation(f"step {step.id} was begun {step.number} times, with {planned.retries} retries")
        paused = execution.paused_at
        if paused is not None and step.state is StepState.RUNNING and step.since > paused:
            raise Violation(f"step {step.id} was begun at {step.since}, after the pause at {paused}")

    def _tick(self, execution: Execution) -> None:
        if execution.schedule_id is None or execution.tick is None:
            return
        first = self._ticks.setdefault((execution.schedule_id, execution.tick), execution.id)
        if first != execution.id:
            raise Violation(f"tick {execution.tick} fired twice: {first}, {execution.id}")
        if execution.tick > execution.created_at:
            raise Violation(f"execution {execution.id} was made before its tick {execution.tick}")

    def _count(self, events: Sequence[Event]) -> None:
        for event in events:
            self.revisions_served += event.kind == "revision.ready"
            self.steps_done += event.kind == "step.succeeded"
