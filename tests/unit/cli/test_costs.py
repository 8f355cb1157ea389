"""Costs and budgets on the command line, word for word."""

import json

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.sdk.plane import NOW, Plane

pytestmark = pytest.mark.sockets

COST = {
    "id": "queue_1",
    "name": "default/blue",
    "currency": "USD",
    "used": "12.500000",
    "idle": "0.000001",
    "total": "12.500001",
    "task_seconds": 3725,
    "machine_seconds": 60,
}
RATE = {"per": "gpu", "price_per_hour": "1.250000", "currency": "EUR", "valid_from": NOW}
BUDGET = {
    "id": "queue_1",
    "name": "default/blue",
    "window": "month",
    "currency": "USD",
    "limit": "100.000000",
    "spent": "12.500000",
    "promised": "7.000000",
    "left": "80.500000",
    "begins_at": NOW,
    "ends_at": NOW,
}


def test_costs_are_a_table_by_what_was_chosen(plane: Plane, run: Run) -> None:
    unpriced = {**COST, "currency": None, "used": "0", "idle": "0", "total": "0", "name": ""}
    plane.fixed["GET", "/v1/costs"] = (200, {"items": [COST, unpriced]})
    assert run("costs", "--by", "job", "--from", "2026-11-01", "-p", "vision").stdout == (
        "NAME          CURRENCY  USED   IDLE      TOTAL      TASK TIME  MACHINE TIME\n"
        "default/blue  USD       12.50  0.000001  12.500001  1:02:05    1:00\n"
        "-             unpriced  0.00   0.00      0.00       1:02:05    1:00\n"
    )
    query = plane.seen[0].query
    assert (query["by"], query["from"], query["project"]) == (
        ["job"],
        ["2026-11-01T00:00:00+00:00"],
        ["vision"],
    )
    assert "to" not in query


def test_a_rate_is_set_and_listed(plane: Plane, run: Run) -> None:
    plane.fixed["POST", "/v1/rates"] = (200, RATE)
    plane.fixed["GET", "/v1/rates"] = (200, {"items": [RATE]})
    words = ("costs", "rates", "set", "1.25", "--per", "gpu", "--currency", "EUR", "--flavor", "a100")
    assert "per hour    1.25 EUR\n" in run(*words).stdout
    body = json.loads(plane.seen[0].body)
    assert (body["price_per_hour"], body["flavor"], body["cluster"]) == ("1.25", "a100", None)
    assert run("costs", "rates", "list").stdout == (
        "CLUSTER  FLAVOR  PER  PER HOUR  VALID FROM\nany      any     gpu  1.25 EUR  2026-03-01 12:00:00Z\n"
    )


@pytest.mark.parametrize(("price", "code"), [("cheap", 2), ("-1", 1), ("0.0000001", 1)])
def test_a_price_that_cannot_be_is_not_even_sent(plane: Plane, run: Run, price: str, code: int) -> None:
    assert run("costs", "rates", "set", "--per", "gpu", "--", price).exit_code == code
    assert plane.seen == []


def test_a_budget_is_set_listed_and_removed(plane: Plane, run: Run) -> None:
    plane.fixed["POST", "/v1/budgets"] = (200, BUDGET)
    plane.fixed["POST", "/v1/budgets/remove"] = (200, BUDGET)
    plane.fixed["GET", "/v1/budgets"] = (200, {"items": [BUDGET]})
    assert "left      80.50\n" in run("budgets", "set", "100", "-q", "blue").stdout
    assert json.loads(plane.seen[0].body) == {
        "cohort": None,
        "project": "default",
        "queue": "blue",
        "window": "month",
        "limit": "100",
        "currency": "USD",
    }
    assert run("budgets", "remove", "--cohort", "pool", "--per", "day").exit_code == 0
    assert run("budgets", "list").stdout == (
        "NAME          PER    LIMIT       SPENT  PROMISED  LEFT   ENDS\n"
        "default/blue  month  100.00 USD  12.50  7.00      80.50  2026-03-01 12:00:00Z\n"
    )
