"""What a decision costs: the fair policy on 1,000 nodes with 8,000 GPUs and 100,000 queued asks.

    python -m benchmarks.scheduling [--queued 100000] [--nodes 1000]

Times are of the processor, not of the wall, so that a busy machine says the same; the numpy sort of as many rows beside
them says how fast the machine is. All constraints are on, and every waiting class gets its reason.
"""

import argparse
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from controlplane.domain.amounts import Amounts
from controlplane.domain.ids import AskId, ClassId, ClusterId, NodeId, QueueId
from controlplane.domain.queues import Cell, Queue, Quota
from schedulers.base import AskClass, AskQueued, ClusterView, Engine, NodeView, Plan, Topology, TopologyMode
from schedulers.fair.policy import Fair
from schedulers.simulator import Simulation

COHORTS, QUEUES, CLASSES = 10, 100, 500
LARGE = 8
DECISIONS = 20
MOST_PLANS = 1000

T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queued", type=int, default=100_000)
    parser.add_argument("--nodes", type=int, default=1000)
    chosen = parser.parse_args()
    rng = random.Random(1)  # noqa: S311 - the same queue every time
    keys = np.array([rng.random() for _ in range(chosen.queued)])
    measured("numpy sort of as many rows", lambda: np.argsort(keys, kind="stable"))

    simulation, policy = fleet(chosen.nodes), Fair()
    queue_up(simulation, chosen.queued, rng)
    snapshot = simulation.snapshot()
    plan, seconds = measured("cold plan", lambda: policy.plan(snapshot))
    tasks = sum(len(place.seats) for place in plan.places)
    print(f"  {len(plan.places)} gangs, {tasks} tasks, {len(plan.defers)} reasons")
    print(f"  {len(plan.places) / seconds:.0f} gangs/s, all of the cold plan counted")
    simulation.commit(plan)

    engine = at_rest(simulation, policy)
    measured("same picture again", lambda: engine.plan(version=0, now=simulation.now))
    simulation.advance(60)
    measured("warm plan, nothing more fits", lambda: engine.plan(version=0, now=simulation.now))
    spent = []
    for number in range(DECISIONS):
        simulation.finish(sorted(simulation.running)[number])
        fresh = next(iter(simulation.queued.values()))
        simulation.submit(replace(fresh, id=AskId(f"z{number}")))
        started = time.process_time()
        engine.apply(simulation.deltas)
        plan = engine.plan(version=0, now=simulation.now)
        spent.append(time.process_time() - started)
        simulation.deltas.clear()
        simulation.commit(plan)
        simulation.stop_leaving()
    middle, most = sorted(spent)[len(spent) // 2], max(spent)
    print(f"one finish, one submit: p50 {1000 * middle:.0f} ms, most {1000 * most:.0f} ms")
    if shutil.which("slurmctld") is None:
        print("Slurm's allocation rate: not run, slurmctld is not installed")


def at_rest(simulation: Simulation, policy: Fair) -> Engine:
    """An engine after the plan at which nobody can be placed and nobody is to go for anybody any more."""
    engine, _ = measured("engine start", lambda: policy.start(simulation.snapshot()))
    simulation.deltas.clear()
    started = time.process_time()
    plans = settle_down(simulation, engine, engine.plan(version=0, now=simulation.now))
    print(f"to rest: {plans} plans, {time.process_time() - started:.1f} s with carrying them out")
    return engine


def settle_down(simulation: Simulation, engine: Engine, plan: Plan) -> int:
    for number in range(MOST_PLANS):
        if not (plan.places or plan.preempts):
            return number
        simulation.commit(plan)
        simulation.stop_leaving()
        engine.apply(simulation.deltas)
        simulation.deltas.clear()
        plan = engine.plan(version=0, now=simulation.now)
    raise AssertionError("does not come to rest")


def measured(what: str, do: Callable[[], T]) -> tuple[T, float]:
    started = time.process_time()
    result = do()
    seconds = time.process_time() - started
    print(f"{what}: {seconds:.3f} s")
    return result, seconds


def fleet(nodes: int) -> Simulation:
    """Nodes of eight GPUs in racks of 32 and blocks of 256; a hundred queues in ten cohorts under one root."""
    simulation = Simulation()
    whole = Amounts(cpu_milli=96_000, gpu_milli=8000, memory_bytes=2**40)
    simulation.furnish(
        (
            NodeView(
                id=NodeId(f"n{number:05}"),
                cluster_id=ClusterId("lab"),
                allocatable=whole,
                free=whole,
                accelerator="h100",
                domains=(("block", f"b{number // 256}"), ("rack", f"r{number // 32}")),
            )
            for number in range(nodes)
        ),
        [ClusterView(id=ClusterId("lab"), name="lab", blocked=None)],
    )
    own = Quota(cell=Cell("default", "gpu"), nominal=8000 * nodes // QUEUES)
    cohorts = [
        Queue(id=QueueId(f"c{number}"), name=f"c{number}", parent_id=QueueId("top"))
        for number in range(COHORTS)
    ]
    leaves = [
        Queue(
            id=QueueId(f"q{number:03}"),
            name=f"q{number}",
            parent_id=QueueId(f"c{number % COHORTS}"),
            quotas=(own,),
        )
        for number in range(QUEUES)
    ]
    simulation.plant([Queue(id=QueueId("top"), name="top"), *cohorts, *leaves])
    return simulation


def queue_up(simulation: Simulation, asks: int, rng: random.Random) -> None:
    """Gangs of 1 to 16 tasks of 1 to 8 GPUs; the larger ones would like one rack."""
    classes = []
    for number in range(CLASSES):
        tasks, gpus = rng.choice([1, 1, 1, 2, 4, 8, 16]), rng.choice([1, 1, 2, 4, 8])
        near = Topology(level="rack", mode=TopologyMode.PREFERRED) if tasks >= LARGE else None
        classes.append(
            AskClass(
                id=ClassId(f"k{number:04}"),
                queue_id=f"q{number % QUEUES:03}",
                tasks=tasks,
                amounts=Amounts(cpu_milli=gpus * 8000, gpu_milli=gpus * 1000),
                accelerator=None,
                topology=near,
            )
        )
    for number in range(asks):
        simulation.submit(
            AskQueued(
                id=AskId(f"a{number:07}"),
                ask_class=classes[rng.randrange(CLASSES)],
                priority=rng.choice([0, 0, 1]),
                submitted=1_700_000_000_000_000 + number,
                not_before=0,
            )
        )


if __name__ == "__main__":
    main()
