"""A control plane with a store of files and the loops of pipelines alone: tests end the jobs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from controlplane.domain.ids import JobId
from controlplane.domain.jobs import Job, JobState
from controlplane.identity.principals import Principal, Role
from controlplane.operations import executions, object_stores, tokens
from controlplane.operations.executions import ExecutionReport
from controlplane.runtime.bell import Bell
from controlplane.runtime.pipelines import PipelineStep
from controlplane.runtime.reconcile import Noun, ReconcileLoop
from controlplane.runtime.schedules import ScheduleStep
from controlplane.storage.file import FileStore
from controlplane.store import Store, Tx
from controlplane.wire.data import StoreCreate
from controlplane.wire.jobspec import JobSpec
from controlplane.wire.pipelines import PipelineSpec
from tests.inline_pool import InlinePool
from tests.unit.operations.world import World, world

Fields = Any
"""Of a request, by name."""


def job_step(name: str, **fields: Fields) -> dict[str, Fields]:
    return {"name": name, "job": {"entrypoint": f"make {name}"}, **fields}


def makes(path: str = "made", kind: str = "file") -> dict[str, dict[str, str]]:
    """One output named `made`."""
    return {"made": {"kind": kind, "path": path}}


def chain(**second: Fields) -> dict[str, Fields]:
    """`first` makes what `second` reads."""
    reads = {"inputs": {"raw": "steps.first.outputs.made"}, "outputs": makes()}
    return {
        "name": "chain",
        "steps": [job_step("first", outputs=makes()), job_step("second", **reads, **second)],
    }


@dataclass(slots=True, kw_only=True)
class PipelineWorld:
    plane: World
    folder: Path
    user: Principal
    replicas: int = 0
    steps: PipelineStep = field(init=False)
    loops: tuple[ReconcileLoop[Any], ...] = ()  # each of its own turns

    @property
    def store(self) -> Store:
        return self.plane.store

    def restart(self) -> None:
        """Another replica takes over, with nothing in memory."""
        self.replicas += 1
        self.steps = PipelineStep(self.plane.context)
        bell, holder = Bell(self.store.change_marker), f"replica-{self.replicas}"
        self.loops = (
            ReconcileLoop(
                Noun(name="execution", step=self.steps, threads=1), store=self.store, bell=bell, holder=holder
            ),
            ReconcileLoop(
                Noun(name="schedule", step=ScheduleStep(self.plane.context), threads=1),
                store=self.store,
                bell=bell,
                holder=holder,
            ),
        )

    def settle(self) -> None:
        for _ in range(3):
            for loop in self.loops:
                loop.drain(InlinePool())

    def pass_seconds(self, seconds: float) -> None:
        self.plane.clock.pass_seconds(seconds)
        self.settle()

    def submit(self, pipeline: Mapping[str, Fields]) -> str:
        text = PipelineSpec.model_validate(dict(pipeline)).model_dump_json(exclude_unset=True)
        execution = executions.submit(self.plane.context, self.user, text).execution
        self.settle()
        return execution.id

    def report(self, execution_id: str) -> ExecutionReport:
        return executions.get(self.plane.context, self.user, execution_id)

    def states(self, execution_id: str) -> dict[str, str]:
        return {step.name: str(step.state) for step in self.report(execution_id).steps}

    def job(self, execution_id: str, step: str) -> Job:
        return self.plane.job(self.job_id(execution_id, step))

    def job_id(self, execution_id: str, step: str) -> JobId:
        found = next(each for each in self.report(execution_id).steps if each.name == step)
        assert found.job_id is not None
        return found.job_id

    def spec(self, execution_id: str, step: str) -> JobSpec:
        with self.store.read() as tx:
            return JobSpec.model_validate_json(tx.jobs.spec(self.job_id(execution_id, step))[0])

    def write(self, execution_id: str, step: str, key: str, content: str) -> None:
        """As the step's job would."""
        uri = self.spec(execution_id, step).outputs_uri
        assert uri is not None
        path = Path(uri.removeprefix("file://")) / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def end(
        self,
        execution_id: str,
        step: str,
        state: JobState = JobState.SUCCEEDED,
        *,
        made: str | Mapping[str, str] = "",
    ) -> None:
        """The step's job ends, and leaves objects with these names, or one that is called `made`."""
        objects = made if isinstance(made, Mapping) else {"made": made} if made else {}
        for key, content in objects.items():
            self.write(execution_id, step, key, content)

        def unit(tx: Tx) -> None:
            job = tx.jobs.get(self.job_id(execution_id, step))
            assert job is not None
            active = job.move(JobState.ACTIVE, at=tx.now)
            tx.jobs.save(active)
            tx.jobs.save(active.move(state, at=tx.now, reason=f"it {state}"))
            tx.work.poke_many("execution", tx.steps.waiting_for([job.id]))

        self.store.write(unit)
        self.settle()


@contextmanager
def pipeline_world(folder: Path, url: str, **settings: Fields) -> Iterator[PipelineWorld]:
    home = folder / "home"
    home.mkdir()
    with world(home, url, **settings) as plane:
        shared = (folder / "shared").resolve()
        plane.context = replace(plane.context, object_stores=lambda _kind, _place, at: FileStore(at))
        object_stores.add(plane.context, plane.root, StoreCreate(name="artifacts", uri=f"file://{shared}"))
        made = tokens.create(plane.context, plane.root, name="anna", role=Role.SUBMITTER, project="default")
        user = replace(plane.principal(Role.SUBMITTER, "default"), token_id=made.view.row.id, name="anna")
        found = PipelineWorld(plane=plane, folder=shared, user=user)
        found.restart()
        yield found
