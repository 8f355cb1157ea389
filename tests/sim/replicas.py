"""Replicas: what runs in each process of the control plane, driven by hand. Each may die at any door and come back."""

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

from cloud_adapters.base import Lends
from controlplane.domain.errors import PluginError, StaleWrite, Unavailable
from controlplane.domain.ids import TokenId
from controlplane.identity.principals import Principal, Role
from controlplane.operations.context import Context, OpensStores
from controlplane.runtime.process import Loops
from controlplane.secrets.sealer import Sealer
from controlplane.storage.base import Blobs, ObjectStore
from controlplane.store import Store
from tests.inline_pool import InlinePool
from tests.sim.builder import SimBuilder
from tests.sim.cloud import SimSeller
from tests.sim.database import URL, Gate
from tests.sim.ports import SimArtifacts, SimExecutor, SimLender, SimObjects, Way
from tests.sim.settings import SETTINGS

if TYPE_CHECKING:
    from tests.sim.world import World

ROOT: Final = Principal(token_id=TokenId("token_root"), name="root", role=Role.ADMIN, project_id=None)


class CountingIds:
    """Ids in the order of their birth."""

    def __init__(self) -> None:
        self._count = 0

    def new(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}_{self._count:05d}"


def context_of(world: "World", gate: Gate, objects: Blobs, artifacts: OpensStores | None = None) -> Context:
    return Context(
        store=Store(URL, world.database.doors(lambda: world.timeline.now_us, gate)),
        objects=objects,
        ids=world.ids,
        sealer=Sealer(b"k" * 32),
        settings=SETTINGS,
        adapters=frozenset({"ray", "cloud", "kube"}),
        object_stores=artifacts,
    )


def opens_artifacts(world: "World", way: Way) -> OpensStores:
    # What a step's outputs are read with is all of a store that anybody here uses.
    return lambda kind, place, folder: cast("ObjectStore", SimArtifacts(world, way))


class ApiReplica:
    """Keeps nothing between two requests, so it dies with one request at most."""

    def __init__(self, world: "World", name: str) -> None:
        self.name = name
        self.way = way = Way(world, name)
        self.context = context_of(world, way, SimObjects(world, way))


class LoopsReplica:
    def __init__(self, world: "World", name: str) -> None:
        self.name = name
        self.is_up = False
        self._world = world

    def boot(self) -> None:
        """A new process: nothing is remembered but its name, and the claims of its dead predecessor are freed."""
        self._way = way = Way(self._world, self.name)
        context = context_of(
            self._world, way, SimObjects(self._world, way), opens_artifacts(self._world, way)
        )
        context.store.write(lambda tx: tx.work.free(self.name))
        adapters: dict[str, Lends] = {
            "ray": SimLender(self._world, way),
            "cloud": SimSeller(self._world, way),
        }
        if self._world.ground is not None:
            adapters["kube"] = SimBuilder(self._world, way, self._world.ground)
        self._loops = Loops(
            context,
            adapters=adapters,
            executor=SimExecutor(self._world, way),
            policy=self._world.admins.choice.policy,
            holder=self.name,
        )
        self._loops.retention._pause = lambda _: None
        self._loops.scheduling._policy_seconds = math.inf  # the clock on the wall decides nothing here
        self.is_up = True

    def turn(self, what: str) -> None:
        """One round of one loop. Raises `Crash`."""
        self._way.is_planning, self._way.is_judging = what == "scheduling", what == "attempt"
        match what:
            case "scheduling":
                self._loops.scheduling.turn()
            case "retention":
                with suppress(PluginError, StaleWrite, Unavailable):
                    self._loops.retention.round()
            case "sweep":
                with suppress(Unavailable):
                    self._loops.sweep.round()
            case noun:
                self._loops.reconciling[noun].drain(InlinePool())
