"""Worlds to try a policy on: scenes drawn at random, in the format of the cases, so that a failing one can be kept."""

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
    return {"queues": rows, "nodes": draw(nodes()), "pending": asks, "flavors": ["default", "spot"]}
