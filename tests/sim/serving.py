"""Serving: services, pipelines and schedules in the worlds that have them, and all who wish for and judge them."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from controlplane.domain.events import Event
from controlplane.domain.ids import ServiceId
from controlplane.operations.context import Context
from controlplane.store import Tx
from tests.sim.archives import zip_of
from tests.sim.deployers import Deployers
from tests.sim.planners import SERVICE, Planners
from tests.sim.served import Served
from tests.sim.visitors import Visitors

if TYPE_CHECKING:
    from tests.sim.world import World

SHARE: Final = 0.2
"""Of all worlds."""

ACTORS: Final = {
    "service": 9.0,
    "execution": 9.0,
    "schedule": 1.5,
    "deployer": 5.0,
    "planner": 3.0,
    "visitor": 6.0,
    "nobody": 8.0,
}
"""One of them acts after each step of the world."""

CALM_ACTORS: Final = ("service", "execution", "schedule", "visitor")
FAREWELLS: Final = (5.0, 30.0, 90.0)
"""Seconds of calm until users delete their services, resume what they paused and end what goes by the clock."""

AGAIN_SECONDS: Final = 600.0
"""After which they look for services that their last pipelines have made since."""


class Serving:
    def __init__(self, world: "World", context: Context) -> None:
        self._world = world
        self._context = context
        self.is_on = world.chance.is_so("serves", SHARE)
        self.deployers = Deployers(world)
        self.planners = Planners(world)
        self.visitors = Visitors(world)
        self.served = Served(world, context, self.planners)

    @property
    def calm_actors(self) -> tuple[str, ...]:
        return CALM_ACTORS if self.is_on else ()

    def plant(self, context: Context) -> None:
        """At the beginning, before anybody works."""
        if self.is_on:
            archive = zip_of("serve")
            self.deployers.plant(context, archive, hashlib.sha256(archive).hexdigest())
            self.planners.plant(context)

    def some_actor(self) -> str:
        return self._world.chance.weighted("serving actor", ACTORS) if self.is_on else "nobody"

    def act(self, actor: str) -> bool:
        """Whether it was one of those who are no loop."""
        match actor:
            case "deployer":
                self.deployers.wish()
            case "planner":
                self.planners.wish()
            case "visitor":
                self.visitors.come()
            case _:
                return False
        return True

    def calm_down(self) -> None:
        if self.is_on:
            self.visitors.calm_down()
            self._world.timeline.after(self._world.chance.pick("farewell", FAREWELLS), self._part)

    def look(self, tx: Tx, events: Sequence[Event]) -> None:
        if not self.is_on:
            return
        self.served.look(tx, events)
        for event in events:
            if event.kind == "service.created" and event.data["service"] == SERVICE:
                self.deployers.adopt(ServiceId(event.subject), SERVICE, self.planners.service_queue)

    def look_at_all(self, tx: Tx) -> None:
        if self.is_on:
            self.served.look_at_all(tx)

    def look_at_the_end(self, tx: Tx) -> None:
        if self.is_on:
            self.served.look_at_the_end(tx)

    def _part(self) -> None:
        with self._context.store.read() as tx:
            services = tx.services.list(None, "", 100)
            going_on = [each for each in tx.executions.newest(None, None, 100) if not each.is_over]
        for service in services:
            self.deployers.delete(service.id)
        for execution in going_on:
            if execution.paused_at is not None:
                self.planners.resume(execution.id)
        self.planners.unschedule()
        if going_on:
            self._world.timeline.after(AGAIN_SECONDS, self._part)
