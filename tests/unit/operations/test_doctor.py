"""The doctor: whatever is done behind the server's back is found, what is safe is repaired, the rest is left alone."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cloud_adapters.base import Amounts, CapacityType, ClusterRef, Inventory, LaunchOrder, Machine, Transient
from cloud_adapters.fake_cloud import FakeCloud
from controlplane.domain.attempts import Attempt, AttemptState, Outcome
from controlplane.domain.claims import ClaimState
from controlplane.domain.clusters import Endpoint
from controlplane.domain.ids import AttemptId, ClaimId, ClusterId, JobId
from controlplane.domain.invariants import Breach, Rule
from controlplane.domain.jobs import JobState
from controlplane.domain.leftovers import Stray
from controlplane.domain.residency import Residency, Subject
from controlplane.domain.sites import Site
from controlplane.executors.base import Launch, Order, OrderSeat, Phase
from controlplane.executors.fake import FakeExecutor
from controlplane.operations.doctor import Ports, Report, examine, is_repairable, remedy, repair
from controlplane.operations.doctor.remedies import BY_HAND, BY_REPAIR
from controlplane.store import RankRow, Tx
from tests import factories
from tests.store.planting import raw
from tests.unit.operations.world import World, world

LAB = ClusterId("cluster_lab")
LONG = 240.0
"""More than any patience of the rules, in seconds."""


@dataclass(slots=True)
class Lab:
    """Lends the nodes that the world made."""

    names: tuple[str, ...] = ("lab-0", "lab-1", "lab-2", "lab-3")
    is_cut_off: bool = False

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:
        if self.is_cut_off:
            raise Transient(f"{cluster.name} did not answer within {deadline:g} s")
        machines = tuple(Machine(name=name, host="127.0.0.1", allocatable=Amounts()) for name in self.names)
        return Inventory(machines=machines, complete=True, session="s1")


@dataclass(slots=True)
class Clinic:
    """A control plane, the world around it, and an operator with a console."""

    plane: World
    url: str
    lab: Lab = field(default_factory=Lab)
    executor: FakeExecutor = field(default_factory=FakeExecutor)
    cloud: FakeCloud | None = None
    pauses: list[float] = field(default_factory=list)

    @property
    def ports(self) -> Ports:
        return Ports(adapters={"ray": self.cloud or self.lab}, executor=self.executor)

    def examine(self) -> Report:
        return examine(self.plane.context, self.ports, pause=self.pauses.append, clock=lambda: 0.0)

    def found(self) -> set[tuple[Rule, str]]:
        return {(breach.rule, breach.subject) for breach in self.examine().breaches}

    def rules(self) -> set[Rule]:
        return {rule for rule, _ in self.found()}

    def repair_all(self) -> list[bool | None]:
        """Whether each was done; None where nothing may be."""
        mends = [repair(self.plane.context, self.ports, breach) for breach in self.examine().breaches]
        return [None if mend is None else mend.is_done for mend in mends]

    def do(self, *statements: str, **values: str) -> None:
        with raw(self.url) as operator:
            for statement in statements:
                operator.execute(statement.format(**values))

    def without_wall(self, table: str) -> None:
        self.do(f"DROP TRIGGER {table}_moves" + ("" if self.url.startswith("sqlite") else f" ON {table}"))

    def lead(self) -> None:
        """Loops run, as far as anybody can see."""
        assert self.plane.store.write(lambda tx: tx.leases.take("scheduler", "me", 3600.0)) is not None

    def runs(self, attempt_id: str) -> None:
        """Somebody's process, under this id."""
        order = _order(attempt_id)
        self.executor.orders[order.attempt_id] = order
        self.executor.phases[order.attempt_id] = Phase.RUNNING

    def hear(self, attempt: Attempt) -> None:
        row = RankRow(acked_seq=1, heartbeat_at=self.plane.clock.at)
        self.plane.store.write(lambda tx: tx.records.save_rank(attempt.id, 0, row))


@pytest.fixture
def clinic(tmp_path: Path, database_url: str) -> Iterator[Clinic]:
    with world(tmp_path, database_url) as plane:
        cluster = plane.cluster(nodes=4)
        plane.store.write(lambda tx: tx.work.poke("cluster", cluster.id))
        yield Clinic(plane=plane, url=database_url)


def finished(clinic: Clinic) -> Attempt:
    attempt = clinic.plane.end(clinic.plane.running())
    clinic.plane.finish(attempt.job_id, JobState.SUCCEEDED)
    return attempt


def heard(clinic: Clinic) -> Attempt:
    attempt = clinic.plane.running()
    clinic.runs(attempt.id)
    clinic.hear(attempt)
    return attempt


def test_what_nobody_touched_is_well(clinic: Clinic) -> None:
    clinic.lead()
    finished(clinic)
    heard(clinic)
    report = clinic.examine()
    assert (report.breaches, report.unseen, report.notes) == ((), (), ())
    assert (report.jobs, report.clusters, clinic.pauses) == (2, 1, [])


def test_a_state_set_by_hand_is_found(clinic: Clinic) -> None:
    attempt = heard(clinic)
    clinic.without_wall("jobs")
    clinic.do("UPDATE jobs SET came_from = 'held', state = 'cancelled' WHERE id = '{id}'", id=attempt.job_id)
    assert clinic.found() == {
        (Rule.STATE_AND_ATTEMPTS, attempt.job_id),
        (Rule.EVENTS_TELL_ALL, attempt.job_id),
    }
    assert clinic.repair_all() == [None, None]  # which of the rows is true is not ours to say


def test_a_legal_move_that_was_never_made_is_found(clinic: Clinic) -> None:
    attempt = clinic.plane.end(heard(clinic), Outcome.FAILED, exit_code=1)
    clinic.do(
        "UPDATE jobs SET came_from = 'active', state = 'succeeded' WHERE id = '{id}'", id=attempt.job_id
    )
    assert clinic.found() == {(Rule.OUTCOME_DECIDES, attempt.job_id), (Rule.EVENTS_TELL_ALL, attempt.job_id)}


def test_a_forged_origin_is_found(clinic: Clinic) -> None:
    attempt = finished(clinic)
    clinic.without_wall("attempts")
    clinic.do("UPDATE attempts SET came_from = 'stopping' WHERE id = '{id}'", id=attempt.id)
    assert clinic.found() == {(Rule.EVENTS_TELL_ALL, attempt.id)}


def test_a_changed_outcome_is_found(clinic: Clinic) -> None:
    attempt = clinic.plane.end(heard(clinic))
    clinic.do("UPDATE attempts SET outcome = 'failed' WHERE id = '{id}'", id=attempt.id)
    assert clinic.found() == {(Rule.EVENTS_TELL_ALL, attempt.id)}


@pytest.mark.parametrize("place", range(7))
def test_each_event_that_is_missing_is_missed(clinic: Clinic, place: int) -> None:
    attempt = finished(clinic)
    with raw(clinic.url) as operator:
        moves = operator.execute("SELECT seq FROM events WHERE job_id IS NOT NULL ORDER BY seq")
    assert len(moves) == 7
    clinic.do("DELETE FROM events WHERE seq = {seq}", seq=str(moves[place][0]))
    assert {subject for _, subject in clinic.found()} <= {attempt.id, attempt.job_id}
    assert clinic.rules() == {Rule.EVENTS_TELL_ALL}


@pytest.mark.parametrize(
    "deed",
    [
        "UPDATE seats SET released_at = 1 WHERE attempt_id = '{id}'",
        "DELETE FROM seats WHERE attempt_id = '{id}'",
        """INSERT INTO seats
        SELECT attempt_id, 1, node_id, cpu_milli, memory_bytes, gpu_milli, custom_milli, heir, released_at
        FROM seats WHERE attempt_id = '{id}'""",
        "UPDATE seats SET cpu_milli = 1 WHERE attempt_id = '{id}'",
    ],
)
def test_a_seat_that_is_released_lost_doubled_or_shrunk_is_found(clinic: Clinic, deed: str) -> None:
    attempt = heard(clinic)
    clinic.do(deed, id=attempt.id)
    assert clinic.found() == {(Rule.SEATS_ARE_PLACEMENTS, attempt.id)}
    assert clinic.repair_all() == [None]


def test_seats_of_an_ended_attempt_are_released_and_the_story_says_so(clinic: Clinic) -> None:
    attempt = finished(clinic)
    clinic.do("UPDATE seats SET released_at = NULL WHERE attempt_id = '{id}'", id=attempt.id)
    assert clinic.found() == {(Rule.SEATS_NOT_RELEASED, attempt.id)}
    assert clinic.repair_all() == [True]
    assert clinic.found() == set()
    with clinic.plane.store.read() as tx:
        events = [event for _, event in tx.events.after(None, 1000)[0]]
    repaired = events[-1]
    assert (repaired.kind, repaired.subject, repaired.job_id) == (
        "doctor.repaired",
        attempt.id,
        attempt.job_id,
    )
    assert repaired.data["what"] == "released 1 seats"
    assert events[-2].kind == "node.changed"  # so that the scheduler hears of the room


def test_a_repair_that_comes_late_does_nothing(clinic: Clinic) -> None:
    attempt = finished(clinic)
    breach = Breach(rule=Rule.SEATS_NOT_RELEASED, subject=attempt.id, sentence="held a seat a moment ago")
    before = clinic.plane.event_kinds()
    mend = repair(clinic.plane.context, clinic.ports, breach)
    assert mend is not None
    assert not mend.is_done
    assert clinic.plane.event_kinds() == before


def test_a_live_attempt_keeps_its_seats_whatever_anybody_asks(clinic: Clinic) -> None:
    attempt = heard(clinic)
    breach = Breach(rule=Rule.SEATS_NOT_RELEASED, subject=attempt.id, sentence="a mistake")
    assert repair(clinic.plane.context, clinic.ports, breach).is_done is False  # type: ignore[union-attr]
    assert clinic.found() == set()


def test_what_nobody_will_look_at_is_put_on_the_list(clinic: Clinic) -> None:
    attempt = heard(clinic)
    clinic.do("DELETE FROM work")
    assert clinic.found() == set()  # the sweep may still come
    clinic.plane.clock.pass_seconds(LONG)
    clinic.hear(attempt)
    assert (Rule.NOBODY_LOOKS, attempt.id) in clinic.found()
    clinic.repair_all()
    assert clinic.found() == set()
    assert clinic.plane.is_poked("attempt", attempt.id)


def test_a_job_is_only_missed_on_the_list_when_there_is_something_to_do(clinic: Clinic) -> None:
    first = heard(clinic)
    second = clinic.plane.submit(depends_on=[first.job_id]).job
    clinic.do("DELETE FROM work")
    clinic.plane.clock.pass_seconds(LONG)
    clinic.hear(first)
    assert first.job_id not in {subject for _, subject in clinic.found()}
    assert second.id not in {subject for _, subject in clinic.found()}
    clinic.plane.end(first)
    clinic.plane.clock.pass_seconds(LONG)
    assert (Rule.NOBODY_LOOKS, first.job_id) in clinic.found()
    clinic.plane.finish(first.job_id, JobState.SUCCEEDED)
    clinic.plane.clock.pass_seconds(LONG)
    assert (Rule.NOBODY_LOOKS, second.id) in clinic.found()


def test_a_lie_in_the_counts_is_put_right(clinic: Clinic) -> None:
    finished(clinic)
    clinic.plane.store.write(lambda tx: tx.counts.fold())
    clinic.do("UPDATE job_counts SET jobs = jobs + 4")
    assert clinic.rules() == {Rule.COUNTS}
    assert clinic.repair_all()[0] is True
    assert clinic.found() == set()


def test_of_two_holders_the_newest_stays(clinic: Clinic) -> None:
    clinic.lead()
    clinic.do(
        "DROP INDEX uq_leases_held",
        "INSERT INTO leases (id, name, holder, token, until, state, came_from) "
        "VALUES ('scheduler#9', 'scheduler', 'you', 9, 1, 'held', '-')",
    )
    assert clinic.found() == {(Rule.ONE_HOLDER, "scheduler")}
    assert clinic.repair_all() == [True]
    with clinic.plane.store.read() as tx:
        held = tx.leases.get("scheduler")
    assert held is not None
    assert held.token == 9


def test_records_of_a_rank_that_is_not_there_and_lost_output_are_found(clinic: Clinic) -> None:
    attempt = heard(clinic)
    row = RankRow(acked_seq=1, log_offset=7, heartbeat_at=clinic.plane.clock.at)
    clinic.plane.store.write(lambda tx: tx.records.save_rank(attempt.id, 3, row))
    assert clinic.found() == {(Rule.RANKS_OF_ASK, attempt.id), (Rule.LOG_IS_WHOLE, attempt.id)}


def test_a_move_made_legal_by_hand_is_found(clinic: Clinic) -> None:
    clinic.do("INSERT INTO edges VALUES ('job', 'succeeded', 'queued')")
    assert clinic.found() == {(Rule.EDGES, "job")}


def test_a_value_that_we_do_not_know_spoils_its_own_job_alone(clinic: Clinic) -> None:
    attempt, other = finished(clinic), finished(clinic)
    clinic.plane.store.write(lambda tx: tx.counts.fold())
    clinic.do(
        "UPDATE jobs SET kind = 'riddle' WHERE id = '{job_id}'",
        "UPDATE seats SET released_at = NULL WHERE attempt_id = '{other}'",
        job_id=attempt.job_id,
        other=other.id,
    )
    found = clinic.found()
    assert (Rule.READABLE, attempt.job_id) in found
    assert (Rule.SEATS_NOT_RELEASED, other.id) in found


def test_a_reason_that_is_in_no_list_is_found(clinic: Clinic) -> None:
    clinic.plane.submit()
    with clinic.plane.store.read() as tx:
        class_id = tx.audits.waiting()[0].class_id
    now = clinic.plane.clock.at
    clinic.plane.store.write(lambda tx: tx.reasons.put(class_id, "whim", "because", "", now))
    assert clinic.found() == {(Rule.UNEXPLAINED_WAIT, class_id)}


def test_a_wait_without_a_reason_is_found_once_the_scheduler_has_had_time(clinic: Clinic) -> None:
    clinic.plane.submit()
    clinic.plane.clock.pass_seconds(LONG)
    assert clinic.found() == set()  # nobody schedules: that is told as a note
    assert "no scheduling loop" in clinic.examine().notes[0]
    clinic.lead()
    assert clinic.rules() == {Rule.UNEXPLAINED_WAIT}


def test_rows_that_refer_to_nothing_are_found(tmp_path: Path, sqlite_url: str) -> None:
    with world(tmp_path, sqlite_url) as plane:
        clinic = Clinic(plane=plane, url=sqlite_url)
        attempt = finished(clinic)
        clinic.do("PRAGMA foreign_keys = OFF", "DELETE FROM asks WHERE job_id = '{id}'", id=attempt.job_id)
        assert (Rule.REFERENCES, "attempts") in clinic.found()


def test_a_process_of_an_ended_attempt_is_found_and_stopped(clinic: Clinic) -> None:
    attempt = finished(clinic)
    clinic.runs(attempt.id)
    assert clinic.found() == set()  # it may still be saying its last words
    clinic.plane.clock.pass_seconds(LONG)
    assert clinic.found() == {(Rule.PROCESS_OF_NOBODY, attempt.id)}
    assert clinic.pauses == [10.0]  # one look proves nothing
    assert clinic.repair_all() == [True]
    assert clinic.executor.stops == [attempt.id]


def test_a_process_that_nobody_knows_is_told_of_and_left_alone(clinic: Clinic) -> None:
    finished(clinic)
    clinic.runs("job_stranger-a1")
    (breach,) = clinic.examine().breaches
    assert (breach.rule, breach.subject, is_repairable(breach)) == (
        Rule.PROCESS_OF_NOBODY,
        "job_stranger-a1",
        False,
    )
    assert "another control plane" in remedy(breach)
    assert clinic.repair_all() == [None]
    assert clinic.executor.stops == []


def test_a_running_attempt_that_its_executor_lost_is_found_when_it_is_silent_too(clinic: Clinic) -> None:
    attempt = heard(clinic)
    clinic.executor.phases[attempt.id] = Phase.DIED
    assert clinic.found() == set()
    clinic.plane.clock.pass_seconds(45.0)
    assert clinic.found() == {(Rule.ATTEMPT_WITHOUT_PROCESS, attempt.id)}
    assert clinic.repair_all() == [True]
    assert clinic.plane.is_poked("attempt", attempt.id)
    assert clinic.plane.attempt(attempt.id).state is AttemptState.RUNNING  # its loop decides


def test_nodes_that_differ_are_found_where_a_loop_follows_them(clinic: Clinic) -> None:
    finished(clinic)
    clinic.lab.names = ("lab-0", "lab-1", "lab-2", "stranger")
    assert clinic.found() == set()
    clinic.lead()
    assert clinic.found() == {(Rule.NODES_AS_LISTED, "lab-3"), (Rule.NODES_AS_LISTED, "stranger")}
    clinic.repair_all()
    assert clinic.plane.is_poked("cluster", "cluster_lab")


def test_a_machine_whose_claim_nobody_knows_is_found(clinic: Clinic) -> None:
    finished(clinic)
    clinic.cloud = FakeCloud(now=clinic.plane.clock)
    order = LaunchOrder(
        cluster=ClusterRef(id="cluster_lab", name="lab", endpoint=None),
        claim_id="claim_lost",
        launch_id="claim_lost-g1-l1",
        zone="a",
        machine_type="small",
        capacity_type=CapacityType.ON_DEMAND,
        machines=1,
    )
    (machine,) = clinic.cloud.ensure(order, deadline=1.0)
    clinic.plane.clock.pass_seconds(LONG)
    assert clinic.found() == {(Rule.MACHINE_OF_NOBODY, machine.name)}
    clinic.repair_all()
    assert clinic.plane.is_poked("orphan", "cluster_lab")


def test_a_cluster_that_does_not_answer_is_no_finding(clinic: Clinic) -> None:
    finished(clinic)
    clinic.executor.is_cut_off = True
    report = clinic.examine()
    assert (report.breaches, report.clusters) == ((), 0)
    assert [(each.subject, each.sentence) for each in report.unseen] == [("lab", "no answer within 10 s")]


def test_every_rule_has_a_remedy() -> None:
    assert {*BY_REPAIR, *BY_HAND} == set(Rule)


def _order(attempt_id: str) -> Order:
    return Order(
        attempt_id=AttemptId(attempt_id),
        job_id=JobId("job"),
        number=1,
        endpoint=Endpoint(url="http://127.0.0.2:8265"),
        seats=(OrderSeat(rank=0, node_name="lab-0", amounts=Amounts()),),
        launch=Launch.TASKS,
        command="true",
        function=None,
        urls=(),
        token="t",
        lease_seconds=60.0,
        grace_seconds=1.0,
        start_timeout_seconds=60.0,
        log_quota_bytes=1,
    )


def gone_claim(clinic: Clinic) -> ClaimId:
    now = clinic.plane.clock.at
    claim = factories.claim(cluster_id=LAB, created_at=now, since=now, capacity_type=CapacityType.SPOT)

    def unit(tx: Tx) -> None:
        tx.claims.add(claim)
        tx.sites.put(Site(claim_id=claim.id))
        tx.claims.save(claim.move(ClaimState.GONE, at=now))

    clinic.plane.store.write(unit)
    return claim.id


def test_a_ray_cluster_of_a_claim_that_is_gone_is_forgotten(clinic: Clinic) -> None:
    claim_id = gone_claim(clinic)
    assert clinic.found() == {(Rule.SITE_OF_NOBODY, claim_id)}
    assert clinic.repair_all() == [True]
    assert clinic.found() == set()


def test_what_cannot_be_removed_needs_a_person(clinic: Clinic) -> None:
    disk = Stray(
        cluster_id=LAB,
        kind="disk",
        name="vol-1",
        zone="a",
        claim_id=ClaimId("claim-1"),
        seen_at=clinic.plane.clock.at,
    )
    clinic.plane.store.write(lambda tx: tx.strays.put(disk))
    assert clinic.found() == set()
    clinic.plane.store.write(lambda tx: tx.strays.put(disk.refused("it is locked", at=tx.now)))
    assert clinic.found() == {(Rule.LEFT_BEHIND, "vol-1")}
    assert clinic.repair_all() == [None]


def test_a_rule_that_was_narrowed_tells_who_runs_outside_of_it(clinic: Clinic) -> None:
    attempt = clinic.plane.running()
    far = Residency(regions=("eu",))
    clinic.plane.store.write(
        lambda tx: tx.residencies.put(Subject.PROJECT, attempt.project_id, far, by="root")
    )
    assert (Rule.OUTSIDE_RESIDENCY, attempt.id) in clinic.found()


def test_a_copy_that_no_loop_will_look_at_is_put_on_the_list(clinic: Clinic) -> None:
    project = clinic.plane.submit().job.project_id
    copy = factories.copy(project_id=project, since=clinic.plane.clock.at, created_at=clinic.plane.clock.at)
    clinic.plane.store.write(lambda tx: tx.copies.add(copy))
    clinic.plane.clock.pass_seconds(600)
    assert (Rule.NOBODY_LOOKS, copy.id) in clinic.found()
    clinic.repair_all()
    assert clinic.plane.is_poked("copy", copy.id)
