"""Every case under `cases/`, against the policy that the product ships."""

import json
from pathlib import Path
from typing import Final

import pytest

from schedulers.fair.policy import Fair
from schedulers.testing import Case, load
from schedulers.testing.scenes import simulation_of

HERE: Final = Path(__file__).parent
CASES: Final = load(HERE / "cases")
PENDING: Final = json.loads((HERE / "pending.json").read_text(encoding="utf-8"))
WAIVED: Final = json.loads((HERE / "waived.json").read_text(encoding="utf-8"))
MOST_WAIVED: Final = 10
NEVER_WAIVED: Final = ("quota/", "drs/", "loops/")

LAWS: Final = frozenset(
    [
        "limits",
        "gangs",
        "topology",
        "quota-arithmetic",
        "owners-first",
        "minimal-victims",
        "quiescence",
        "minimum-runtime",
        "reservations",
        "work-conservation",
        "no-starvation",
        "no-envy",
        "strategy-proof",
        "determinism",
        "monotony",
        "explained",
        "replay",
        "fencing",
        "decay",
        "cost",
    ]
)
"""README.md says what each of them holds."""

HELD: Final = [case for case in CASES if case.id not in PENDING and case.id not in WAIVED]


@pytest.mark.parametrize("case", HELD, ids=[case.id for case in HELD])
def test_the_policy_does_what_the_case_says(case: Case) -> None:
    assert case.check(Fair()) == []


PLANNED: Final = [case for case in CASES if case.spec.get("action", "plan") == "plan"]


@pytest.mark.parametrize("case", PLANNED, ids=[case.id for case in PLANNED])
def test_the_order_of_rows_does_not_matter(case: Case) -> None:
    simulation = simulation_of(case.spec)
    plan = Fair().plan(simulation.snapshot())
    assert Fair().plan(simulation.snapshot(backwards=True)) == plan


@pytest.mark.parametrize("name", sorted(PENDING | WAIVED))
def test_what_is_said_not_to_hold_does_not_hold(name: str) -> None:
    (case,) = [case for case in CASES if case.id == name]
    assert case.check(Fair()) != [], "it holds by now: take it off the list"


def test_few_cases_are_waived_and_each_for_a_law() -> None:
    assert len(WAIVED) <= MOST_WAIVED
    assert [name for name in WAIVED if name.startswith(NEVER_WAIVED)] == []
    assert [
        name for name, waiver in WAIVED.items() if waiver["law"] not in LAWS or not waiver["reason"]
    ] == []


def test_no_two_cases_have_one_name() -> None:
    names = [case.id for case in CASES]
    assert len(frozenset(names)) == len(names)


def test_every_case_shows_a_law() -> None:
    assert [case.id for case in CASES if case.spec.get("law") not in LAWS] == []
