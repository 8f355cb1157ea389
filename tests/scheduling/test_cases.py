"""Every case under `cases/`, against the policy that the product ships."""

from pathlib import Path
from typing import Final

import pytest

from schedulers.fair.policy import Fair
from schedulers.testing import Case, load

CASES: Final = load(Path(__file__).parent / "cases")


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_the_policy_does_what_the_case_says(case: Case) -> None:
    assert case.check(Fair()) == []


def test_no_two_cases_have_one_name() -> None:
    names = [case.id for case in CASES]
    assert len(frozenset(names)) == len(names)
