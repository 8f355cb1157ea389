"""Planted bugs of services, executions and schedules that only the whole world, or a test of a decision, can see."""

from typing import Final

from tests.sim.plants import Plant, plant

SERVICES: Final = "controlplane/reconcilers/services.py"

SERVICE_PLANTS: Final[tuple[Plant, ...]] = (
    plant(
        "a revision takes traffic before it is ready",
        SERVICES,
        "    is_ready = coming is not None and coming.state is RevisionState.READY\n",
        "    is_ready = coming is not None\n",
    ),
    plant(
        "the old revision is retired at the first shift of traffic",
        SERVICES,
        "            _keep(moved, coming.revision.weighed(step.weight_ppm, at=view.now))\n",
        "            _keep(moved, coming.revision.weighed(step.weight_ppm, at=view.now))\n"
        "            _keep(moved, _retire(good, view.now))\n",
    ),
    plant(
        "the replicas of a deleted service are kept",
        SERVICES,
        "            cancel += [known.replica.job_id for known in each.staying]\n",
        "            pass\n",
    ),
    plant(
        "two replicas have one place",
        SERVICES,
        "    taken = {each.replica.ordinal for each in view.staying}\n",
        "    taken: set[int] = set()\n",
    ),
    plant(
        "whoever is promoted is not given the traffic",
        "controlplane/operations/services.py",
        "    tx.revisions.save(service, winner.take_all(at=tx.now))\n",
        "",
        net="tests/unit/api/test_services.py",
    ),
    plant(
        "replicas that were told to stop are routed to",
        "controlplane/store/replicas.py",
        "        JOBS.c.cancel_requested_at.is_(None),\n        ATTEMPTS.c.state == fixed(AttemptState.RUNNING),\n",
        "",
    ),
    plant(
        "a gang that lacks a rank is routed to, whatever it says of itself",
        "controlplane/store/replicas.py",
        '        _N.is_ready == bound("ready"),\n    )\n    .order_by(_R.revision_id',
        '        _N.is_ready <= bound("ready"),\n    )\n    .order_by(_R.revision_id',
    ),
    plant(
        "the next try of a step writes where the one before did",
        "controlplane/operations/pipeline_specs.py",
        '{step.name}/{step.number + 1}"',
        '{step.name}/{step.number or 1}"',
    ),
    plant(
        "a step begins beside what it has to come after",
        "controlplane/reconcilers/executions.py",
        "    elif all(each.is_done for each in needed):",
        "    elif not needed or any(each.is_done for each in needed):",
    ),
    plant(
        "one replica is counted for both kinds",
        SERVICES,
        "[True] * (surplus - have.count(True))",
        "[True] * (surplus + lasting - have.count(True))",
        net="tests/unit/reconcilers/test_services.py",
    ),
    plant(
        "surplus replicas ask to be kept like the fewest",
        "controlplane/operations/replicas.py",
        "is_lasting=not new.is_surplus",
        "is_lasting=True",
        net="tests/unit/api/test_services.py",
    ),
    plant(
        "what a dead gateway had under way counts on",
        "controlplane/domain/autoscaling.py",
        " if is_of_now(load, now)}",
        "}",
        net="tests/unit/domain/test_autoscaling.py",
    ),
    plant(
        "a tick stays due after it fired",
        "controlplane/reconcilers/schedules.py",
        "next_at=view.following_tick, last_at",
        "next_at=view.newest_tick, last_at",
        net="tests/unit/runtime/test_schedules.py",
    ),
    plant(
        "a step's deployment is done once it is asked for",
        "controlplane/operations/step_deployments.py",
        "        case RevisionState.PENDING | RevisionState.DEPLOYING:\n            return False\n",
        "        case RevisionState.PENDING | RevisionState.DEPLOYING:\n            return True\n",
    ),
    plant(
        "each look at a step's deployment makes another revision",
        "controlplane/operations/step_deployments.py",
        "        deployments.revise(context, principal, service.id, spec, spec_json, revision_id=made)\n",
        "        deployments.revise(context, principal, service.id, spec, spec_json)\n",
    ),
    plant(
        "what is published is not compared with what was made",
        "controlplane/operations/step_publications.py",
        "uri=each.uri, sha256=each.sha256, size_bytes=each.size_bytes)",
        "uri=each.uri)",
    ),
    plant(
        "a replica is one task, however many its revision asks for",
        "controlplane/operations/deployments.py",
        "        tasks=spec.tasks,\n",
        "",
    ),
)
