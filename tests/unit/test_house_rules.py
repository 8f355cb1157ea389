"""The house rules hold, and each of them can fail."""

import tomllib
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

import pytest

from tests import house_rules
from tests.house_rules import (
    Breach,
    Rule,
    breaches,
    no_network_in_units,
    no_sleep_for_luck,
    plain_names,
    same_plan_everywhere,
    says_what_it_is,
    sets_are_sorted,
    skips_are_counted,
    small_pieces,
    state_moves,
)

REPOSITORY: Final = Path(__file__).parents[2]
DOMAIN: Final = "controlplane/domain/jobs.py"
LOOP: Final = "controlplane/runtime/loop.py"
TEST: Final = "tests/unit/test_x.py"

FAILING: Final[list[tuple[Rule, str, str]]] = [
    (same_plan_everywhere, DOMAIN, "at = datetime.now(UTC)"),
    (same_plan_everywhere, DOMAIN, "at = datetime.datetime.utcnow()"),
    (same_plan_everywhere, "schedulers/base.py", "day = date.today()"),
    (same_plan_everywhere, "schedulers/base.py", "noise = np.random.default_rng()"),
    (same_plan_everywhere, "schedulers/base.py", "import numpy.random"),
    (same_plan_everywhere, "schedulers/base.py", "from numpy import random"),
    (same_plan_everywhere, "schedulers/base.py", "from numpy.random import Generator"),
    (sets_are_sorted, DOMAIN, "for x in {1, 2}: print(x)"),
    (sets_are_sorted, DOMAIN, "out = [x for x in set(y)]"),
    (sets_are_sorted, DOMAIN, "def f(ids: frozenset[str]):\n    return tuple(ids)"),
    (sets_are_sorted, DOMAIN, "def f(ids: Set[str], more: Set[str]):\n    return [i for i in ids - more]"),
    (sets_are_sorted, DOMAIN, "def f(y):\n    ids = {x.id for x in y}\n    for i in ids: print(i)"),
    (sets_are_sorted, DOMAIN, "def f(y):\n    ids = {x.id for x in y}\n    def g():\n        return [*ids]"),
    (
        sets_are_sorted,
        DOMAIN,
        "class A:\n    ids: set[int]\n    def f(self):\n        return ','.join(self.ids)",
    ),
    (sets_are_sorted, DOMAIN, "def f(ids: set[int]):\n    return {i: 1 for i in ids}"),
    (sets_are_sorted, DOMAIN, "def f(ids: set[int]):\n    return max(ids, key=rank)"),
    (sets_are_sorted, DOMAIN, "def f(ids: set[int]):\n    return ids.pop()"),
    (state_moves, LOOP, "ended = replace(attempt, state=AttemptState.ENDED)"),
    (state_moves, LOOP, "ended = dataclasses.replace(attempt, state=AttemptState.ENDED)"),
    (state_moves, LOOP, "def stop(attempt):\n    attempt.state = AttemptState.ENDED"),
    (state_moves, LOOP, "object.__setattr__(attempt, 'state', AttemptState.ENDED)"),
    (no_network_in_units, LOOP, "store.write(lambda unit: httpx.post(url))"),
    (
        no_network_in_units,
        LOOP,
        "def f(store):\n    def note(u):\n        self._executor.stop(a)\n    store.write(note)",
    ),
    (
        no_network_in_units,
        LOOP,
        "def ask():\n    requests.get(u)\ndef note(u):\n    ask()\nstore.write(partial(note, 1))",
    ),
    (no_network_in_units, LOOP, "def note(u):\n    time.sleep(1)\nself.store.write(note)"),
    (plain_names, "controlplane/api/utils.py", ""),
    (plain_names, "controlplane/common/jobs.py", ""),
    (plain_names, "controlplane/api/job_helpers.py", ""),
    (plain_names, LOOP, "class JobManager: pass"),
    (plain_names, LOOP, "class HTTPHandler: pass"),
    (small_pieces, LOOP, "def f():\n" + "    x = 1\n" * 59),
    (small_pieces, LOOP, "x = 1\n" * 501),
    (small_pieces, "migrations/versions/0001_x.py", "x = 1\n" * 1001),
    (says_what_it_is, LOOP, "x = 1"),
    (no_sleep_for_luck, TEST, "time.sleep(1)"),
    (no_sleep_for_luck, TEST, "time.sleep(1)  # poll"),
    (no_sleep_for_luck, TEST, "while not ready():\n    time.sleep(1)"),
    (skips_are_counted, TEST, "pytest.skip('no database')"),
    (skips_are_counted, TEST, "torch = pytest.importorskip('torch')"),
    (skips_are_counted, TEST, "@pytest.mark.skipif(no_database, reason='none')\ndef test_x(): ..."),
]

PASSING: Final[list[tuple[Rule, str, str]]] = [
    (same_plan_everywhere, DOMAIN, "def f(now: datetime) -> bool:\n    return now > since"),
    (same_plan_everywhere, LOOP, "at = datetime.now(UTC)"),
    (sets_are_sorted, DOMAIN, "def f(ids: frozenset[str]):\n    return [i for i in sorted(ids)]"),
    (
        sets_are_sorted,
        DOMAIN,
        "def f(ids: set[int]):\n    return any(i > 1 for i in ids) and {i for i in ids}",
    ),
    (
        sets_are_sorted,
        DOMAIN,
        "def f(y):\n    ids = {x.id for x in y}\n    return [x for x in y if x.id in ids]",
    ),
    (sets_are_sorted, DOMAIN, "def f(ids: set[int]): ...\ndef g(ids: list[int]):\n    return tuple(ids)"),
    (sets_are_sorted, LOOP, "for x in {1, 2}: print(x)"),
    (state_moves, LOOP, "class Job:\n    def move(self, new):\n        return replace(self, state=new)"),
    (state_moves, LOOP, "class Loop:\n    def __init__(self):\n        self.state = State.IDLE"),
    (state_moves, LOOP, "text = name.replace('a', 'b')\nnewer = replace(job, name='x')"),
    (state_moves, "controlplane/store/rows.py", "job = replace(job, state=row.state)"),
    (no_network_in_units, LOOP, "answer = httpx.post(url)\nstore.write(lambda unit: unit.add(answer))"),
    (
        no_network_in_units,
        LOOP,
        "def ask():\n    httpx.get(u)\ndef note(u):\n    u.add(1)\nstore.write(note)",
    ),
    (plain_names, "controlplane/api/uncommon.py", "class Commonwealth: pass"),
    (small_pieces, LOOP, "def f():\n" + "    x = 1\n" * 58),
    (small_pieces, "migrations/versions/0001_x.py", "x = 1\n" * 1000),
    (says_what_it_is, LOOP, '"""Loops: claim, load, decide, act, record."""'),
    (says_what_it_is, "controlplane/__init__.py", ""),
    (no_sleep_for_luck, TEST, "while not ready():\n    time.sleep(0.1)  # poll"),
    (no_sleep_for_luck, LOOP, "time.sleep(1)"),
    (skips_are_counted, "tests/parts.py", "pytest.skip('no database')"),
    (skips_are_counted, TEST, "require_part('postgres', False, 'none')"),
]


@pytest.mark.parametrize(("rule", "path", "text"), FAILING)
def test_a_rule_sees_its_failing_sample(rule: Rule, path: str, text: str) -> None:
    assert [breach.rule for breach in breaches(path, text, (rule,))][:1] == [rule.__name__]


@pytest.mark.parametrize(("rule", "path", "text"), PASSING)
def test_a_rule_lets_its_passing_sample_through(rule: Rule, path: str, text: str) -> None:
    assert breaches(path, text, (rule,)) == []


def test_every_rule_has_a_failing_and_a_passing_sample() -> None:
    rules = set(house_rules.RULES)
    assert ({rule for rule, _, _ in FAILING}, {rule for rule, _, _ in PASSING}) == (rules, rules)


def test_a_breach_says_where_and_what() -> None:
    text = dedent('''
        """Jobs."""
        at = datetime.now()
    ''')
    assert breaches(DOMAIN, text) == [
        Breach(
            path=DOMAIN,
            line=3,
            rule="same_plan_everywhere",
            sentence="reads the clock with .now(); take the time as an argument",
        )
    ]


@pytest.mark.verify  # `make check` looks at the whole repository, too
def test_the_whole_repository_keeps_the_house_rules() -> None:
    assert [str(breach) for breach in house_rules.all_breaches(REPOSITORY)] == []


def _pyproject() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def _contract(name: str) -> dict[str, list[str]]:
    contracts: list[dict[str, Any]] = _pyproject()["tool"]["importlinter"]["contracts"]
    return next(contract for contract in contracts if contract["id"] == name)


def test_the_sql_contract_names_every_part_but_the_store() -> None:
    paths = (REPOSITORY / "controlplane").iterdir()
    parts = {f"controlplane.{path.stem}" for path in paths if path.suffix == ".py" or any(path.glob("*.py"))}
    parts -= {"controlplane.__init__", "controlplane.store"}
    assert set(_contract("sql")["source_modules"]) == parts | {"cloud_adapters", "schedulers"}


def test_every_built_in_plugin_stands_in_the_plugin_contracts() -> None:
    groups = _pyproject()["project"]["entry-points"]
    modules = {target.partition(":")[0] for group in groups.values() for target in group.values()}
    protected, apart = _contract("plugins")["protected_modules"], _contract("plugins-apart")["modules"]
    unlisted = {module for module in modules if not module.startswith(tuple(protected))}
    assert (unlisted, protected) == (set(), apart)
