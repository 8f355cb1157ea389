"""Shortages: what is said to who waits is so, also where several things are short."""

import json

from schedulers.base import Defer, NodesAdded, QuotaRaised
from schedulers.fair.policy import Fair
from schedulers.testing.scenes import simulation_of
from schedulers.whatif import apply

HEADED = {
    "ask": "w",
    "queue": "a",
    "roles": [{"name": "head", "tasks": 1, "cpu": 16}, {"name": "rest", "tasks": 4, "gpu": 1, "cpu": 1}],
}


def scene(**parts: object) -> dict[str, object]:
    nodes = [{"name": "n", "gpu": 80, "cpu": 800}]
    return {
        "queues": [{"name": "a"}],
        "nodes": nodes,
        "pending": [{"ask": "w", "queue": "a", "gpu": 8}],
        **parts,
    }


def only_defer(parts: dict[str, object]) -> Defer:
    (defer,) = Fair().plan(simulation_of(json.loads(json.dumps(parts))).snapshot()).defers
    return defer


def test_of_several_roles_the_short_one_is_named_and_nodes_for_it_do() -> None:
    nodes = [{"name": "cpu", "cpu": 16}, {"name": "g", "gpu": 8, "cpu": 8}]
    busy = {"ask": "r", "queue": "a", "cpu": 16, "nodes": "cpu"}
    parts = scene(nodes=nodes, running=[busy], pending=[HEADED])
    defer = only_defer(parts)
    assert defer.sentence.endswith("; 0 of 1 of role 'head' fit now, on cluster 'c'")
    assert isinstance(defer.change, NodesAdded)
    snapshot = simulation_of(json.loads(json.dumps(parts))).snapshot()
    assert Fair().plan(apply(snapshot, defer.change, defer.class_id)).places


def test_of_several_roles_the_one_that_is_too_large_is_named() -> None:
    defer = only_defer(scene(nodes=[{"name": "g", "gpu": 8, "cpu": 8}], pending=[HEADED]))
    assert defer.sentence.endswith("holds 0 of 1 of role 'head' even when empty")


def test_where_several_limits_are_met_none_of_them_is_said_to_do_alone() -> None:
    queues = [
        {"name": "top"},
        {"name": "a", "parent": "top", "quota": {"gpu": [4, 4]}},
        {"name": "b", "parent": "top", "quota": {"gpu": [4]}},
    ]
    running = [{"ask": f"r{name}", "queue": name, "gpu": 4, "nodes": "n"} for name in ("a", "b")]
    defer = only_defer(scene(queues=queues, running=running))
    assert defer.remedy == (
        "may start when all of this is so: "
        "8 gpu of it are given back, or if the nominal quota of 'top' were 8 gpu instead of 0 gpu; "
        "4 gpu of it are given back, or if the borrowing quota of 'a' were 8 gpu instead of 4 gpu"
    )
    assert isinstance(defer.change, QuotaRaised)


def test_a_limit_alone_does_not_do_where_there_is_no_room_either() -> None:
    queues = [{"name": "a", "quota": {"gpu": [8]}}]
    running = [{"ask": "r", "queue": "a", "gpu": 8, "nodes": "n"}]
    small = [{"name": "n", "gpu": 8, "cpu": 8}]
    alone = "starts when 8 gpu of it are given back, or if that limit were 16 gpu instead of 8 gpu"
    assert only_defer(scene(queues=queues, running=running)).remedy == alone
    defer = only_defer(scene(queues=queues, running=running, nodes=small))
    assert defer.remedy == alone.replace("starts", "may start") + ", and room is made on nodes"


def test_who_may_only_take_from_lower_priority_is_not_told_a_moment_of_others() -> None:
    queues = [
        {"name": "top"},
        {"name": "a", "parent": "top", "quota": {"gpu": [8]}, "reclaim": "lower_priority"},
        {"name": "b", "parent": "top", "quota": {"gpu": [0]}},
    ]
    lent = {"ask": "r", "queue": "b", "gpu": 8, "priority": 9, "nodes": "n", "protected_until": 2000}
    assert isinstance(only_defer(scene(now=1000, queues=queues, running=[lent])).change, QuotaRaised)


def test_an_accelerator_that_is_only_where_it_may_not_be_is_not_said_to_be_nowhere() -> None:
    nodes = [
        {"name": "n", "cluster": "eu", "gpu": 8},
        {"name": "m", "cluster": "us", "gpu": 8, "accelerator": "H100"},
    ]
    wanted = {"ask": "w", "queue": "a", "gpu": 1, "regions": ["eu"], "accelerator": "H100"}
    clusters = [{"name": name, "region": name} for name in ("eu", "us")]
    defer = only_defer(scene(clusters=clusters, nodes=nodes, pending=[wanted]))
    assert defer.sentence == "no ready cluster on which it may be has accelerator 'H100'"
