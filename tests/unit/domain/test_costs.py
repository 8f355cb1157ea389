"""The arithmetic of costs: whole numbers that add up however time and tasks are cut."""

from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.amounts import Amounts
from controlplane.domain.budgets import Window, window_at
from controlplane.domain.claims import ClaimState, LaunchOutcome
from controlplane.domain.cost_reports import GroupBy, report
from controlplane.domain.costs import (
    UNITS,
    WHOLE_PPM,
    Holding,
    Line,
    Owner,
    Per,
    Price,
    Rate,
    Span,
    held_seconds,
    holdings,
    in_millionths,
    owned,
    part_ppm,
    periods,
    prices_at,
)
from controlplane.domain.ids import ClaimId, ClusterId, JobId, LaunchId, QueueId
from tests import factories
from tests.factories import NOON, after

LAB = ClusterId("lab")
MACHINE = Amounts(cpu_milli=96_000, gpu_milli=8000)
MICROSECONDS = st.integers(0, 10**12)


def rate(price: int, *, at: float = 0, per: Per = Per.GPU, **fields: str) -> Rate:
    place = ClusterId(fields["cluster"]) if "cluster" in fields else None
    return Rate(
        cluster_id=place,
        flavor=fields.get("flavor"),
        per=per,
        currency=fields.get("currency", "USD"),
        price_millionths=price,
        valid_from=after(at),
    )


def at_micros(value: int) -> datetime:
    return NOON + timedelta(microseconds=value)


@given(st.lists(MICROSECONDS, min_size=2, max_size=8), MICROSECONDS, MICROSECONDS)
def test_however_an_interval_is_cut_its_seconds_add_up(cuts: list[int], one: int, other: int) -> None:
    moments = [at_micros(each) for each in sorted(cuts)]
    whole = Span(moments[0], moments[-1])
    parts = [Span(start, end) for start, end in pairwise(moments)]
    assert sum(part.seconds for part in parts) == whole.seconds
    window = Span(at_micros(min(one, other)), at_micros(max(one, other)))
    assert sum(part.within(window).seconds for part in parts) == whole.within(window).seconds


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 48_000)), max_size=12))
def test_tasks_that_fit_on_a_machine_never_bear_more_than_its_price(tasks: list[tuple[int, int]]) -> None:
    fitting: list[Amounts] = []
    for gpu, cpu in tasks:
        task = Amounts(gpu_milli=gpu, cpu_milli=cpu)
        gpus, cpus = sum(each.gpu_milli for each in fitting), sum(each.cpu_milli for each in fitting)
        if gpus + gpu <= MACHINE.gpu_milli and cpus + cpu <= MACHINE.cpu_milli:
            fitting.append(task)
    assert sum(part_ppm(each, MACHINE) for each in fitting) <= WHOLE_PPM


def test_the_whole_of_a_machine_bears_the_whole_price() -> None:
    assert part_ppm(MACHINE, MACHINE) == WHOLE_PPM
    assert part_ppm(Amounts(gpu_milli=8000), MACHINE) == 950_000
    assert part_ppm(Amounts(cpu_milli=500), Amounts(cpu_milli=1000)) == 500_000
    assert part_ppm(Amounts(gpu_milli=1000), Amounts()) == 0


def test_the_closest_rate_counts_and_of_those_the_latest() -> None:
    rates = [
        rate(1),
        rate(2, flavor="spot"),
        rate(3, cluster="lab"),
        rate(4, cluster="lab", at=60),
        rate(5, cluster="lab", flavor="spot", at=120),
        rate(9, cluster="elsewhere"),
    ]

    def price(seconds: float, flavor: str) -> int:
        ((per, found),) = prices_at(rates, LAB, flavor, after(seconds))
        assert per is Per.GPU
        return found.millionths

    assert [price(0, "spot"), price(60, "spot"), price(120, "spot"), price(120, "other")] == [3, 4, 5, 4]
    assert prices_at(rates, LAB, "spot", after(-1)) == ()


def test_a_task_costs_its_gpus_and_its_cpus_in_each_currency() -> None:
    prices = ((Per.GPU, Price("USD", 2_000_000)), (Per.CPU, Price("USD", 30_000)))
    task = Amounts(gpu_milli=500, cpu_milli=2000)
    assert owned(prices, task) == (Price("USD", 1_060_000),)
    mixed = ((Per.GPU, Price("USD", 2_000_000)), (Per.CPU, Price("EUR", 30_000)))
    assert owned(mixed, task) == (Price("EUR", 60_000), Price("USD", 1_000_000))
    assert owned((), task) == ()


def test_a_window_is_cut_where_a_rate_begins() -> None:
    window = Span(NOON, after(100))
    cut = list(periods([rate(1, at=-5), rate(1, at=40), rate(2, at=40), rate(1, at=100)], window))
    assert cut == [Span(NOON, after(40)), Span(after(40), after(100))]


def test_a_claim_holds_what_was_granted_until_it_is_gone() -> None:
    claim = factories.claim(machines_want=3, state=ClaimState.GONE, since=after(100))
    bought = [
        factories.launch(machines=2, created_at=after(10), resolved_at=after(15)),
        factories.launch(
            id=LaunchId("refused"),
            machines=9,
            created_at=after(20),
            resolved_at=after(21),
            outcome=LaunchOutcome.REFUSED,
        ),
        factories.launch(id=LaunchId("more"), machines=1, created_at=after(30), resolved_at=after(31)),
        factories.launch(id=LaunchId("repair"), machines=1, created_at=after(50), resolved_at=after(51)),
        factories.launch(id=LaunchId("open"), machines=1, created_at=after(60)),
    ]
    held = holdings(claim, bought, after(500))
    assert held == (
        Holding(Span(after(10), after(30)), 2),
        Holding(Span(after(30), after(50)), 3),
        Holding(Span(after(50), after(100)), 3),
    )
    assert held_seconds(held, Span(after(20), after(60))) == 2 * 10 + 3 * 30


@given(st.lists(st.integers(-5000, 10**15), max_size=20))
def test_what_is_shown_adds_up_to_the_sum_as_it_is_shown(units: list[int]) -> None:
    shown = in_millionths(units)
    assert sum(shown) == sum(units) // UNITS
    assert all(abs(each * UNITS - value) < UNITS for each, value in zip(shown, units, strict=True))


OWNERS = st.builds(
    lambda queue, job, claim: Owner(
        cluster_id=LAB,
        queue_id=QueueId(queue),
        job_id=JobId(job) if job else None,
        claim_id=ClaimId(claim) if claim else None,
    ),
    st.sampled_from("ab"),
    st.sampled_from(["", "1", "2", "3"]),
    st.sampled_from(["", "x", "y"]),
)
LINES = st.builds(
    lambda owner, currency, used, idle: Line(
        owner=owner, currency=currency, used_units=used, idle_units=idle, task_seconds=used
    ),
    OWNERS,
    st.sampled_from(["EUR", "USD"]),
    st.integers(0, 10**12),
    st.integers(0, 10**12),
)


@given(st.lists(LINES, max_size=12))
def test_every_grouping_adds_up_to_the_same_in_each_currency(lines: list[Line]) -> None:
    for currency in ("EUR", "USD"):
        sums = {
            sum(each.total_millionths for each in report(lines, by) if each.currency == currency)
            for by in GroupBy
        }
        assert len(sums) == 1


def test_time_that_nobody_has_priced_is_shown_without_a_currency() -> None:
    (entry,) = report([Line(owner=Owner(cluster_id=LAB), currency=None, task_seconds=90)], GroupBy.CLUSTER)
    assert (entry.key, entry.currency, entry.total_millionths, entry.task_seconds) == ("lab", None, 0, 90)


def test_windows_begin_at_midnight_and_on_the_first() -> None:
    late = datetime.fromisoformat("2026-12-31T23:59:59+00:00")
    new_year = datetime.fromisoformat("2027-01-01T00:00:00+00:00")
    assert window_at(Window.DAY, late) == Span(late.replace(hour=0, minute=0, second=0), new_year)
    december = datetime.fromisoformat("2026-12-01T00:00:00+00:00")
    assert window_at(Window.MONTH, late) == Span(december, new_year)
    assert window_at(Window.MONTH, december).start == december
    assert window_at(Window.TOTAL, late).within(Span(december, late)) == Span(december, late)
