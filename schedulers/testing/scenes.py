"""Scenes: the part of a case that says what there is, read into a simulation. See tests/scheduling/README.md."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from controlplane.domain.amounts import MILLI, Amounts, custom_amounts
from controlplane.domain.claims import CapacityType
from controlplane.domain.ids import AskId, ClaimId, ClassId, ClusterId, NodeId, QueueId
from controlplane.domain.queues import Appetite, Cell, PreemptionRules, Queue, Quota, Reclaim, WithinQueue
from schedulers.base import (
    AskClass,
    AskQueued,
    Bound,
    Budget,
    ClaimView,
    ClusterView,
    Data,
    HeldSeat,
    Memory,
    NodeView,
    Offer,
    PastUse,
    Role,
    RunningAsk,
    Slice,
    Tier,
    Topology,
    TopologyMode,
    microseconds,
)
from schedulers.decay import WHOLE_USE
from schedulers.simulator import START, Simulation

Json = Mapping[str, Any]  # Any: what `json` makes of a file

SECOND: Final = 1_000_000
GIB: Final = 1024**3
EPOCH: Final = 300 * SECOND
"""At multiples of this a policy takes stock of past use."""

ANYWHERE: Final = Amounts(cpu_milli=10**9, memory_bytes=2**50, gpu_milli=10**9)
"""Of the node that a scene gets when it has none, so that nothing but quotas limits."""


def simulation_of(scene: Json) -> Simulation:
    made = Simulation(now=START + timedelta(seconds=scene.get("now", 1000)))
    made.min_runtime_seconds = scene.get("min_runtime", 0)
    flavors = scene.get("flavors", ["default"])
    nodes = tuple(_nodes(scene, flavors))
    made.furnish(nodes, tuple(_clusters(scene, nodes)))
    made.plant([queue_of(each, flavors) for each in scene.get("queues", ())])
    made.sell(
        [_offer(each) for each in scene.get("offers", ())],
        [_budget(each) for each in scene.get("budgets", ())],
        [_claim(each) for each in scene.get("claims", ())],
    )
    made.memory = Memory(past_uses=tuple(_past_uses(scene.get("past_uses", {}), made.now)))
    for each in scene.get("running", ()):
        for row in _each(each, "ask"):
            made.seat(_running(row, flavors), class_of(row))
    for each in scene.get("pending", ()):
        submit(made, each)
    return made


def _past_uses(parts: Mapping[str, float], now: datetime) -> Iterator[PastUse]:
    epoch = microseconds(now) - microseconds(now) % EPOCH
    for name, part in parts.items():
        yield PastUse(queue_id=name, epoch=epoch, used=round(part * WHOLE_USE))


def replace_nodes(simulation: Simulation, rows: Sequence[Json]) -> None:
    """As they are from now on; the others stay."""
    changed = [_node(row, amounts_of(row)) for row in rows]
    if changed:
        nodes = simulation.nodes | {node.id: node for node in changed}
        simulation.furnish(tuple(nodes.values()), simulation.clusters)


def submit(simulation: Simulation, row: Json) -> None:
    for each in _each(row, "ask"):
        simulation.submit(
            AskQueued(
                id=AskId(each["ask"]),
                ask_class=class_of(each),
                priority=each.get("priority", 0),
                submitted=moment(each.get("submitted_at", 0)),
                not_before=moment(each["not_before"]) if "not_before" in each else 0,
            )
        )


def moment(seconds: float) -> int:
    """Of the case's clock, as columns have it."""
    return microseconds(START) + round(seconds * SECOND)


def amounts_of(row: Json) -> Amounts:
    return Amounts(
        cpu_milli=round(row.get("cpu", 0) * MILLI),
        gpu_milli=round(row.get("gpu", 0) * MILLI),
        memory_bytes=round(row.get("memory_gib", 0) * GIB),
        custom_milli=custom_amounts(
            (name, round(value * MILLI)) for name, value in row.get("custom", {}).items()
        ),
    )


def queue_of(row: Json, flavors: Sequence[str]) -> Queue:
    rules = PreemptionRules(
        within_queue=WithinQueue(row.get("within_queue", "lower_priority")),
        reclaim=Reclaim(row.get("reclaim", "any")),
        fair_share=row.get("fair_share", True),
        borrow_below=row.get("borrow_below"),
    )
    return Queue(
        id=QueueId(row["name"]),
        name=row["name"],
        parent_id=QueueId(row["parent"]) if "parent" in row else None,
        weight_milli=round(row.get("weight", 1) * MILLI),
        quotas=tuple(_quota(cell, limits) for cell, limits in row.get("quota", {}).items()),
        flavors=tuple(row.get("flavors", flavors)),
        when_can_borrow=Appetite(row.get("when_can_borrow", "take")),
        when_can_preempt=Appetite(row.get("when_can_preempt", "try_next")),
        preemption=rules,
        burst_after_seconds=row.get("burst_after_seconds"),
        aging_seconds=row.get("aging_seconds"),
        band=row.get("band", 0),
        stopped=row.get("stopped", False),
    )


def class_of(row: Json) -> AskClass:
    tasks = row.get("tasks", 1)
    topology = row.get("topology")
    return AskClass(
        id=ClassId(row.get("class", f"class of {row['ask']}")),
        queue_id=row["queue"],
        tasks=tasks,
        tasks_min=row.get("min", tasks),
        amounts=amounts_of(row),
        accelerator=row.get("accelerator"),
        roles=tuple(_role(each) for each in row.get("roles", ())) or _flavored(row, tasks),
        topology=None if topology is None else _topology(topology),
        tolerations=tuple(sorted(row.get("tolerations", {}).items())),
        band=row.get("band", 0),
        tier=Tier(row.get("tier", "normal")),
        trust_domain=row.get("trust_domain", "shared"),
        providers=tuple(row.get("providers", ())),
        regions=tuple(row.get("regions", ())),
        clusters=tuple(map(ClusterId, row.get("clusters", ()))),
        bounds=tuple(_bound(each) for each in row.get("bounds", ())),
        data=tuple(Data(region=each["region"], gib=each["gib"]) for each in row.get("data", ())),
        runtime_seconds=row.get("runtime"),
        deadline=moment(row["deadline"]) if "deadline" in row else None,
        restart_seconds=row.get("restart_seconds", 60),
    )


def _bound(row: Json) -> Bound:
    parts = {noun: tuple(row.get(noun, ())) for noun in ("providers", "regions", "clusters")}
    return Bound(owner=row["owner"], **parts)


def _flavored(row: Json, tasks: int) -> tuple[Role, ...]:
    """An ask without roles may name flavors; the port knows them on roles only."""
    return (_role({"name": "", **row, "tasks": tasks}),) if "flavors" in row else ()


def _role(row: Json) -> Role:
    tasks = row.get("tasks", 1)
    return Role(
        name=row["name"],
        tasks=tasks,
        tasks_min=row.get("min", tasks),
        amounts=amounts_of(row),
        accelerator=row.get("accelerator"),
        flavors=tuple(row.get("flavors", ())),
    )


def _topology(row: Json) -> Topology:
    return Topology(
        level=row["level"],
        mode=TopologyMode(row.get("mode", "required")),
        slices=tuple(Slice(level=level, tasks=tasks) for level, tasks in row.get("slices", ())),
        balanced=row.get("balanced", False),
    )


def _quota(cell: str, limits: Sequence[float | None]) -> Quota:
    flavor, _, resource = cell.rpartition("/")
    scale = GIB if resource == "memory" else MILLI
    nominal, borrowing, lending = [*limits, None, None][:3]
    return Quota(
        cell=Cell(flavor or "default", resource),
        nominal=round((nominal or 0) * scale),
        borrowing=None if borrowing is None else round(borrowing * scale),
        lending=None if lending is None else round(lending * scale),
    )


def _nodes(scene: Json, flavors: Sequence[str]) -> Iterator[NodeView]:
    if "nodes" not in scene:
        yield from (_node({"name": f"any {flavor}", "flavor": flavor}, ANYWHERE) for flavor in flavors)
    for each in scene.get("nodes", ()):
        yield from (_node(row, amounts_of(row)) for row in _each(each, "name"))


def _node(row: Json, amounts: Amounts) -> NodeView:
    return NodeView(
        id=NodeId(row["name"]),
        cluster_id=ClusterId(row.get("cluster", "c")),
        allocatable=amounts,
        free=amounts.minus(amounts_of(row.get("foreign", {}))),
        accelerator=row.get("accelerator"),
        flavor=row.get("flavor", "default"),
        domains=tuple(row.get("domains", {}).items()),
        taints=tuple(sorted(row.get("taints", {}).items())),
        healthy=row.get("healthy", True),
        closes_at=moment(row["closes_at"]) if "closes_at" in row else None,
        claim_id=ClaimId(row["claim"]) if "claim" in row else None,
    )


def _clusters(scene: Json, nodes: Sequence[NodeView]) -> Iterator[ClusterView]:
    names = sorted({str(node.cluster_id) for node in nodes})
    for each in scene.get("clusters", [{"name": name} for name in names]):
        yield ClusterView(
            id=ClusterId(each["name"]),
            name=each["name"],
            blocked=each.get("blocked"),
            provider=each.get("provider", ""),
            region=each.get("region", ""),
            trust_domain=each.get("trust_domain", "shared"),
        )


def _running(row: Json, flavors: Sequence[str]) -> RunningAsk:
    size = sum(role.tasks for role in class_of(row).all_roles)
    where = row.get("nodes", f"any {row.get('flavor', flavors[0])}")
    names = [where] * row.get("seated", size) if isinstance(where, str) else where
    admitted = row.get("admitted_at", 0)
    checkpoint = row.get("checkpoint_at")
    return RunningAsk(
        id=AskId(row["ask"]),
        ask_class=class_of(row).id,
        priority=row.get("priority", 0),
        submitted=moment(row.get("submitted_at", admitted)),
        cluster_id=ClusterId(row.get("cluster", "c")),
        seats=tuple(HeldSeat(rank=rank, node_id=NodeId(name)) for rank, name in enumerate(names)),
        admitted_at=moment(admitted),
        started_at=moment(row.get("started_at", admitted)),
        checkpoint_at=None if checkpoint is None else moment(checkpoint),
        protected_until=moment(row["protected_until"]) if "protected_until" in row else 0,
    )


def _offer(row: Json) -> Offer:
    return Offer(
        id=row["name"],
        cluster_id=ClusterId(row.get("cluster", "c")),
        flavor=row.get("flavor", "default"),
        capacity_type=CapacityType(row.get("capacity_type", "on_demand")),
        allocatable=amounts_of(row),
        price_millionths_per_hour=round(row.get("price", 1) * SECOND),
        accelerator=row.get("accelerator"),
        domains=tuple(row.get("domains", {}).items()),
        taints=tuple(sorted(row.get("taints", {}).items())),
        machines_left=row.get("machines_left"),
        interruptions_per_hour_ppm=round(row.get("interruptions_per_hour", 0) * SECOND),
        boot_seconds=row.get("boot_seconds", 0),
        region=row.get("region", ""),
        egress_millionths_per_gib=round(row.get("egress_per_gib", 0) * SECOND),
        cool_until=moment(row["cool_until"]) if "cool_until" in row else 0,
    )


def _budget(row: Json) -> Budget:
    left, ends_at = round(row["left"] * SECOND), moment(row.get("ends_at", 10**6))
    return Budget(queue_id=row["queue"], left_millionths=left, ends_at=ends_at)


def _claim(row: Json) -> ClaimView:
    return ClaimView(
        id=ClaimId(row["name"]),
        cluster_id=ClusterId(row.get("cluster", "c")),
        offer_id=row["offer"],
        machines=row.get("machines", 1),
        ask_id=AskId(row["ask"]) if "ask" in row else None,
        queue_id=row.get("queue", ""),
        price_millionths_per_hour=round(row.get("price", 1) * SECOND),
        ready_at=moment(row.get("ready_at", 0)),
        is_ready=row.get("is_ready", False),
    )


def _each(row: Json, key: str) -> Iterator[Json]:
    """`count` rows of one: named `x-1`, `x-2`, and of one class."""
    if "count" not in row:
        yield row
        return
    shared = {"class": f"class of {row[key]}", **row} if key == "ask" else dict(row)
    for number in range(1, row["count"] + 1):
        yield {**shared, key: f"{row[key]}-{number}"}
