"""User code: what a replica and a pipeline's step do, beside running and ending."""

import io
from typing import TYPE_CHECKING, Final

from controlplane.executors.base import Order
from controlplane.operations.deployments import REVISION
from controlplane.storage.uris import parse
from tests.sim.truth import Violation

if TYPE_CHECKING:
    from tests.sim.site import Site
    from tests.sim.wrappers import Keeper

BROKEN: Final = "BROKEN"
"""The variable of a revision whose replicas end before they answer."""

STAMP: Final = "2026-01-01T00:00:00+00:00"
CRASHES: Final = 0.12
"""Of replicas, some time after they began to answer."""

NOWHERE: Final = "192.0.2.9"
"""Of a member of a built Ray cluster: only it knows its address."""

FIRST_PORT: Final = 20_000
WAITS_FOR_OTHERS: Final = 2.0
"""Seconds until the first rank looks again whether all others are there."""

EARLY: Final = 0.5
"""Of gangs, whenever the first rank misses another: it says where it listens, and that it is not ready."""

FORGETS: Final = 0.08
"""Of steps, those that end well and leave nothing."""


def is_replica(order: Order) -> bool:
    return REVISION in order.environment


def serve(keeper: "Keeper") -> None:
    """The first rank says where it listens as soon as all can answer. It ends when it is stopped, or breaks."""
    chance, order = keeper.wrapper.site.chance, keeper.wrapper.order
    if BROKEN in order.environment:
        keeper.later(chance.between("breaks after", 0.5, 8.0), lambda: keeper.finish(1, "failed"))
        return
    if keeper.seat.rank == 0:
        keeper.later(chance.between("loads for", 0.5, 15.0), lambda: _announce(keeper))
    if chance.is_so("replica breaks", CRASHES):
        keeper.later(chance.between("breaks later", 10.0, 120.0), lambda: keeper.finish(1, "failed"))


def check_inputs(order: Order, site: "Site") -> None:
    """All that a step reads was made before it starts."""
    for name, value in order.environment.items():
        if name.startswith("INPUT_") and parse(value).key not in site.artifacts.objects:
            raise Violation(f"job {order.job_id} was started before its input {value}")
    if order.outputs_uri is not None:
        site.truth.writes(order.outputs_uri, order.job_id)


def leave_outputs(order: Order, site: "Site") -> None:
    if order.outputs_uri is None or site.chance.is_so("leaves nothing", FORGETS):
        return
    content = site.chance.pick("content", (b"one", b"other"))
    site.artifacts.put(f"{parse(order.outputs_uri).key}/made", io.BytesIO(content))


def drain(keeper: "Keeper") -> None:
    """It is told to stop: the first rank of a replica says that it takes nothing new."""
    if keeper.wrapper.order.attempt_id in keeper.wrapper.site.truth.announced and keeper.seat.rank == 0:
        _say_unready(keeper)


def _announce(keeper: "Keeper") -> None:
    if not keeper.is_alive or keeper.has_ended or keeper.is_stopping:
        return
    order, truth = keeper.wrapper.order, keeper.wrapper.site.truth
    truth.gangs[order.attempt_id] = len(order.seats)
    if not truth.answers(order.attempt_id):
        if order.attempt_id not in truth.announced and keeper.wrapper.site.chance.is_so(
            "listens early", EARLY
        ):
            _say_unready(keeper)
        keeper.later(WAITS_FOR_OTHERS, lambda: _announce(keeper))
        return
    truth.unready.discard(order.attempt_id)
    keeper.say(_endpoint(keeper, is_ready=True))


def _say_unready(keeper: "Keeper") -> None:
    """Once: whether anybody heard it or not, what is said next counts."""
    record = _endpoint(keeper, is_ready=False)
    if keeper.was_heard(record):
        keeper.wrapper.site.truth.unready.add(keeper.wrapper.order.attempt_id)


def _endpoint(keeper: "Keeper", *, is_ready: bool) -> dict[str, object]:
    order, announced = keeper.wrapper.order, keeper.wrapper.site.truth.announced
    host = order.environment.get("CROSSDOCK_REPLICA_HOST", NOWHERE)
    url = announced.setdefault(order.attempt_id, f"https://{host}:{FIRST_PORT + len(announced)}")
    keeper.seq += 1
    return {"seq": keeper.seq, "kind": "endpoint", "at": STAMP, "url": url, "ready": is_ready}
