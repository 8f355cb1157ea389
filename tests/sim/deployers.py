"""Deployers: users who have services. They deploy, revise, scale, take back and delete them at any moment."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from controlplane.domain.ids import ServiceId
from controlplane.operations import deployments, services
from controlplane.operations.context import Context
from controlplane.operations.idempotency import Replay
from controlplane.operations.uploads import accept
from controlplane.wire.servicespec import ServiceSpec
from tests.sim.asking import ask, once
from tests.sim.chance import Chance
from tests.sim.replicas import ROOT, ApiReplica
from tests.sim.usercode import BROKEN

if TYPE_CHECKING:
    from tests.sim.world import World

Fields = dict[str, Any]  # of a ServiceSpec

WISHES: Final = {
    "deploy": 3.0,
    "revise": 4.0,
    "scale": 2.0,
    "roll back": 1.5,
    "promote": 1.0,
    "call off": 1.0,
    "delete": 0.8,
}
WORDS: Final[dict[str, Callable[..., services.ServiceView]]] = {
    "roll back": lambda context, who, id_, *, once: deployments.roll_back(context, who, id_, None, once=once),
    "promote": services.promote,
    "call off": services.call_off,
}
MOST_SERVICES: Final = 2
MOST_REPLICAS: Final = 3
GANGS: Final = 0.25
"""Of revisions."""


class Deployers:
    def __init__(self, world: "World") -> None:
        self._world = world
        self._chance = world.chance
        self._made: dict[ServiceId, Fields] = {}
        """Those that were answered, and what their revisions have in common."""

        self._deployed = 0
        self._code = ""

    def plant(self, context: Context, archive: bytes, sha256: str) -> None:
        """The code that all of them serve."""
        self._code = accept(context, ROOT, io.BytesIO(archive), sha256=sha256, size_bytes=len(archive)).digest

    def wish(self) -> None:
        kind = self._chance.weighted("deployer's wish", WISHES)
        if kind == "deploy" or not self._made:
            if len(self._made) < MOST_SERVICES:
                self._deploy()
            return
        service_id = self._chance.pick("which service", list(self._made))
        match kind:
            case "revise":
                self._revise(service_id)
            case "scale":
                self._scale(service_id)
            case "delete":
                del self._made[service_id]
                self.delete(service_id)
            case _:
                self._simply(kind, service_id, WORDS[kind])

    def adopt(self, service_id: ServiceId, name: str, queue: str) -> None:
        """They speak about one that they did not make, too."""
        self._made[service_id] = self._fields(name, queue)

    def delete(self, service_id: ServiceId) -> None:
        self._simply("delete", service_id, services.delete)

    def _deploy(self) -> None:
        self._deployed += 1
        name = f"service-{self._deployed}"
        queues = self._world.admins.choice.queues
        fields = self._fields(name, self._chance.pick("service's queue", queues or ("default",)))
        spec = self._spec(fields)
        text = spec.model_dump_json(exclude_unset=True)
        key = once(name, lambda view: view.service.id)

        def request(api: ApiReplica) -> None:
            try:
                service_id = deployments.deploy(api.context, ROOT, spec, text, once=key).service.id
            except Replay as replay:
                service_id = ServiceId(replay.remembered.body)
            self._made[service_id] = fields

        ask(self._world, "deployer", f"deploy {name}", request)

    def _revise(self, service_id: ServiceId) -> None:
        spec = self._spec(self._made[service_id])
        text = spec.model_dump_json(exclude_unset=True)
        self._ask(
            "revise",
            service_id,
            lambda api, key: deployments.revise(api.context, ROOT, service_id, spec, text, once=key),
        )

    def _fields(self, name: str, queue: str) -> Fields:
        return {
            "name": name,
            "queue": queue,
            "import_path": "main:Model",
            "working_dir": self._code,
            "grace_seconds": self._chance.pick("service's grace", (1.0, 5.0)),
        }

    def _spec(self, fields: Fields) -> ServiceSpec:
        return ServiceSpec.model_validate(fields | release(self._chance))

    def _scale(self, service_id: ServiceId) -> None:
        least = self._chance.whole("new min", 0, 2)
        most = self._chance.whole("new max", max(1, least), MOST_REPLICAS)
        self._ask(
            "scale",
            service_id,
            lambda api, key: services.scale(api.context, ROOT, service_id, least, most, once=key),
        )

    def _simply(self, kind: str, service_id: ServiceId, operation: Callable[..., object]) -> None:
        self._ask(kind, service_id, lambda api, key: operation(api.context, ROOT, service_id, once=key))

    def _ask(self, kind: str, service_id: ServiceId, deed: Callable[[ApiReplica, Any], object]) -> None:
        key = once(f"{kind} {service_id} {self._world.steps}", lambda view: view.service.id)

        def request(api: ApiReplica) -> None:
            try:
                deed(api, key)
            except Replay:
                return  # it was done, and the answer was lost

        ask(self._world, "deployer", f"{kind} {service_id}", request)


def release(chance: Chance) -> Fields:
    """What may be another in each revision. Some replicas are gangs."""
    least = chance.whole("min replicas", 0, 2)
    return {
        "priority": chance.whole("service's priority", 0, 3),
        "resources": {"cpus": chance.pick("service's cpus", (0.5, 1.0))},
        "tasks": 2 if chance.is_so("is a gang", GANGS) else 1,
        "environment": {BROKEN: "1"} if chance.is_so("is broken", 0.15) else {},
        "replicas": {
            "min": least,
            "max": chance.whole("max replicas", max(1, least), MOST_REPLICAS),
            "target_in_flight": chance.pick("target", (1.0, 2.0)),
            "stable_seconds": 10.0,
            "idle_seconds": 30.0,
        },
        "release": {
            "strategy": chance.pick("strategy", ("rolling", "canary")),
            "bake_seconds": chance.pick("bakes", (2.0, 15.0)),
            "min_requests": 5,
        },
        "ready_seconds": 60.0,
    }
