"""Worlds to try a policy on: scenes drawn at random, in the format of the cases, so that a failing one can be kept."""

from collections.abc import Callable, Mapping
from typing import Final

from hypothesis import strategies as st

from schedulers.testing.scenes import Json

QUEUES = ("a", "b", "c", "d")
RACKS = ("r1", "r2", "r3")

limits = st.one_of(st.none(), st.integers(0, 6))


@st.composite
def trees(draw: st.DrawFn) -> list[Json]:
    """Up to four queues below up to two cohorts, with and without quotas, in one or two flavors."""
    flavors = draw(st.sampled_from([["default"], ["default"], ["default", "spot"]]))
    rows: list[Json] = [{"name": "top"}]
    if draw(st.booleans()):
        rows.append({"name": "mid", "parent": "top"})
    if draw(st.booleans()):
        rows[-1] = {**rows[-1], "quota": {"gpu": [draw(st.integers(0, 4))]}}
    counted = draw(st.sampled_from([True, True, True, False]))
    for name in QUEUES[: draw(st.integers(2, 4))]:
        parent = draw(st.sampled_from([row["name"] for row in rows if row["name"] in ("top", "mid")]))
        quota = {}
        for flavor in flavors if counted else ():
            nominal = draw(st.integers(0, 6))
            lending = draw(limits)
            lent = None if lending is None else min(lending, nominal)
            quota[f"{flavor}/gpu"] = [nominal, draw(limits), lent]
        rules = draw(
            st.fixed_dictionaries(
                {
                    "weight": st.sampled_from([0, 1, 1, 1, 2]),
                    "within_queue": st.sampled_from(
                        ["never", "lower_priority", "lower_priority", "lower_or_newer_equal"]
                    ),
                    "reclaim": st.sampled_from(["never", "lower_priority", "any", "any"]),
                    "when_can_borrow": st.sampled_from(["take", "try_next"]),
                    "when_can_preempt": st.sampled_from(["take", "try_next"]),
                    "fair_share": st.sampled_from([True, True, False]),
                    "aging_seconds": st.sampled_from([None, None, 300, 3000]),
                }
            )
        )
        rows.append({"name": name, "parent": parent, "quota": quota, "flavors": flavors, **rules})
    return rows


@st.composite
def nodes(draw: st.DrawFn) -> list[Json]:
    rows: list[Json] = []
    for number in range(draw(st.integers(1, 7))):
        rack = draw(st.sampled_from(RACKS))
        row: dict[str, object] = {
            "name": f"n{number}",
            "cluster": "west" if rack == "r3" else "east",
            "gpu": draw(st.sampled_from([1, 2, 4])),
            "cpu": draw(st.sampled_from([4, 8])),
            "domains": {"rack": rack},
            "flavor": draw(st.sampled_from(["default", "default", "spot"])),
        }
        if draw(st.integers(0, 7)) == 0:
            row["taints"] = {"team": "x"}
        if draw(st.integers(0, 9)) == 0:
            row["healthy"] = False
        rows.append(row)
    return rows


@st.composite
def shapes(draw: st.DrawFn, number: int, queues: tuple[str, ...]) -> Json:
    """One class of asks."""
    tasks = draw(st.sampled_from([1, 1, 1, 2, 3, 4]))
    row: dict[str, object] = {
        "class": f"class {number}",
        "queue": draw(st.sampled_from(queues)),
        "tasks": tasks,
        "min": draw(st.integers(1, tasks)),
        "gpu": draw(st.sampled_from([0, 0.5, 1, 1, 2])),
        "cpu": draw(st.sampled_from([0.5, 1, 2])),
        "band": draw(st.sampled_from([0, 0, 0, 1])),
        "tier": draw(st.sampled_from(["normal", "normal", "normal", "surplus", "pinned"])),
    }
    if draw(st.integers(0, 3)) == 0:
        mode = draw(st.sampled_from(["required", "preferred"]))
        row["topology"] = {"level": draw(st.sampled_from(["rack", "node"])), "mode": mode}
    if draw(st.integers(0, 5)) == 0:
        row["tolerations"] = {"team": "*"}
    if draw(st.integers(0, 2)) == 0:
        row["runtime"] = draw(st.sampled_from([60, 600, 6000]))
    if draw(st.integers(0, 3)) == 0:
        row["deadline"] = draw(st.sampled_from([900, 2000, 8000, 100_000]))
    if tasks > 1 and draw(st.integers(0, 3)) == 0:
        row["roles"] = [
            {"name": "head", "tasks": 1, "cpu": 1},
            {"name": "rest", "tasks": tasks, "min": row["min"], "gpu": row["gpu"], "cpu": 1},
        ]
    return row


@st.composite
def scenes(draw: st.DrawFn, most_asks: int = 12) -> Json:
    """Queues, nodes and asks that wait; what runs comes of plans that are carried out."""
    rows = draw(trees())
    names = tuple(row["name"] for row in rows if row["name"] in QUEUES)
    classes = [draw(shapes(number, names)) for number in range(draw(st.integers(1, 5)))]
    asks = [
        {
            **draw(st.sampled_from(classes)),
            "ask": f"ask{number}",
            "priority": draw(st.integers(0, 2)),
            "submitted_at": draw(st.integers(0, 5)),
        }
        for number in range(draw(st.integers(1, most_asks)))
    ]
    protected = draw(st.sampled_from([0, 0, 500]))
    return {
        "queues": rows,
        "nodes": draw(nodes()),
        "pending": asks,
        "flavors": ["default", "spot"],
        "min_runtime": protected,
    }


def _blocked(scene: Json) -> Json:
    return {**scene, "clusters": [{"name": name, "blocked": "is cordoned"} for name in ("east", "west")]}


def _half_blocked(scene: Json) -> Json:
    return {**scene, "clusters": [{"name": "east", "blocked": "is unreachable"}, {"name": "west"}]}


def _protected(scene: Json) -> Json:
    """There is room for more than the quotas, and who comes first keeps what it borrows of those who come later."""
    owned = {"quota": {"gpu": [2]}, "flavors": ["default"], "reclaim": "any"}
    queues = [{**row, **owned} if row["name"] in QUEUES else {**row, "quota": {}} for row in scene["queues"]]
    large = {"name": "large", "cluster": "east", "flavor": "default", "gpu": 32, "cpu": 64, "domains": {}}
    first = len(scene["pending"]) // 2
    return {
        **scene,
        "queues": queues,
        "nodes": [*scene["nodes"], large],
        "pending": scene["pending"][:first],
        "later": scene["pending"][first:],
        "min_runtime": 10**5,
    }


def _closing(scene: Json) -> Json:
    """All nodes are closed for maintenance before most work would have ended."""
    nodes = [{**row, "closes_at": 5000} for row in scene["nodes"]]
    return {**scene, "nodes": nodes, "pending": [{"runtime": 6000, **row} for row in scene["pending"]]}


def _tainted(scene: Json) -> Json:
    return {**scene, "nodes": [{**row, "taints": {"team": "x"}} for row in scene["nodes"]]}


def _promised(scene: Json) -> Json:
    """Work that ends soon holds most of a node, a larger one comes next there, and a small one would take longer."""
    its = {"queue": "late", "flavors": ["gold"], "submitted_at": 5}
    small = {"class": "small", "ask": "small", "gpu": 1, "runtime": 60_000, **its}
    return {
        **scene,
        "queues": [*scene["queues"], {"name": "late"}],
        "nodes": [*scene["nodes"], {"name": "gold", "cluster": "east", "flavor": "gold", "gpu": 8, "cpu": 8}],
        "flavors": [*scene["flavors"], "gold"],
        "pending": [{"class": "short", "ask": "short", "gpu": 5, "runtime": 600, **its}, *scene["pending"]],
        "later": [{"class": "whole", "ask": "whole", "gpu": 8, "priority": 2, **its}, small],
    }


def _stopped(scene: Json) -> Json:
    return {**scene, "queues": [*scene["queues"][:-1], {**scene["queues"][-1], "stopped": True}]}


def _asking(**more: object) -> Callable[[Json], Json]:
    """Every second class asks for that as well."""

    def change(scene: Json) -> Json:
        odd = [row["class"][-1] in "024" for row in scene["pending"]]
        rows = zip(scene["pending"], odd, strict=True)
        return {**scene, "pending": [{**row, **more} if is_odd else row for row, is_odd in rows]}

    return change


def _selling(offer: Json, left: float) -> Callable[[Json], Json]:
    """All queues buy at once, for so much money."""

    def change(scene: Json) -> Json:
        queues = [{**row, "burst_after_seconds": 0} for row in scene["queues"]]
        whole = {"name": "big", "cluster": "east", "flavor": "default", "gpu": 8, "cpu": 32, "price": 2}
        budgets = [{"queue": row["name"], "left": left, "ends_at": 10**6} for row in queues]
        return {**scene, "queues": queues, "offers": [{**whole, **offer}], "budgets": budgets}

    return change


TROUBLES: Final[Mapping[str, Callable[[Json], Json]]] = {
    "none": lambda scene: scene,
    "nowhere": lambda scene: {**scene, "is_nowhere": True},
    "blocked": _blocked,
    "half blocked": _half_blocked,
    "closing": _closing,
    "tainted": _tainted,
    "promised": _promised,
    "stopped": _stopped,
    "protected": _protected,
    "accelerator": _asking(accelerator="h100"),
    "region": _asking(regions=["mars"]),
    "bound": _asking(bounds=[{"owner": "what lies in store 'raw'", "regions": ["mars"]}]),
    "flavor": _asking(flavors=["gold"]),
    "unknown level": _asking(topology={"level": "block", "mode": "required"}),
    "one rack": _asking(topology={"level": "rack", "mode": "required"}, tasks=9, min=9),
    "short rack": _asking(topology={"level": "rack", "mode": "required"}, tasks=3, min=3),
    "long": _asking(runtime=60_000, tasks=3, min=3),
    "sold out": _selling({"cool_until": 10**6}, left=1000),
    "poor": _selling({}, left=0),
    "rich": _selling({}, left=1000),
}
"""What may stand in the way, by name: between them they give every reason there is."""
