"""What a claim has is read off its pods: every member once, and why it is not up."""

from typing import Any

import pytest

from cloud_adapters.base import MachineState
from cloud_adapters.kubernetes.orders import LAUNCH_LABEL, MEMBER_LABEL, Record
from cloud_adapters.kubernetes.owned import groups, is_ready, orphans, owned, trouble
from tests.unit.cloud_adapters.kubernetes.launches import record

Json = dict[str, Any]
READY: Json = {"type": "Ready", "status": "True"}


def member_pod(
    member: str,
    *,
    phase: str = "Running",
    node: str | None = None,
    name: str = "",
    created: str = "2026-01-01T00:00:00Z",
    is_ending: bool = False,
    **told: object,
) -> Json:
    metadata: Json = {
        "name": name or f"pod-{member}",
        "labels": {LAUNCH_LABEL: "claim_1-g1-l1", MEMBER_LABEL: member, "crossdock.io/claim": "claim_1"},
        "creationTimestamp": created,
    }
    if is_ending:
        metadata["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    return {
        "metadata": metadata,
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase, "podIP": "10.1.1.1", **told},
    }


def up(member: str, node: str, **changes: object) -> Json:
    return member_pod(member, node=node, conditions=[READY], **changes)  # type: ignore[arg-type] # passed through


def custom(**status: object) -> Json:
    return {"metadata": {"name": "claim-1-g1-l1"}, "spec": {}, "status": status}


def seen(
    pods: list[Json], *, of: Record | None = None, customs: tuple[Json, ...] = ()
) -> list[tuple[str, str, str | None]]:
    found = owned(groups([of or record()], pods, customs))
    return [(each.name, str(each.state), each.problem) for each in found]


def test_members_that_are_up_are_running() -> None:
    assert seen([up("n0", "gpu-1"), up("n1", "gpu-2"), up("head", "gpu-1")]) == [
        ("claim-1-g1-l1-n0", "running", None),
        ("claim-1-g1-l1-n1", "running", None),
    ]


def test_members_are_pending_while_the_operator_has_made_no_pod() -> None:
    told = seen([], customs=(custom(),))
    assert told == [
        ("claim-1-g1-l1-n0", "pending", "the KubeRay operator has made no pod for it yet"),
        ("claim-1-g1-l1-n1", "pending", "the KubeRay operator has made no pod for it yet"),
    ]


def test_without_an_operator_nobody_makes_a_pod_that_is_gone() -> None:
    there = [up("head", "gpu-1"), up("n0", "gpu-1")]
    assert seen(there, of=record(is_kuberay=False)) == [("claim-1-g1-l1-n0", "running", None)]


@pytest.mark.parametrize(
    ("heads", "why"),
    [
        ([member_pod("head", phase="Failed", reason="Evicted", message="m")], "Evicted: m"),
        ([up("head", "gpu-1", is_ending=True)], "its pod was deleted"),
        ([], "it was deleted"),
    ],
)
def test_without_an_operator_all_goes_when_the_head_has_ended(heads: list[Json], why: str) -> None:
    told = seen([*heads, up("n0", "gpu-1"), up("n1", "gpu-2")], of=record(is_kuberay=False))
    problem = f"the head of its Ray cluster is gone: {why}"
    assert told == [("claim-1-g1-l1-n0", "stopping", problem), ("claim-1-g1-l1-n1", "stopping", problem)]


def test_an_operator_makes_another_head() -> None:
    failed = member_pod("head", phase="Failed", reason="Evicted", message="m")
    assert [state for _, state, _ in seen([failed, up("n0", "gpu-1"), up("n1", "gpu-2")])] == ["running"] * 2


def test_a_suspended_cluster_waits_for_its_queue() -> None:
    waiting = custom() | {"spec": {"suspend": True}}
    assert seen([], customs=(waiting,))[0][2] == "its RayCluster is suspended: it waits for its queue"


def test_what_the_operator_could_not_make_is_told_in_its_words() -> None:
    failed = custom(
        conditions=[
            {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}
        ]
    )
    assert seen([], customs=(failed,))[0][2] == "FailedCreate: quota"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {
                "phase": "Pending",
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available",
                    }
                ],
            },
            "Unschedulable: 0/3 nodes are available",
        ),
        (
            {
                "phase": "Pending",
                "containerStatuses": [
                    {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
                ],
            },
            "ImagePullBackOff: no such image",
        ),
        (
            {
                "phase": "Pending",
                "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}],
            },
            None,
        ),
        (
            {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory"},
            "Evicted: The node was low on memory",
        ),
        (
            {
                "phase": "Failed",
                "containerStatuses": [{"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}],
            },
            "its container ended with 137: OOMKilled",
        ),
        ({"phase": "Failed"}, "its pod is over: Failed"),
        (
            {
                "conditions": [
                    {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "PreemptionByScheduler",
                        "message": "m",
                    }
                ]
            },
            "PreemptionByScheduler: m",
        ),
        ({"reason": "NodeLost", "message": "Node gpu-1 is lost"}, "NodeLost: Node gpu-1 is lost"),
    ],
)
def test_trouble_is_told_in_the_words_of_kubernetes(changes: Json, problem: str | None) -> None:
    assert trouble(member_pod("n0", **changes)) == problem


def test_a_member_on_another_node_than_booked_is_reported() -> None:
    told = seen([up("n0", "gpu-9"), up("n1", "gpu-2")])
    assert told[0] == ("claim-1-g1-l1-n0", "running", "it is on node gpu-9, and not on gpu-1 as booked")


def test_a_member_that_the_operator_replaces_comes_again_and_keeps_its_name() -> None:
    old = member_pod("n0", name="old", phase="Failed", reason="Evicted")
    new = member_pod("n0", name="new", phase="Pending", created="2026-01-02T00:00:00Z")
    assert seen([old, new, up("n1", "gpu-2")], customs=(custom(),))[0] == (
        "claim-1-g1-l1-n0",
        "pending",
        None,
    )


def test_a_plain_pod_that_ended_does_not_come_back() -> None:
    told = seen(
        [up("head", "gpu-1"), member_pod("n0", phase="Failed", reason="Evicted", message="m")],
        of=record(is_kuberay=False),
    )
    assert told == [("claim-1-g1-l1-n0", "stopping", "Evicted: m")]


def test_a_pod_that_was_deleted_is_told_until_it_is_gone() -> None:
    there = [up("head", "gpu-1"), up("n0", "gpu-1", is_ending=True)]
    told = seen(there, of=record(is_kuberay=False))
    assert told == [("claim-1-g1-l1-n0", "stopping", "its pod was deleted")]


def test_members_of_a_launch_that_is_ended_are_on_their_way_out() -> None:
    assert seen([up("n0", "gpu-1")], of=record(is_going=True)) == [("claim-1-g1-l1-n0", "stopping", None)]


def test_pods_without_their_launch_are_still_ours() -> None:
    lonely = up("n0", "gpu-1", is_ending=True)
    (machine,) = orphans([], [lonely])
    assert (machine.name, machine.claim_id, machine.state) == ("pod-n0", "claim_1", MachineState.STOPPING)
    assert orphans([record()], [lonely]) == ()


def test_nothing_that_ends_is_ready() -> None:
    assert is_ready(up("n0", "gpu-1"))
    assert not is_ready(up("n0", "gpu-1", is_ending=True))
    assert not is_ready(None)
