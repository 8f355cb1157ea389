"""Planners: users who have pipelines executed, now and by the clock; they pause, resume, cancel and retry them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from controlplane.domain.ids import ExecutionId, TokenId
from controlplane.identity.principals import Principal, Role
from controlplane.operations import executions, object_stores, schedules, tokens
from controlplane.operations.context import Context
from controlplane.operations.idempotency import Replay
from controlplane.operations.schedules import ScheduleName
from controlplane.wire.data import StoreCreate
from controlplane.wire.pipelines import PipelineSpec, ScheduleCreate
from tests.sim.asking import ask, once
from tests.sim.deployers import release
from tests.sim.replicas import ROOT, ApiReplica

if TYPE_CHECKING:
    from tests.sim.world import World

Fields = dict[str, Any]  # of a PipelineSpec

WISHES: Final = {"submit": 4.0, "pause": 2.0, "resume": 2.0, "cancel": 1.0, "retry": 1.5, "schedule": 1.0}
SCHEDULE: Final = ScheduleName(project="default", name="often")
SERVICE: Final = "released"
"""Of all pipelines that end with one."""

RELEASES: Final = 0.4
"""Of pipelines."""

MOST_EXECUTIONS: Final = 6
MADE: Final = {"made": {"path": "made"}}
VERBS: Final[dict[str, Callable[..., executions.ExecutionReport]]] = {
    "pause": executions.pause,
    "resume": executions.resume,
    "cancel": executions.cancel,
    "retry": executions.retry,
}
SCHEDULE_VERBS: Final[dict[str, Callable[..., schedules.ScheduleReport]]] = {
    "pause": schedules.pause,
    "resume": schedules.resume,
    "remove": schedules.remove,
}


class Planners:
    def __init__(self, world: "World") -> None:
        self._world = world
        self._chance = world.chance
        self._known: list[ExecutionId] = []
        self._scheduled = 0
        self._who = ROOT
        self._service_queue: str | None = None

    def plant(self, context: Context) -> None:
        """A store for what steps make, and a token: executions go on with the rights of one that is known."""
        object_stores.add(context, ROOT, StoreCreate(name="artifacts", uri="s3://artifacts/"))
        made = tokens.create(context, ROOT, name="planner", role=Role.SUBMITTER, project="default").view.row
        self._who = Principal(
            token_id=TokenId(made.id), name=made.name, role=Role.SUBMITTER, project_id=made.project_id
        )

    def wish(self) -> None:
        kind = self._chance.weighted("planner's wish", WISHES)
        match kind:
            case "submit" if len(self._known) < MOST_EXECUTIONS:
                self._submit()
            case "schedule":
                self._schedule()
            case "submit":
                return
            case _ if self._known:
                self._about(kind, self._chance.pick("which execution", self._known))
            case _:
                return

    def resume(self, execution_id: ExecutionId) -> None:
        self._about("resume", execution_id)

    def unschedule(self) -> None:
        def request(api: ApiReplica) -> None:
            schedules.remove(api.context, self._who, SCHEDULE)

        ask(self._world, "planner", "unschedule", request)

    @property
    def name(self) -> str:
        """As what is made for them calls its maker."""
        return self._who.name

    @property
    def service_queue(self) -> str:
        """Where their service was first asked for, and has to stay."""
        if self._service_queue is None:
            self._service_queue = self._queue()
        return self._service_queue

    def _submit(self) -> None:
        spec = PipelineSpec.model_validate(self._pipeline())
        text = spec.model_dump_json(exclude_unset=True)
        self._remembered(
            f"submit {len(self._known)} {self._world.steps}",
            lambda api, key: executions.submit(api.context, self._who, text, once=key),
        )

    def _about(self, verb: str, execution_id: ExecutionId) -> None:
        self._remembered(
            f"{verb} {execution_id} {self._world.steps}",
            lambda api, key: VERBS[verb](api.context, self._who, execution_id, once=key),
        )

    def _remembered(self, what: str, deed: Callable[[ApiReplica, Any], executions.ExecutionReport]) -> None:
        key = once(what, lambda report: report.execution.id)

        def request(api: ApiReplica) -> None:
            try:
                execution_id = deed(api, key).execution.id
            except Replay as replay:
                execution_id = ExecutionId(replay.remembered.body)
            if execution_id not in self._known:
                self._known.append(execution_id)

        ask(self._world, "planner", what, request)

    def _schedule(self) -> None:
        """One at most; whoever finds it there speaks about it."""
        kind = self._chance.pick("about the schedule", ("create", "create", *SCHEDULE_VERBS))
        wanted = ScheduleCreate.model_validate(
            {
                "name": SCHEDULE.name,
                "cron": "*/2 * * * *",
                "overlap": self._chance.pick("overlap", ("skip", "queue")),
                "pipeline": self._pipeline(),
            }
        )

        def request(api: ApiReplica) -> None:
            if kind == "create":
                schedules.create(api.context, self._who, wanted)
            else:
                SCHEDULE_VERBS[kind](api.context, self._who, SCHEDULE)

        ask(self._world, "planner", f"{kind} schedule", request)

    def _pipeline(self) -> Fields:
        """A chain whose second step may be tried again, with one beside it that reads nothing, and perhaps a last.

        In some the model that was made is published at its end, and served.
        """
        chance = self._chance
        first = self._step(
            "make", outputs=MADE, retries=1, backoff_seconds=chance.pick("again after", (0.5, 8.0))
        )
        second = self._step("use", inputs={"raw": "steps.make.outputs.made"}, outputs=MADE, retries=1)
        second["backoff_seconds"] = 1.0
        steps = [first, second]
        if chance.is_so("third step", 0.5):
            steps.append(self._step("beside"))
        if chance.is_so("last step", 0.5):
            last = self._step("last", inputs={"used": "steps.use.outputs.made"})
            steps.append(last | {"after": [steps[-1]["name"]]})
        if chance.is_so("releases", RELEASES):
            steps += self._release()
        return {"name": "pipeline", "steps": steps}

    def _step(self, name: str, **fields: Any) -> Fields:  # noqa: ANN401 - fields of a step
        retry = {"max_attempts": 2, "backoff_seconds": 0.5}
        job = {
            "entrypoint": f"make {name}",
            "resources": {"cpus": 0.5},
            "retry": retry,
            "queue": self._queue(),
        }
        return {"name": name, "job": job, **fields}

    def _release(self) -> list[Fields]:
        publish: Fields = {"model": "model", "artifacts": {"made": "steps.use.outputs.made"}}
        if self._chance.is_so("for production", 0.3):
            publish["stage"] = "production"
        service = {"name": SERVICE, "queue": self.service_queue, "grace_seconds": 1.0} | release(self._chance)
        deploy = {"version": "steps.publish.outputs.version", "service": service}
        return [{"name": "publish", "publish": publish}, {"name": "deploy", "deploy": deploy}]

    def _queue(self) -> str:
        return self._chance.pick("step's queue", self._world.admins.choice.queues or ("default",))
