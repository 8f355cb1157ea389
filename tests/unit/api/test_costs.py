"""Costs, rates and budgets over the API: set, shown, in pages, refused when they make no sense."""

from datetime import timedelta
from typing import Any

from controlplane.identity.principals import Role
from tests.unit.api.client import Api, problem
from tests.unit.operations.world import START, World, other_project

RATE = {"per": "cpu", "price_per_hour": "0.036", "currency": "EUR", "valid_from": START.isoformat()}


def used_for(plane: World, seconds: float, **given: Any) -> None:  # noqa: ANN401 - fields of a spec
    plane.running(**given)
    plane.clock.pass_seconds(seconds)


def costs(api: Api, **params: str) -> list[dict[str, Any]]:
    window = {"from": START.isoformat(), "to": (START + timedelta(days=1)).isoformat()}
    answer = api.get("/v1/costs", params=window | params)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


def test_what_ran_costs_what_the_rates_say(plane: World, api: Api) -> None:
    assert api.post("/v1/rates", RATE).json()["price_per_hour"] == "0.036000"
    used_for(plane, 1000)
    (queue,) = costs(api)
    assert (queue["name"], queue["currency"], queue["used"], queue["idle"], queue["total"]) == (
        "default/default",
        "EUR",
        "0.010000",
        "0.000000",
        "0.010000",
    )
    assert (queue["task_seconds"], queue["machine_seconds"]) == (1000, 0)
    names = {
        by: [each["name"] for each in costs(api, by=by)] for by in ("total", "project", "cluster", "job")
    }
    assert names == {"total": [""], "project": ["default"], "cluster": ["lab"], "job": ["train"]}


def test_what_nobody_priced_is_shown_as_time(plane: World, api: Api) -> None:
    used_for(plane, 60)
    (queue,) = costs(api)
    assert (queue["currency"], queue["total"], queue["task_seconds"]) == (None, "0.000000", 60)


def test_pages_of_one_report_add_up(plane: World, api: Api) -> None:
    api.post("/v1/rates", RATE)
    for _ in range(3):
        used_for(plane, 7)
    whole = costs(api, by="job")
    seen: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        window = {"from": START.isoformat(), "to": (START + timedelta(days=1)).isoformat()}
        body = api.get("/v1/costs", params=window | {"by": "job", "limit": "1"} | after).json()
        seen += body["items"]
        if body["next"] is None:
            break
        after = {"after": body["next"]}
    assert seen == whole
    assert len(whole) == 3


def test_who_sees_one_project_is_shown_its_costs_alone(plane: World, api: Api) -> None:
    api.post("/v1/rates", RATE)
    other_project(plane)
    used_for(plane, 60)
    used_for(plane, 60, project="other")
    bound = api.as_token(plane.secret(Role.VIEWER, "other"))
    assert [each["name"] for each in costs(bound, by="project")] == ["other"]
    assert [each["name"] for each in costs(api, by="project", project="other")] == ["other"]
    assert len(costs(api, by="project")) == 2
    problem(bound.get("/v1/costs?project=default"), 404, "not_found")
    problem(bound.post("/v1/rates", RATE), 403, "forbidden")


def test_rates_are_listed_and_replaced(plane: World, api: Api) -> None:
    plane.cluster()
    api.post("/v1/rates", RATE)
    api.post("/v1/rates", RATE | {"price_per_hour": "0.05"})
    api.post("/v1/rates", RATE | {"cluster": "lab", "flavor": "default", "per": "gpu"})
    items = api.get("/v1/rates").json()["items"]
    assert [(each["cluster"], each["flavor"], each["per"], each["price_per_hour"]) for each in items] == [
        (None, None, "cpu", "0.050000"),
        ("lab", "default", "gpu", "0.036000"),
    ]


def test_rates_that_cannot_be_are_refused(plane: World, api: Api) -> None:
    for wrong in (
        {"price_per_hour": "-1"},
        {"price_per_hour": "0.0000001"},
        {"currency": "euro"},
        {"per": "disk"},
        {"flavor": "unheard-of"},
    ):
        problem(api.post("/v1/rates", RATE | wrong), 422, "invalid")
    problem(api.post("/v1/rates", RATE | {"cluster": "nowhere"}), 404, "not_found")
    problem(api.get("/v1/costs?from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z"), 422, "invalid")


def test_costs_are_told_up_to_the_last_month_of_all(plane: World, api: Api) -> None:
    used_for(plane, 60)
    last = api.get("/v1/costs?to=9999-12-31T23:59:59Z")
    assert (last.status_code, last.json()["items"]) == (200, [])
    whole = api.get("/v1/costs?from=0001-01-01T00:00:00Z&to=9999-12-31T23:59:59Z")
    assert [each["task_seconds"] for each in whole.json()["items"]] == [60]


def test_budgets_are_set_shown_and_removed(plane: World, api: Api) -> None:
    api.post("/v1/quotas", {"cohort": "pool"})
    first = api.post("/v1/budgets", {"queue": "default", "limit": "100", "currency": "USD"})
    assert first.status_code == 200, first.text
    api.post("/v1/budgets", {"queue": "default", "limit": "80.5", "currency": "USD"})
    api.post("/v1/budgets", {"cohort": "pool", "limit": "1", "currency": "CNY", "window": "total"})
    items = {each["name"]: each for each in api.get("/v1/budgets").json()["items"]}
    queue = items["default/default"]
    assert (queue["limit"], queue["spent"], queue["left"]) == ("80.500000", "0.000000", "80.500000")
    assert (queue["window"], queue["begins_at"], queue["ends_at"]) == (
        "month",
        "2026-03-01T00:00:00Z",
        "2026-04-01T00:00:00Z",
    )
    assert (items["pool"]["window"], items["pool"]["ends_at"]) == ("total", None)
    gone = api.post("/v1/budgets/remove", {"queue": "default", "currency": "USD"})
    assert gone.json()["limit"] == "80.500000"
    assert [each["name"] for each in api.get("/v1/budgets").json()["items"]] == ["pool"]


def test_budgets_that_cannot_be_are_refused(plane: World, api: Api) -> None:
    money = {"limit": "1", "currency": "USD"}
    problem(api.post("/v1/budgets", money), 422, "invalid")
    problem(api.post("/v1/budgets", money | {"queue": "none"}), 404, "not_found")
    problem(api.post("/v1/budgets", money | {"cohort": "none"}), 404, "not_found")
    problem(api.post("/v1/budgets/remove", {"queue": "default", "currency": "USD"}), 404, "not_found")
    bound = api.as_token(plane.secret(Role.SUBMITTER))
    problem(bound.post("/v1/budgets", money | {"queue": "default"}), 403, "forbidden")
