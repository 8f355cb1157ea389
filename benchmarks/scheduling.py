"""What a decision costs: the fair policy on 1,000 nodes with 8,000 GPUs and 100,000 queued asks.

    python -m benchmarks.scheduling [--queued 100000] [--nodes 1000] [--json FILE] [--check]

Times are of the processor, not of the wall, so that a busy machine says the same; the numpy sort of as many rows beside
them says how fast the machine is. All constraints are on, and every waiting class gets its reason.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final, TypeVar

import numpy as np

from benchmarks import figures, slurm
from benchmarks.figures import Aim, Figure, Reference, at_least_times, at_most
from controlplane.domain.amounts import Amounts
from controlplane.domain.ids import AskId, ClassId, ClusterId, NodeId, QueueId
from controlplane.domain.queues import Cell, Queue, Quota
from schedulers.base import AskClass, AskQueued, ClusterView, Engine, NodeView, Plan, Topology, TopologyMode
from schedulers.fair.policy import Fair
from schedulers.simulator import Simulation

COHORTS, QUEUES, CLASSES = 10, 100, 500
LARGE = 8
DECISIONS: Final = 20
SORTS: Final = 5
MOST_PLANS = 1000
SECOND: Final = 1_000_000

WHOLE: Final = Amounts(cpu_milli=96_000, gpu_milli=8000, memory_bytes=2**40)

T = TypeVar("T")


def main() -> int:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--queued", type=int, default=100_000)
    parser.add_argument("--nodes", type=int, default=1000)
    chosen, others = parser.parse_known_args()
    about = __doc__ or ""
    return figures.main(about, lambda: measured(queued=chosen.queued, nodes=chosen.nodes), others)


def measured(*, queued: int, nodes: int) -> list[Figure]:
    rng = random.Random(1)  # noqa: S311 - the same queue every time
    keys = np.array([rng.random() for _ in range(queued)])
    sort = min(timed(lambda: np.argsort(keys, kind="stable"))[1] for _ in range(SORTS))
    beside = Reference(name="numpy sort of as many rows", value=sort)

    def took(name: str, seconds: float, *aims: Aim) -> Figure:
        return Figure(name=name, value=seconds, unit="s", reference=beside, aims=aims)

    simulation, policy = fleet(nodes), Fair()
    queue_up(simulation, queued, rng)
    snapshot = simulation.snapshot()
    plan, cold = timed(lambda: policy.plan(snapshot))
    simulation.commit(plan)
    simulation.deltas.clear()
    engine, start = timed(lambda: policy.start(simulation.snapshot()))
    plans, rest = timed(lambda: come_to_rest(simulation, engine))
    print(f"cold plan: {len(plan.places)} gangs, {len(plan.defers)} reasons; at rest after {plans} plans")
    _, same = timed(lambda: engine.plan(version=0, now=simulation.now))
    simulation.advance(60)
    _, warm = timed(lambda: engine.plan(version=0, now=simulation.now))
    spent = sorted(decisions(simulation, engine))
    return [
        took("cold plan", cold, at_most(2.0)),
        took(f"to place one gang of {len(plan.places)}", cold / len(plan.places), at_most(0.001)),
        took("engine start", start),
        took("to rest, carrying it out counted", rest),
        took("same picture again", same, at_most(0.001)),
        took("warm plan, a minute later", warm, at_most(0.5)),
        took("one finish and one submit, p50", spent[len(spent) // 2], at_most(0.02)),
        took("one finish and one submit, the slowest", spent[-1]),
        allocation(nodes, beside),
    ]


def allocation(nodes: int, beside: Reference) -> Figure:
    """Jobs of one core on empty nodes of eight, as Slurm is asked for; beside the sort where there is no Slurm."""
    simulation = fleet(nodes, Amounts(cpu_milli=1000 * slurm.CORES))
    single = AskClass(
        id=ClassId("k"), queue_id="q000", tasks=1, amounts=Amounts(cpu_milli=1000), accelerator=None
    )
    for number in range(nodes * slurm.CORES):
        ask = AskQueued(
            id=AskId(f"a{number}"), ask_class=single, priority=0, submitted=number * SECOND, not_before=0
        )
        simulation.submit(ask)
    snapshot = simulation.snapshot()
    plan, seconds = timed(lambda: Fair().plan(snapshot))
    rate = len(plan.places) / seconds
    name = f"{len(plan.places)} jobs of one core allocated, of the processor"
    theirs = slurm.allocation_rate(nodes)
    if theirs is None:
        print("Slurm's allocation rate: not run, slurmctld is not installed")
        return Figure(
            name=name, value=rate, unit="/s", reference=Reference(name="sorts", value=1 / beside.value)
        )
    return Figure(
        name=name,
        value=rate,
        unit="/s",
        reference=Reference(name="slurmctld", value=theirs),
        aims=(at_least_times(5),),
    )


def decisions(simulation: Simulation, engine: Engine) -> Iterator[float]:
    """What the engine needs from hearing that one ended and one came until it has planned."""
    for number in range(DECISIONS):
        simulation.finish(sorted(simulation.running)[number])
        fresh = next(iter(simulation.queued.values()))
        simulation.submit(replace(fresh, id=AskId(f"z{number}")))
        started = time.process_time()
        engine.apply(simulation.deltas)
        plan = engine.plan(version=0, now=simulation.now)
        yield time.process_time() - started
        simulation.deltas.clear()
        simulation.commit(plan)
        simulation.stop_leaving()


def come_to_rest(simulation: Simulation, engine: Engine) -> int:
    """Until nobody can be placed and nobody is to go for anybody any more."""
    plan = engine.plan(version=0, now=simulation.now)
    for number in range(MOST_PLANS):
        if not (plan.places or plan.preempts):
            return number
        plan = _next(simulation, engine, plan)
    raise AssertionError("does not come to rest")


def _next(simulation: Simulation, engine: Engine, plan: Plan) -> Plan:
    simulation.commit(plan)
    simulation.stop_leaving()
    engine.apply(simulation.deltas)
    simulation.deltas.clear()
    return engine.plan(version=0, now=simulation.now)


def timed(do: Callable[[], T]) -> tuple[T, float]:
    started = time.process_time()
    result = do()
    return result, time.process_time() - started


def fleet(nodes: int, whole: Amounts = WHOLE) -> Simulation:
    """Nodes of eight GPUs in racks of 32 and blocks of 256; a hundred queues in ten cohorts under one root."""
    simulation = Simulation()
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
    sys.exit(main())
