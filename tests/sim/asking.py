"""Asking: how anybody in the world gets a wish through, over api replicas that die and databases that go away."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from controlplane.domain.errors import PluginError, Unavailable, UserError
from controlplane.operations.idempotency import Once
from tests.sim.database import Crash
from tests.sim.replicas import ROOT, ApiReplica

if TYPE_CHECKING:
    from tests.sim.world import World

Request = Callable[[ApiReplica], None]
PATIENCE: Final = (0.5, 10.0)
"""Seconds before the same is asked again."""


def ask(world: "World", who: str, what: str, request: Request) -> None:
    """Asks again, later and perhaps elsewhere, until somebody answers."""
    api = world.some_api(who)
    try:
        request(api)
    except (Unavailable, PluginError, Crash):
        world.tell(f"{who}: {what}: no answer")
        seconds = world.chance.between(f"{who} patience", *PATIENCE)
        world.timeline.after(seconds, lambda: ask(world, who, what, request))
    except UserError as refused:
        world.tell(f"{who}: {what}: {refused.code}")
    else:
        world.tell(f"{who}: {what}")


# `Any`: the operation's own result.
def once(key: str, render: Callable[[Any], str]) -> Once[Any]:
    return Once(token_id=ROOT.token_id, key=key, request_hash=key.encode(), code=201, render=render)
