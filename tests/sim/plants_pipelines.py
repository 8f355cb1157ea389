"""Planted bugs of pipelines; see plants.py. The nets are tests: any graph that ends as it likes, stores that lie."""

from typing import Final

from tests.sim.plants import Plant, plant

EXECUTIONS: Final = "controlplane/reconcilers/executions.py"
ANY_GRAPH: Final = "tests/property/test_executions.py"
AT_WORK: Final = "tests/unit/runtime/test_pipelines.py"

PIPELINE_PLANTS: Final[tuple[Plant, ...]] = (
    plant(
        "a paused execution begins steps",
        EXECUTIONS,
        "    if view.execution.paused_at is not None:\n        return\n",
        "",
        net=ANY_GRAPH,
    ),
    plant(
        "a step is begun when the first of its inputs is there",
        EXECUTIONS,
        "    elif all(each.is_done for each in needed):",
        "    elif not needed or any(each.is_done for each in needed):",
        net=ANY_GRAPH,
    ),
    plant(
        "a step is tried again for ever",
        EXECUTIONS,
        "    if step.number > planned.retries:\n        return _failed(view, step, reason)\n",
        "",
        net=ANY_GRAPH,
    ),
    plant(
        "a cancelled execution leaves its jobs to themselves",
        EXECUTIONS,
        "            draft.stop.append(job.id)\n        return\n",
        "            pass\n",
        net=ANY_GRAPH,
    ),
    plant(
        "outputs that are gone or changed are taken from the cache",
        "controlplane/operations/step_calls.py",
        "    if not is_there:\n        return NothingKept()\n",
        "",
        net=AT_WORK,
    ),
    plant(
        "the cache looks at the spec and not at what is read",
        "controlplane/domain/pipelines.py",
        '"inputs": dict(sorted(content.items())),',
        '"inputs": sorted(content),',
        net=AT_WORK,
    ),
    plant(
        "a publication whose answer got lost is made again",
        "controlplane/operations/step_publications.py",
        "wanted, once=once))",
        "wanted))",
        net="tests/unit/api/test_pipelines.py",
    ),
    plant(
        "a tick goes past an execution that is not over",
        "controlplane/reconcilers/schedules.py",
        "        case Overlap.SKIP if view.open_executions:",
        "        case Overlap.SKIP if view.open_executions > 1:",
        net="tests/unit/runtime/test_schedules.py",
    ),
    plant(
        "the tick before the newest is taken for it",
        "controlplane/operations/ticks.py",
        "    just_behind = moment.astimezone(ZoneInfo(zone)) + timedelta(microseconds=1)\n",
        "    just_behind = moment.astimezone(ZoneInfo(zone)) - timedelta(days=1)\n",
        net="tests/unit/runtime/test_schedules.py",
    ),
)
