"""Quotas and flavors over the API: set, shown with what is used, explained, linted, refused when they make no sense."""

from typing import Any

import pytest

from controlplane.identity.principals import Role
from tests.unit.api.client import Api, problem
from tests.unit.operations.world import World, other_project

GPUS = {"resource": "gpus", "nominal": 4}


def pool(api: Api) -> None:
    """A cohort with two queues that own four GPUs each."""
    assert api.post("/v1/quotas", {"cohort": "pool"}).status_code == 200
    for name in ("blue", "green"):
        api.post("/v1/queues", {"project": "default", "name": name})
        answer = api.post("/v1/quotas", {"queue": name, "parent": "pool", "limits": [GPUS]})
        assert answer.status_code == 200, answer.text


def node(api: Api, name: str) -> dict[str, Any]:
    found = {each["name"]: each for each in api.get("/v1/quotas").json()["items"]}
    return dict(found[name])


def test_a_tree_is_set_and_shown_with_what_could_be_taken(plane: World, api: Api) -> None:
    pool(api)
    blue = node(api, "default/blue")
    assert (blue["parent"], blue["project"], blue["is_cohort"]) == ("pool", "default", False)
    (limit,) = blue["limits"]
    assert limit == {
        "flavor": "default",
        "resource": "gpus",
        "nominal": 4.0,
        "borrowing": None,
        "lending": None,
        "used": 0.0,
        "available": 8.0,
        "potential": 8.0,
    }


def test_what_runs_is_counted(plane: World, api: Api) -> None:
    pool(api)
    cores = {"resource": "cpus", "nominal": 4}
    api.post("/v1/quotas", {"queue": "blue", "parent": "pool", "limits": [cores]})
    plane.place(plane.submit(queue="blue").job, plane.cluster())
    (limit,) = node(api, "default/blue")["limits"]
    assert (limit["used"], limit["available"]) == (1.0, 3.0)
    told = api.get("/v1/quotas/explain?queue=blue").json()
    assert told["path"] == ["default/blue", "pool"]
    assert told["lines"][0] == (
        "cpu of flavor 'default': owns 4, uses 1, could take 3 now and 4 if nothing were running"
    )


def test_setting_again_replaces_everything(plane: World, api: Api) -> None:
    pool(api)
    limited = {
        "queue": "blue",
        "parent": "pool",
        "weight": 2.5,
        "band": 1,
        "limits": [GPUS | {"borrowing": 1, "lending": 0}],
    }
    changed = api.post("/v1/quotas", limited).json()
    assert (changed["version"], changed["weight"], changed["band"]) == (2, 2.5, 1)
    assert [changed["limits"][0][key] for key in ("borrowing", "lending", "available")] == [1.0, 0.0, 5.0]
    assert api.post("/v1/quotas", {"queue": "blue"}).json()["limits"] == []


@pytest.mark.parametrize(
    ("wanted", "field", "word"),
    [
        ({"cohort": "pool", "parent": "pool"}, "parent", "its own ancestor"),
        ({"queue": "blue", "parent": "nowhere"}, "parent", "no cohort"),
        (
            {"queue": "blue", "parent": "pool", "limits": [GPUS | {"lending": 5}]},
            "quotas.lending",
            "more than its",
        ),
        ({"queue": "blue", "limits": [GPUS | {"flavor": "gold"}]}, "quotas", "unknown flavor"),
        ({"queue": "blue", "limits": [GPUS | {"borrowing": 1}]}, "quotas.borrowing", "needs a cohort"),
        ({"queue": "blue", "limits": [GPUS, GPUS]}, "quotas", "two quotas"),
        ({"queue": "blue", "flavors": ["gold"]}, "flavors", "unknown flavors"),
        ({"queue": "nowhere"}, "queue", "no queue"),
        ({}, "queue", "name a queue"),
        ({"queue": "blue", "limits": [GPUS | {"nominal": -1}]}, "limits.0.nominal", ""),
        ({"queue": "blue", "limits": [GPUS | {"nominal": 2**53 - 1}]}, "quotas.nominal", "not within"),
        ({"queue": "blue", "limits": [GPUS | {"nominal": 10**400}]}, "limits.0.nominal", ""),
        ({"queue": "blue", "limits": [GPUS | {"borrowing": 2**63}]}, "limits.0.borrowing", ""),
        ({"queue": "blue", "burst_after_seconds": 2**63}, "burst_after_seconds", "less than or equal"),
        ({"queue": "blue", "aging_seconds": 2**63}, "aging_seconds", "less than or equal"),
        ({"queue": "blue", "weight": -1}, "weight", ""),
        ({"queue": "blue", "band": 101}, "band", ""),
    ],
)
def test_a_tree_that_makes_no_sense_is_refused_and_the_old_one_stands(
    plane: World, api: Api, wanted: dict[str, Any], field: str, word: str
) -> None:
    pool(api)
    before = api.get("/v1/quotas").json()
    answer = api.post("/v1/quotas", wanted)
    assert answer.status_code in (404, 422), answer.text
    (told,) = answer.json()["fields"]
    assert told["field"] == field
    assert word in answer.json()["detail"] or word in told["message"]
    assert api.get("/v1/quotas").json() == before


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_a_quota_that_is_no_number_is_refused(plane: World, api: Api, number: str) -> None:
    for field, body in {
        "weight": f'{{"queue": "default", "weight": {number}}}',
        "limits.0.nominal": f'{{"queue": "default", "limits": [{{"resource": "gpus", "nominal": {number}}}]}}',
    }.items():
        answer = api.post("/v1/quotas", content=body, headers={"Content-Type": "application/json"})
        assert problem(answer, 422, "invalid")["field"] == field


def test_a_cohort_with_members_stays(plane: World, api: Api) -> None:
    pool(api)
    refused = problem(api.post("/v1/quotas/remove", {"cohort": "pool"}), 409, "conflict")
    assert "default/blue, default/green" in refused["message"]
    for name in ("blue", "green"):
        assert api.post("/v1/quotas/remove", {"queue": name}).status_code == 200
    assert api.post("/v1/quotas/remove", {"cohort": "pool"}).status_code == 200
    assert api.get("/v1/quotas").json()["items"] == []
    problem(api.post("/v1/quotas/remove", {"queue": "blue"}), 404, "not_found")


def test_surprises_are_told(plane: World, api: Api) -> None:
    assert api.post("/v1/quotas", {"cohort": "lonely"}).status_code == 200
    api.post("/v1/quotas", {"queue": "default", "parent": "lonely", "limits": [GPUS]})
    codes = [each["code"] for each in api.get("/v1/quotas/lint").json()["items"]]
    assert "cohort_of_one" in codes


def test_two_surprises_of_one_sort_at_one_node_are_told_page_by_page(plane: World, api: Api) -> None:
    idle = [{"resource": each, "nominal": 4, "lending": 0} for each in ("cpus", "memory")]
    assert api.post("/v1/quotas", {"queue": "default", "limits": idle}).status_code == 200
    whole = api.get("/v1/quotas/lint").json()["items"]
    assert [each["code"] for each in whole].count("lends_nothing") == 2
    seen: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        body = api.get("/v1/quotas/lint", params={"limit": "1"} | after).json()
        seen += body["items"]
        if body["next"] is None:
            break
        after = {"after": body["next"]}
    assert seen == whole


def test_surprises_of_another_projects_queues_are_not_told(plane: World, api: Api) -> None:
    other_project(plane)
    api.post("/v1/quotas", {"cohort": "pool"})
    idle = {"limits": [GPUS | {"lending": 0}], "parent": "pool"}
    assert api.post("/v1/quotas", {"project": "other", "queue": "default", **idle}).status_code == 200

    def told(viewer: Api) -> list[tuple[str, str]]:
        items = viewer.get("/v1/quotas/lint").json()["items"]
        return [(each["name"], each["sentence"]) for each in items if each["code"] != "more_than_there_is"]

    nobody = "there is nobody to lend to or borrow from"
    assert told(api.as_token(plane.secret(Role.VIEWER, "default"))) == [
        ("pool", f"'pool' has one member, 'a queue of another project': {nobody}")
    ]
    lends = "'other/default' lends none of its 4000 gpu of 'default'; they stay idle when it has no work"
    for viewer in (api.as_token(plane.secret(Role.VIEWER, "other")), api.as_token(plane.secret(Role.VIEWER))):
        assert told(viewer) == [
            ("pool", f"'pool' has one member, 'other/default': {nobody}"),
            ("other/default", lends),
        ]


def test_a_flavor_counts_its_nodes_and_stays_while_a_quota_names_it(plane: World, api: Api) -> None:
    plane.cluster(accelerator="A100", nodes=2)
    made = api.post("/v1/flavors", {"name": "a100", "accelerators": ["A100"]}).json()
    assert made["nodes"] == 2
    limit = GPUS | {"flavor": "a100"}
    assert api.post("/v1/quotas", {"queue": "default", "limits": [limit]}).status_code == 200
    problem(api.post("/v1/flavors/remove", {"name": "a100"}), 409, "conflict")
    api.post("/v1/quotas/remove", {"queue": "default"})
    assert api.post("/v1/flavors/remove", {"name": "a100"}).status_code == 200
    problem(api.post("/v1/flavors/remove", {"name": "a100"}), 404, "not_found")


def test_only_an_admin_of_all_projects_changes_quotas(plane: World, api: Api) -> None:
    bound = api.as_token(plane.secret(Role.ADMIN, "default"))
    problem(bound.post("/v1/quotas", {"cohort": "pool"}), 403, "forbidden")
    viewer = api.as_token(plane.secret(Role.VIEWER))
    problem(viewer.post("/v1/flavors", {"name": "a100"}), 403, "forbidden")
    assert viewer.get("/v1/quotas").status_code == 200
